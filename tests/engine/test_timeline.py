"""The timeline of an execution: which attempt was queued, running and waiting, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from engine.context import JsonObject, Kind
from engine.folded import fold
from engine.moments import rfc3339
from engine.timeline import MOST_BARS, timeline
from engine.view import report
from tests.engine.world import World, after, document, failing
from tests.virtual_time import simulate

COMMIT = timedelta(seconds=0.25)
RETRY = {"max_attempts": 3, "backoff": "fixed", "initial_seconds": 2, "jitter": False}


async def ran(raw: JsonObject, world: World, **fields: Any) -> tuple[Any, Any, datetime]:
    """An execution that has run to its end, each of its records written a quarter of a second
    after it happened; its graph; and the moment."""
    try:
        state = await world.run(raw, **fields)
    finally:
        await world.engine.shutdown()
    stored = await world.store.load(state["execution_id"])
    assert stored is not None
    for row in stored.steps:
        row.recorded_at = (row.completed_at or row.started_at) + COMMIT
    graph = await world.engine.graphs.get(state["workflow_id"], state["workflow_version"])
    return stored, graph, world.clock.now()


def shown(
    found: tuple[Any, Any, datetime],
) -> dict[tuple[str, int], list[tuple[str, float, float]]]:
    """The phases of each bar, in seconds since the execution started."""
    bars = timeline(fold(*found))["bars"]
    start = found[0].progress.start_time
    return {
        (bar["step_key"], bar["attempt"]): [
            (phase["phase"], _since(start, phase["from"]), _since(start, phase["to"]))
            for phase in bar["phases"]
        ]
        for bar in bars
    }


def _since(start: Any, instant: str) -> float:
    return round((type(start).fromisoformat(instant) - start).total_seconds(), 2)


def module(name: str, **more: Any) -> JsonObject:
    config = {"module_name": name, "action": "go"}
    return {"node_type": "action_module", "config": config, **more}


def test_a_step_is_queued_until_it_starts_and_runs_until_it_ends() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers |= {"slow": after(3), "slower": after(5), "last": after(1)}
        raw = document(
            {
                "a": module("slow"),
                "b": module("slower"),
                "join": {"node_type": "flow_merge", "config": {}},
                "c": module("last"),
            },
            "start -> a", "start -> b", "a -> join", "b -> join", "join -> c",
        )  # fmt: skip
        bars = shown(await ran(raw, world))
        assert bars["start", 1] == [("queued", 0, 0), ("running", 0, 0)]
        assert bars["a", 1] == [("queued", 0, 0), ("running", 0, 3)]
        assert bars["b", 1] == [("queued", 0, 0), ("running", 0, 5)]
        assert bars["join", 1] == [("queued", 5, 5), ("running", 5, 5)]
        assert bars["c", 1] == [("queued", 5, 5), ("running", 5, 6)]

    simulate(scenario())


def test_each_attempt_has_a_bar_and_waits_for_the_next() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers["flaky"] = failing(2, {"ok": 1}, retryable=True)
        found = await ran(document({"m": module("flaky", retry=RETRY)}, "start -> m"), world)
        bars = shown(found)
        assert bars["m", 1] == [("queued", 0, 0), ("running", 0, 0.25), ("waiting", 0.25, 2)]
        assert bars["m", 2] == [("queued", 2, 2), ("running", 2, 2.25), ("waiting", 2.25, 4)]
        assert bars["m", 3] == [("queued", 4, 4), ("running", 4, 4)]
        steps = report(*found)["state"]["steps"]
        attempts = next(step for step in steps if step["step_key"] == "m")["attempts"]
        assert [(each["attempt"], each["status"]) for each in attempts] == [
            (1, "failed"), (2, "failed"), (3, "completed"),
        ]  # fmt: skip
        assert [each["error"] for each in attempts] == ["It is down.", "It is down.", None]
        assert [each["next_at"] is None for each in attempts] == [False, False, True]

    simulate(scenario())


def test_a_delay_waits_and_is_over_when_it_is_due() -> None:
    async def scenario() -> None:
        world = World()
        delay = {"node_type": "action_delay", "config": {"delay_seconds": 60}}
        bars = shown(await ran(document({"nap": delay}, "start -> nap"), world))
        [queued, waiting, running] = bars["nap", 1]
        assert queued == ("queued", 0, 0)
        assert waiting[0] == "waiting"
        assert waiting[1] == 0
        assert 60 <= waiting[2] < 62
        assert running == ("running", waiting[2], waiting[2])

    simulate(scenario())


def test_steps_of_a_loop_have_bars_of_their_own() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers["one"] = after(1)
        raw = document(
            {
                "each": {"node_type": "loop_foreach", "config": {"items": "names"}},
                "m": module("one"),
            },
            "start -> each", "each.loop -> m",
        )  # fmt: skip
        bars = shown(await ran(raw, world, variables={"names": [1, 2]}))
        assert bars["each[0].m", 1][-1] == ("running", 0, 1)
        assert bars["each[1].m", 1][-1] == ("running", 1, 2)
        assert bars["each", 1] == [("queued", 0, 0), ("running", 0, 2)]

    simulate(scenario())


def test_what_was_cut_off_will_not_wake() -> None:
    async def scenario() -> None:
        world = World()
        nap = {"node_type": "action_delay", "config": {"delay_seconds": 60}}
        key = await begun(world, document({"nap": nap}, "start -> nap"))
        asleep, _ = await seen(world, key)
        await world.engine.cancel_execution(key)
        cancelled, _ = await seen(world, key)
        await world.engine.shutdown()
        assert (asleep["nap"]["status"], cancelled["nap"]["status"]) == ("waiting", "cancelled")
        assert asleep["nap"]["wake_at"] is not None
        assert cancelled["nap"]["wake_at"] is None

    simulate(scenario())


def test_what_was_cut_off_ends_with_the_execution() -> None:
    async def scenario() -> None:
        world = World()
        wait = {"node_type": "flow_wait", "config": {"signal": "never"}}
        raw = document({"wait": wait}, "start -> wait", max_execution_time_seconds=30)
        found = await ran(raw, world)
        bar = timeline(fold(*found))["bars"][-1]
        assert (bar["step_key"], found[0].steps[-1].kind) == ("wait", Kind.WAITING)
        assert bar["status"] == "cancelled"
        assert bar["phases"][-1]["to"] == timeline(fold(*found))["ended_at"]

    simulate(scenario())


async def seen(world: World, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each step of an execution as its details show it, and the last bar of each."""
    found = await world.engine.get_execution_report(key)
    assert found is not None
    steps = {step["step_key"]: step for step in found["state"]["steps"]}
    return steps, {bar["step_key"]: bar for bar in found["timeline"]["bars"]}


