"""What running a workflow means: one small workflow per rule."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.context import JsonObject, Limits
from engine.ports import HttpResponse
from tests.engine.world import World, after, document, failing
from tests.virtual_time import simulate


def run(raw: JsonObject, world: World | None = None, **fields: Any) -> JsonObject:
    """Runs a document to its end in virtual time; returns the execution's state."""

    async def main() -> JsonObject:
        running = world if world is not None else World()
        try:
            return await running.run(raw, **fields)
        finally:
            await running.engine.shutdown()

    return simulate(main())


def setting(**variables: Any) -> JsonObject:
    return {"node_type": "data_variable_set", "config": {"variables": variables}}


def message(text: str, **node: Any) -> JsonObject:
    return {"node_type": "action_chat_message", "config": {"message": text}, **node}


def ran(state: JsonObject) -> list[str]:
    return [str(step["step_key"]) for step in state["steps"]]


def status_of(state: JsonObject, node_id: str) -> str:
    return str(state["node_states"][node_id]["status"])


def test_a_chain_runs_in_order_and_ends_with_its_last_output() -> None:
    state = run(
        document({"a": setting(x=1), "b": setting(y="{{ x + 1 }}")}, "start -> a", "a -> b")
    )
    assert state["status"] == "completed"
    assert state["execution_path"] == ["start", "a", "b"]
    assert state["final_output"] == {"b": {"y": 2}}
    assert state["final_variables"] == {"x": 1, "y": 2}
    assert state["progress"] == {"current_step": 3, "total_steps": 3, "percentage": 100.0}


def test_the_arm_not_taken_is_skipped_and_the_join_runs_once() -> None:
    raw = document(
        {
            "check": {"node_type": "condition_if", "config": {"condition": "tier == 'gold'"}},
            "gold": setting(prize="car"),
            "other": setting(prize="sticker"),
            "end": {"node_type": "flow_end", "config": {"output": "{{ prize }}"}},
        },
        "start -> check",
        "check.true -> gold",
        "check.false -> other",
        "gold -> end",
        "other -> end",
    )
    state = run(raw, variables={"tier": "gold"})
    assert state["final_output"] == "car"
    assert status_of(state, "other") == "skipped"
    assert ran(state) == ["start", "check", "gold", "end"]


def test_a_diamond_runs_its_tail_once_with_the_inputs_of_both_arms() -> None:
    raw = document(
        {"a": setting(x=1), "b": setting(y=2), "tail": setting(seen="{{ input }}")},
        "start -> a",
        "start -> b",
        "a -> tail",
        "b -> tail",
    )
    state = run(raw)
    assert state["final_variables"]["seen"] == {"a": {"x": 1}, "b": {"y": 2}}
    assert state["execution_path"].count("tail") == 1


def test_a_conditional_edge_is_live_only_if_its_expression_is_true() -> None:
    raw = document(
        {"a": setting(x=5), "big": setting(size="big"), "small": setting(size="small")},
        "start -> a",
        "a -> big if x > 3",
        "a -> small if x <= 3",
    )
    state = run(raw)
    assert state["final_variables"]["size"] == "big"
    assert status_of(state, "small") == "skipped"


def test_a_disabled_node_is_skipped_with_what_hangs_on_it_alone() -> None:
    raw = document(
        {"a": {**setting(x=1), "enabled": False}, "b": setting(y=1)}, "start -> a", "a -> b"
    )
    state = run(raw)
    assert state["status"] == "completed"
    assert status_of(state, "a") == status_of(state, "b") == "skipped"
    assert state["progress"]["total_steps"] == 2


def test_other_triggers_count_as_skipped() -> None:
    raw = document(
        {
            "chat": {"node_type": "trigger_command", "config": {"command": "!x"}},
            "raid": {"node_type": "trigger_event", "config": {"event_type": "raid"}},
            "a": setting(x=1),
            "b": setting(x=2),
        },
        "chat -> a",
        "raid -> b",
    )
    state = run(raw, metadata={"trigger_source": "event"})
    assert state["final_variables"] == {"x": 2}
    assert status_of(state, "chat") == status_of(state, "a") == "skipped"


