"""Small documents of which the engine made, or makes, something else than the rules say."""

from __future__ import annotations

import pytest

from engine.context import JsonObject
from tests.engine.model_harness import Case, check, run_through, taken_over
from tests.engine.world import document

SET: JsonObject = {"node_type": "data_variable_set", "config": {"variables": {"x": 1}}}


def call(label: str = "good", **fields: object) -> JsonObject:
    config = {"module_name": "m", "action": "go", "input": {"seen": 1}}
    return {"node_type": "action_module", "label": label, "config": config, **fields}


def foreach(items: list[int], **fields: object) -> JsonObject:
    return {"node_type": "loop_foreach", "config": {"items": items, **fields}}


def node(node_type: str, **config: object) -> JsonObject:
    return {"node_type": node_type, "config": config}


def case(nodes: dict[str, JsonObject], *edges: str) -> Case:
    return Case(0, document(nodes, *edges), "start", wild=True)


def test_a_conditional_on_the_port_error_is_asked() -> None:
    edges = ("start -> a", "a.error -> b if input.type == 'TIMEOUT'")
    check(run_through(case({"a": call("bad"), "b": SET}, *edges)))


def test_a_conditional_is_asked_of_a_node_that_goes_on_in_spite_of_its_error() -> None:
    edges = ("start -> a", "a -> b if not has(input.error)")
    check(run_through(case({"a": call("bad", continue_on_error=True), "b": SET}, *edges)))


@pytest.mark.parametrize("kind", ["DOWN", "TIMEOUT"])
def test_an_error_that_goes_straight_back_to_its_loop_is_asked_for_its_conditional(
    kind: str,
) -> None:
    edges = ("start -> each", "each.loop -> a", f"a.error -> each if input.type == '{kind}'")
    run = run_through(case({"each": foreach([1, 2]), "a": call("bad")}, *edges))
    check(run)
    assert run.state["status"] == ("completed" if kind == "DOWN" else "failed")


def test_a_parallel_that_succeeds_does_not_ask_the_conditional_of_its_port_error() -> None:
    edges = ("start -> a", "a.x -> b", "a.error -> b if input.type == 'TIMEOUT'")
    check(run_through(case({"a": node("flow_parallel"), "b": SET}, *edges)))


def test_a_second_attempt_of_an_at_most_once_action_is_not_repeated_after_a_crash() -> None:
    retry = {"max_attempts": 3, "initial_seconds": 0.2, "jitter": False}
    run = run_through(case({"a": call("flaky", retry=retry, effect="at_most_once")}, "start -> a"))
    kinds = [(row.step_key, str(row.kind), row.attempt) for row in run.rows]
    check(taken_over(run, kinds.index(("a", "intent", 2)) + 1))


def test_what_ends_with_an_interrupted_step_does_not_run_after_a_crash() -> None:
    nodes = {
        "each": {**foreach([1]), "continue_on_error": True},
        "a": call(effect="at_most_once"),
        "b": call(),
        "slow": call("slow", retry={"max_attempts": 1}),
    }
    edges = ("start -> each", "each.loop -> a", "each.loop -> b", "start -> wait", "wait -> slow")
    nodes["wait"] = node("action_delay", delay_seconds=0.9)
    run = run_through(case(nodes, *edges))
    kinds = [(row.step_key, str(row.kind)) for row in run.rows]
    again = taken_over(run, kinds.index(("each[0].a", "intent")) + 1)
    assert "each[0].b" not in again.outside.inputs
    check(again)


def test_a_broken_loop_does_not_ask_whether_its_next_iteration_may_begin() -> None:
    nodes = {"each": foreach([1, 2], concurrency=2), "stop": node("loop_break")}
    edges = ("start -> each", "each.loop -> stop if 1 / (1 - index) > 0")
    check(run_through(case(nodes, *edges)))


def test_a_conditional_into_a_body_sees_the_item_as_its_input() -> None:
    edges = ("start -> each", "each.loop -> b if input == 2")
    check(run_through(case({"each": foreach([1, 2]), "b": SET}, *edges)))


def test_a_branch_that_wins_two_races_at_once_beats_the_branches_of_both() -> None:
    nodes = {
        "outer": node("flow_parallel", execution_type="any_first"),
        "inner": node("flow_parallel", execution_type="any_first"),
        "a": call(),
        "b": SET,
        "c": call(),
        "join": node("flow_merge"),
    }
    edges = ("start -> outer", "outer.x -> a", "outer.y -> inner", "inner.x -> b", "inner.y -> c")
    run = run_through(case(nodes, *edges, "a -> join", "b -> join", "c -> join"))
    check(run)
    assert not run.outside.inputs


def test_a_node_that_others_lead_to_as_well_does_not_lose_with_a_branch() -> None:
    nodes = {
        "race": node("flow_parallel", execution_type="any_first"),
        "a": SET,
        "b": call(),
        "beside": call(),
        "both": SET,
        "join": node("flow_merge"),
    }
    edges = ("start -> race", "race.x -> a", "race.y -> b", "a -> join", "b -> join")
    run = run_through(case(nodes, *edges, "start -> beside", "b -> both", "beside -> both"))
    assert run.state["node_states"]["both"]["status"] == "completed"
