"""An id is read in one way, wherever it stands in a request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.schemas import canonical_uuid
from tests.controllers.conftest import COMMUNITY, Api

MANAGED = "/workflow-management"
CONDITION = {"metric": "failures", "threshold": 1, "window_seconds": 60}
NEARLY = (
    "7",
    "",
    "01a203e2c04075bda705acc30a6210d0",
    "{01a203e2-c040-75bd-a705-acc30a6210d0}",
    "urn:uuid:01a203e2-c040-75bd-a705-acc30a6210d0",
    "01a203e2-c040-75bd-a705-acc30a6210dg",
    "01a203e2-c040-75bd-a705-acc30a6210d\N{ARABIC-INDIC DIGIT ZERO}",
    "01a203e2-c040-75bd-a705-acc30a6210d0\n",
)
"""What readers of UUIDs let pass, now and then."""

BODIES: list[tuple[str, dict[str, Any], str]] = [
    ("webhooks", {"url": "https://example.org", "events": ["execution.failed"]}, "workflow_id"),
    ("alerts", {"condition": CONDITION}, "workflow_id"),
]
QUERIES = [
    ("webhooks", "workflow_id"),
    ("alerts", "workflow_id"),
    ("executions", "workflow_id"),
    ("executions", "workflow_template_id"),
    ("executions/stream", "workflow_id"),
    ("executions/stream", "workflow_template_id"),
    ("executions/stream", "execution_id"),
    ("metrics", "workflow_id"),
]


@pytest.mark.parametrize("text", NEARLY)
def test_what_is_not_written_as_a_uuid_is_none(text: str) -> None:
    assert canonical_uuid(text) is None


@given(st.uuids())
def test_a_uuid_is_read_in_either_case(uuid: Any) -> None:
    assert canonical_uuid(str(uuid).upper()) == canonical_uuid(str(uuid)) == str(uuid)


@pytest.mark.parametrize(("path", "name"), QUERIES)
async def test_every_query_says_the_same_of_what_is_no_uuid(api: Api, path: str, name: str) -> None:
    for text in NEARLY[:4]:
        answer = await api.call("GET", f"{MANAGED}/{path}", query_string={name: text})
        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
        [problem] = answer.body["details"]
        assert problem["path"] == f"/{name}"
        assert problem["message"].startswith("must be a UUID, such as ")


@pytest.mark.parametrize(("path", "body", "name"), BODIES)
async def test_every_body_says_the_same_beside_whatever_else_is_wrong(
    api: Api, path: str, body: dict[str, Any], name: str
) -> None:
    for given_id, said in (("no-uuid", "must be a UUID, such as "), (7, "must be a string")):
        sent = {"community_id": "x", **body, name: given_id}
        answer = await api.call("POST", f"{MANAGED}/{path}", sent)
        found = {problem["path"]: problem["message"] for problem in answer.body["details"]}
        assert found["/community_id"] == "must be an integer"
        assert found[f"/{name}"].startswith(said)


async def test_ids_of_webhooks_in_an_alert_are_named_by_their_place(api: Api) -> None:
    body = {"community_id": COMMUNITY, "condition": CONDITION, "notify": ["no-uuid", "x"]}
    answer = await api.call("POST", f"{MANAGED}/alerts", body)
    assert [each["path"] for each in answer.body["details"]] == ["/notify/0", "/notify/1"]


async def test_in_a_path_what_is_no_uuid_is_nothing_there_is(api: Api) -> None:
    for path in ("workflows/{}", "workflows/executions/{}", "workflow-management/webhooks/{}"):
        for text in NEARLY[2:4]:
            assert (await api.call("GET", "/" + path.format(text))).status == 404


async def test_the_document_says_that_an_id_is_a_uuid(api: Api) -> None:
    document = (await api.call("GET", "//openapi.json")).body
    for path, name in QUERIES:
        parameters = document["paths"][f"/api/v1{MANAGED}/{path}"]["get"]["parameters"]
        [schema] = [each["schema"] for each in parameters if each["name"] == name]
        assert "uuid" in str(schema), f"{path} {name}: {schema}"