def test_a_switch_takes_the_port_of_its_case() -> None:
    raw = document(
        {
            "s": {
                "node_type": "condition_switch",
                "config": {"value": "{{ level }}", "cases": {"1": "warn", "2": "mute"}},
            },
            "w": setting(did="warned"),
            "m": setting(did="muted"),
            "d": setting(did="nothing"),
        },
        "start -> s",
        "s.warn -> w",
        "s.mute -> m",
        "s.default -> d",
    )
    assert run(raw, variables={"level": 2})["final_variables"]["did"] == "muted"
    assert run(raw, variables={"level": 9})["final_variables"]["did"] == "nothing"


def each(**config: Any) -> JsonObject:
    return {"node_type": "loop_foreach", "config": {"items": "{{ names }}", **config}}


def test_a_loop_gives_its_results_in_item_order() -> None:
    raw = document(
        {
            "each": each(),
            "up": setting(last="{{ item.upper() }}"),
            "after": setting(n="{{ len(input) }}"),
        },
        "start -> each",
        "each.loop -> up",
        "each -> after",
    )
    state = run(raw, variables={"names": ["a", "b", "c"]})
    assert ran(state)[:5] == ["start", "each[0].up", "each[1].up", "each[2].up", "each"]
    assert state["node_states"]["each"]["output_data"] == [{"last": c} for c in "ABC"]
    assert state["node_states"]["up"]["iterations"] == 3
    assert state["final_variables"]["n"] == 3


@pytest.mark.parametrize("back_edge", [True, False])
def test_a_loop_reads_the_same_with_and_without_its_back_edge(back_edge: bool) -> None:
    edges = ["start -> each", "each.loop_body -> say", *(["say -> each"] if back_edge else [])]
    raw = document(
        {"each": each(item_variable="w"), "say": message("#{{ index + 1 }} {{ w }}")}, *edges
    )
    world = World()
    state = run(raw, world, variables={"names": ["Ada", "Bob"]})
    assert state["status"] == "completed"
    assert world.outside.messages() == ["#1 Ada", "#2 Bob"]


def test_a_loop_over_nothing_skips_its_body_and_goes_on() -> None:
    raw = document(
        {"each": each(), "say": message("{{ item }}"), "done": setting(d=1)},
        "start -> each",
        "each.loop -> say",
        "each.done -> done",
    )
    state = run(raw, variables={"names": []})
    assert state["status"] == "completed"
    assert status_of(state, "say") == "skipped"
    assert state["node_states"]["each"]["output_data"] == []


def test_nested_loops_name_their_scopes() -> None:
    raw = document(
        {
            "outer": {"node_type": "loop_foreach", "config": {"items": "{{ [1, 2] }}"}},
            "inner": {
                "node_type": "loop_foreach",
                "config": {"items": "{{ [10, 20] }}", "item_variable": "j"},
            },
            "x": setting(sum="{{ item + j }}"),
        },
        "start -> outer",
        "outer.loop -> inner",
        "inner.loop -> x",
    )
    state = run(raw)
    assert "outer[1].inner[0].x" in ran(state)
    assert state["node_states"]["outer"]["output_data"] == [
        [{"sum": 11}, {"sum": 21}],
        [{"sum": 12}, {"sum": 22}],
    ]


def test_a_break_ends_the_loop_and_results_so_far_count() -> None:
    raw = document(
        {
            "each": each(),
            "say": message("{{ item }}"),
            "stop": {"node_type": "loop_break", "config": {"condition": "item == 'b'"}},
        },
        "start -> each",
        "each.loop -> say",
        "say -> stop",
    )
    world = World()
    state = run(raw, world, variables={"names": ["a", "b", "c"]})
    assert state["status"] == "completed"
    assert world.outside.messages() == ["a", "b"]
    assert len(state["node_states"]["each"]["output_data"]) == 2


def test_a_while_loop_tests_before_each_iteration() -> None:
    raw = document(
        {
            "again": {"node_type": "loop_while", "config": {"condition": "n < 3"}},
            "add": setting(n="{{ n + 1 }}"),
        },
        "start -> again",
        "again.loop -> add",
        global_variables={"n": 0},
    )
    state = run(raw)
    assert state["final_variables"]["n"] == 3
    assert state["node_states"]["again"]["output_data"] == {"iterations": 3, "last": {"n": 3}}


