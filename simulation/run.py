"""One seed: the same errands once without faults and once with them, and what is wrong after it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from engine.settings import EngineSettings
from simulation.authors import Draft, publications
from simulation.cluster import Cluster, Server
from simulation.faulty_store import Odds
from simulation.processes import ProcessLoop
from simulation.results import Result, Results
from simulation.users import Errand, User
from simulation.witness import Charge

T = TypeVar("T")

HORIZON = 30.0
"""Faults happen before this moment; everything must be over some time after it."""
PATIENCE = 300.0
LATEST = 15.0
"""When the last request has arrived, however slow."""
MOST_AFTER_A_KILL = 2.0
MOST_AFTER_A_FREEZE = 12.0
"""The lease, and 2 s."""
_GRACE_SECONDS = 3.0
STRIKES = (
    *("kill", "kill", "kill", "freeze", "freeze", "hiccup", "unlock", "drain"),
    "database_freeze",
)
STRIKES_ALONE = ("kill", "freeze")
"""What some seeds try once and with nothing else, so that its recovery can be timed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed stands for, apart from its faults."""

    seed: int
    drafts: dict[str, Draft]
    errands: list[Errand]
    room: int

    @classmethod
    def of(cls, seed: int) -> Plan:
        """The plan of a seed."""
        dice = random.Random(f"plan {seed}")
        drafts, roots = publications(dice, dice.choice([2, 3]))
        errands = [
            Errand(
                number=number,
                workflow_id=dice.choice(roots),
                at=dice.uniform(0.5, 18.0),
                keyed=dice.random() < 0.5,
                cancel_after=dice.uniform(0.0, 6.0) if dice.random() < 0.15 else None,
                twice=dice.random() < 0.3,
                pause_after=dice.uniform(0.0, 6.0) if dice.random() < 0.25 else None,
                community=dice.choice([1, 1, 2]),
            )
            for number in range(1, dice.choice([4, 6, 8]))
        ]
        return cls(seed, drafts, errands, dice.choice([2, 4, 200, 200]))

    def settings(self) -> EngineSettings:
        """How its engines behave."""
        return EngineSettings(
            max_concurrent_executions=self.room, shutdown_grace_seconds=_GRACE_SECONDS
        )


@dataclass(slots=True)
class Run:
    """A run that is over."""

    seed: int
    executions: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    charges: list[Charge] = field(default_factory=list)
    lost: int = 0
    wrong: int = 0
    repeated: int = 0
    refused: int = 0
    uncertain: int = 0
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)

    def trace(self) -> str:
        """A hash of all that happened."""
        return hashlib.sha256("\n".join(self.story).encode()).hexdigest()


def in_virtual_time(main: Coroutine[Any, Any, T], seed: int) -> T:
    """Runs a coroutine on a loop of processes. The journal's back-off draws from the module's
    dice, so those are set to the seed meanwhile."""
    before = random.getstate()
    random.seed(seed)
    try:
        with asyncio.Runner(loop_factory=ProcessLoop) as runner:
            return runner.run(main)
    finally:
        random.setstate(before)


def run_seed(seed: int) -> Run:
    """Runs a seed without faults and with them."""
    plan = Plan.of(seed)
    calm = in_virtual_time(_run(plan, None), seed)
    wild = in_virtual_time(_run(Plan.of(seed), calm), seed)
    if calm.charges:
        wild.charges = [Charge(f"calm {c.guarantee}", c.what) for c in calm.charges]
        wild.story = calm.story
    return wild


async def _run(plan: Plan, calm: Run | None) -> Run:
    """One run; with `calm`, under faults, and compared with that."""
    dice = random.Random(f"faults {plan.seed}")
    cluster = Cluster(dice, plan.settings())
    cluster.publish(plan.drafts)
    for _ in range(1 if calm is None else dice.choice([2, 2, 3])):
        cluster.start()
    users = [User(cluster, errand, cluster.graph(errand.workflow_id)) for errand in plan.errands]
    tasks = [cluster.loop.create_task(user.run()) for user in users]
    if calm is not None:
        await _misfortune(cluster)
    left = await _finish(cluster, users, tasks)
    run = _account(plan, cluster, left, calm)
    await cluster.close()
    return run


async def _finish(
    cluster: Cluster, users: list[User], tasks: list[asyncio.Task[None]]
) -> list[str]:
    until = cluster.loop.time() + PATIENCE
    _, stuck = await asyncio.wait(tasks, timeout=PATIENCE)
    for task in tasks:
        bug = None if task in stuck else task.exception()
        if bug is not None:
            cluster.witness.charge("no bug", f"a user was answered {bug!r}")
    if stuck:
        cluster.witness.charge("G11", f"{len(stuck)} users never got a clear answer")
    else:
        if any(user.errand.unclear for user in users):
            await asyncio.sleep(LATEST)  # Some of those may still be on their way.
        await asyncio.gather(*(user.remind() for user in users))
    return await cluster.quiet(until)


# Faults


async def _misfortune(cluster: Cluster) -> None:
    """Everything that goes wrong before the horizon."""
    dice, database, loop = cluster.dice, cluster.database, cluster.loop
    await asyncio.sleep(0.3)
    alone = dice.random() < 0.15
    if not alone and dice.random() < 0.85:
        database.odds = Odds(
            fails_before=dice.choice([0.0, 0.02, 0.1]),
            fails_after=dice.choice([0.0, 0.02, 0.1]),
            slow=dice.choice([0.0, 0.05, 0.3]),
            stuck=dice.choice([0.0, 0.0, 0.003, 0.02]),
            deaf=dice.choice([0.0, 0.3, 1.0]),
        )
    strikes = 1 if alone else dice.choice([0, 1, 2, 3, 4])
    for at in sorted(dice.uniform(0.5, HORIZON - 5.0) for _ in range(strikes)):
        await asyncio.sleep(max(at - loop.time(), 0.0))
        _strike(cluster, STRIKES_ALONE if alone else STRIKES)
    await asyncio.sleep(HORIZON - loop.time())
    database.odds = Odds()
    cluster.tell("no more faults")


def _strike(cluster: Cluster, kinds: tuple[str, ...]) -> None:
    dice = cluster.dice
    living = cluster.living()
    if not living:
        return
    server = dice.choice(living)
    kind = dice.choice(kinds)
    if kind == "kill":
        back = dice.uniform(0.1, 4.0)
        _lie_in_wait(cluster, server, lambda: cluster.kill(server, back_after=back))
    elif kind in ("freeze", "hiccup"):
        seconds = dice.uniform(10.5, 20.0) if kind == "freeze" else dice.uniform(0.1, 8.0)
        _lie_in_wait(cluster, server, lambda: cluster.freeze(server, seconds))
    elif kind == "unlock":
        cluster.unlock(server)
    elif kind == "drain":
        cluster.drain(server)
    else:
        cluster.freeze_database(dice.uniform(0.5, 7.0))


def _lie_in_wait(cluster: Cluster, server: Server, do: Callable[[], None]) -> None:
    """Lets it happen at one of the process' next awaits, or just after its next commit."""
    if cluster.dice.random() < 0.4:
        cluster.database.ambushes[server.process.name] = do
    else:
        server.process.strike_after(cluster.dice.randint(1, 120), do)


