"""Variables that concurrent branches set."""

from __future__ import annotations

import pytest

from engine.context import JsonObject
from tests.engine.documents import TRIGGER, document, judge, node, setter

EACH = node("loop_foreach", items="{{ players }}", item_variable="player")
SIDE_BY_SIDE = node("loop_foreach", items="{{ players }}", concurrency=3)
IF = node("condition_if", condition="x > 1")
LOCAL = node("data_variable_set", variables={"x": 1}, scope="local")


def clashes(nodes: JsonObject, *flow: str) -> list[str]:
    """The messages of the warnings about concurrent writes."""
    report = judge(document(nodes, *flow))
    assert report.errors == []
    return [issue.message for issue in report.warnings if issue.code == "PARALLEL_WRITE"]


def test_two_branches_that_set_one_variable_are_warned_about() -> None:
    nodes = {"p": node("flow_parallel"), "a": setter(x=1), "b": setter(x=2), "c": setter(y=1)}

    (warning,) = clashes(nodes, "t>p", "p.left>a", "p.right>b", "p.third>c")

    assert "'a' and 'b'" in warning


@pytest.mark.parametrize(
    "flow",
    [
        ("t>a", "a>b"),
        ("t>c", "c>i", "i.true>a", "i.false>b"),
        ("t>i", "i.true>a", "i.error>c", "c>b"),
        ("t>i", "i.true>c", "c>a", "i.false>b"),
        ("t>a", "t2>b"),
        ("t>each", "each.loop>a", "each>b"),
        ("t>each", "each.loop>a", "a>each", "each>c", "c>b"),
    ],
    ids=["chain", "arms", "error arm", "longer arm", "two triggers", "after a loop", "back edge"],
)
def test_nodes_that_never_run_side_by_side_may_set_one_variable(flow: tuple[str, ...]) -> None:
    pool = {"a": setter(x=1), "b": setter(x=2), "c": setter(y=1), "i": IF, "each": EACH}
    pool["t2"] = TRIGGER
    used = {name.split(".")[0] for arrow in flow for name in arrow.split(">")}

    assert clashes({name: made for name, made in pool.items() if name in used}, *flow) == []


def test_arms_that_have_joined_again_are_no_longer_exclusive() -> None:
    nodes = {"i": IF, "m": node("flow_merge"), "a": setter(x=1), "b": setter(x=2)}

    (warning,) = clashes(nodes, "t>i", "i.true>m", "i.false>m", "m>a", "m>b")

    assert "'a' and 'b'" in warning


def test_a_branch_beside_a_loop_is_concurrent_with_its_body() -> None:
    nodes = {"each": EACH, "a": setter(x=1), "b": setter(x=2)}

    assert len(clashes(nodes, "t>each", "t>b", "each.loop>a")) == 1


def test_many_exclusive_arms_setting_one_variable_are_looked_at_within_bounds() -> None:
    cases = {str(i): f"p{i}" for i in range(300)}
    nodes = {"s": node("condition_switch", value="{{ x }}", cases=cases)}
    nodes |= {f"a{i}": setter(y=i) for i in range(300)}

    assert clashes(nodes, "t>s", *(f"s.p{i}>a{i}" for i in range(300))) == []


def test_iterations_side_by_side_that_set_one_variable_are_warned_about() -> None:
    (warning,) = clashes({"each": SIDE_BY_SIDE, "a": setter(x=1)}, "t>each", "each.loop>a")

    assert "Iterations of 'each'" in warning


def test_iterations_one_after_the_other_may_set_one_variable() -> None:
    assert clashes({"each": EACH, "a": setter(x=1)}, "t>each", "each.loop>a") == []


def test_each_iteration_has_local_variables_of_its_own() -> None:
    nodes = {"each": SIDE_BY_SIDE, "a": LOCAL, "b": setter(x=1)}

    assert clashes(nodes, "t>each", "each.loop>a", "t>b") == []


def test_two_branches_of_one_iteration_that_set_one_local_variable_are_warned_about() -> None:
    (warning,) = clashes(
        {"each": EACH, "a": LOCAL, "b": LOCAL}, "t>each", "each.loop>a", "each.loop>b"
    )

    assert "'a' and 'b'" in warning


def test_a_disabled_node_sets_nothing() -> None:
    nodes = {"a": setter(x=1), "b": setter(x=2) | {"enabled": False}}

    assert clashes(nodes, "t>a", "t>b") == []