def test_iterations_run_beside_each_other_as_far_as_concurrency_lets_them() -> None:
    raw = document(
        {"each": each(concurrency=2), "say": message("{{ item }}")},
        "start -> each",
        "each.loop -> say",
    )
    world = World()
    for name in "abcd":
        world.outside.answers[name] = after(1)
    state = run(raw, world, variables={"names": list("abcd")})
    assert world.outside.most_running == 2
    assert state["execution_time_seconds"] == pytest.approx(2, abs=0.1)


def test_an_error_nobody_takes_fails_the_execution_and_says_where() -> None:
    state = run(document({"a": setting(x="{{ nope }}"), "b": setting(y=1)}, "start -> a", "a -> b"))
    assert state["status"] == "failed"
    assert state["error_node_id"] == "a"
    assert "nope" in state["error_message"]
    assert status_of(state, "a") == "failed"
    assert status_of(state, "b") != "completed"


def test_an_error_port_takes_the_error_and_the_other_edges_die() -> None:
    raw = document(
        {
            "a": setting(x="{{ nope }}"),
            "ok": setting(r="ok"),
            "saved": setting(r="{{ input.message }}"),
        },
        "start -> a",
        "a -> ok",
        "a.error -> saved",
    )
    state = run(raw)
    assert state["status"] == "completed"
    assert "nope" in state["final_variables"]["r"]
    assert status_of(state, "a") == "failed"
    assert status_of(state, "ok") == "skipped"


def test_continue_on_error_goes_on_with_the_error_as_output() -> None:
    raw = document(
        {
            "a": {**setting(x="{{ nope }}"), "continue_on_error": True},
            "b": setting(r="{{ input.error.type }}"),
        },
        "start -> a",
        "a -> b",
    )
    state = run(raw)
    assert state["status"] == "completed"
    assert state["final_variables"]["r"] == "EXPRESSION_ERROR"


def test_a_loop_that_continues_on_error_keeps_the_error_as_that_iterations_result() -> None:
    raw = document(
        {"each": {**each(), "continue_on_error": True}, "a": setting(x="{{ 1 / item }}")},
        "start -> each",
        "each.loop -> a",
    )
    state = run(raw, variables={"names": [1, 0, 2]})
    results = state["node_states"]["each"]["output_data"]
    assert results[0] == {"x": 1.0}
    assert "error" in results[1]
    assert results[2] == {"x": 0.5}


def test_a_retry_comes_after_its_delay_with_the_same_key() -> None:
    raw = document(
        {
            "m": {
                "node_type": "action_module",
                "config": {"module_name": "flaky", "action": "go"},
                "retry": {
                    "max_attempts": 3,
                    "backoff": "fixed",
                    "initial_seconds": 2,
                    "jitter": False,
                },
            }
        },
        "start -> m",
    )
    world = World()
    world.outside.answers["flaky"] = failing(2, {"ok": 1}, retryable=True)
    state = run(raw, world)
    assert state["status"] == "completed"
    assert len(set(world.outside.keys)) == 1
    assert state["node_states"]["m"]["retry_count"] == 2
    assert state["execution_time_seconds"] >= 4


def test_retries_used_up_fail_the_node() -> None:
    raw = document(
        {
            "m": {
                "node_type": "action_module",
                "config": {"module_name": "flaky", "action": "go"},
                "retry": {"max_attempts": 2, "initial_seconds": 0.1},
            }
        },
        "start -> m",
    )
    world = World()
    world.outside.answers["flaky"] = failing(9, retryable=True)
    state = run(raw, world)
    assert state["status"] == "failed"
    assert len(world.outside.keys) == 2


def test_a_step_that_takes_too_long_times_out() -> None:
    raw = document({"m": message("slow", timeout_seconds=2)}, "start -> m")
    world = World()
    world.outside.answers["slow"] = after(60)
    state = run(raw, world)
    assert state["status"] == "failed"
    assert state["error_code"] == "TIMEOUT"


def test_an_execution_that_takes_too_long_fails() -> None:
    raw = document(
        {"m": message("slow", timeout_seconds=100)}, "start -> m", max_execution_time_seconds=5
    )
    world = World()
    world.outside.answers["slow"] = after(60)
    state = run(raw, world)
    assert state["status"] == "failed"
    assert state["error_code"] == "EXECUTION_TIMEOUT"
    assert world.outside.running == 0