async def begun(world: World, raw: JsonObject, **fields: Any) -> str:
    """An execution that runs, its first records written."""
    await world.engine.start()
    context = await world.context(raw, **fields)
    await world.engine.execute_workflow(context)
    await asyncio.sleep(0.4)
    return context.execution_id


def test_an_attempt_that_runs_has_a_bar_without_an_end() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers["slow"] = after(5)
        key = await begun(world, document({"m": module("slow")}, "start -> m"))
        steps, bars = await seen(world, key)
        await world.engine.shutdown()
        began = steps["start"]["completed_at"]
        assert bars["m"] == {
            "step_key": "m", "node_id": "m", "node_type": "action_module", "attempt": 1,
            "status": "running", "committed_at": None,
            "phases": [{"phase": "running", "from": began, "to": None}],
        }  # fmt: skip
        [attempt] = steps["m"]["attempts"]
        assert (attempt["attempt"], attempt["status"]) == (1, "running")
        assert (attempt["started_at"], attempt["ended_at"]) == (began, None)
        assert attempt["phases"] == bars["m"]["phases"]
        assert (steps["m"]["started_at"], steps["m"]["completed_at"]) == (began, None)

    simulate(scenario())


def test_an_attempt_that_was_cut_off_ends_with_the_execution() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers["slow"] = after(5)
        key = await begun(world, document({"m": module("slow")}, "start -> m"))
        await world.engine.cancel_execution(key)
        assert await world.engine.wait(key, 1)
        stored = await world.store.load(key)
        steps, bars = await seen(world, key)
        await world.engine.shutdown()
        assert stored is not None
        assert stored.progress.end_time is not None
        end = rfc3339(stored.progress.end_time)
        assert bars["m"]["status"] == steps["m"]["status"] == "cancelled"
        assert [phase["to"] for phase in bars["m"]["phases"]] == [end]
        assert [attempt["ended_at"] for attempt in steps["m"]["attempts"]] == [end]
        assert steps["m"]["completed_at"] == end
        assert steps["m"]["duration_seconds"] == pytest.approx(0.4)

    simulate(scenario())


def slow_the_second_time() -> Callable[[], Awaitable[Any]]:
    """An answer that fails at once, and then takes five seconds."""
    fails = failing(1, {"ok": 1}, retryable=True)

    async def answered() -> Any:
        answer = await fails()
        await asyncio.sleep(5)
        return answer

    return answered


def test_a_second_attempt_runs_from_when_it_was_due() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers["flaky"] = slow_the_second_time()
        key = await begun(world, document({"m": module("flaky", retry=RETRY)}, "start -> m"))
        waiting, _ = await seen(world, key)
        await asyncio.sleep(3)
        running, bars = await seen(world, key)
        state = await world.engine.get_execution_status(key)
        await world.engine.shutdown()
        assert (waiting["m"]["status"], waiting["m"]["attempt"]) == ("waiting", 1)
        due, step = waiting["m"]["wake_at"], running["m"]
        assert due is not None
        assert (step["status"], step["attempt"], step["retry_count"]) == ("running", 2, 1)
        assert (step["wake_at"], step["error"], step["completed_at"]) == (None, None, None)
        assert step["input_data"] == waiting["m"]["input_data"] is not None
        assert step["logs"] == waiting["m"]["logs"] != []
        first, second = step["attempts"]
        assert (first["status"], first["error"], first["next_at"]) == ("failed", "It is down.", due)
        assert (second["attempt"], second["status"], second["error"]) == (2, "running", None)
        assert (second["started_at"], second["ended_at"]) == (due, None)
        assert (bars["m"]["attempt"], bars["m"]["status"]) == (2, "running")
        assert bars["m"]["phases"][-1] == {"phase": "running", "from": due, "to": None}
        assert state is not None
        assert state["node_states"]["m"]["status"] == "running"

    simulate(scenario())


