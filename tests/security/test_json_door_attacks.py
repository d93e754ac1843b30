"""JSON that parsers understand differently, or that costs more than it weighs, sent to the routes
that read bodies. The door itself is tested in `tests/engine/test_json_door.py`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, Api

PLACE = b"@"
"""Where in a body the attack stands."""

BODIES = {
    "workflows": b'{"name": "a", "community_id": 1, "nodes": {}, "global_variables": {"x": @}}',
    "workflows/validate": b'{"global_variables": {"x": @}}',
    "workflow-management/webhooks": b'{"url": "https://example.org", "secret": @}',
    "workflow-management/alerts": b'{"community_id": 123, "condition": {"threshold": @}}',
}
TRAPS = {
    "the same key twice": (b'{"a": 1, "a": 2}', "twice"),
    "the same key twice, escaped": (b'{"a": 1, "\\u0061": 2}', "twice"),
    "NaN": (b"NaN", ""),
    "Infinity": (b"-Infinity", ""),
    "a number beyond doubles": (b"1e309", "large"),
    "10^309 in digits": (b"1" + b"0" * 309, "64 bits"),
    "an integer of 65 bits": (b"18446744073709551616", "64 bits"),
    "eight bytes that are 131,072 digits": (b"1e131071", "large"),
    "a lone surrogate": (b'"\\ud800"', ""),
    "a lone surrogate as a key": (b'{"\\udc00": 1}', ""),
    "U+0000": (b'"a\\u0000b"', "U+0000"),
    "U+0000 as a key": (b'{"a\\u0000": 1}', "U+0000"),
    "a raw control character": (b'"\x00"', ""),
    "overlong UTF-8": (b'"\xc0\xaf"', "UTF-8"),
    "UTF-8 of a surrogate": (b'"\xed\xa0\x80"', "UTF-8"),
    "Latin-1": (b'"\xe9"', "UTF-8"),
    "33 levels": (b"[" * 33 + b"]" * 33, "deep"),
    "10,000 levels": (b"[" * 10_000, "deep"),
    "a comment": (b"1 /* x */", ""),
    "single quotes": (b"'a'", ""),
    "a comma at the end": (b"[1,]", ""),
    "octal": (b"010", ""),
    "hexadecimal": (b"0x10", ""),
    "a plus": (b"+1", ""),
    "undefined": (b"undefined", ""),
}
JSON = {"Content-Type": "application/json"}


async def sent(api: Api, route: str, body: bytes) -> Any:
    return await api.call("POST", f"/{route}", data=body, headers=JSON)


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize("trap", TRAPS)
async def test_a_body_that_parsers_disagree_on_is_refused_by_all_routes(
    api: Api, route: str, trap: str
) -> None:
    attack, word = TRAPS[trap]
    answer = await sent(api, route, BODIES[route].replace(PLACE, attack))
    assert (answer.status, answer.code) == (400, "INVALID_JSON")
    assert word in answer.body["message"]
    assert answer.body["details"][0]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b"",
        b" ",
        b"{}{}",
        b"\x1f\x8b",
    ],
    ids=["a BOM", "UTF-16", "UTF-32", "nothing", "blank", "two documents", "gzip"],
)
async def test_what_is_not_one_document_in_utf_8_is_refused(api: Api, body: bytes) -> None:
    answer = await sent(api, "workflows", body)
    assert (answer.status, answer.code) == (400, "INVALID_JSON")


async def test_a_compressed_body_is_not_inflated(api: Api) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    answer = await api.call("POST", "/workflows", data=b"\x1f\x8b\x08\x00", headers=headers)
    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("number", [b"-0", b"-0.0", b"1e308", b"5e-324", b"9223372036854775807"])
async def test_a_number_at_the_edge_comes_back_as_it_was(
    api: Api, dal: AsyncDAL, number: bytes
) -> None:
    workflow_id = await api.stored()
    body = b'{"community_id": %d, "variables": {"x": %b}}' % (COMMUNITY, number)
    answer = await sent(api, f"workflows/{workflow_id}/execute?wait=10", body)
    assert answer.status == 200
    assert answer.data["input_parameters"]["x"] == json.loads(number)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "replace"))
)
@example(body=b'{"a":1,"a":2}')
@example(body=b'"' * 1_000)
@example(body=b"\xff" * 100)
async def test_no_bytes_break_a_route(api: Api, body: bytes) -> None:
    answer = await sent(api, "workflows/validate", body)
    assert answer.status in (200, 400), answer.body
    if answer.status == 400:
        assert answer.code == "INVALID_JSON"
        assert answer.body["message"].isprintable()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
async def test_whatever_python_calls_json_is_a_workflow_or_a_clear_no(api: Api, value: Any) -> None:
    """`json.dumps` writes NaN, lone surrogates and integers of any length."""
    answer = await sent(api, "workflows", json.dumps(value).encode())
    assert answer.status in (400, 422), answer.body
    assert answer.body["details"]