def test_siblings_of_a_failed_node_are_cancelled() -> None:
    raw = document(
        {"slow": message("slow", timeout_seconds=100), "bad": message("bad")},
        "start -> slow",
        "start -> bad",
    )
    world = World()
    world.outside.answers["slow"] = after(50)
    world.outside.answers["bad"] = failing(1)
    state = run(raw, world)
    assert state["status"] == "failed"
    assert state["execution_time_seconds"] < 1
    assert status_of(state, "slow") == "cancelled"


def test_effects_run_beside_each_other_up_to_max_parallel_nodes() -> None:
    nodes = {f"m{n}": message(f"m{n}") for n in range(6)}
    world = World(Limits(max_parallel_nodes=3))
    for name in nodes:
        world.outside.answers[name] = after(1)
    state = run(document(nodes, *(f"start -> {n}" for n in nodes)), world)
    assert world.outside.most_running == 3
    assert state["execution_time_seconds"] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("seconds", [0.2, 5, 3_600])
def test_a_delay_takes_as_long_as_it_says(seconds: float) -> None:
    raw = document(
        {
            "wait": {"node_type": "action_delay", "config": {"delay_seconds": seconds}},
            "after": setting(x=1),
        },
        "start -> wait",
        "wait -> after",
        max_execution_time_seconds=864_000,
    )
    state = run(raw)
    assert state["status"] == "completed"
    assert seconds <= state["execution_time_seconds"] <= seconds + 1.1


def test_the_first_branch_to_reach_the_merge_wins_and_the_others_are_cancelled() -> None:
    raw = document(
        {
            "fork": {"node_type": "flow_parallel", "config": {"execution_type": "any_first"}},
            "fast": message("fast"),
            "slow": message("slow", timeout_seconds=100),
            "join": {"node_type": "flow_merge"},
            "end": setting(done=1),
        },
        "start -> fork",
        "fork -> fast",
        "fork -> slow",
        "fast -> join",
        "slow -> join",
        "join -> end",
    )
    world = World()
    world.outside.answers["slow"] = after(50)
    state = run(raw, world)
    assert state["status"] == "completed"
    assert state["execution_time_seconds"] < 1
    assert status_of(state, "slow") == "cancelled"
    assert list(state["node_states"]["join"]["output_data"]) == ["fast"]


def test_a_merge_waits_for_all_arms_and_gives_them_by_name() -> None:
    raw = document(
        {
            "fork": {"node_type": "flow_parallel"},
            "a": setting(x=1),
            "b": setting(y=2),
            "join": {"node_type": "flow_merge"},
        },
        "start -> fork",
        "fork.one -> a",
        "fork.two -> b",
        "a -> join",
        "b -> join",
    )
    state = run(raw)
    assert state["final_output"] == {"join": {"a": {"x": 1}, "b": {"y": 2}}}


def test_terminate_ends_the_execution_now() -> None:
    raw = document(
        {
            "slow": message("slow", timeout_seconds=100),
            "end": {"node_type": "flow_end", "config": {"output": "enough", "terminate": True}},
        },
        "start -> slow",
        "start -> end",
    )
    world = World()
    world.outside.answers["slow"] = after(50)
    state = run(raw, world)
    assert state["status"] == "completed"
    assert state["final_output"] == "enough"
    assert status_of(state, "slow") == "cancelled"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_loop_iterations=2), "LOOP_LIMIT_EXCEEDED"),
        (Limits(max_total_operations=3), "OPERATION_LIMIT_EXCEEDED"),
    ],
)
def test_a_limit_fails_the_execution_whatever_its_nodes_say(limits: Limits, code: str) -> None:
    raw = document(
        {"each": {**each(), "continue_on_error": True}, "a": setting(x=1)},
        "start -> each",
        "each.loop -> a",
    )
    state = run(raw, World(limits), variables={"names": [1, 2, 3, 4]})
    assert state["status"] == "failed"
    assert state["error_code"] == code


def test_reserved_names_show_the_execution_and_its_trigger() -> None:
    raw = document(
        {
            "a": setting(
                who="{{ execution.user_id }}",
                via="{{ trigger.trigger_source }}",
                said="{{ trigger.payload.text }}",
            )
        },
        "start -> a",
    )
    state = run(raw, variables={"text": "hi"}, metadata={"trigger_source": "command"})
    assert state["final_variables"] == {"text": "hi", "who": 456, "via": "command", "said": "hi"}


