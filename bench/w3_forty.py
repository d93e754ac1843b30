"""W3: one execution of forty steps in a row, beside single commits."""

from __future__ import annotations

from dataclasses import replace

import uuid_utils

from bench.floors import BareJournal
from bench.measure import Figure, in_turn, ratios, seconds
from bench.world import World, chain
from engine.context import ExecutionContext

STEPS = 40


async def run(world: World, rounds: int) -> list[Figure]:
    """Pure and effectful, each against the commits it may cost."""
    bare = BareJournal(world)
    await bare.open()
    pure = await world.publish(chain(STEPS, "data_variable_set"))
    effectful = await world.publish(chain(STEPS, "action_module"))

    async def commit() -> float:
        return 1000 * sum([await bare.one_step_commit() for _ in range(STEPS)]) / STEPS

    async def ours(template: ExecutionContext) -> float:
        context = replace(
            template, execution_id=str(uuid_utils.uuid7()), created_at=world.clock.now()
        )
        return 1000 * await seconds(_to_the_end(world, context))

    values = await in_turn(
        rounds,
        commit=commit,
        pure=lambda: ours(pure),
        effectful=lambda: ours(effectful),
    )
    await bare.close()
    forty = [STEPS * value for value in values["commit"]]
    three = [3 * value + 5 for value in values["commit"]]
    return [
        Figure("W3", "one commit of a step", "ms", values["commit"]),
        Figure("W3", "forty pure steps", "ms", values["pure"]),
        Figure("W3", "pure over 3 commits + 5 ms", " x", ratios(values["pure"], three), "<= 1"),
        Figure("W3", "forty effectful steps", "ms", values["effectful"]),
        Figure(
            "W3", "effectful over forty commits", " x", ratios(values["effectful"], forty), "<= 1.5"
        ),
    ]


async def _to_the_end(world: World, context: ExecutionContext) -> None:
    await world.engine.execute_workflow(context)
    await world.engine.wait(context.execution_id, 60)
