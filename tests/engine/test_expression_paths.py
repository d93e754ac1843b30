"""Reading paths: as many look-ups as there are names, nodes apart, numbers in dotted paths."""

from __future__ import annotations

from typing import Any

import pytest

from engine.expression_paths import explain_keys, read_dotted, read_path
from engine.expressions import (
    Budget,
    ExpressionError,
    MapEnv,
    MissingValue,
    compile_expression,
    compile_path,
)

VALUES: dict[str, Any] = {
    "a": {"b": {"c": {"d": 1}}, "0": "zero"},
    "winners": [{"name": "ann"}, {"name": "bob", "marks": [7, 8]}],
    "table": {"1": {"x": "one"}},
    "text": "abc",
    "null_value": None,
    "nodes": {"fetch": {"output": [{"temp": 8}], "port": "output"}},
}
ENV = MapEnv(VALUES)


def read(segments: str) -> Any:
    return read_path(tuple(segments.split(".")))(ENV, Budget(), [])


def dotted(segments: str) -> Any:
    return read_dotted(tuple(segments.split(".")))(ENV, Budget(), [])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("text", "abc"),
        ("a.b", {"c": {"d": 1}}),
        ("a.b.c", {"d": 1}),
        ("a.b.c.d", 1),
        ("nodes", VALUES["nodes"]),
        ("nodes.fetch", VALUES["nodes"]["fetch"]),
        ("nodes.fetch.port", "output"),
    ],
)
def test_a_path_is_read_name_by_name(path: str, value: Any) -> None:
    assert read(path) == value
    assert dotted(path) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("winners.0", {"name": "ann"}),
        ("winners.1.name", "bob"),
        ("winners.1.marks.0", 7),
        ("a.0", "zero"),
        ("table.1.x", "one"),
        ("nodes.fetch.output.0.temp", 8),
    ],
)
def test_a_number_in_a_dotted_path_is_an_index_of_a_list_and_a_key_of_an_object(
    path: str, value: Any
) -> None:
    assert dotted(path) == value


def test_a_number_in_a_dotted_path_is_no_index_of_a_text() -> None:
    with pytest.raises(ExpressionError, match="the index of text is a whole number, not text"):
        dotted("text.1")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nope", "there is no variable 'nope'"),
        ("nope.0", "there is no variable 'nope'"),
        ("a.x", "a has no key 'x'"),
        ("a.b.x", "a.b has no key 'x'"),
        ("a.b.c.x", "a.b.c has no key 'x'"),
        ("a.b.c.d.e", "cannot read 'e' of a.b.c.d, which is a number"),
        ("text.x", "cannot read 'x' of text, which is text"),
        ("null_value.x", "cannot read 'x' of null_value, which is null"),
        ("winners.x", "cannot read 'x' of winners, which is a list"),
        ("nodes.x", "node 'x' has not run"),
        ("nodes.x.0", "node 'x' has not run"),
        ("nodes.fetch.x", "nodes.fetch has no key 'x'"),
        ("winners.2.name", "there is no index 2 in a list of length 2"),
        ("winners.0.x", "there is no key 'x'"),
        ("table.0.x", "there is no key '0'"),
        ("nodes.fetch.output.1", "there is no index 1 in a list of length 1"),
    ],
)
def test_what_a_path_lacks_is_named(path: str, message: str) -> None:
    with pytest.raises(MissingValue) as caught:
        dotted(path)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("index", ["1" * 19, "٢", "-1", "1.5"])
def test_what_is_no_index_of_a_list_is_not_read_as_one(index: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        read_dotted(("winners", "0", index))(ENV, Budget(), [])
    assert caught.value.code == "EXPRESSION_ERROR"
    with pytest.raises(ExpressionError):
        read_dotted(("winners", index, "0"))(ENV, Budget(), [])


def test_a_list_without_nodes_that_ran_explains_itself() -> None:
    with pytest.raises(MissingValue) as caught:
        compile_expression("nodes.x").evaluate(MapEnv({}), Budget())
    assert caught.value.message == "node 'x' has not run"


def test_a_path_that_vanished_and_came_back_is_missing_all_the_same() -> None:
    with pytest.raises(MissingValue) as caught:
        explain_keys({"b": {"c": 1}}, "a", ("b", "c"))
    assert caught.value.message == "a.b.c does not exist"


def test_a_path_made_by_hand_is_an_expression_like_any_other() -> None:
    expression = compile_path(["a", "b"], "a.b", read_path(("a", "b")))
    budget = Budget()
    assert expression.evaluate(ENV, budget) == {"c": {"d": 1}}
    assert (expression.source, expression.paths) == ("a.b", (("a", "b"),))
    assert (20_000 - budget.fuel, 1_048_576 - budget.bytes) == (2, 0)


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("a", [("a",)]),
        ("a.b['c'].d", [("a", "b", "c", "d")]),
        ("a.b + a.b", [("a", "b")]),
        ("a[0].b", [("a",)]),
        ("a[b.c]", [("b", "c"), ("a",)]),
        ("nodes.fetch.port", [("nodes", "fetch", "port")]),
        ("nodes[a]", [("a",)]),
        ("a.b.upper()", [("a", "b")]),
        ("a.keys()", [("a",)]),
        ("default(a.b, c)", [("c",)]),
        ("default(default(a, b), c)", [("c",)]),
        ("has(a.b) and a.b", [("a", "b")]),
        ("default([x.y for x in a], b)", [("b",)]),
        ("[x.y for x in a if x.z > b]", [("a",), ("b",)]),
        ("[[y for y in x] for x in a]", [("a",)]),
        ("[x for x in x]", [("x",)]),
        ("[x for x in a] + [x]", [("a",), ("x",)]),
        ("true and null", []),
        ("{'a': b, **c}", [("b",), ("c",)]),
        ("a if b else c", [("b",), ("a",), ("c",)]),
    ],
)
def test_the_paths_of_an_expression_are_those_that_must_exist(
    source: str, paths: list[tuple[str, ...]]
) -> None:
    assert list(compile_expression(source).paths) == paths


def test_every_turn_of_a_loop_binds_anew_and_leaves_outer_names_alone() -> None:
    source = "[[x, [y for y in [x * 10]], x] for x in [1, 2] for z in [0]]"
    assert compile_expression(source).evaluate(ENV, Budget()) == [[1, [10], 1], [2, [20], 2]]


def test_two_evaluations_share_nothing() -> None:
    expression = compile_expression("[[x, y] for x in numbers for y in [x]]")
    first = expression.evaluate(MapEnv({"numbers": [1]}), Budget())
    second = expression.evaluate(MapEnv({"numbers": [2]}), Budget())
    assert (first, second) == ([[1, 1]], [[2, 2]])
