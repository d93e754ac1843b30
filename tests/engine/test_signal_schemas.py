"""What a signal's schema, or a payload, may cost: unbounded, these take seconds to hours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.nodes.waiting import WAIT


def doubling(depth: int) -> dict[str, Any]:
    """Each line of 60 bytes doubles the visits."""
    defs = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(depth)}
    return {"$defs": {**defs, f"a{depth}": {"type": "integer"}}, "$ref": "#/$defs/a0"}


REFUSED = {
    "doubling references",
    "recursion, twice",
    "dynamic recursion, twice",
    "many rules for every item",
}

CASES = {
    "doubling references": (doubling(24), 3),
    "recursion, twice": (
        {"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]},
        json.loads("[" * 23 + "]" * 23),
    ),
    "dynamic recursion, twice": (
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$dynamicAnchor": "n",
            "allOf": [{"items": {"$dynamicRef": "#n"}}, {"items": {"$dynamicRef": "#n"}}],
        },
        json.loads("[" * 23 + "]" * 23),
    ),
    "a benign schema, a payload that is all wrong": (
        {"items": {"type": "string"}},
        list(range(140_000)),
    ),
    "many patterns": (
        {"allOf": [{"pattern": rf"(\\w+,)*{i}$"} for i in range(150)]},
        "ab," * 300_000,
    ),
    "many rules for every item": (
        {"items": {"allOf": [{"minimum": -i - 1} for i in range(380)]}},
        [1] * 200_000,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_schema_is_refused_or_its_payload_judged_without_much_work(case: str) -> None:
    schema, payload = CASES[case]
    refused = [finding.code for finding in WAIT.check({"signal": "go", "schema": schema})]
    if case in REFUSED:
        assert refused == ["BAD_SCHEMA"]
        return
    assert refused == []
    (problem,) = WAIT.compile({"signal": "go", "schema": schema}).problems(payload)
    assert "larger than" in problem.message


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "#"}, "leads back to itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "leads back to itself"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "leads out of the schema"),
        ({"$ref": "file:///etc/passwd"}, "leads out of the schema"),
        ({"type": "wat"}, "not valid"),
        ({"pattern": "(?=a)"}, "regex"),
    ],
)
def test_a_schema_that_cannot_be_judged_by_is_refused_saying_why(schema: Any, why: str) -> None:
    (finding,) = WAIT.check({"signal": "go", "schema": schema})
    assert (finding.code, finding.path) == ("BAD_SCHEMA", "/schema")
    assert why in finding.message


def test_references_within_the_schema_are_followed() -> None:
    schema = {"$defs": {"a/b": {"type": "integer"}}, "items": {"$ref": "#/$defs/a~1b"}}
    wait = WAIT.compile({"signal": "go", "schema": schema})
    assert wait.fits([1, 2])
    assert [problem.path for problem in wait.problems([1, "2", "3"])] == ["/1", "/2"]


def test_of_a_large_payload_only_the_first_problem_is_told() -> None:
    wait = WAIT.compile({"signal": "go", "schema": {"items": {"type": "string"}}})
    assert len(wait.problems(list(range(20_000)))) == 1


def test_a_property_named_like_a_keyword_is_only_a_property() -> None:
    schema = {"properties": {"$ref": {"type": "string"}, "$id": {"type": "integer"}}}
    assert WAIT.check({"signal": "go", "schema": schema}) == []
