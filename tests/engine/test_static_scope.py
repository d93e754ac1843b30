"""What the validator knows about variables before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import JsonObject
from tests.engine.documents import TRIGGER, connection, document, judge, node, setter

EACH = node("loop_foreach", items="{{ players }}", item_variable="player")
IF = node("condition_if", condition="x > 1")


def warnings(code: str, nodes: JsonObject, *flow: str, **fields: Any) -> list[str]:
    """The messages and hints of the warnings of this code."""
    report = judge(document(nodes, *flow, **fields))
    assert report.errors == []
    return [f"{i.message} {i.hint}" for i in report.warnings if i.code == code]


def unknown(nodes: JsonObject, *flow: str, **fields: Any) -> list[str]:
    return warnings("UNKNOWN_VARIABLE", nodes, *flow, **fields)


def end(text: str) -> JsonObject:
    return node("flow_end", output=text)


def used(flow: tuple[str, ...], **more: JsonObject) -> JsonObject:
    """The nodes that a flow names: `x` sets `y`, the others do nothing that matters here."""
    pool = {"x": setter(y=1), "m": setter(z=1), "i": IF, "each": EACH, "inner": EACH} | more
    pool["t2"] = TRIGGER
    named = {name.split(".")[0] for arrow in flow for name in arrow.split(">")}
    return {name: made for name, made in pool.items() if name in named}


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


@pytest.mark.parametrize(
    "text",
    ["{{ execution.user_id }}", "{{ nodes.t.output.x }}", "{{ nodes['t'].error }}", "{{ nodes }}"],
)
def test_what_reserved_names_have_is_known(text: str) -> None:
    assert unknown({"a": end(text)}, "t>a") == []


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("{{ execution.userid }}", "'user_id'"),
        ("{{ nodes.t.username }}", "nodes.t.output.username"),
        ("{{ nodes.t.outptu }}", "'output'"),
    ],
)
def test_what_reserved_names_do_not_have_is_warned_about(text: str, meant: str) -> None:
    (warning,) = unknown({"a": end(text)}, "t>a")

    assert meant in warning


@pytest.mark.parametrize(
    ("flow", "why"),
    [
        (("t>r", "r>x"), "does not come before 'r', so nodes.x may not be there yet"),
        (("t>r", "t>x"), "does not come before 'r', so nodes.x may not be there yet"),
        (("t>i", "i.true>r", "i.false>x"), "does not come before 'r'"),
        (("t2>x", "t>r"), "does not come before 'r'"),
        (("t>each", "each.loop>r", "r>x"), "does not come before 'r'"),
        (("t>each", "each.loop>x", "t>r"), "does not come before 'r'"),
    ],
    ids=["after", "beside", "other arm", "other trigger", "later in the body", "beside the loop"],
)
def test_a_node_that_has_not_run_has_no_result(flow: tuple[str, ...], why: str) -> None:
    (warning,) = unknown(used(flow, r=end("{{ nodes.x.output }}")), *flow)

    assert why in warning


@pytest.mark.parametrize(
    "flow",
    [
        ("t>x", "x>r"),
        ("t>x", "x>m", "m>r"),
        ("t>i", "i.true>x", "i.false>m", "x>m", "m>r"),
        ("t>x", "x>each", "each.loop>r"),
        ("t>each", "each.loop>x", "each>r"),
        ("t>each", "each.loop>x", "x>r"),
        ("t>x", "x.error>r"),
    ],
    ids=["next", "further", "perhaps", "before the loop", "in the loop", "in the body", "error"],
)
def test_a_node_that_may_have_run_has_a_result(flow: tuple[str, ...]) -> None:
    assert unknown(used(flow, r=end("{{ nodes.x.output }}")), *flow) == []


def test_a_node_has_no_result_while_it_runs_but_when_it_is_left() -> None:
    (warning,) = unknown({"a": end("{{ nodes.a.output }}")}, "t>a")
    given = document({"a": setter(x=1), "b": end("")}, "t>a")
    given["connections"].append(connection("a>b", conditional="nodes.a.output.x == x"))

    assert "'a' is running, so nodes.a is not there yet" in warning
    assert judge(given).issues == ()


def test_a_loop_has_no_result_in_its_own_body() -> None:
    (warning,) = unknown(
        {"each": EACH, "a": end("{{ nodes.each.output }}")}, "t>each", "each.loop>a"
    )

    assert "the loop that this runs in" in warning


def test_a_disabled_node_has_no_result() -> None:
    nodes = {"x": setter(y=1) | {"enabled": False}, "a": end("{{ nodes['x'].output }}")}

    (warning,) = unknown(nodes, "t>a", "t>x")

    assert "disabled" in warning


def test_what_default_and_has_and_exists_look_for_may_be_missing() -> None:
    nodes = {
        "a": end("{{ default(nodes.x.output, 1) + default(y, 2) if has(nodes.b.port) else 3 }}"),
        "i": node("condition_if", condition={"variable": "y", "operator": "exists"}),
        "x": setter(y=1),
        "b": setter(z=1),
    }

    assert unknown(nodes, "t>a", "t>i", "i.true>x", "i.false>b") == []


@pytest.mark.parametrize(
    "flow",
    [
        ("t>r", "r>x"),
        ("t>i", "i.true>r", "i.false>x"),
        ("t2>x", "t>r"),
        ("t>each", "each.loop>m", "t>i", "i.true>r", "r>x"),
    ],
    ids=["after", "other arm", "other trigger", "after, beside a loop"],
)
def test_a_variable_that_cannot_be_set_yet_is_warned_about(flow: tuple[str, ...]) -> None:
    (warning,) = unknown(used(flow, r=end("{{ y }}")), *flow)

    assert "'y' is set by 'x', but not before" in warning
    assert "default(y, …)" in warning


@pytest.mark.parametrize(
    "flow",
    [
        ("t>x", "x>r"),
        ("t>x", "t>r"),
        ("t>each", "each.loop>r", "r>x"),
        ("t>each", "each.loop>i", "i.true>r", "i.false>x"),
        ("t>each", "each.loop>r", "r>inner", "inner.loop>x"),
        ("t>each", "each.loop>x", "each>r"),
    ],
    ids=["before", "beside", "last time", "other arm, last time", "inner, last time", "a body"],
)
def test_a_variable_that_may_be_set_is_known(flow: tuple[str, ...]) -> None:
    assert unknown(used(flow, r=end("{{ y }}")), *flow) == []


def test_the_condition_of_a_while_sees_what_its_body_sets() -> None:
    loop = node("loop_while", condition="y < 3 and index < 2")

    assert unknown({"w": loop, "x": setter(y=1)}, "t>w", "w.loop>x") == []


def test_a_variable_that_its_setter_reads_is_the_requests() -> None:
    nodes = {"a": end("{{ name }}"), "b": setter(name="{{ name.strip() }}")}

    assert unknown(nodes, "t>a", "a>b") == []


def test_a_transformation_sees_the_names_before_it_only() -> None:
    given = {"b": "a + 1", "a": "2", "c": "a + b", "d": "d + 1"}
    transform = node("data_transform", transformations=given)

    (warning,) = unknown({"x": transform}, "t>x")

    assert "Put 'a' before 'b'." in warning


def test_a_variable_that_only_disabled_nodes_set_is_warned_about() -> None:
    nodes = {"x": setter(y=1) | {"enabled": False}, "a": end("{{ y }}")}

    (warning,) = unknown(nodes, "t>x", "t>a")

    assert "only by what is disabled: 'x'" in warning


def test_a_local_variable_is_known_in_its_iteration_and_those_within() -> None:
    local = node("data_variable_set", variables={"mine": 1}, scope="local")
    nodes = {"each": EACH, "l": local, "inner": EACH, "a": setter(x="{{ mine }}")}

    assert unknown(nodes, "t>each", "each.loop>l", "l>inner", "inner.loop>a") == []


def test_a_local_variable_outside_its_loop_is_warned_about() -> None:
    local = node("data_variable_set", variables={"mine": 1}, scope="local")
    nodes = {"each": EACH, "l": local, "a": end("{{ mine }}")}

    (warning,) = unknown(nodes, "t>each", "each.loop>l", "each>a")

    assert "iterations of loop 'each'" in warning


def test_the_conditional_of_a_connection_sees_what_its_node_set() -> None:
    given = document({"x": setter(y=1), "a": end("")}, "t>x")
    given["connections"].append(connection("x>a", conditional="y == input.y"))

    assert judge(given).issues == ()


def test_the_conditional_of_a_connection_into_a_body_sees_the_iteration() -> None:
    given = document({"each": EACH, "a": setter(x=1)}, "t>each")
    given["connections"].append(connection("each.loop>a", conditional="player and index > 0"))

    assert judge(given).issues == ()


def test_an_iteration_variable_misspelt_is_warned_about() -> None:
    (warning,) = unknown({"each": EACH, "a": setter(x="{{ playr }}")}, "t>each", "each.loop>a")

    assert "'player'" in warning


def test_names_of_comprehensions_are_their_own() -> None:
    assert unknown({"a": setter(p=1), "b": end("{{ [q.p for q in ps] }}")}, "t>a", "a>b") == []


def test_a_node_that_never_runs_is_not_told_what_it_cannot_see() -> None:
    nodes = {"x": setter(y=1), "a": end("{{ nodes.x.output }} {{ y }}")}

    assert unknown(nodes, "t>x") == []
