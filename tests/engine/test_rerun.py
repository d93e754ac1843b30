"""Retries: what a new execution begins with, and that nothing before its origin happens twice."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import JsonObject
from engine.errors import ExecutionNotEnded, NothingFailed
from tests.engine.world import World, document, failing
from tests.virtual_time import simulate


def say(message: str, **fields: Any) -> JsonObject:
    return {"node_type": "action_chat_message", "message": message, **fields}


def compute(expression: str) -> JsonObject:
    return {"node_type": "data_transform", "transformations": {"x": expression}}


async def again(
    world: World, old: JsonObject, origin: str = "failed", **variables: Any
) -> JsonObject:
    """The execution that runs `old` again, at its end."""
    started = await world.engine.retry_execution(
        old["execution_id"], origin, again_id=world.new_id(), user_id=9, variables=variables
    )
    assert await world.engine.wait(started.execution_id, 40 * 86_400)
    state = await world.engine.get_execution_status(started.execution_id)
    assert state is not None
    return state


def reused(state: JsonObject) -> list[str]:
    return [step["step_key"] for step in state["steps"] if step["reused"]]


def test_what_failed_runs_again_and_what_was_done_does_not() -> None:
    raw = document(
        {"a": say("a"), "b": say("b"), "c": say("c {{ nodes.a.output.message_id }}")},
        "start -> a",
        "a -> b",
        "b -> c",
    )

    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World()
        world.outside.answers["b"] = failing(1)
        old = await world.run(raw)
        assert old["status"] == "failed"
        return await again(world, old), world.outside.messages()

    state, messages = simulate(scenario())
    assert state["status"] == "completed"
    assert reused(state) == ["start", "a"]
    assert messages == ["a", "b", "b", "c m1"]


def test_a_retry_is_of_whoever_asks_and_knows_what_it_retries() -> None:
    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        raw = document({"a": compute("1 / n")}, "start -> a", error_workflow_id=None)
        metadata = {"session_id": "s-1"}
        old = await world.run(raw, variables={"n": 0, "m": 1}, metadata=metadata)
        return old, await again(world, old, n=2)

    old, new = simulate(scenario())
    assert new["retry_of"] == old["execution_id"]
    assert (old["user_id"], new["user_id"]) == (456, 9)
    assert new["input_parameters"] == {"n": 2, "m": 1}
    assert new["metadata"] == old["metadata"]
    assert new["workflow_version"] == old["workflow_version"]
    assert new["final_variables"]["x"] == 0.5


def test_variables_that_reused_steps_set_stay_set() -> None:
    raw = document(
        {"a": compute("n * 10"), "b": {"node_type": "flow_end", "output": "{{ x / n }}"}},
        "start -> a",
        "a -> b",
    )

    async def scenario() -> JsonObject:
        world = World()
        old = await world.run(raw, variables={"n": 0})
        return await again(world, old, n=2)

    assert simulate(scenario())["final_output"] == 0


def test_siblings_that_the_failure_cut_off_run_again() -> None:
    raw = document(
        {"slow": say("slow"), "bad": compute("1 / n"), "fast": say("fast")},
        "start -> fast",
        "fast -> slow",
        "fast -> bad",
    )

    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World()
        world.outside.answers["slow"] = world.gate.wait_for_it
        old = await world.run(raw, variables={"n": 0})
        assert old["node_states"]["slow"]["status"] == "cancelled"
        world.gate.open()
        return await again(world, old, n=1), world.outside.messages()

    state, messages = simulate(scenario())
    assert state["status"] == "completed"
    assert messages.count("fast") == 1


def test_a_cancelled_execution_goes_on_where_it_was_cut_off() -> None:
    raw = document(
        {"a": say("a"), "nap": {"node_type": "action_delay", "delay_seconds": 50}, "b": say("b")},
        "start -> a",
        "a -> nap",
        "nap -> b",
    )

    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World()
        await world.engine.start()
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        while not world.outside.arrived:
            await world.turn()
        await world.turn()
        await world.engine.cancel_execution(context.execution_id)
        state = await again(world, {"execution_id": context.execution_id})
        return state, world.outside.messages()

    state, messages = simulate(scenario())
    assert messages == ["a", "b"]
    assert reused(state) == ["start", "a"]
    assert state["execution_time_seconds"] == pytest.approx(50, abs=1)


LOOP = document(
    {
        "each": {"node_type": "loop_foreach", "items": "{{ [1, 2, 3] }}"},
        "tell": say("tell {{ item }}"),
        "check": compute("1 / (item - bad)"),
        "end": {"node_type": "flow_end"},
    },
    "start -> each",
    "each.loop -> tell",
    "tell -> check",
    "each -> end",
)


def test_a_loop_goes_on_in_the_iteration_that_failed() -> None:
    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World()
        old = await world.run(LOOP, variables={"bad": 2})
        return await again(world, old, bad=0), world.outside.messages()

    state, messages = simulate(scenario())
    assert state["status"] == "completed"
    assert messages == ["tell 1", "tell 2", "tell 3"]
    assert reused(state) == ["start", "each[0].tell", "each[0].check", "each[1].tell"]
    assert len(state["final_output"]) == 3


def test_a_retry_from_a_node_in_a_loop_runs_it_in_every_iteration() -> None:
    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World()
        old = await world.run(LOOP, variables={"bad": 0})
        return await again(world, old, "check"), world.outside.messages()

    state, _ = simulate(scenario())
    assert state["status"] == "completed"
    assert reused(state)[:2] == ["start", "each[0].tell"]
    assert [s["step_key"] for s in state["steps"] if s["node_id"] == "check"] == [
        f"each[{n}].check" for n in range(3)
    ]


def test_a_while_loop_keeps_its_finished_iterations() -> None:
    raw = document(
        {
            "w": {"node_type": "loop_while", "condition": "index < 3"},
            "tell": say("tell {{ index }}"),
            "check": compute("1 / (index - bad)"),
            "end": {"node_type": "flow_end"},
        },
        "start -> w",
        "w.loop -> tell",
        "tell -> check",
        "w -> end",
    )

    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World()
        old = await world.run(raw, variables={"bad": 1})
        return await again(world, old, bad=9), world.outside.messages()

    state, messages = simulate(scenario())
    assert state["final_output"]["iterations"] == 3
    assert messages == ["tell 0", "tell 1", "tell 2"]


def test_a_handled_failure_is_a_result_like_any_other() -> None:
    raw = document(
        {"a": say("a"), "sorry": say("sorry"), "bad": compute("1 / n")},
        "start -> a",
        "a.error -> sorry",
        "sorry -> bad",
    )

    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World()
        world.outside.answers["a"] = failing(9)
        old = await world.run(raw, variables={"n": 0})
        return await again(world, old, n=1), world.outside.messages()

    state, messages = simulate(scenario())
    assert state["status"] == "completed"
    assert messages == ["a", "sorry"]
    assert state["node_states"]["a"]["reused"]


def test_reused_steps_cost_nothing_again() -> None:
    priced = say("a", usage={"cost": 2.5, "tokens": 10})
    raw = document({"a": priced, "b": compute("1 / n")}, "start -> a", "a -> b")

    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        old = await world.run(raw, variables={"n": 0})
        return old, await again(world, old, n=1)

    old, new = simulate(scenario())
    assert (old["total_cost"], old["tokens_used"]) == (2.5, 10)
    assert (new["total_cost"], new["tokens_used"]) == (0, 0)


def test_a_retry_of_a_retry_goes_on_from_there() -> None:
    raw = document({"a": say("a"), "b": say("b"), "c": say("c")}, "start -> a", "a -> b", "b -> c")

    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World()
        world.outside.answers["b"] = failing(1)
        world.outside.answers["c"] = failing(1)
        second = await again(world, await world.run(raw))
        assert second["error_node_id"] == "c"
        return await again(world, second), world.outside.messages()

    state, messages = simulate(scenario())
    assert state["status"] == "completed"
    assert messages == ["a", "b", "b", "c", "c"]
    assert reused(state) == ["start", "a", "b"]


@pytest.mark.parametrize("flushes", range(1, 7))
def test_a_crash_of_a_retry_repeats_nothing_that_it_reused(flushes: int) -> None:
    raw = document({"a": say("a"), "b": say("b"), "c": say("c")}, "start -> a", "a -> b", "b -> c")

    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World(lease_seconds=5)
        world.outside.answers["b"] = failing(1)
        old = await world.run(raw)
        session = world.engine._session
        assert session is not None
        begun = session.journal.flushes
        started = await world.engine.retry_execution(
            old["execution_id"], "failed", again_id=world.new_id(), user_id=9, variables={}
        )
        for _ in range(400):
            if session.journal.flushes >= begun + flushes:
                break
            await world.pause()
        world.store.kill(world.store.workers()[0])
        assert await world.engine.wait(started.execution_id, 600)
        state = await world.engine.get_execution_status(started.execution_id)
        assert state is not None
        return state, world.outside.messages()

    state, messages = simulate(scenario())
    assert state["status"] == "completed"
    assert messages.count("a") == 1


def test_what_runs_or_did_not_fail_cannot_be_retried_from_its_failure() -> None:
    async def scenario() -> None:
        world = World()
        old = await world.run(document({"a": compute("1")}, "start -> a"))
        with pytest.raises(NothingFailed):
            await again(world, old)
        ask = document({"ask": {"node_type": "flow_wait", "signal": "x"}}, "start -> ask")
        context = await world.context(ask)
        await world.engine.execute_workflow(context)
        with pytest.raises(ExecutionNotEnded):
            await again(world, {"execution_id": context.execution_id})

    simulate(scenario())


PAUSE = {"node_type": "action_delay", "config": {"delay_seconds": 0.05}}
BREAKS = {"node_type": "loop_break", "condition": "True"}
ENDS = {"node_type": "flow_end", "config": {"terminate": True}}
FAILS = compute("1 / 0")


def beside(ending: JsonObject) -> JsonObject:
    """`a` says something; beside it, a little later, `x` ends what both are in."""
    nodes = {"a": say("a"), "d": PAUSE, "x": ending}
    return document(nodes, "start -> a", "start -> d", "d -> x")


def beside_in_a_loop(ending: JsonObject, **loop: Any) -> JsonObject:
    """The same in each iteration of a loop over two items."""
    nodes = {
        "l": {"node_type": "loop_foreach", "items": "[1, 2]", **loop},
        "a": say("a"),
        "d": PAUSE,
        "x": ending,
    }
    return document(nodes, "start -> l", "l.loop -> a", "l.loop -> d", "d -> x")


@pytest.mark.parametrize(
    ("raw", "times"),
    [
        (beside(say("x")), 1),
        (beside_in_a_loop(say("x")), 1),
        (beside_in_a_loop(say("x"), continue_on_error=True), 2),
        (beside_in_a_loop(say("x"), continue_on_error=True, concurrency=2), 2),
    ],
    ids=["a failure", "in a loop", "a loop goes on", "side by side"],
)
def test_a_node_runs_again_though_another_failed_what_both_were_in(
    raw: JsonObject, times: int
) -> None:
    """Which runs again too: by its old record it would cut the node off before it ran."""

    async def scenario() -> tuple[JsonObject, JsonObject, list[str]]:
        world = World()
        world.outside.answers["x"] = failing(99)
        old = await world.run(raw)
        return old, await again(world, old, "a"), world.outside.messages()

    old, state, messages = simulate(scenario())
    assert messages.count("a") == 2 * times
    assert state["status"] == old["status"]
    assert state["final_output"] == old["final_output"]
    ran = [step for step in state["steps"] if step["node_id"] == "a"]
    assert [(step["status"], step["reused"]) for step in ran] == [("completed", False)] * times


@pytest.mark.parametrize(
    "raw",
    [
        beside(FAILS),
        beside(ENDS),
        beside_in_a_loop(FAILS),
        beside_in_a_loop(FAILS, continue_on_error=True),
        beside_in_a_loop(FAILS, continue_on_error=True, concurrency=2),
        beside_in_a_loop(BREAKS),
        beside_in_a_loop(ENDS),
    ],
    ids=["failure", "end", "in a loop", "a loop goes on", "side by side", "break", "end within"],
)
def test_a_node_that_would_be_cut_off_at_once_is_no_origin(raw: JsonObject) -> None:
    """It is said, and by whom, where it would otherwise be passed over."""

    async def scenario() -> None:
        world = World()
        old = await world.run(raw)
        with pytest.raises(ValueError, match="'a' would be cut off before it ran: 'x' ended what"):
            await again(world, old, "a")
        assert (await again(world, old, "x"))["status"] == old["status"]
        assert (await again(world, old, "d"))["status"] == old["status"]

    simulate(scenario())


def test_a_failure_elsewhere_is_kept_where_it_cuts_nothing_off() -> None:
    """It ended its own iteration, before what runs again and beside it."""
    raw = document(
        {
            "l": {"node_type": "loop_foreach", "items": "[1, 2]", "continue_on_error": True},
            "tell": say("tell {{ item }}"),
            "x": compute("1 / index"),
            "pause": {"node_type": "action_delay", "config": {"delay_seconds": 1}},
            "a": say("a"),
        },
        "start -> l",
        "l.loop -> tell",
        "tell -> x",
        "start -> pause",
        "pause -> a",
    )

    async def scenario() -> tuple[JsonObject, list[str]]:
        world = World()
        old = await world.run(raw)
        return await again(world, old, "a"), world.outside.messages()

    state, messages = simulate(scenario())
    assert messages == ["tell 1", "tell 2", "a", "a"]
    assert set(reused(state)) == {
        "start", "l", "pause", "l[0].tell", "l[0].x", "l[1].tell", "l[1].x",
    }  # fmt: skip


def test_a_node_that_does_not_exist_or_did_not_run_is_no_origin() -> None:
    raw = document(
        {"if": {"node_type": "condition_if", "condition": "True"}, "yes": say("y"), "no": say("n")},
        "start -> if",
        "if.true -> yes",
        "if.false -> no",
    )

    async def scenario() -> None:
        world = World()
        old = await world.run(raw)
        with pytest.raises(ValueError, match="yes"):
            await again(world, old, "nowhere")
        with pytest.raises(ValueError, match="would not be reached"):
            await again(world, old, "no")

    simulate(scenario())
