"""Whatever goes wrong, the answer is the envelope and never HTML."""

from __future__ import annotations

import json

import pytest

from controllers.errors import ERRORS, failure_of
from controllers.gate import SECURITY_HEADERS
from engine import errors as engine_errors
from services import errors as refusals
from services.allowances import Standing
from tests.controllers.conftest import COMMUNITY, Answer, Api

JSON = {"Content-Type": "application/json"}


def assert_envelope(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.body) == {"success", "message", "error_code", "details"}
    assert answer.body["success"] is False
    assert answer.code == code


async def test_an_unknown_route_is_404_in_the_envelope(api: Api) -> None:
    assert_envelope(await api.call("GET", "//nowhere"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "accept", ["application/problem+json", "application/json, application/problem+json;q=0.5"]
)
async def test_who_asks_for_problem_details_gets_them(api: Api, accept: str) -> None:
    headers = {"Accept": accept, "X-Request-ID": "r-1"}
    answer = await api.call("PATCH", "/workflows", headers=headers)
    assert answer.status == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert "GET" in answer.headers["allow"]
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "Method Not Allowed",
        "status": 405,
        "detail": "This route does not take this method.",
        "request_id": "r-1",
        "error_code": "METHOD_NOT_ALLOWED",
        "details": {},
    }


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/problem+json;q=0"])
async def test_who_takes_anything_gets_the_envelope(api: Api, accept: str) -> None:
    answer = await api.call("GET", "//nowhere", headers={"Accept": accept})
    assert_envelope(answer, 404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["//nowhere", "/workflows", "//health", "//openapi.json"])
async def test_no_answer_is_to_be_framed_run_sniffed_or_kept(api: Api, path: str) -> None:
    headers = (await api.call("GET", path)).headers
    for name, value in SECURITY_HEADERS.items():
        assert headers[name.lower()] == value
    assert "server" not in headers


async def test_the_page_of_the_api_has_a_policy_of_its_own(api: Api) -> None:
    headers = (await api.call("GET", "//docs")).headers
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_a_double_slash_is_no_redirect(api: Api) -> None:
    assert_envelope(await api.call("GET", "//api//v1/workflows"), 404, "NOT_FOUND")


async def test_a_slash_at_the_end_is_no_redirect(api: Api) -> None:
    assert (await api.call("GET", "/workflows/")).status == 200


async def test_an_unknown_method_is_405_and_names_the_known_ones(api: Api) -> None:
    answer = await api.call("PATCH", "/workflows")
    assert_envelope(answer, 405, "METHOD_NOT_ALLOWED")
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_media_type_is_415(api: Api, media_type: str) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = await api.call("POST", "/workflows", data=b"{}", headers=headers)
    assert_envelope(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Content-Encoding": "gzip"}, "Content-Encoding is 'gzip'; send the body as it is"),
        ({"Content-Encoding": "identity, br"}, "Content-Encoding is 'identity, br'; send"),
        (
            {"Content-Type": "application/json; charset=latin-1"},
            "Content-Type has the charset 'latin-1'; send the body in UTF-8",
        ),
    ],
)
async def test_a_body_that_is_compressed_or_not_in_utf8_is_415_and_says_what_would_be_right(
    api: Api, headers: dict[str, str], said: str
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    answer = await api.call("POST", "/workflows/validate", data=b"{}", headers=headers)
    assert_envelope(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert said in answer.body["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "Identity"},
        {"Content-Encoding": ""},
        {"Content-Type": 'application/json; charset="UTF-8"'},
        {"Content-Type": "application/json;charset=utf8"},
    ],
)
async def test_a_body_that_says_it_is_plain_utf8_is_taken(
    api: Api, headers: dict[str, str]
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    answer = await api.call("POST", "/workflows/validate", data=b"{}", headers=headers)
    assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", ""),
        (b"", ""),
        (b'{"a": 1, "a": 2}', "/a"),
        (b'{"a": {"b": "\\u0000"}}', "/a/b"),
        (b'{"a": NaN}', "/a"),
        (b'{"a": 1e999}', "/a"),
        (b'{"a": 99999999999999999999}', "/a"),
        (b"[" * 40 + b"]" * 40, "/0" * 32),
        (b'{"a": "\xff"}', ""),
    ],
)
async def test_json_that_cannot_be_taken_is_refused_at_its_place(
    api: Api, body: bytes, path: str
) -> None:
    answer = await api.call("POST", "/workflows", data=body, headers=JSON)
    assert_envelope(answer, 400, "INVALID_JSON")
    assert answer.body["details"][0]["path"] == path


async def test_a_body_that_is_no_object_is_refused(api: Api) -> None:
    answer = await api.call("POST", "/workflows", data=b"[]", headers=JSON)
    assert_envelope(answer, 400, "VALIDATION_ERROR")


async def test_a_body_too_large_is_413_except_where_batches_go(api: Api) -> None:
    workflow_id = await api.stored()
    url = f"/workflows/{workflow_id}/execute"
    item = {"community_id": COMMUNITY, "variables": {"x": "y" * 70_000}}
    too_large = await api.call("POST", url, item)
    assert_envelope(too_large, 413, "PAYLOAD_TOO_LARGE")
    assert too_large.headers["connection"] == "close"
    for batch in (f"{url}/batch", f"{url}/batch/"):
        assert (await api.call("POST", batch, {"items": [item]})).status == 202
    assert_envelope(
        await api.call("POST", f"{url}/batch", {"items": [item] * 4}), 413, "PAYLOAD_TOO_LARGE"
    )


