"""What the validator knows about variables before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import JsonObject
from tests.engine.documents import TRIGGER, document, judge, node, setter

EACH = node("loop_foreach", items="{{ players }}", item_variable="player")
IF = node("condition_if", condition="x > 1")


def warnings(code: str, nodes: JsonObject, *flow: str, **fields: Any) -> list[str]:
    """The messages and hints of the warnings of this code."""
    report = judge(document(nodes, *flow, **fields))
    assert report.errors == []
    return [f"{i.message} {i.hint}" for i in report.warnings if i.code == code]


def unknown(nodes: JsonObject, *flow: str, **fields: Any) -> list[str]:
    return warnings("UNKNOWN_VARIABLE", nodes, *flow, **fields)


def clashes(nodes: JsonObject, *flow: str) -> list[str]:
    return warnings("PARALLEL_WRITE", nodes, *flow)


def end(text: str) -> JsonObject:
    return node("flow_end", output=text)


def test_names_the_request_may_bring_are_not_warned_about() -> None:
    assert unknown({"a": end("{{ username }} {{ amount }}")}, "t>a") == []


def test_names_set_anywhere_are_known() -> None:
    nodes = {"a": setter(total=1), "b": end("{{ total }} {{ trigger.payload }} {{ input }}")}

    assert unknown(nodes, "t>a", "a>b") == []


def test_a_local_variable_is_known() -> None:
    local = node("data_variable_set", variables={"counter": 1}, scope="local")

    assert unknown({"a": local, "b": end("{{ counter }} {{ country }}")}, "t>a", "a>b") == []


def test_a_name_much_like_a_known_one_is_warned_about() -> None:
    (warning,) = unknown({"a": setter(total=1), "b": end("{{ totl + 1 }}")}, "t>a", "a>b")

    assert "'totl'" in warning
    assert "'total'" in warning


def test_iteration_variables_are_known_in_their_body_at_any_depth() -> None:
    nodes = {
        "each": EACH,
        "inner": node("loop_while", condition="index < 3 and player"),
        "a": setter(x="{{ player }} {{ index }}"),
    }

    assert unknown(nodes, "t>each", "each.loop>inner", "inner.loop>a") == []


def test_an_iteration_variable_outside_its_body_is_warned_about() -> None:
    (warning,) = unknown({"each": EACH, "a": end("{{ player }}")}, "t>each", "each>a")

    assert "'each'" in warning


def test_a_list_named_like_its_items_is_no_slip_of_the_pen() -> None:
    assert unknown({"a": setter(player=1), "b": end("{{ players }}")}, "t>a", "a>b") == []


def test_a_filter_sees_its_item() -> None:
    filtered = node(
        "condition_filter",
        items="{{ players }}",
        condition={"variable": "item.score", "operator": "exists"},
    )

    assert unknown({"each": node("loop_foreach", items=[]), "a": filtered}, "t>a", "a>each") == []


def test_the_result_of_an_unknown_node_is_warned_about() -> None:
    nodes = {"fetch": setter(x=1), "a": end("{{ nodes.fetc.output }} {{ nodes.fetch.output }}")}

    (warning,) = unknown(nodes, "t>fetch", "fetch>a")

    assert "nodes.fetc" in warning
    assert "'fetch'" in warning


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
