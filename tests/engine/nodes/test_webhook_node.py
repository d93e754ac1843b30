"""The HTTP request, rendered, sent and judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.errors import StepFailure
from engine.nodes import REGISTRY
from engine.nodes.webhook import expects, retry_after
from engine.ports import HttpResponse

URL = "https://api.example.com/users"


async def send(config: Any, render: Any, io: Any, **names: Any) -> Any:
    """Renders and performs a webhook whose URL is `URL` unless the configuration has one."""
    config = {"url": URL, **config}
    handler = REGISTRY["action_webhook"].compile(config)
    return await handler.perform(render("action_webhook", config, **names), io)


async def test_a_request_is_sent_as_rendered(render: Any, io: Any, outside: Any) -> None:
    config = {
        "url": "https://api.example.com/{{ user }}",
        "method": "put",
        "headers": {"X-Count": "{{ n }}"},
        "params": {"page": 2, "all": True, "none": None},
        "body": {"names": ["{{ user }}"]},
        "timeout_seconds": 5,
    }
    output = await send(config, render, io, user="ada", n=7)
    assert output == {"status": 200, "headers": {}, "body": {"ok": True}}
    assert outside.calls == [
        (
            "PUT https://api.example.com/ada",
            {
                "headers": {"X-Count": "7", "Idempotency-Key": "e1:node"},
                "params": {"page": "2", "all": "true"},
                "body": {"names": ["ada"]},
                "timeout_seconds": 5.0,
            },
        )
    ]


async def test_without_a_time_out_of_its_own_the_steps_applies(
    render: Any, io: Any, outside: Any
) -> None:
    await send({}, render, io)
    assert outside.calls[0][1]["timeout_seconds"] == 30


async def test_the_authors_idempotency_key_is_kept(render: Any, io: Any, outside: Any) -> None:
    await send({"headers": {"idempotency-key": "mine"}}, render, io)
    assert outside.calls[0][1]["headers"] == {"idempotency-key": "mine"}


async def test_a_textual_body_that_is_json_is_labelled_so(
    render: Any, io: Any, outside: Any
) -> None:
    await send({"body_template": '{"user": "{{ name }}"}'}, render, io, name="ada")
    sent = outside.calls[0][1]
    assert sent["body"] == '{"user": "ada"}'
    assert sent["headers"]["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "headers"), [("plain", {}), ("{no json", {}), ("[1]", {"content-type": "text/x"})]
)
def test_another_textual_body_is_left_alone(render: Any, body: str, headers: Any) -> None:
    config = {"url": URL, "body": body, "headers": headers}
    assert render("action_webhook", config)["headers"] == headers


def test_what_is_rendered_is_what_would_be_sent(render: Any) -> None:
    assert render("action_webhook", {"url": URL, "method": "get"}) == {
        "method": "GET",
        "url": URL,
        "headers": {},
        "params": {},
        "body": None,
        "expected_status": "2xx",
    }


@pytest.mark.parametrize(
    "url", ["ftp://x.example", "/users", "https://", "http://[::1", "http://a b.example", "", 7]
)
def test_a_url_that_cannot_be_requested_fails_when_rendered(render: Any, url: Any) -> None:
    with pytest.raises(StepFailure) as caught:
        render("action_webhook", {"url": "{{ target }}"}, target=url)
    assert (caught.value.error_type, caught.value.retryable) == ("BAD_URL", False)


@pytest.mark.parametrize(
    "config",
    [
        {"headers": {"X-A": "a\r\nX-B: b"}},
        {"headers": {"X-A\n": "a"}},
        {"headers": {"X-A": ["a"]}},
        {"headers": {"X A": "a"}},
        {"headers": {"": "a"}},
        {"headers": {"Content-Length": "0"}},
        {"headers": "{{ n }}"},
        {"params": {"a": {}}},
        {"params": {"a": [["b"]]}},
        {"params": {"a": [1, {}]}},
        {"params": "{{ n }}"},
    ],
)
def test_headers_and_parameters_that_cannot_be_sent_fail_when_rendered(
    render: Any, config: Any
) -> None:
    with pytest.raises(StepFailure) as caught:
        render("action_webhook", {"url": URL, **config}, n=1)
    assert caught.value.error_type == "BAD_CONFIG"


@pytest.mark.parametrize(
    ("url", "name", "sent"),
    [
        ("https://a.example/{{ quote(name) }}?q={{ quote(name) }}", "a b/c&d", "a%20b%2Fc%26d"),
        ("https://a.example/{{ name }}?q={{ name }}", "a/b", "a/b"),
    ],
)
def test_what_a_template_puts_into_an_address_is_encoded_by_quote_alone(
    render: Any, url: str, name: str, sent: str
) -> None:
    rendered = render("action_webhook", {"url": url}, name=name)
    assert rendered["url"] == f"https://a.example/{sent}?q={sent}"


def test_an_address_that_a_template_breaks_fails(render: Any) -> None:
    with pytest.raises(StepFailure, match="white space") as caught:
        render("action_webhook", {"url": "https://a.example/{{ name }}"}, name="a b")
    assert caught.value.error_type == "BAD_URL"


def test_a_header_that_a_template_broke_over_two_lines_is_named(render: Any) -> None:
    config = {"url": URL, "headers": {"X-Name": "{{ name }}"}}
    with pytest.raises(StepFailure, match="header 'X-Name' contains a line break"):
        render("action_webhook", config, name="a\r\nX-Admin: yes")


def test_parameters_are_written_as_text_and_lists_repeat_their_name(render: Any) -> None:
    params = {
        "page": 2,
        "ratio": 0.5,
        "all": False,
        "who": "{{ names }}",
        "mixed": [1, None, True, "x"],
        "none": None,
        "nobody": [],
    }
    rendered = render("action_webhook", {"url": URL, "params": params}, names=["ada", "bob"])
    assert rendered["params"] == {
        "page": "2",
        "ratio": "0.5",
        "all": "false",
        "who": ["ada", "bob"],
        "mixed": ["1", "true", "x"],
    }


@pytest.mark.parametrize("key", ["headers", "params"])
def test_null_headers_and_parameters_are_none(render: Any, key: str) -> None:
    assert render("action_webhook", {"url": URL, key: "{{ n }}"}, n=None)[key] == {}


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded; charset=utf-8"],
)
def test_an_object_is_sent_as_a_form_where_the_type_says_so(render: Any, kind: str) -> None:
    config = {
        "url": URL,
        "headers": {"content-type": kind},
        "body": {"user": "{{ name }}", "tag": ["a", "b"], "n": 1, "none": None},
    }
    rendered = render("action_webhook", config, name="ada & co")
    assert rendered["body"] == "user=ada+%26+co&tag=a&tag=b&n=1"
    assert rendered["headers"] == {"content-type": kind}


def test_a_form_of_what_no_form_can_hold_fails(render: Any) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    with pytest.raises(StepFailure, match=r"body\.user"):
        render("action_webhook", {"url": URL, "headers": headers, "body": {"user": {"a": 1}}})


def test_a_form_that_is_text_already_leaves_as_it_is(render: Any) -> None:
    config = {
        "url": URL,
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        "body": "a=1&b=2",
    }
    assert render("action_webhook", config)["body"] == "a=1&b=2"


@pytest.mark.parametrize("body", [{"a": [1, None]}, [1], 0, False, "", "text", None])
async def test_a_body_of_any_kind_leaves_as_it_is(
    render: Any, io: Any, outside: Any, body: Any
) -> None:
    await send({"body": body}, render, io)
    assert outside.calls[0][1]["body"] == body


@pytest.mark.parametrize(
    ("own", "of_the_step", "used"), [(5, 30, 5.0), (60, 30, 30), (None, 30, 30)]
)
async def test_the_shorter_time_out_counts(
    render: Any, io: Any, outside: Any, own: Any, of_the_step: float, used: float
) -> None:
    io = replace(io, timeout_seconds=of_the_step)
    await send({"timeout_seconds": own}, render, io)
    assert outside.calls[0][1]["timeout_seconds"] == used


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"headers": {"X A": "a"}}, "/headers/X A"),
        ({"headers": {"Connection": "close"}}, "/headers/Connection"),
        ({"headers": {"X-A": "a\nb"}}, "/headers/X-A"),
        ({"headers": {"X-A": ["{{ a }}"]}}, "/headers/X-A"),
        ({"headers": {"X-A": {}}}, "/headers/X-A"),
        ({"params": {"a/b": {"c": 1}}}, "/params/a~1b"),
        ({"params": {"a": [[1]]}}, "/params/a"),
        ({"usage": {"cost": "{{ n }}"}}, "/usage/cost"),
        ({"output_variable": "nodes"}, "/output_variable"),
    ],
)
def test_what_can_never_be_sent_is_found(check: Any, config: Any, path: str) -> None:
    (finding,) = check("action_webhook", {"url": URL, **config})
    assert (finding.code, finding.path, finding.warning) == ("VALIDATION", path, False)


def test_what_a_template_may_mend_passes(check: Any) -> None:
    headers = {"X-A": "{{ a }}\n", "X-B": 7, "X-C": None}
    params = {"a": "{{ a }}", "b": ["{{ b }}", 1, None]}
    assert check("action_webhook", {"url": URL, "headers": headers, "params": params}) == []


@pytest.mark.parametrize(
    ("expected", "status", "welcome"),
    [
        ("2xx", 204, True),
        ("2xx", 404, False),
        (200, 200, True),
        (200, 201, False),
        ("200", 200, True),
        ([200, 404], 404, True),
        (["2xx", 404], 201, True),
        ("200,404", 404, True),
        ("2xx, 404", 404, True),
        ("2xx,404", 500, False),
        ("200-204", 204, True),
        ("200-204", 205, False),
        (["200 - 204", "5xx"], 503, True),
        ("200-3xx", 399, True),
        ("2XX", 200, True),
    ],
)
def test_expected_status_has_many_forms(expected: Any, status: int, welcome: bool) -> None:
    assert expects(expected)(status) is welcome


@pytest.mark.parametrize(
    "expected",
    ["", "ok", 99, 1000, "6xx", [], 200.5, True, "204-200", "-200", "200-", "1-2-3"],
)
def test_an_expected_status_that_is_none_is_found(check: Any, expected: Any) -> None:
    (finding,) = check("action_webhook", {"expected_status": expected})
    assert (finding.code, finding.path) == ("VALIDATION", "/expected_status")

    (finding,) = check("action_webhook", {"expected_status": ["2xx", expected]})
    assert (finding.code, finding.path) == ("VALIDATION", "/expected_status/1")


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (404, False), (408, True), (425, True), (429, True), (500, True), (503, True)],
)
async def test_an_unwelcome_status_fails_the_step(
    render: Any, io: Any, outside: Any, status: int, retryable: bool
) -> None:
    outside.answer = HttpResponse(status, {"retry-after": "7"}, {"error": "no"})
    with pytest.raises(StepFailure, match=f"answered {status}, expected 2xx") as caught:
        await send({}, render, io)
    failure = caught.value
    assert (failure.error_type, failure.retryable) == ("HTTP_STATUS", retryable)
    assert failure.retry_after == 7.0
    assert failure.details == {"status": status, "body": {"error": "no"}}


async def test_of_a_long_unwelcome_answer_only_the_beginning_is_kept(
    render: Any, io: Any, outside: Any
) -> None:
    outside.answer = HttpResponse(500, {}, ["x" * 5000])
    with pytest.raises(StepFailure) as caught:
        await send({}, render, io)
    assert caught.value.details is not None
    assert len(caught.value.details["body"]) == 2001


async def test_an_expected_error_status_is_an_output(render: Any, io: Any, outside: Any) -> None:
    outside.answer = HttpResponse(404, {"A": "b"}, "gone")
    output = await send({"expected_status": "2xx,404"}, render, io)
    assert output == {"status": 404, "headers": {"A": "b"}, "body": "gone"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": " 120 "}, 120.0),
        ({"retry-after": "0.65"}, 0.65),
        ({"Retry-After": "9" * 400}, float("inf")),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1e9"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "-5"}, None),
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30.0,
        ),
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:27:00 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            0.0,
        ),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT"}, None),
        ({"Retry-After": "tomorrow", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: Any, seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_the_output_can_be_stored_in_a_variable() -> None:
    handler = REGISTRY["action_webhook"].compile({"url": URL, "output_variable": "answer"})
    output = {"status": 200, "headers": {}, "body": None}
    assert handler.conclude({}, output).variables == {"answer": output}


def test_the_usage_is_read_from_the_body_of_the_answer() -> None:
    handler = REGISTRY["action_webhook"].compile({"url": URL, "usage": {"cost": 0.1}})
    assert handler.conclude({}, {"body": {"usage": {"tokens": 12}}}).usage == {
        "cost": 0.1,
        "tokens": 12,
    }
    assert handler.conclude({}, {"body": "text"}).usage == {"cost": 0.1}


def test_a_mocked_output_of_any_form_is_concluded() -> None:
    handler = REGISTRY["action_webhook"].compile({"url": URL})
    assert handler.conclude({}, {"simulated": True}).usage is None
    assert handler.conclude({}, None).output is None


@pytest.mark.parametrize("url", ["ftp://a.example", "example.com", "https://", "file:///etc/x",
                                 "ftp://{{ host }}"])  # fmt: skip
def test_a_fixed_url_that_cannot_be_requested_is_found(check: Any, url: str) -> None:
    (finding,) = check("action_webhook", {"url": url})
    assert (finding.code, finding.path) == ("BAD_URL", "/url")


@pytest.mark.parametrize("url", [URL, "{{ base }}/x", "http://a.example:8080", "https://{{ h }}"])
def test_a_url_that_may_be_requested_passes(check: Any, url: str) -> None:
    assert check("action_webhook", {"url": url}) == []
