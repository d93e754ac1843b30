"""One run: start everything, break it under load, let it mend, and judge.

Its one rule: everything that was started is stopped, however the run ends.
"""

from __future__ import annotations

import asyncio
import math
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from chaos.check import ENDED, Judge, Result, Verdict, read, recoveries
from chaos.cluster import Member, members
from chaos.database import Database
from chaos.faults import Breaker, Fault
from chaos.load import Load, publish, run_once
from chaos.sink import Sink, sink
from chaos.workflows import NUMBERS, Workload, with_ids, workloads
from engine.context import JsonObject

KEY_FILE = "api-key"
CALLERS = 4

_OPEN = """
SELECT count(*) AS open FROM workflow_executions
 WHERE workflow_id = ANY($1::uuid[]) AND status <> ALL($2::text[])
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: `faults` while `seconds` of load last, on so many `processes`, each of the
    callers resting `pause` seconds on average; then `patience` seconds to let everything end."""

    seed: int
    seconds: float
    faults: list[Fault]
    processes: int = 3
    pause: float = 0.25
    patience: float = 90.0


@dataclass(slots=True)
class Report:
    """What a run found."""

    plan: Plan
    executions: int
    acknowledged: int
    faults: dict[str, int]
    verdict: Verdict
    recovery: list[float]
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing was lost and nothing was wrong."""
        return not (self.verdict.lost or self.verdict.wrong)

    def as_json(self) -> JsonObject:
        """The report as it is printed."""
        return {
            "seed": self.plan.seed,
            "minutes": round(self.plan.seconds / 60, 2),
            "executions": self.executions,
            "acknowledged": self.acknowledged,
            "answers": self.answers,
            "faults": self.faults,
            "lost": self.verdict.lost,
            "wrong": self.verdict.wrong,
            "repeated_effects": self.verdict.repeated_effects,
            "recoveries": len(self.recovery),
            "recovery_p50_seconds": _percentile(self.recovery, 0.50),
            "recovery_p99_seconds": _percentile(self.recovery, 0.99),
        }


async def run(plan: Plan) -> Report:
    """Carries the plan out. What the service has printed is kept when something is wrong."""
    home = Path(tempfile.mkdtemp(prefix="chaos-"))
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(sink(plan.seed))
        database = await Database.join(home / "data")
        stack.push_async_callback(database.stop)
        service = members(plan.processes, home)
        await stack.enter_async_context(_running(service))
        report = await _run(plan, world, database, service, home)
    if report.passed:
        shutil.rmtree(home)
    else:
        report.verdict.problems.append(f"what the service printed is in {home}")
    return report


@asynccontextmanager
async def _running(service: list[Member]) -> AsyncIterator[None]:
    try:
        await service[0].start()  # it migrates the database and makes the key
        await asyncio.gather(*(member.start() for member in service[1:]))
        yield
    finally:
        await asyncio.gather(*(member.stop(10) for member in service))


async def _run(
    plan: Plan, world: Sink, database: Database, service: list[Member], home: Path
) -> Report:
    key = (home / "data" / KEY_FILE).read_text().strip()
    judge = await _without_faults(key, world, database, service[0])
    load = Load(key, [(workload, name) for name, workload in judge.workloads.items()])
    breaker = Breaker(service, database)
    callers = (
        load.run(service, random.Random(f"{plan.seed} {n}"), plan.seconds, plan.pause)
        for n in range(CALLERS)
    )
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(breaker.run(plan.faults))
            for caller in callers:
                group.create_task(caller)
        await breaker.mend()
        await _settled(database, judge, plan.patience, breaker)
    finally:
        await breaker.close()
    runs = await read(database, judge.workloads)
    verdict = judge.judge(runs, load.acknowledged, world.calls)
    _look_at(service, verdict)
    return Report(
        plan,
        executions=len(runs),
        acknowledged=len(load.acknowledged),
        faults=dict(sorted(breaker.done.items())),
        verdict=verdict,
        recovery=recoveries(runs, breaker.kills),
        answers=dict(sorted(load.answers.items())),
    )


def _look_at(service: list[Member], verdict: Verdict) -> None:
    for member in service:
        for status in member.exits:
            verdict.blame(f"process {member.number} ended by itself with status {status}")
        if count := member.tracebacks():
            verdict.blame(f"process {member.number} printed {count} tracebacks")


async def _without_faults(key: str, world: Sink, database: Database, member: Member) -> Judge:
    """Publishes the workflows, and runs each once with each `n` to learn what is right."""
    known: dict[str, Workload] = {}
    async with aiohttp.ClientSession(headers={"X-API-Key": key}) as http:
        for workload in workloads(world.url):
            ids = {each.name: workflow_id for workflow_id, each in known.items()}
            document = with_ids(workload.document, ids)
            known[await publish(http, member, document)] = workload
        started = (run_once(http, member, name, n) for name in known for n in NUMBERS)
        await asyncio.gather(*started)
    expected: dict[tuple[str, int], Result] = {}
    for first in (await read(database, known)).values():
        if first.status != "completed" or first.defects:
            raise RuntimeError(f"wrong without any fault: {first.facts} {first.defects}")
        expected[first.workflow_id, first.n] = first.result
    return Judge(known, expected)


async def _settled(database: Database, judge: Judge, patience: float, breaker: Breaker) -> None:
    """Returns once nothing is open any more, or after `patience` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while loop.time() < deadline:
        breaker.revive()
        (row,) = await database.fetch(_OPEN, list(judge.workloads), sorted(ENDED))
        if row["open"] == 0:
            return
        await asyncio.sleep(0.25)


def _percentile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)
