"""W2: ten recorded steps, many executions, 64 in flight; ours over the bare journal."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import perf_counter

import uuid_utils

from bench.floors import BareJournal
from bench.measure import Figure, in_turn, ratios
from bench.world import World, chain
from engine.context import ExecutionContext

IN_FLIGHT = 64
STEPS = 10


async def run(world: World, rounds: int, executions: int) -> list[Figure]:
    """(a) pure steps and (b) effectful ones, each beside the bare journal that commits as often."""
    bare = BareJournal(world)
    await bare.open()
    pure = await world.publish(chain(STEPS, "data_variable_set"))
    effectful = await world.publish(chain(STEPS, "action_module"))

    async def ours_pure() -> float:
        return executions / await run_all(world, pure, executions)

    async def ours_effectful() -> float:
        return executions / 4 / await run_all(world, effectful, executions // 4)

    async def floor() -> float:
        return executions / await bare.run(pure, executions, STEPS + 1, IN_FLIGHT)

    async def strict() -> float:
        return executions / 4 / await bare.run_strict(pure, executions // 4, STEPS + 1, IN_FLIGHT)

    values = await in_turn(
        rounds, floor=floor, pure=ours_pure, strict=strict, effectful=ours_effectful
    )
    await bare.close()
    return [
        Figure("W2", "bare journal, executions", "/s", values["floor"]),
        Figure("W2a", "pure steps, executions", "/s", values["pure"]),
        Figure(
            "W2a", "of the bare journal", " x", ratios(values["pure"], values["floor"]), ">= 0.5"
        ),
        Figure("W2", "bare journal, step by step", "/s", values["strict"]),
        Figure("W2b", "effectful steps, executions", "/s", values["effectful"]),
        Figure(
            "W2b",
            "of the bare journal, step by step",
            " x",
            ratios(values["effectful"], values["strict"]),
            ">= 0.5",
        ),
    ]


async def run_all(
    world: World, template: ExecutionContext, executions: int, in_flight: int = IN_FLIGHT
) -> float:
    """Seconds for so many executions, `in_flight` at a time."""
    remaining = iter(range(executions))
    began = perf_counter()

    async def client() -> None:
        for _ in remaining:
            context = replace(
                template, execution_id=str(uuid_utils.uuid7()), created_at=world.clock.now()
            )
            await world.engine.execute_workflow(context)
            await world.engine.wait(context.execution_id, 60)

    await asyncio.gather(*(client() for _ in range(in_flight)))
    return perf_counter() - began