# Accounts


def _account(plan: Plan, cluster: Cluster, left: list[str], calm: Run | None) -> Run:
    witness, results = cluster.witness, Results(cluster.tables)
    run = Run(plan.seed, executions=len(cluster.tables.rows()), story=list(cluster.lines))
    run.lost = len(left)
    for execution_id in left:
        witness.charge("G1", f"{execution_id} never ended")
    for stored, _ in cluster.tables.rows():
        whole = cluster.tables.row(stored.context.execution_id)
        if whole is not None and whole.progress.status.terminal:
            witness.judge(whole)
            witness.judge_family(whole, results)
            witness.judge_effects(whole, cluster.outside)
    if not left:
        for errand in plan.errands:
            _judge_errand(plan, cluster, results, errand, run, calm)
    run.repeated = sum(times - 1 for times in cluster.outside.done.values() if times > 1)
    disturbed = any(log.lost for log in cluster.logs) or any(
        cluster.strikes.get(kind) for kind in ("kill", "freeze", "unlock", "drain")
    )
    if run.repeated and not disturbed:
        witness.charge("G4", f"{run.repeated} effects were repeated, though no worker was lost")
    faults = {*cluster.database.faults, *cluster.strikes}
    if faults == {"kill"} and cluster.strikes["kill"] == 1:
        _judge_recovery(cluster, "kill", MOST_AFTER_A_KILL)
    if faults == {"freeze"} and cluster.strikes["freeze"] == 1:
        _judge_recovery(cluster, "freeze", MOST_AFTER_A_FREEZE)
    run.charges = list(witness.charges)
    run.refused = witness.refused
    run.recoveries = witness.recoveries
    run.faults = Counter(cluster.database.faults) + Counter(cluster.strikes)
    return run


def _judge_recovery(cluster: Cluster, fault: str, most: float) -> None:
    """Where nothing else went wrong, what a worker held goes on elsewhere in time."""
    for seconds in cluster.witness.recoveries[fault]:
        if seconds > most:
            cluster.witness.charge("G6", f"after a {fault} it took {seconds:.2f} s to go on")


def _judge_errand(
    plan: Plan, cluster: Cluster, results: Results, errand: Errand, run: Run, calm: Run | None
) -> None:
    for execution_id in errand.refused:
        if cluster.tables.row(execution_id) is not None:
            cluster.witness.charge("G11", f"{execution_id} was refused and is there all the same")
    for execution_id in errand.executions():
        if cluster.tables.row(execution_id) is None:
            if execution_id == errand.acknowledged:
                run.lost += 1
                cluster.witness.charge("G1", f"{execution_id} was accepted and is gone")
            continue
        result = results.of(execution_id)
        if execution_id == errand.acknowledged:
            run.results[errand.number] = result
        if calm is not None:
            _compare(plan, cluster, execution_id, errand, result, run, calm)


def _compare(
    plan: Plan,
    cluster: Cluster,
    execution_id: str,
    errand: Errand,
    result: Result,
    run: Run,
    calm: Run,
) -> None:
    if errand.cancelled and execution_id == errand.acknowledged:
        if result.row["status"] != "cancelled":
            cluster.witness.charge("G8", f"{execution_id} was cancelled and {result.row}")
        return
    if errand.asked_to_cancel and result.row["status"] == "cancelled":
        return  # The answer was lost, and then it was too late for another.
    expected = calm.results.get(errand.number)
    if expected is None or expected.row["status"] == "cancelled":
        return
    if result.uncertain:
        run.uncertain += 1
        return
    loose = plan.drafts[errand.workflow_id].loose
    for difference in result.differences(expected, loose=loose):
        run.wrong += 1
        cluster.witness.charge("G3", f"{execution_id} {difference}")