async def test_an_unknown_query_parameter_is_refused_with_the_known_ones(api: Api) -> None:
    answer = await api.call("GET", "/workflows?communty_id=1")
    assert_envelope(answer, 400, "VALIDATION_ERROR")
    problem = answer.body["details"][0]
    assert problem["path"] == "/communty_id"
    assert problem["hint"] == "Did you mean 'community_id'?"
    assert "entity_id" in problem["message"]


async def test_parameters_are_refused_where_there_are_none(api: Api) -> None:
    assert_envelope(await api.call("GET", "//health?x=1"), 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("sent", ["req-1", "a" * 128])
async def test_a_request_id_is_echoed(api: Api, sent: str) -> None:
    answer = await api.call("GET", "/workflows", headers={"X-Request-ID": sent})
    assert answer.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a" * 129, "tab\there", "näh"])
async def test_an_unusable_request_id_is_replaced(api: Api, sent: str) -> None:
    answer = await api.call("GET", "//nowhere", headers={"X-Request-ID": sent})
    assert len(answer.headers["x-request-id"]) == 36


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (engine_errors.WorkflowTimeoutException(), 504, "EXECUTION_TIMEOUT"),
        (engine_errors.WorkflowEngineException(), 400, "EXECUTION_ERROR"),
        (engine_errors.NodeExecutionException(), 400, "NODE_FAILED"),
        (engine_errors.AmbiguousTrigger(triggers=["a"]), 400, "AMBIGUOUS_TRIGGER"),
        (engine_errors.ExecutionNotRunning(), 409, "EXECUTION_NOT_RUNNING"),
        (engine_errors.ExecutionNotFound(), 404, "EXECUTION_NOT_FOUND"),
        (engine_errors.InvalidDefinition(), 422, "INVALID_DEFINITION"),
        (engine_errors.Overloaded(), 503, "OVERLOADED"),
        (engine_errors.CommunityFull(), 413, "PAYLOAD_TOO_LARGE"),
        (engine_errors.StoreUnavailable(), 503, "OVERLOADED"),
        (engine_errors.OutcomeUnknown(), 503, "OUTCOME_UNKNOWN"),
        (refusals.WorkflowNotActive(), 409, "WORKFLOW_NOT_ACTIVE"),
        (refusals.Denied(), 403, "PERMISSION_DENIED"),
        (PermissionError("no"), 403, "PERMISSION_DENIED"),
        (ValueError("no"), 400, "BAD_REQUEST"),
    ],
)
def test_every_error_has_its_status_and_code(error: Exception, status: int, code: str) -> None:
    failure = failure_of(error, "r")
    assert (failure.status, failure.code) == (status, code)
    assert failure.message


@pytest.mark.parametrize("module", [engine_errors, refusals])
def test_a_docstring_that_is_told_to_callers_is_one_line(module: object) -> None:
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, engine_errors.WorkflowEngineException | refusals.Refusal)
    ]
    assert len(kinds) > 15
    assert [kind for kind in kinds if "\n" in (kind.__doc__ or "")] == []


def test_whatever_is_429_or_503_says_when_to_try_again() -> None:
    errors = [
        (refusals.TooManyAttempts(Standing(10, 0, 60, 7)), "7"),
        (refusals.RateLimited(8), "8"),
        (refusals.TooManyWorkflows(), "60"),
        *((kind(), "1") for kind in (refusals.TooManyStreams, refusals.StreamsFull)),
        (refusals.SigningKeysUnavailable(), "1"),
        (engine_errors.CommunityOverloaded(), "1"),
        (engine_errors.Overloaded(), "1"),
        (engine_errors.StoreUnavailable(), "1"),
        (engine_errors.OutcomeUnknown(), "1"),
        (engine_errors.LeaseLost(), "1"),
    ]
    assert {type(error) for error, _ in errors} == {
        kind for kind, status, _, _ in ERRORS if status in (429, 503)
    }
    for error, seconds in errors:
        assert failure_of(error, "r").headers["Retry-After"] == seconds


def test_an_unforeseen_error_tells_nothing_but_the_request_id() -> None:
    failure = failure_of(RuntimeError("the password is x"), "r-1")
    assert (failure.status, failure.code) == (500, "INTERNAL_ERROR")
    assert "password" not in failure.message
    assert failure.details == {"request_id": "r-1"}


async def test_without_the_database_the_answer_is_503_and_says_nothing_of_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: object) -> None:
        raise engine_errors.StoreUnavailable("no answer from db.internal:5432")

    monkeypatch.setattr("models.api_keys.ApiKeys.find", away)
    answer = await api.call("GET", "/workflows")
    assert_envelope(answer, 503, "OVERLOADED")
    assert answer.headers["retry-after"] == "1"
    assert "db.internal" not in str(answer.body)
    assert "db.internal" in api.log.getvalue()


async def test_an_unforeseen_error_is_logged_with_its_cause(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object, **more: object) -> None:
        raise RuntimeError("broken inside")

    monkeypatch.setattr("services.workflow_service.WorkflowService.page", broken)
    answer = await api.call("GET", "/workflows", headers={"X-Request-ID": "r-7"})
    assert_envelope(answer, 500, "INTERNAL_ERROR")
    assert answer.body["details"] == {"request_id": "r-7"}
    assert "broken inside" not in str(answer.body)
    assert "broken inside" in api.log.getvalue()
