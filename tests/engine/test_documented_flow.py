"""What `docs/workflow-definition.md` says of inputs, results, error ports and merges."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import JsonObject, Limits
from engine.validation import validate
from tests.engine.world import World, document
from tests.virtual_time import simulate


def node(node_type: str, **config: Any) -> JsonObject:
    return {"node_type": node_type, "config": config}


def made(**transformations: str) -> JsonObject:
    return node("data_transform", transformations=transformations)


BROKEN = made(a="1 / 0")
END = node("flow_end")
TWICE = node("loop_foreach", items=["a", "b"])


def state_of(given: JsonObject, **request: Any) -> JsonObject:
    """The state in which an execution of this document ends."""

    async def run() -> JsonObject:
        return await World().run(given, **request)

    state: JsonObject = simulate(run())
    return state


def output_of(given: JsonObject, **request: Any) -> Any:
    state = state_of(given, **request)
    assert state["status"] == "completed", state["error_message"]
    return state["final_output"]


def test_a_body_begins_with_the_item_as_input() -> None:
    given = document({"each": TWICE, "x": made(i="input")}, "start -> each", "each.loop -> x")

    assert output_of(given) == {"each": [{"i": "a"}, {"i": "b"}]}


def test_the_body_of_a_while_begins_with_its_index_as_input() -> None:
    loop = node("loop_while", condition="index < 2")
    given = document({"w": loop, "x": made(i="input")}, "start -> w", "w.loop -> x")

    assert output_of(given)["w"]["last"] == {"i": {"index": 1}}


def test_an_iteration_does_not_see_the_nodes_of_another() -> None:
    nodes = {"each": TWICE, "x": made(seen="has(nodes.y)"), "y": made(z="1")}
    given = document(nodes, "start -> each", "each.loop -> x", "x -> y")

    state = state_of(given)

    seen = [step["output_data"] for step in state["steps"] if step["node_id"] == "x"]
    assert seen == [{"seen": False}, {"seen": False}]


def test_an_error_of_the_list_leaves_by_the_port_error_of_the_loop() -> None:
    loop = node("loop_foreach", items="1 / 0")
    nodes = {"each": loop, "x": made(i="1"), "end": node("flow_end", output="{{ input.type }}")}
    given = document(nodes, "start -> each", "each.loop -> x", "each.error -> end")

    assert output_of(given) == "EXPRESSION_ERROR"


def test_an_error_of_the_body_does_not_leave_by_the_port_error_of_the_loop() -> None:
    nodes = {"each": TWICE, "x": BROKEN, "end": END}
    given = document(nodes, "start -> each", "each.loop -> x", "each.error -> end")

    assert state_of(given)["error_node_id"] == "x"


@pytest.mark.parametrize(
    ("router", "port"),
    [
        (node("condition_if", condition="1 / 0"), "false"),
        (node("condition_switch", value="{{ 1 / 0 }}", cases={"a": "b"}, default_port="d"), "d"),
        (BROKEN, "output"),
        (node("loop_foreach", items="1 / 0"), "output"),
        (node("loop_while", condition="1 / 0"), "output"),
    ],
    ids=["if", "switch", "plain", "foreach", "while"],
)
def test_what_continues_on_errors_leaves_by_its_fallback_port(
    router: JsonObject, port: str
) -> None:
    nodes = {"r": router | {"continue_on_error": True}, "end": END}
    given = document(nodes, "start -> r", f"r.{port} -> end")

    assert output_of(given)["error"]["type"] == "EXPRESSION_ERROR"


def test_a_conditional_sees_what_its_node_gave_as_input() -> None:
    nodes = {"x": made(n="2"), "yes": node("flow_end", output="yes"), "no": END}
    given = document(
        nodes,
        "start -> x",
        "x -> yes if input.n == 2 and nodes.x.output.n == n",
        "x -> no if n > 2",
    )

    assert output_of(given) == "yes"


def test_a_conditional_into_a_body_sees_the_item_as_its_input() -> None:
    nodes = {"s": made(n="1"), "each": TWICE, "x": made(i="item")}
    given = document(
        nodes, "start -> s", "s -> each", "each.loop -> x if item == 'b' and input == 'b'"
    )

    assert output_of(given) == {"each": [None, {"i": "b"}]}


def test_a_conditional_counts_when_its_node_goes_on_in_spite_of_its_error() -> None:
    nodes = {"x": BROKEN | {"continue_on_error": True}, "end": node("flow_end", output="taken")}
    given = document(nodes, "start -> x", "x -> end if 1 > 2")

    assert output_of(given) != "taken"


def test_a_connection_from_error_whose_conditional_is_false_takes_no_error() -> None:
    nodes = {"x": BROKEN, "end": node("flow_end", output="taken")}
    state = state_of(document(nodes, "start -> x", "x.error -> end if 1 > 2"))

    assert (state["status"], state["error_node_id"]) == ("failed", "x")


def test_a_merge_counts_connections_that_arrive_alive() -> None:
    nodes = {"a": made(i="1"), "b": made(j="2"), "c": made(k="3")}
    nodes |= {"m": node("flow_merge", mode=2), "end": END}
    begin = ("start -> a", "start -> b", "start -> c")
    given = document(nodes, *begin, "a -> m", "b -> m", "c -> m", "m -> end")

    assert output_of(given) == {"a": {"i": 1}, "b": {"j": 2}}


def test_a_merge_that_fewer_can_reach_runs_when_all_is_settled() -> None:
    nodes = {"i": node("condition_if", condition="1 > 2"), "a": made(i="1"), "b": made(j="2")}
    nodes |= {"m": node("flow_merge", mode=2), "end": END}
    given = document(
        nodes, "start -> i", "start -> b", "i.true -> a", "a -> m", "b -> m", "m -> end"
    )

    assert output_of(given) == {"b": {"j": 2}}


def test_the_variables_of_a_request_are_its_payload_unless_it_has_one() -> None:
    given = document(
        {"end": node("flow_end", output="{{ [name, trigger.name, trigger.payload] }}")},
        "start -> end",
    )

    alone = output_of(given, variables={"name": "ada"})
    both = output_of(given, variables={"name": "ada"}, metadata={"payload": {"name": "linus"}})

    assert alone == ["ada", "ada", {"name": "ada"}]
    assert both == ["ada", "linus", {"name": "linus"}]


@pytest.mark.parametrize(
    ("edge", "taken"), [("w -> end if nodes.a.output.n == 2", True), ("w -> end if False", False)]
)
def test_the_conditions_of_a_loop_see_its_last_iteration(edge: str, taken: bool) -> None:
    nodes = {
        "w": node("loop_while", condition="index == 0 or nodes.a.output.n < 2"),
        "a": node("data_transform", transformations={"n": "index + 1"}),
        "end": node("flow_end", output="taken"),
    }
    given = document(nodes, "start -> w", "w.loop -> a", edge)
    assert not validate(given, Limits()).warnings
    state = state_of(given)
    assert state["node_states"]["a"]["iterations"] == 2
    assert (state["final_output"] == "taken") == taken
