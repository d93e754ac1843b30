"""W4: many light steps side by side, then a merge; beside one flush of the same rows.

Engine time is the CPU time of this process, in which there is the engine and nothing else: the
fold, the expressions, the JSON and what it takes to hand the rows to PostgreSQL. A step must cost
the same however many stand beside it. Effectful steps run a hundred at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter, process_time

import uuid_utils

from bench.floors import BareJournal
from bench.measure import Figure, in_turn, ratios
from bench.world import World, engine_on, fan
from engine.context import ExecutionContext, ExecutionStatus
from engine.records import Batch
from models.execution_store import PostgresExecutionStore

WIDTHS = (200, 2_000)
KINDS = {"pure": "data_variable_set", "effectful": "action_module"}
PATIENCE_SECONDS = 120


class CountedStore(PostgresExecutionStore):
    """The store, which counts its flushes."""

    flushes = 0

    async def flush(self, worker_id: str, batch: Batch) -> None:
        self.flushes += 1
        await super().flush(worker_id, batch)


@dataclass(slots=True)
class Fan:
    """A workflow of some width, and what its executions have cost so far, one value a round."""

    width: int
    template: ExecutionContext
    cpu_microseconds: list[float] = field(default_factory=list)
    flushes: list[float] = field(default_factory=list)


async def run(world: World, rounds: int, widths: tuple[int, ...] = WIDTHS) -> list[Figure]:
    """Engine time a step and flushes of each kind and width; the time over that of one flush."""
    store = CountedStore(world.dal)
    bare = BareJournal(world)
    await bare.open()
    async with engine_on(world.dal, store) as (engine, clock):
        inner = World(world.dal, world.dsn, engine, clock)
        fans = {
            f"{kind}{width}": Fan(width, await inner.publish(fan(width, node_type)))
            for kind, node_type in KINDS.items()
            for width in widths
        }
        measured = {name: partial(_milliseconds, inner, store, one) for name, one in fans.items()}
        floors = {
            f"flush{width}": partial(_flush_milliseconds, bare, fans[f"pure{width}"])
            for width in widths
        }
        values = await in_turn(rounds, **floors, **measured)
    await bare.close()
    return _figures(fans, values, widths)


async def _milliseconds(world: World, store: CountedStore, one: Fan) -> float:
    context = replace(
        one.template, execution_id=str(uuid_utils.uuid7()), created_at=world.clock.now()
    )
    flushed, used, began = store.flushes, process_time(), perf_counter()
    await world.engine.execute_workflow(context)
    assert await world.engine.wait(context.execution_id, PATIENCE_SECONDS)
    took = 1000 * (perf_counter() - began)
    one.cpu_microseconds.append(1e6 * (process_time() - used) / one.width)
    one.flushes.append(store.flushes - flushed)
    assert await store.status(context.execution_id) is ExecutionStatus.COMPLETED
    return took


async def _flush_milliseconds(bare: BareJournal, one: Fan) -> float:
    return 1000 * await bare.one_flush(one.template, one.width + 3)


def _figures(
    fans: dict[str, Fan], values: dict[str, list[float]], widths: tuple[int, ...]
) -> list[Figure]:
    figures = []
    for kind in KINDS:
        for width in widths:
            one, took = fans[f"{kind}{width}"], values[f"{kind}{width}"]
            what, flush = f"{width:,} {kind} steps", values[f"flush{width}"]
            # As for the time, the first round was to warm up.
            cpu, flushes = one.cpu_microseconds[1:], one.flushes[1:]
            figures += [
                Figure("W4", what, "ms", took),
                Figure("W4", f"{what}, over one flush of their rows", " x", ratios(took, flush)),
                Figure("W4", f"{what}, engine time a step", " µs", cpu, "<= 100 µs"),
                Figure("W4", f"{what}, flushes", "", flushes),
            ]
        narrow, wide = fans[f"{kind}{widths[0]}"], fans[f"{kind}{widths[-1]}"]
        grown = ratios(wide.cpu_microseconds[1:], narrow.cpu_microseconds[1:])
        what = f"{kind}, engine time at {widths[-1]:,} over {widths[0]:,}"
        figures.append(Figure("W4", what, " x", grown, "0.7 to 1.3"))
    return figures
