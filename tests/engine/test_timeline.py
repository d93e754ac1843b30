"""The timeline of an execution: which attempt was queued, running and waiting, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from engine.context import JsonObject, Kind
from engine.timeline import MOST_BARS, timeline
from engine.view import report
from tests.engine.world import World, after, document, failing
from tests.virtual_time import simulate

COMMIT = timedelta(seconds=0.25)


async def ran(raw: JsonObject, world: World, **fields: Any) -> tuple[Any, Any]:
    """An execution that has run to its end, each of its records written a quarter of a second
    after it happened; and its graph."""
    try:
        state = await world.run(raw, **fields)
    finally:
        await world.engine.shutdown()
    stored = await world.store.load(state["execution_id"])
    assert stored is not None
    for row in stored.steps:
        row.recorded_at = (row.completed_at or row.started_at) + COMMIT
    graph = await world.engine.graphs.get(state["workflow_id"], state["workflow_version"])
    return stored, graph


def shown(found: tuple[Any, Any]) -> dict[tuple[str, int], list[tuple[str, float, float]]]:
    """The phases of each bar, in seconds since the execution started."""
    stored, graph = found
    bars = timeline(stored, graph)["bars"]
    start = stored.progress.start_time
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
        retry = {"max_attempts": 3, "backoff": "fixed", "initial_seconds": 2, "jitter": False}
        found = await ran(document({"m": module("flaky", retry=retry)}, "start -> m"), world)
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


def test_what_was_cut_off_ends_with_the_execution() -> None:
    async def scenario() -> None:
        world = World()
        wait = {"node_type": "flow_wait", "config": {"signal": "never"}}
        raw = document({"wait": wait}, "start -> wait", max_execution_time_seconds=30)
        stored, graph = await ran(raw, world)
        bar = timeline(stored, graph)["bars"][-1]
        assert (bar["step_key"], stored.steps[-1].kind) == ("wait", Kind.WAITING)
        assert bar["status"] == "cancelled"
        assert bar["phases"][-1]["to"] == timeline(stored, graph)["ended_at"]

    simulate(scenario())


def test_a_long_timeline_says_how_many_bars_it_left_out() -> None:
    async def scenario() -> None:
        found = await ran(document({}, *()), World())
        stored, graph = found
        [row] = stored.steps
        stored.steps = [
            type(row)(**{**_values(row), "seq": number + 2, "step_key": f"x[{number}].start"})
            for number in range(MOST_BARS + 7)
        ]
        shown = timeline(stored, graph)
        assert (len(shown["bars"]), shown["bars_left_out"]) == (MOST_BARS, 7)

    simulate(scenario())


def _values(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
