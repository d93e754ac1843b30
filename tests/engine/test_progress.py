"""How far an execution came: its row, its details and its events say the same, however it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from engine.atlas import Map
from engine.context import JsonObject, Limits
from engine.errors import ExecutionNotRunning
from engine.graph import Graph
from engine.progress import how_far
from engine.records import StoredExecution
from engine.telling import End, Telling, subject_of
from simulation.virtual_time import simulate
from tests.engine.folding import NODE, OFF, each
from tests.engine.model_harness import CaseWorld, Moody, case_of
from tests.engine.test_pauses import delay, in_world, message
from tests.engine.world import World, after, document

SHOWN = ("nodes_executed", "steps_completed", "steps_failed", "total_cost", "tokens_used")


async def started(world: World, raw: JsonObject) -> str:
    context = await world.context(raw, trigger_node_id="start")
    await world.engine.execute_workflow(context)
    await world.turn()
    return context.execution_id


def last_told(world: World, stored: StoredExecution, graph: Graph) -> JsonObject:
    """What the last event of an execution says of its progress."""
    context, progress = stored.context, stored.progress
    assert progress.end_time is not None
    end = End(progress.last_seq, progress.status, progress.end_time)
    changes = world.store._rows[context.execution_id].changes
    rows = sorted([*stored.steps, *changes], key=lambda row: row.seq)
    events = Telling(subject_of(context), Map(graph, context.trigger_node_id)).tell(rows, end)
    told: JsonObject = json.loads(list(events)[-1].body)
    return told["progress"]


async def came(world: World, key: str) -> JsonObject:
    """How far the execution came, which every view of it must say alike."""
    stored = await world.store.load(key)
    details = await world.engine.get_execution_status(key)
    assert stored is not None
    assert details is not None
    row, context = stored.progress, stored.context
    graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
    listed = how_far(row.status, row.current_step, row.total_steps)
    assert listed == details["progress"] == last_told(world, stored, graph)
    assert {name: getattr(row, name) for name in SHOWN} == {name: details[name] for name in SHOWN}
    return {"status": details["status"], "error": details["error_code"], **listed}


def looping(body: JsonObject, **loop: Any) -> JsonObject:
    """`start → each → z`, and in each iteration `a → b`, where `b` is `body`."""
    nodes = {"each": each(items=[1, 2, 3], **loop), "a": NODE, "b": body, "z": NODE}
    edges = ("start -> each", "each.loop -> a", "a -> b", "each -> z")
    return document(nodes, *edges, max_execution_time_seconds=100)


def growing(seconds: str) -> JsonObject:
    return {"node_type": "action_delay", "config": {"delay_seconds": seconds}}


@dataclass(frozen=True)
class Way:
    """A way to end: of `raw`, to which `act` is done after `at` seconds; how it then ended."""

    raw: JsonObject
    expected: tuple[str, str | None, int]
    act: Callable[[World, str], Awaitable[object]] | None = None
    at: float = 0.0
    answers: JsonObject = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


async def cancel(world: World, key: str) -> None:
    await world.engine.cancel_execution(key)


async def pause_and_cancel(world: World, key: str) -> None:
    await world.engine.pause_execution(key)
    await asyncio.sleep(40)
    await world.engine.cancel_execution(key)


TIMED_OUT, TOO_MANY = "EXECUTION_TIMEOUT", "OPERATION_LIMIT_EXCEEDED"
SLOW = {"later": after(900)}
PATIENT = {
    **message("{{ 'now' if index == 0 else 'later' }}"),
    "timeout_seconds": 800,
}
WAIT = {"node_type": "flow_wait", "config": {"signal": "never"}}
FALLS = {
    "node_type": "data_transform",
    "config": {"transformations": {"q": "1 / (index - 1)"}},
}
FAN = document(
    {"a": NODE, "b": message("later"), "c": message("later"), "off": OFF},
    "start -> a", "a -> b", "a -> c", "b -> off", max_execution_time_seconds=30,
)  # fmt: skip
BESIDE = document(
    {"e": each(items=[1, 2]), "i": NODE, "s": growing("{{ index * 30 }}"), "f": FALLS},
    "start -> e", "e.loop -> i", "i -> s", "i -> f",
)  # fmt: skip
TWO_TRIGGERS = document(
    {"start": {"node_type": "trigger_command", "config": {"command": "!go"}},
     "other": {"node_type": "trigger_command", "config": {"command": "!no"}}, "nap": delay(9)},
    "start -> nap",
)  # fmt: skip

WAYS = {
    "completed": Way(looping(NODE), ("completed", None, 5)),
    "completed early": Way(
        document({"stop": {"node_type": "flow_end", "config": {"terminate": True}}, "n": delay(9)},
                 "start -> n", "start -> stop"),
        ("completed", None, 3),
    ),
    "timed out while parked in a loop": Way(
        looping(growing("{{ 40 + index * 500 }}")), ("failed", TIMED_OUT, 2)
    ),
    "timed out in an effect in a loop": Way(
        looping(PATIENT), ("failed", TIMED_OUT, 2), answers=SLOW
    ),
    "timed out beside another iteration": Way(
        looping(growing("{{ 40 + index * 500 }}"), concurrency=2), ("failed", TIMED_OUT, 2)
    ),
    "timed out outside loops": Way(FAN, ("failed", TIMED_OUT, 2), answers=SLOW),
    "failed in a loop": Way(looping(FALLS), ("failed", "EXPRESSION_ERROR", 3)),
    "failed beside what ran before": Way(BESIDE, ("failed", "EXPRESSION_ERROR", 3)),
    "cancelled while held": Way(FAN, ("cancelled", None, 2), cancel, 5, SLOW),
    "cancelled while held, in a loop": Way(
        looping(PATIENT), ("cancelled", None, 2), cancel, 5, SLOW
    ),
    "cancelled while parked": Way(
        looping(growing("{{ 10 + index * 50 }}")), ("cancelled", None, 2), cancel, 20
    ),
    "cancelled while paused": Way(
        looping(growing("{{ 10 + index * 50 }}")), ("cancelled", None, 2), pause_and_cancel, 20
    ),
    "cancelled at a signal": Way(
        document({"w": WAIT}, "start -> w"), ("cancelled", None, 1), cancel, 5
    ),
    "cancelled with a trigger that did not start it": Way(
        TWO_TRIGGERS, ("cancelled", None, 2), cancel, 5
    ),
    "too many operations": Way(
        looping(NODE), ("failed", TOO_MANY, 3), limits=Limits(max_total_operations=5)
    ),
    "too many operations beside what runs": Way(
        looping(growing("{{ 30 if index < 2 else 0 }}"), concurrency=2),
        ("failed", TOO_MANY, 2), limits=Limits(max_total_operations=6),
    ),
    "too large": Way(
        looping(NODE), ("failed", "EXECUTION_TOO_LARGE", 2),
        limits=Limits(max_execution_bytes=60),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_every_view_says_how_far_it_came_however_it_ended(name: str) -> None:
    way = WAYS[name]

    async def main(world: World) -> None:
        world.outside.answers.update(way.answers)
        key = await started(world, way.raw)
        if way.act is not None:
            await asyncio.sleep(way.at)
            await way.act(world, key)
        assert await world.engine.wait(key, 1_000)
        found = await came(world, key)
        assert (found["status"], found["error"], found["current_step"]) == way.expected

    in_world(main, limits=way.limits)


async def _cut_short(seed: int) -> None:
    case = case_of(seed)
    world = CaseWorld(case, Moody(case.document, str(seed)))
    await world.engine.start()
    context = await world.context(case.raw, **case.start())
    await world.engine.execute_workflow(context)
    chance = Random(seed)
    await asyncio.sleep(chance.choice((0, 0.02, 0.2, 2, 20, 200)) * chance.random())
    with suppress(ExecutionNotRunning):
        await world.engine.cancel_execution(context.execution_id)
    assert await world.engine.wait(context.execution_id, 40 * 86_400)
    await came(world, context.execution_id)
    await world.engine.shutdown()


@pytest.mark.parametrize("group", range(4))
def test_every_view_says_how_far_it_came_whenever_it_is_cancelled(group: int) -> None:
    for seed in range(group * 32, group * 32 + 32):
        simulate(_cut_short(seed))


@pytest.mark.parametrize("group", range(4))
def test_every_view_says_how_far_it_came_whatever_it_does(group: int) -> None:
    async def main(seed: int) -> None:
        case = case_of(seed)
        world = CaseWorld(case, Moody(case.document, str(seed)))
        state = await world.run(case.raw, **case.start())
        await came(world, state["execution_id"])
        await world.engine.shutdown()

    for seed in range(group * 32, group * 32 + 32):
        simulate(main(seed))


def test_every_view_says_how_far_it_came_that_never_began() -> None:
    async def main(world: World) -> None:
        await started(world, document({"nap": delay(0.9)}, "start -> nap"))
        queued = await started(world, TWO_TRIGGERS)
        await cancel(world, queued)
        assert await came(world, queued) == {
            "status": "cancelled", "error": None,
            "current_step": 1, "total_steps": 3, "percentage": 33.3,
        }  # fmt: skip

    in_world(main, max_concurrent_executions=1)


def test_every_view_says_how_far_a_retry_came_that_never_began() -> None:
    async def main(world: World) -> None:
        old = await started(world, document({"a": NODE, "b": message("b")}, "start -> a", "a -> b"))
        await asyncio.sleep(5)
        await started(world, document({"nap": delay(0.9)}, "start -> nap"))
        again = await world.engine.retry_execution(
            old, "b", again_id=world.new_id(), user_id=9, variables={}
        )
        await cancel(world, again.execution_id)
        found = await came(world, again.execution_id)
        assert (found["status"], found["current_step"]) == ("cancelled", 2)

    in_world(main, max_concurrent_executions=1)
