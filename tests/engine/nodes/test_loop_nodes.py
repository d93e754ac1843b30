"""What loops evaluate."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import StepFailure
from engine.expressions import Budget, ExpressionError
from engine.nodes import REGISTRY
from tests.engine.documents import document, judge


def items(config: Any, env: Any) -> Any:
    return REGISTRY["loop_foreach"].compile(config).items(env, Budget())


@pytest.mark.parametrize("source", ["winners", "{{ winners }}", "winners[:9]", ["a", "b"]])
def test_a_foreach_takes_its_items_from_a_reference(see: Any, source: Any) -> None:
    assert items({"items": source}, see(winners=["a", "b"])) == ["a", "b"]


def test_items_of_a_literal_list_are_templates(see: Any) -> None:
    assert items({"items": ["{{ n }}", "x"]}, see(n=1)) == [1, "x"]


@pytest.mark.parametrize("alias", ["items", "array_variable", "collection_variable"])
def test_items_are_read_from_every_dialect(read: Any, alias: str) -> None:
    assert read("loop_foreach", {alias: "xs"}) == {"items": "xs"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": 1}, r"an object; .*items\(\.\.\.\)"),
        ("abc", "a string"),
        (None, "null"),
        (7, "a num"),
    ],
)
def test_anything_but_a_list_fails_with_a_hint(see: Any, value: Any, said: str) -> None:
    with pytest.raises(StepFailure, match=said) as caught:
        items({"items": "xs"}, see(xs=value))
    assert caught.value.error_type == "TYPE_ERROR"


def test_a_foreach_tells_the_engine_its_names_and_limits() -> None:
    foreach = REGISTRY["loop_foreach"].compile({"items": []})
    assert (foreach.item_variable, foreach.index_variable) == ("item", "index")
    assert (foreach.max_iterations, foreach.concurrency) == (None, 1)


def test_iteration_variables_may_not_be_reserved_or_the_same(check: Any) -> None:
    found = check("loop_foreach", {"item_variable": "input", "index_variable": "input"})
    assert [finding.path for finding in found] == [
        "/item_variable",
        "/index_variable",
        "/index_variable",
    ]


def test_a_while_goes_on_as_long_as_its_condition_holds(see: Any) -> None:
    loop = REGISTRY["loop_while"].compile({"condition": "n < 3", "max_iterations": 5})
    assert loop.items(see(), Budget()) is None
    assert loop.test(see(n=2), Budget()) is True
    assert loop.test(see(n=3), Budget()) is False
    assert loop.max_iterations == 5


@pytest.mark.parametrize("node_type", ["loop_foreach", "loop_while"])
def test_a_loop_has_a_port_for_its_body_and_one_for_afterwards(ports: Any, node_type: str) -> None:
    assert ports(node_type, {}) == ("loop", "output")


@pytest.mark.parametrize(
    ("config", "broke"),
    [({}, True), ({"condition": None}, True), ({"break_condition": "n > 1"}, True),
     ({"condition": "n > 9"}, False)],
)  # fmt: skip
def test_a_break_breaks_if_its_condition_holds_or_it_has_none(
    run: Any, config: Any, broke: bool
) -> None:
    result = run("loop_break", config, n=5)
    assert (result.broke, result.port, result.output) == (broke, "output", "in")


def test_a_foreach_keeps_the_authors_names_and_limits() -> None:
    config = {
        "items": [],
        "item_variable": "winner",
        "index_variable": "place",
        "max_iterations": 5,
        "concurrency": 3,
    }
    foreach = REGISTRY["loop_foreach"].compile(config)
    assert (foreach.item_variable, foreach.index_variable) == ("winner", "place")
    assert (foreach.max_iterations, foreach.concurrency) == (5, 3)


def test_a_name_no_expression_can_read_is_warned_about(check: Any) -> None:
    (finding,) = check("loop_foreach", {"item_variable": "the winner"})
    assert (finding.path, finding.warning) == ("/item_variable", True)


@pytest.mark.parametrize("source", ["gone", "{{ gone.list }}", ["{{ gone }}"]])
def test_items_that_are_missing_fail_by_name(see: Any, source: Any) -> None:
    with pytest.raises(ExpressionError, match="gone"):
        items({"items": source}, see())


def test_a_while_that_cannot_be_tested_fails(see: Any) -> None:
    with pytest.raises(ExpressionError, match="gone"):
        REGISTRY["loop_while"].compile({"condition": "gone"}).test(see(), Budget())


def test_a_break_that_cannot_be_tested_fails(run: Any) -> None:
    with pytest.raises(ExpressionError, match="gone"):
        run("loop_break", {"condition": "gone"})


@pytest.mark.parametrize("source", ["1 +", "{{ }}", ["{{ ( }}"]])
def test_items_that_cannot_be_read_are_found(source: Any) -> None:
    loop = {"node_type": "loop_foreach", "config": {"items": source}}
    (error,) = judge(document({"n": loop}, "t>n")).errors
    assert error.code == "EXPRESSION_SYNTAX"
    assert error.path.startswith("/nodes/n/config/items")


@pytest.mark.parametrize("condition", ["1 +", {"variable": "a", "operator": "resembles"}])
@pytest.mark.parametrize("node_type", ["loop_while", "condition_if"])
def test_a_condition_that_cannot_be_read_is_found(node_type: str, condition: Any) -> None:
    node = {"node_type": node_type, "config": {"condition": condition}}
    (error,) = judge(document({"n": node}, "t>n")).errors
    assert error.code in {"EXPRESSION_SYNTAX", "UNKNOWN_OPERATOR"}
    assert error.path.startswith("/nodes/n/config/condition")


@pytest.mark.parametrize(
    ("written", "port"),
    [("loop_body", "loop"), ("body", "loop"), ("loop", "loop"), ("done", "output"),
     ("exit", "output"), ("completed", "output"), ("output", "output")],
)  # fmt: skip
def test_the_ports_of_other_dialects_are_read(written: str, port: str) -> None:
    nodes = {
        "loop": {"node_type": "loop_foreach", "config": {"items": [1]}},
        "n": {"node_type": "data_variable_set", "config": {"variables": {"a": 1}}},
    }
    report = judge(document(nodes, "t>loop", f"loop.{written}>n"))
    assert report.issues == ()
    assert report.document["connections"][1]["from_port_name"] == port


def test_the_port_continue_of_a_break_is_its_output() -> None:
    nodes = {
        "loop": {"node_type": "loop_foreach", "config": {"items": [1]}},
        "stop": {"node_type": "loop_break", "config": {"condition": "item > 1"}},
        "n": {"node_type": "data_variable_set", "config": {"variables": {"a": 1}}},
    }
    report = judge(document(nodes, "t>loop", "loop.loop>stop", "stop.continue>n"))
    assert report.issues == ()
    assert report.document["connections"][2]["from_port_name"] == "output"


@pytest.mark.parametrize("written", ["success", "result", "triggered", "done"])
def test_the_usual_output_goes_by_other_names_too(written: str) -> None:
    n = {"node_type": "data_variable_set", "config": {"variables": {"a": 1}}}
    report = judge(document({"n": n}, f"t.{written}>n"))
    assert report.document["connections"][0]["from_port_name"] == "output"


def test_a_port_of_the_very_name_is_no_alias() -> None:
    nodes = {
        "sort": {"node_type": "condition_switch",
                 "config": {"value": "1", "cases": {"1": "success", "2": "done"}}},
        "n": {"node_type": "data_variable_set", "config": {"variables": {"a": 1}}},
    }  # fmt: skip
    report = judge(document(nodes, "t>sort", "sort.success>n", "sort.done>n"))
    assert report.issues == ()
    ports = [c["from_port_name"] for c in report.document["connections"]]
    assert ports == ["output", "success", "done"]
