"""One run: start everything, break it under load, let it mend, and judge.

Its one rule: everything that was started is stopped, however the run ends.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from chaos.check import ENDED, Judge, Result, Run, Verdict, read
from chaos.cluster import LEASE_SECONDS, Member, members
from chaos.database import Database
from chaos.faults import Blow, Breaker, Fault
from chaos.load import Load, publish, run_once
from chaos.promises import Promises
from chaos.recovery import alone, quantiles, recoveries
from chaos.sink import Sink, sink
from chaos.watch import SETTING, LateWrites, install, late_writes
from chaos.workflows import NUMBERS, Workload, with_ids, workloads
from config import Config
from engine.context import JsonObject
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService, NewKey
from services.bootstrap import FIRST_USER
from services.caller import ADMIN
from services.clock import SystemClock, new_id

CALLERS = 4
STOP_SECONDS = 20.0

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
    promises: Promises
    faults: dict[str, int]
    zombies: int
    late: LateWrites
    verdict: Verdict
    recovery: dict[str, list[float]] = field(default_factory=dict)
    recovery_alone: dict[str, list[float]] = field(default_factory=dict)
    """Of the blows that came with no other fault around them."""

    @property
    def passed(self) -> bool:
        """Whether nothing was lost and nothing was wrong."""
        return not (self.verdict.lost or self.verdict.wrong)

    def as_json(self) -> JsonObject:
        """The report as it is printed."""
        return {
            "seed": self.plan.seed,
            "minutes": round(self.plan.seconds / 60, 2),
            "processes": self.plan.processes,
            "lease_seconds": LEASE_SECONDS,
            "version": Config().module_version,
            "executions": self.executions,
            "acknowledged": len(self.promises.acknowledged),
            "keys": len(self.promises.keyed),
            "cancelled": len(self.promises.cancelled),
            "signals": self.promises.signals,
            "answers": dict(sorted(self.promises.answers.items())),
            "faults": self.faults,
            "zombies": self.zombies,
            "late_writes_attempted": self.late.attempted,
            "late_writes_refused": self.late.refused,
            "lost": self.verdict.lost,
            "wrong": self.verdict.wrong,
            "repeated_effects": self.verdict.repeated_effects,
            "recovery_seconds": _both(self.recovery),
            "recovery_seconds_alone": _both(self.recovery_alone),
        }


async def run(plan: Plan) -> Report:
    """Carries the plan out. What the service has printed is kept when something is wrong."""
    home = Path(tempfile.mkdtemp(prefix="chaos-"))
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(sink(plan.seed))
        database = await Database.join(home / "data")
        stack.push_async_callback(database.stop)
        await install(database)
        service = members(plan.processes, home, lambda port: database.url(SETTING, port))
        async with _running(service):
            report = await _run(plan, world, database, service)
    _look_at(service, report.verdict)
    if report.passed:
        shutil.rmtree(home)
    else:
        report.verdict.problems.append(f"what the service printed is in {home}")
    return report


@asynccontextmanager
async def _running(service: list[Member]) -> AsyncIterator[None]:
    try:
        await asyncio.gather(*(member.start() for member in service))
        yield
    finally:
        await asyncio.gather(*(member.stop(STOP_SECONDS) for member in service))


async def _run(plan: Plan, world: Sink, database: Database, service: list[Member]) -> Report:
    key = await make_key(database)
    judge = await _without_faults(key, world, database, service[0])
    targets = [(workload, name) for name, workload in judge.workloads.items()]
    load = Load(key, targets, plan.patience)
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
    left_out = _waiting(judge, runs, load.promises)
    late = await late_writes(database)
    return Report(
        plan,
        executions=len(runs),
        promises=load.promises,
        faults=dict(sorted(breaker.done.items())),
        zombies=breaker.zombies,
        late=late,
        verdict=_judged(judge, runs, load, world, late, breaker.blows),
        recovery=recoveries(runs, breaker.blows, left_out),
        recovery_alone=recoveries(runs, alone(breaker.blows, breaker.moments), left_out),
    )


def _both(recovery: dict[str, list[float]]) -> JsonObject:
    return {kind: quantiles(recovery.get(kind, [])) for kind in ("kill", "freeze")}


def _judged(
    judge: Judge,
    runs: dict[str, Run],
    load: Load,
    world: Sink,
    late: LateWrites,
    blows: list[Blow],
) -> Verdict:
    verdict = judge.judge(runs, load.promises, world.calls, blows)
    if late.attempted > late.refused:
        count = late.attempted - late.refused
        verdict.blame(f"{count} of {late.attempted} late writes got through")
    return verdict


def _waiting(judge: Judge, runs: dict[str, Run], promises: Promises) -> set[str]:
    """The executions that may wait for something else than a process."""
    idle = {name for name, workload in judge.workloads.items() if workload.waits}
    return promises.paused | {run.execution_id for run in runs.values() if run.workflow_id in idle}


async def make_key(database: Database) -> str:
    """An API key that may do everything."""
    async with AsyncDAL(database.server.dsn, min_size=1, max_size=2) as dal:
        keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
        made = await keys.create(NewKey(FIRST_USER, "chaos", [ADMIN]))
    return made.secret


def _look_at(service: list[Member], verdict: Verdict) -> None:
    for member in service:
        for status in member.exits:
            verdict.blame(f"process {member.number} ended with status {status}")
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
        started = (
            run_once(http, member, name, n, workload.signals)
            for name, workload in known.items()
            for n in NUMBERS
        )
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