def test_a_second_attempt_that_was_cut_off_is_shown() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers["flaky"] = slow_the_second_time()
        raw = document({"m": module("flaky", retry=RETRY)}, "start -> m")
        stored, graph, now = await ran({**raw, "max_execution_time_seconds": 4}, world)
        step = next(s for s in report(stored, graph, now)["state"]["steps"] if s["node_id"] == "m")
        end = rfc3339(stored.progress.end_time)
        assert (step["status"], step["attempt"], step["completed_at"]) == ("cancelled", 2, end)
        first, second = step["attempts"]
        assert (first["status"], second["status"], second["ended_at"]) == (
            "failed", "cancelled", end,
        )  # fmt: skip

    simulate(scenario())


def test_no_second_attempt_begins_while_an_execution_is_paused() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers["flaky"] = slow_the_second_time()
        key = await begun(world, document({"m": module("flaky", retry=RETRY)}, "start -> m"))
        await world.engine.pause_execution(key)
        await asyncio.sleep(5)
        steps, _ = await seen(world, key)
        await world.engine.shutdown()
        assert (steps["m"]["status"], len(steps["m"]["attempts"])) == ("waiting", 1)

    simulate(scenario())


def test_what_lost_a_race_ends_when_it_was_decided() -> None:
    """Recorded (`nap`) or not (`slow`), while the execution goes on behind the race."""

    async def scenario() -> None:
        world = World()
        world.outside.answers |= {"quick": after(0.2), "slow": after(9), "last": after(9)}
        nap = {"node_type": "action_delay", "config": {"delay_seconds": 60}}
        raw = document(
            {
                "quick": module("quick"), "slow": module("slow"), "nap": nap,
                "join": {"node_type": "flow_merge", "config": {"mode": "any"}},
                "race": {"node_type": "flow_parallel", "config": {"execution_type": "any_first"}},
                "last": module("last"),
            },
            "start -> race", "race -> quick", "race -> slow", "race -> nap",
            "quick -> join", "slow -> join", "nap -> join", "join -> last",
        )  # fmt: skip
        key = await begun(world, raw)
        steps, bars = await seen(world, key)
        await world.engine.shutdown()
        decided = steps["quick"]["completed_at"]
        for loser in ("slow", "nap"):
            assert bars[loser]["status"] == "cancelled"
            assert bars[loser]["phases"][-1]["to"] == decided
            assert steps[loser]["attempts"][-1]["ended_at"] == decided
            assert steps[loser]["completed_at"] == decided
            assert steps[loser]["wake_at"] is None
        assert bars["last"]["phases"][-1]["to"] is None

    simulate(scenario())


def test_what_runs_in_an_iteration_began_with_the_iteration() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers["slow"] = after(0.3)
        each = {"node_type": "loop_foreach", "config": {"items": [1, 2]}}
        raw = document({"each": each, "m": module("slow")}, "start -> each", "each.loop -> m")
        key = await begun(world, raw)
        steps, bars = await seen(world, key)
        await world.engine.shutdown()
        [running] = bars["each[1].m"]["phases"]
        assert running["to"] is None
        assert running["from"] == steps["each[0].m"]["completed_at"]

    simulate(scenario())


def test_nothing_runs_while_an_execution_is_paused() -> None:
    async def scenario() -> None:
        world = World()
        world.outside.answers["slow"] = after(1)
        raw = document({"a": module("slow"), "b": module("slow")}, "start -> a", "a -> b")
        key = await begun(world, raw)
        await world.engine.pause_execution(key)
        await asyncio.sleep(5)
        steps, bars = await seen(world, key)
        await world.engine.shutdown()
        assert list(steps) == list(bars) == ["start", "a"]

    simulate(scenario())


def test_a_long_timeline_says_how_many_bars_it_left_out() -> None:
    async def scenario() -> None:
        found = await ran(document({}, *()), World())
        stored, *_ = found
        [row] = stored.steps
        more = [
            type(row)(**{**_values(row), "seq": number + 3, "step_key": f"x[{number}].start"})
            for number in range(MOST_BARS + 6)
        ]
        stored.steps = [row, *more]
        shown = timeline(fold(*found))
        assert (len(shown["bars"]), shown["bars_left_out"]) == (MOST_BARS, 7)

    simulate(scenario())


def _values(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
