"""What loops evaluate."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import StepFailure
from engine.expressions import Budget
from engine.nodes import REGISTRY


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
