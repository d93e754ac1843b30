"""Every crash point of some fixed workflows: stop at each flush, recover, compare.

For the n-th flush of a run, the worker is killed just before the database takes it, just after,
or lives on without an answer. Another worker then finishes the work, and the result must be that
of the run that nothing happened to.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import OutcomeUnknown
from engine.settings import EngineSettings
from simulation.authors import CHILDREN, ERROR_WORKFLOW, Author, Draft
from simulation.cluster import Cluster
from simulation.results import Result, Results
from simulation.run import in_virtual_time
from simulation.users import Errand, User
from simulation.workloads import WORKLOADS

Stop = Literal["before", "after", "unanswered"]
STOPS: tuple[Stop, ...] = ("before", "after", "unanswered")

WORKFLOW = "0190a000-0000-7000-8000-000000000001"
_PATIENCE = 120.0
_FAMILY_SEED = 4


@dataclass(slots=True)
class Point:
    """A flush to stop at: the `number`-th of all. `flushes` counts those that came."""

    number: int
    stop: Stop
    flushes: int = 0
    reached: bool = False


def sweep() -> tuple[int, list[str]]:
    """Runs every crash point of every workload. How many, and what went wrong."""
    problems: list[str] = []
    points = 0
    for name in WORKLOADS:
        count, wrong = sweep_one(name)
        points += count
        problems += wrong
    return points, problems


def sweep_one(name: str) -> tuple[int, list[str]]:
    """Every crash point of one workload. How many, and what went wrong."""
    draft = WORKLOADS[name]
    untouched = Point(0, "before")
    expected, charges = in_virtual_time(_run(draft, untouched), 0)
    problems = [f"{name}, untouched: {charge}" for charge in charges]
    points = 0
    for number in range(1, untouched.flushes + 1):
        for stop in STOPS:
            point = Point(number, stop)
            result, charges = in_virtual_time(_run(draft, point), 0)
            assert point.reached, f"{name} has no flush {number} any more"
            points += 1
            where = f"{name}, {stop} flush {number}"
            problems += [f"{where}: {charge}" for charge in charges]
            problems += _differences(where, result, expected)
    return points, problems


def _differences(where: str, result: Result | None, expected: Result | None) -> list[str]:
    if expected is None or result is None:
        return [f"{where}: it never ended"]
    if result.uncertain:
        return []  # An interrupted at_most_once call: that it happened once at most was checked.
    return [f"{where}: {each}" for each in result.differences(expected, loose=False)]


async def _run(draft: Draft, point: Point) -> tuple[Result | None, list[str]]:
    cluster = Cluster(random.Random(1), EngineSettings())
    cluster.publish({WORKFLOW: draft, **_family()})
    first = cluster.start()
    cluster.database.hook = _stopper(cluster, point, first.process.name)
    errand = Errand(number=5, workflow_id=WORKFLOW, at=0.2, keyed=True, twice=False)
    user = User(cluster, errand, cluster.graph(WORKFLOW))
    task = cluster.loop.create_task(user.run())
    await asyncio.wait([task], timeout=_PATIENCE)
    left = await cluster.quiet(cluster.loop.time() + _PATIENCE)
    result = None
    if errand.acknowledged is not None and not left:
        results = Results(cluster.tables)
        result = results.of(errand.acknowledged)
        for stored, _ in cluster.tables.rows():
            whole = cluster.tables.row(stored.context.execution_id)
            assert whole is not None
            cluster.witness.judge(whole)
            cluster.witness.judge_family(whole, results)
            cluster.witness.judge_effects(whole, cluster.outside)
    charges = [str(charge) for charge in cluster.witness.charges]
    await cluster.close()
    return result, charges


def _family() -> dict[str, Draft]:
    dice = random.Random(_FAMILY_SEED)
    small = [Author(dice, small=True).write() for _ in range(2)]
    return {
        CHILDREN[0]: small[0],
        CHILDREN[1]: small[1],
        CHILDREN[2]: Author(dice, small=True).write(fails=True),
        ERROR_WORKFLOW: Author(dice, small=True).write(),
    }


def _stopper(cluster: Cluster, point: Point, victim: str) -> Callable[..., Any]:
    """Stands between the database and its callers, and stops the victim at its flush."""

    def between(caller: str, name: str, perform: Callable[[], Any]) -> Any:
        if name != "flush" or caller != victim:
            return perform()
        point.flushes += 1
        if point.flushes != point.number:
            return perform()
        point.reached = True
        if point.stop == "before":
            _kill(cluster, victim)
            raise OutcomeUnknown("nobody hears this")
        answer = perform()
        if point.stop == "after":
            _kill(cluster, victim)
            return answer
        raise OutcomeUnknown("the answer is lost")

    return between


def _kill(cluster: Cluster, name: str) -> None:
    [server] = [each for each in cluster.servers if each.process.name == name]
    cluster.kill(server, back_after=0.3)
