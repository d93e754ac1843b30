"""W6: executions asleep on a delay, beside an idle service; and many that are due at once.

What is asleep must cost next to nothing, for it is rows and nobody's memory. One execution is
parked by the engine itself, and copied as often as it takes, row by row and record by record: so
the others have the very shape in which the engine parks. The service that is watched is a real one,
`python -m app` in a process of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from urllib.parse import urlsplit, urlunsplit

import uuid_utils

from bench.measure import Figure
from bench.service import PATIENCE_SECONDS, service
from bench.world import World, engine_on
from engine.context import JsonObject
from models.dal import AsyncDAL
from models.migrate import migrate

MIB = 1024 * 1024

SLEEPER: JsonObject = {
    "name": "sleeper",
    "community_id": 1,
    "nodes": {
        "start": {"node_type": "trigger_command", "config": {"command": "!go"}},
        "sleep": {"node_type": "action_delay", "config": {"delay_seconds": 86_400}},
        "after": {"node_type": "data_variable_set", "config": {"variables": {"awake": True}}},
    },
    "connections": [
        {"from_node_id": "start", "to_node_id": "sleep"},
        {"from_node_id": "sleep", "to_node_id": "after"},
    ],
}

# Everything of the one that the engine parked, but for the id and the moment to wake up.
COPY_EXECUTIONS = """
INSERT INTO workflow_executions
SELECT copy.* FROM workflow_executions parked, unnest($2::uuid[]) AS new (id),
       LATERAL jsonb_populate_record(
           parked, jsonb_build_object('execution_id', new.id,
                                      'wake_at', coalesce($3, parked.wake_at))) AS copy
 WHERE parked.execution_id = $1
"""
COPY_STEPS = """
INSERT INTO workflow_steps
SELECT copy.* FROM workflow_steps parked, unnest($2::uuid[]) AS new (id),
       LATERAL jsonb_populate_record(
           parked, jsonb_build_object('execution_id', new.id,
                                      'wake_at', CASE WHEN parked.wake_at IS NOT NULL
                                                      THEN coalesce($3, parked.wake_at) END)
       ) AS copy
 WHERE parked.execution_id = $1
"""

PARKED = "SELECT 1 FROM workflow_executions WHERE execution_id = $1 AND status = 'waiting'"
WOKEN = """
SELECT extract(epoch FROM clock_timestamp() - $1)::float8
 WHERE NOT EXISTS (SELECT 1 FROM workflow_executions WHERE status = 'waiting' AND wake_at <= $1)
"""
ENDED = """
SELECT extract(epoch FROM max(end_time) - $1)::float8
  FROM workflow_executions WHERE execution_id = ANY($2::uuid[])
HAVING bool_and(status = 'completed')
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: executions asleep, those due at once, seconds of watching."""

    asleep: int
    due: int
    rounds: int
    settle_seconds: float
    watch_seconds: float


FULL = Size(asleep=100_000, due=10_000, rounds=5, settle_seconds=4, watch_seconds=10)
QUICK = Size(asleep=20_000, due=2_000, rounds=3, settle_seconds=3, watch_seconds=3)


async def run(world: World, size: Size) -> list[Figure]:
    """A service beside nothing and one beside what is asleep, in turn, on a database each; the
    second one then wakes those that are due."""
    idle, parked = [await database(world, name) for name in ("w6_idle", "w6_parked")]
    memory, each, share, extra, woken, done, worked = _figures(size)
    async with AsyncDAL(parked) as dal:
        template = await park_one(dal, parked)
        await copies_of(dal, template, size.asleep - 1)
        await dal.execute("ANALYZE")
        for _ in range(size.rounds):
            async with service(idle) as beside_nothing:
                nothing = await beside_nothing.cost(size.settle_seconds, size.watch_seconds)
            async with service(parked) as beside_many:
                many = await beside_many.cost(size.settle_seconds, size.watch_seconds)
                used = beside_many.cpu_seconds()
                seconds = await wake(dal, template, size.due)
                worked.values.append(beside_many.cpu_seconds() - used)
            more = many.resident - nothing.resident
            memory.values.append(more / MIB)
            each.values.append(more / size.asleep / 1024)
            share.values.append(many.share * 100)
            extra.values.append((many.share - nothing.share) * 100)
            woken.values.append(seconds[0])
            done.values.append(seconds[1])
    return [memory, each, share, extra, woken, done, worked]


def _figures(size: Size) -> tuple[Figure, ...]:
    asleep, due = f"{size.asleep:,} asleep", f"{size.due:,} due at once"
    return (
        Figure("W6", f"{asleep}, memory over idle", " MiB", target="<= 20 MiB"),
        Figure("W6", f"{asleep}, memory of each", " KiB", target="0"),
        Figure("W6", f"{asleep}, CPU", " %", target="<= 1 %"),
        Figure("W6", f"{asleep}, CPU over idle", " %"),
        Figure("W6", f"{due}, all woken", " s", target="<= 5 s"),
        Figure("W6", f"{due}, all completed", " s"),
        Figure("W6", f"{due}, CPU time of the service", " s"),
    )


async def park_one(dal: AsyncDAL, dsn: str) -> str:
    """Has an engine park an execution on its delay; returns its id."""
    async with engine_on(dal) as (engine, clock):
        world = World(dal, dsn, engine, clock)
        context = replace(
            await world.publish(SLEEPER),
            execution_id=str(uuid_utils.uuid7()),
            max_execution_seconds=30 * 86_400,
        )
        await engine.execute_workflow(context)
        await _answer(dal, PARKED, context.execution_id)
    return context.execution_id


async def copies_of(
    dal: AsyncDAL, template: str, number: int, wake_at: datetime | None = None
) -> list[str]:
    """Makes executions parked like `template`, to be woken when it is or at `wake_at`."""
    ids = [str(uuid_utils.uuid7()) for _ in range(number)]
    for first in range(0, number, 10_000):
        some = ids[first : first + 10_000]
        async with dal.transaction() as tx:
            await tx.execute(COPY_STEPS, template, some, wake_at)
            await tx.execute(COPY_EXECUTIONS, template, some, wake_at)
    return ids


async def wake(dal: AsyncDAL, template: str, number: int) -> tuple[float, float]:
    """Seconds from the moment at which so many are due until none of them waits, and until the
    last one has ended."""
    now: datetime = await dal.fetchval("SELECT clock_timestamp()")
    due = now + timedelta(seconds=3 + number / 2_000)
    ids = await copies_of(dal, template, number, due)
    assert await dal.fetchval("SELECT clock_timestamp() < $1", due), "making them took too long"
    woken = await _answer(dal, WOKEN, due)
    return woken, await _answer(dal, ENDED, due, ids, every_seconds=0.5)


async def _answer(
    dal: AsyncDAL, question: str, *arguments: object, every_seconds: float = 0.02
) -> float:
    """What a query gives as soon as it gives something."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in count():
            answer: float | None = await dal.fetchval(question, *arguments)
            if answer is not None:
                return answer
            await asyncio.sleep(every_seconds)
    raise AssertionError  # the loop has no end


async def database(world: World, name: str) -> str:
    """A migrated database of its own on the world's server; returns its URL."""
    await world.dal.execute(f"CREATE DATABASE {name}")
    dsn = urlunsplit(urlsplit(world.dsn)._replace(path=f"/{name}"))
    await migrate(dsn)
    return dsn