def test_after_a_loop_its_body_nodes_show_the_last_iteration() -> None:
    raw = document(
        {"each": each(), "a": setting(x="{{ item }}"), "b": setting(seen="{{ nodes.a.output.x }}")},
        "start -> each",
        "each.loop -> a",
        "each -> b",
    )
    assert run(raw, variables={"names": ["p", "q"]})["final_variables"]["seen"] == "q"


def test_an_execution_that_is_parked_ends_when_its_time_is_up() -> None:
    raw = document(
        {"wait": {"node_type": "action_delay", "config": {"delay_seconds": 3600}}},
        "start -> wait",
        max_execution_time_seconds=10,
    )
    state = run(raw)
    assert state["error_code"] == "EXECUTION_TIMEOUT"
    assert 10 <= state["execution_time_seconds"] <= 11.1


def test_a_node_that_continues_on_error_is_recorded_on_its_normal_port() -> None:
    raw = document({"a": {**setting(x="{{ nope }}"), "continue_on_error": True}}, "start -> a")
    node = run(raw)["node_states"]["a"]
    assert node["port"] == "output"
    assert node["output_data"]["error"]["type"] == "EXPRESSION_ERROR"


def test_an_execution_that_records_too_much_fails() -> None:
    raw = document(
        {"each": each(), "a": setting(x="{{ 'x' * 9000 }}")}, "start -> each", "each.loop -> a"
    )
    state = run(raw, World(Limits(max_execution_bytes=50_000)), variables={"names": [1] * 20})
    assert state["status"] == "failed"
    assert state["error_code"] == "EXECUTION_TOO_LARGE"
    assert len(state["steps"]) < 12


def test_what_was_recorded_before_a_park_counts_with_what_comes_after_it() -> None:
    raw = document(
        {
            "each": each(),
            "a": setting(x="{{ 'x' * 9000 }}"),
            "wait": {"node_type": "action_delay", "config": {"delay_seconds": 60}},
        },
        "start -> each",
        "each.loop -> a",
        "a -> wait",
    )
    world = World(Limits(max_execution_bytes=100_000))
    state = run(raw, world, variables={"names": [1] * 20})
    assert state["status"] == "failed"
    assert state["error_code"] == "EXECUTION_TOO_LARGE"
    assert 1 < len(state["steps"]) < 20


def test_input_counts_with_what_an_execution_records() -> None:
    raw = document({"a": setting(x="{{ 1 }}")}, "start -> a")
    world = World(Limits(max_execution_bytes=50_000))
    state = run(raw, world, variables={"names": ["x" * 60_000]})
    assert (state["status"], state["error_code"]) == ("failed", "EXECUTION_TOO_LARGE")


def test_a_running_effect_is_among_the_steps() -> None:
    async def main() -> None:
        world = World()
        await world.engine.start()
        world.outside.answers["slow"] = after(100)
        context = await world.context(
            document({"m": message("slow", timeout_seconds=200)}, "start -> m")
        )
        await world.engine.execute_workflow(context)
        await asyncio.sleep(1)
        state = await world.engine.get_execution_status(context.execution_id)
        assert state is not None
        step = state["steps"][-1]
        assert (step["step_key"], step["status"]) == ("m", "running")
        assert step["started_at"] == state["steps"][0]["completed_at"]
        assert state["node_states"]["m"]["started_at"] == step["started_at"]
        await world.engine.shutdown()

    simulate(main())


@pytest.mark.parametrize("pause", [0.1, 30])
def test_every_attempt_sends_the_same_under_its_one_key(pause: float) -> None:
    """Also when the execution was parked in between: what was sent stands in its record."""
    retry = {"max_attempts": 3, "backoff": "fixed", "initial_seconds": pause, "jitter": False}
    hook = {
        "node_type": "action_webhook",
        "url": "https://peer.example/",
        "body": {"at": "{{ now() }}", "id": "{{ uuid() }}"},
        "retry": retry,
    }
    world = World()
    answer = HttpResponse(200, {}, {})
    world.outside.answers["https://peer.example/"] = failing(2, answer, retryable=True)
    state = simulate(world.run(document({"hook": hook}, "start -> hook")))
    bodies = [request["body"] for _, request in world.outside.arrived]
    assert state["status"] == "completed"
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert len(set(world.outside.keys)) == 1
