"""The fold's rules, one outcome at a time: what it makes ready, what it ends, what it counts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from engine.context import JsonObject, Kind, Limits, Outcome
from engine.scopes import Transition
from tests.engine.folding import (
    BREAK,
    FORK,
    GOES_ON,
    NODE,
    OFF,
    Fold,
    again,
    check,
    each,
    end,
    error,
    merge,
    nothing_changed,
)

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
DOWN: JsonObject = {
    "message": "It is down.",
    "type": "DOWN",
    "node_id": "a",
    "step_key": "a",
    "attempts": 1,
}


# Starting


def test_the_trigger_is_the_first_step_and_nothing_else_is_known() -> None:
    fold = Fold({"a": NODE}, "start -> a")
    assert fold.ready == fold.active == ["start"]
    assert fold.last.ended is None
    assert fold.state.ended is None
    step = fold.step("start")
    assert (step.phase, step.attempt, step.waiting, step.intended) == ("run", 1, False, False)
    assert fold.state.input_of(step) is None
    assert (fold.state.path, fold.state.completed, fold.state.failed) == ([], 0, 0)
    assert (fold.state.cost, fold.state.tokens, fold.state.operations) == (0.0, 0, 1)
    assert fold.state.settled_count() == 0


def test_other_roots_die_at_the_start_with_what_hangs_on_them_alone() -> None:
    start: JsonObject = {"node_type": "trigger_command", "config": {"command": "!a"}}
    other: JsonObject = {"node_type": "trigger_event", "config": {"event_type": "raid"}}
    fold = Fold(
        {"start": start, "other": other, "a": NODE, "b": NODE, "alone": NODE},
        "start -> a",
        "other -> a",
        "other -> b",
    )
    assert fold.ready == ["start"]
    assert fold.skipped == ["other", "b", "alone"]
    assert fold.finish("start") == ["a"]
    assert fold.active == ["a"]


def test_an_execution_whose_trigger_is_disabled_is_over_at_once() -> None:
    start: JsonObject = {
        "node_type": "trigger_command",
        "config": {"command": "!a"},
        "enabled": False,
    }
    spare: JsonObject = {"node_type": "trigger_event", "config": {"event_type": "raid"}}
    fold = Fold({"start": start, "spare": spare, "a": NODE}, "start -> a")
    assert fold.ended() == ("completed", {})
    assert fold.skipped == ["start", "spare", "a"]


def test_the_request_s_variables_cover_the_workflow_s() -> None:
    fold = Fold({}, global_variables={"x": 1, "y": 1}, variables={"y": 2, "z": 3})
    assert fold.state.variables == {"x": 1, "y": 2, "z": 3}
    assert fold.graph.global_variables == {"x": 1, "y": 1}


# Outcomes


def test_what_a_step_gave_is_kept_and_counted() -> None:
    fold = Fold({"a": NODE}, "start -> a", variables={"x": 0, "y": 0})
    fold.finish("start", {"u": 1})
    fold.finish("a", {"x": 1}, variables={"x": 1}, usage={"cost": 0.5, "tokens": 7})
    state = fold.state
    assert state.path == ["start", "a"]
    assert (state.completed, state.failed) == (2, 0)
    assert state.variables == {"x": 1, "y": 0}
    assert (state.cost, state.tokens) == (0.5, 7)
    assert state.root.results == {
        "start": {"output": {"u": 1}, "port": "output", "error": None},
        "a": {"output": {"x": 1}, "port": "output", "error": None},
    }
    assert state.runs == {fold.graph.by_id["start"].index: 1, fold.graph.by_id["a"].index: 1}


def test_usage_is_summed_and_what_is_missing_counts_nothing() -> None:
    fold = Fold({"a": NODE, "b": NODE, "c": NODE}, "start -> a", "a -> b", "b -> c")
    fold.finish("start", usage={"cost": 0.25})
    fold.finish("a", usage={"tokens": 3})
    fold.finish("b", usage={"cost": None, "tokens": None})
    fold.finish("c", usage={"cost": 1, "tokens": 4})
    assert (fold.state.cost, fold.state.tokens) == (1.25, 7)
    assert (type(fold.state.cost), type(fold.state.tokens)) == (float, int)


def test_an_outcome_of_a_step_that_is_not_active_changes_nothing() -> None:
    fold = Fold({"a": NODE}, "start -> a")
    fold.finish("start")
    for key in ("start", "b", ""):
        fold.finish(key, variables={"x": 1})
        assert nothing_changed(fold.last)
    assert fold.state.path == ["start"]
    assert fold.state.variables == {}


def test_an_outcome_after_the_end_changes_nothing() -> None:
    fold = Fold({"a": NODE})
    fold.finish("start")
    assert fold.ended() == ("completed", {"start": None})
    fold.finish("a", variables={"x": 1})
    assert nothing_changed(fold.last)
    assert fold.state.variables == {}


def test_ending_now_fails_and_cancels_what_is_active() -> None:
    fold = Fold({"a": NODE, "b": NODE}, "start -> a", "start -> b")
    fold.finish("start")
    fold.last = Transition()
    fold.state.end_now(error("a"), fold.last)
    assert fold.failure() == error("a")
    assert fold.cancelled == ["a", "b"]
    assert fold.active == []
    again_ended = Transition()
    fold.state.end_now(error("b"), again_ended)
    assert nothing_changed(again_ended)
    assert fold.failure() == error("a")


# What a step is given


def test_one_live_predecessor_gives_its_output_as_it_is() -> None:
    fold = Fold({"a": NODE}, "start -> a")
    fold.finish("start", [1, 2])
    assert fold.state.input_of(fold.step("a")) == [1, 2]
    assert fold.state.arms_of(fold.step("a")) == {"start": [1, 2]}


def test_several_give_their_outputs_by_node_in_the_order_they_arrived() -> None:
    fold = Fold(
        {"fork": FORK, "a": NODE, "b": NODE, "c": NODE, "all": merge()},
        "start -> fork",
        "fork.a -> a",
        "fork.b -> b",
        "fork.c -> c",
        "a -> all",
        "b -> all",
        "c.error -> all",
    )
    fold.run("start")
    assert fold.finish("fork", port="*") == ["a", "b", "c"]
    assert fold.run("b", "c") == []
    assert fold.run("a") == ["all"]
    step = fold.step("all")
    assert list(fold.state.arms_of(step).items()) == [("b", "b"), ("a", "a")]
    assert fold.state.input_of(step) == {"a": "a", "b": "b"}


def test_the_first_nodes_of_a_body_are_given_the_item_and_the_rest_their_predecessor_s_output() -> (
    None
):
    fold = Fold({"each": each(), "a": NODE, "b": NODE}, "start -> each", "each.loop -> a", "a -> b")
    fold.run("start")
    assert fold.enter("each", {"name": "Ada"}) == ["each[0].a"]
    assert fold.state.input_of(fold.step("each[0].a")) == {"name": "Ada"}
    assert fold.state.arms_of(fold.step("each[0].a")) == {"each": {"name": "Ada"}}
    assert fold.finish("each[0].a", None) == ["each[0].b"]
    assert fold.state.input_of(fold.step("each[0].b")) is None
    assert fold.state.arms_of(fold.step("each[0].b")) == {"a": None}


# Waiting


def test_a_parked_step_waits_for_its_time_and_its_signal() -> None:
    fold = Fold({"a": NODE, "b": NODE}, "start -> a", "start -> b")
    fold.finish("start")
    assert fold.state.waiting_steps() == []
    parked = {"seconds": 5}
    assert fold.give("a", Kind.WAITING, wake_at=NOON, signal="go", output=parked, attempt=4) == []
    step = fold.step("a")
    assert (step.waiting, step.wake_at, step.signal, step.parked) == (True, NOON, "go", parked)
    assert (step.attempt, step.intended) == (1, False)
    assert fold.state.waiting_steps() == [step]
    assert [s.key for s in fold.state.open_steps()] == ["a", "b"]
    assert nothing_changed(fold.last)
    fold.give("a", Kind.WAITING, output="no object")
    assert (step.wake_at, step.signal, step.parked) == (None, None, None)


def test_a_step_that_is_tried_again_waits_for_its_next_attempt() -> None:
    fold = Fold({"a": NODE})
    fold.give("start", Kind.INTENT)
    fold.give("start", Kind.RETRYING, attempt=2, wake_at=NOON, error=error("start"))
    step = fold.step("start")
    assert (step.waiting, step.wake_at, step.attempt, step.intended) == (True, NOON, 3, False)
    assert fold.state.failed == 0


def test_an_intent_ends_the_wait_and_keeps_the_attempt() -> None:
    fold = Fold({"a": NODE})
    fold.give("start", Kind.RETRYING, attempt=1, wake_at=NOON)
    fold.give("start", Kind.INTENT, attempt=9, wake_at=NOON)
    step = fold.step("start")
    assert (step.waiting, step.wake_at, step.attempt, step.intended) == (False, None, 2, True)
    assert fold.state.waiting_steps() == []


# Failing


def test_an_error_that_nobody_takes_fails_the_execution_and_cancels_the_rest() -> None:
    fold = Fold({"a": NODE, "b": NODE, "c": NODE}, "start -> a", "start -> b", "a -> c")
    fold.finish("start")
    assert fold.fail("a", usage={"cost": 1}, variables={"x": 1}) == []
    assert fold.failure() == error("a")
    assert fold.cancelled == ["b"]
    assert fold.active == []
    assert (fold.state.completed, fold.state.failed, fold.state.cost) == (1, 1, 1.0)
    assert fold.state.path == ["start", "a"]
    assert "a" not in fold.state.root.results
    assert [fold.graph.nodes[n].node_id for n in fold.state.cancelled_nodes] == ["b"]
    assert list(fold.state.lost) == ["b"]


def test_an_edge_from_port_error_takes_the_error() -> None:
    fold = Fold(
        {"a": GOES_ON, "next": NODE, "mend": NODE}, "start -> a", "a -> next", "a.error -> mend"
    )
    fold.finish("start")
    assert fold.fail("a") == ["mend"]
    assert fold.state.input_of(fold.step("mend")) == DOWN
    assert fold.state.root.results["a"] == {"output": DOWN, "port": "error", "error": DOWN}
    assert fold.skipped == ["next"]
    assert (fold.state.completed, fold.state.failed) == (1, 1)
    assert fold.run("mend") == []
    assert fold.ended() == ("completed", {"mend": "mend"})


def test_a_node_that_goes_on_gives_the_error_by_its_fallback_port() -> None:
    fold = Fold(
        {"a": {**check(), "continue_on_error": True}, "yes": NODE, "no": NODE},
        "start -> a",
        "a.true -> yes",
        "a.false -> no",
    )
    fold.finish("start")
    assert fold.fail("a") == ["no"]
    assert fold.state.input_of(fold.step("no")) == {"error": DOWN}
    assert fold.state.root.results["a"] == {
        "output": {"error": DOWN},
        "port": "false",
        "error": DOWN,
    }


@pytest.mark.parametrize("node", [NODE, GOES_ON])
def test_a_fatal_error_is_taken_by_nobody(node: JsonObject) -> None:
    fold = Fold({"a": node, "b": NODE}, "start -> a", "a.error -> b")
    fold.finish("start")
    assert fold.fail("a", fatal=True) == []
    assert fold.failure().fatal


def test_a_failure_recorded_without_a_port_is_taken_by_nobody() -> None:
    fold = Fold({"a": GOES_ON, "b": NODE}, "start -> a", "a -> b", "a.error -> b if False")
    fold.finish("start")
    assert fold.fail("a", port=None, output=None) == []
    assert fold.failure() == error("a")


def test_a_failure_recorded_as_taken_stays_so_though_no_edge_was_live() -> None:
    """Engines before this rule recorded that: what they decided is not decided anew by a replay."""
    fold = Fold({"a": NODE, "b": NODE}, "start -> a", "a.error -> b if False")
    fold.finish("start")
    dead = fold.graph.by_id["a"].catches[0].connection_id
    assert fold.fail("a", dead_edges=(dead,)) == []
    assert fold.ended() == ("completed", {"a": DOWN})


# Ending


def test_without_an_end_the_outputs_of_the_last_nodes_are_the_output() -> None:
    fold = Fold({"a": NODE, "b": NODE, "c": NODE}, "start -> a", "start -> b", "b -> c")
    fold.run("start", "a", "b")
    assert fold.state.ended is None
    fold.run("c")
    assert fold.ended() == ("completed", {"a": "a", "c": "c"})


def test_a_node_whose_edges_all_die_is_among_the_last() -> None:
    fold = Fold({"a": NODE, "b": NODE}, "start -> a", "a -> b if x > 1")
    fold.finish("start", "s")
    edge = fold.graph.by_id["a"].all_out[0].connection_id
    assert fold.finish("a", "a", dead_edges=(edge,)) == []
    assert fold.ended() == ("completed", {"a": "a"})
    assert fold.skipped == ["b"]


def test_the_output_of_one_end_is_the_output() -> None:
    fold = Fold({"one": end(), "other": end(), "a": NODE}, "start -> one", "start -> a")
    fold.run("start", "one")
    assert fold.state.ended is None
    fold.run("a")
    assert fold.ended() == ("completed", "one")


def test_several_ends_give_their_outputs_by_node() -> None:
    fold = Fold({"one": end(), "other": end()}, "start -> one", "start -> other")
    fold.run("start", "other", "one")
    assert fold.ended() == ("completed", {"other": "other", "one": "one"})


def test_an_end_that_terminates_cancels_what_runs_beside_it() -> None:
    fold = Fold(
        {"stop": end(terminate=True), "a": NODE, "b": NODE, "c": NODE},
        "start -> stop",
        "start -> a",
        "start -> b",
        "a -> c",
        "stop -> c",
    )
    fold.run("start", "stop")
    assert fold.ended() == ("completed", "stop")
    assert fold.cancelled == ["a", "b"]
    assert fold.ready == fold.active == []


def test_an_end_that_failed_does_not_terminate() -> None:
    fold = Fold(
        {"stop": {**end(terminate=True), "continue_on_error": True}, "a": NODE},
        "start -> stop",
        "start -> a",
    )
    fold.run("start")
    fold.fail("stop")
    assert fold.state.ended is None
    assert fold.active == ["a"]
    fold.run("a")
    assert fold.ended() == ("completed", {"error": {**DOWN, "node_id": "stop", "step_key": "stop"}})


def test_an_end_whose_error_is_taken_is_no_end() -> None:
    fold = Fold({"stop": end(), "mend": NODE}, "start -> stop", "stop.error -> mend")
    fold.run("start")
    assert fold.fail("stop") == ["mend"]
    assert fold.state.ends == {}
    fold.run("mend")
    assert fold.ended() == ("completed", {"mend": "mend"})


def test_what_follows_an_end_runs() -> None:
    fold = Fold({"stop": end(), "a": NODE}, "start -> stop", "stop -> a")
    fold.run("start")
    assert fold.run("stop") == ["a"]


# Progress


def test_progress_counts_what_has_run_or_been_skipped_and_is_not_busy() -> None:
    fold = Fold(
        {"a": check(), "yes": NODE, "no": NODE, "off": OFF, "last": NODE},
        "start -> a",
        "a.true -> yes",
        "a.false -> no",
        "a.true -> off",
        "yes -> last",
    )
    fold.finish("start")
    assert fold.state.settled_count() == 1
    fold.finish("a", port="true")
    assert fold.state.settled_count() == 3
    assert fold.skipped == ["no", "off"]
    fold.run("yes")
    assert fold.state.settled_count() == 4
    fold.run("last")
    assert fold.state.settled_count() == fold.graph.enabled_count == 5


def test_progress_of_what_completed_is_all_and_of_what_failed_is_what_ran() -> None:
    fold = Fold({"stop": end(terminate=True), "a": NODE}, "start -> stop", "start -> a")
    fold.run("start", "stop")
    assert fold.state.settled_count() == 3
    fold = Fold({"a": NODE, "b": NODE}, "start -> a", "start -> b")
    fold.run("start")
    fold.fail("a")
    assert fold.state.settled_count() == 2


def test_a_node_that_runs_in_another_iteration_is_busy_again() -> None:
    fold = Fold({"each": each(), "a": NODE}, "start -> each", "each.loop -> a")
    fold.run("start")
    fold.enter("each", 1, 2)
    assert fold.state.settled_count() == 1
    fold.run("each[0].a")
    assert fold.active == ["each", "each[1].a"]
    assert fold.state.settled_count() == 1
    fold.run("each[1].a")
    assert fold.state.settled_count() == 2


# Limits


def test_one_step_more_than_allowed_fails_the_execution() -> None:
    limits = Limits(max_total_operations=2)
    fold = Fold({"a": NODE, "b": NODE, "c": OFF}, "start -> a", "a -> b", "a -> c", limits=limits)
    assert fold.run("start") == ["a"]
    assert fold.run("a") == []
    failure = fold.failure()
    assert failure.message == "The execution would run more than 2 steps (MAX_TOTAL_OPERATIONS)."
    assert failure.type == "OPERATION_LIMIT_EXCEEDED"
    assert (failure.node_id, failure.step_key, failure.attempts) == ("b", "b", 1)
    assert failure.fatal
    assert fold.active == []
    assert fold.skipped == []


def test_going_over_the_limit_takes_back_what_had_just_become_ready() -> None:
    limits = Limits(max_total_operations=2)
    fold = Fold({"a": NODE, "b": NODE}, "start -> a", "start -> b", limits=limits)
    assert fold.run("start") == []
    assert fold.cancelled == ["a"]
    assert fold.failure().step_key == "b"


def test_no_loop_and_no_port_takes_the_limit() -> None:
    limits = Limits(max_total_operations=3)
    fold = Fold(
        {"each": each(goes_on=True), "a": GOES_ON, "b": NODE},
        "start -> each",
        "each.loop -> a",
        "a.error -> b",
        limits=limits,
    )
    fold.run("start")
    fold.enter("each", 1, 2)
    fold.run("each[0].a")
    assert fold.failure().step_key == "each[1].a"


def test_the_same_outcomes_give_the_same_state() -> None:
    def folded() -> Fold:
        fold = Fold(
            {"each": again(), "a": NODE, "stop": BREAK},
            "start -> each",
            "each.loop -> a",
            "a -> stop",
        )
        fold.run("start")
        fold.iterate("each")
        fold.run("each[0].a")
        fold.finish("each[0].stop", port="break")
        return fold

    one, other = folded(), folded()
    assert one.ready == other.ready == ["each"]
    assert one.state.path == other.state.path
    assert nothing_changed(one.state.apply(Outcome("each[0].a", port="output")))
