"""The simulation finds nothing; and where a guarantee is taken away, it does find that.

A seed that fails tells its story; `python -m simulation --from SEED --seeds 1` tells it again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from engine import engine as engine_module
from engine.context import ExecutionStatus, JsonObject
from engine.errors import StoreUnavailable
from engine.journal import Journal
from engine.mailbox import Mailbox
from engine.memory_store import MemoryStore
from engine.ports import Room
from engine.records import Batch, Progress, StoredExecution
from engine.runner import Runner
from engine.session import Session
from engine.worker import Worker
from simulation.report import Report, story
from simulation.run import Run, run_seed
from simulation.sweep import sweep_one
from simulation.virtual_time import simulate
from simulation.workloads import WORKLOADS
from tests.engine.world import World, document

BATCHES = 12
SEEDS_PER_BATCH = 6
SABOTAGED_SEEDS = 40
SEEDS_WITH_EVERYTHING = 16

WAITS: JsonObject = {"node_type": "action_webhook", "url": "https://slow.example/"}

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_whatever_befalls_the_processes_and_the_store_every_promise_is_kept(batch: int) -> None:
    report = Report()
    for seed in range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH):
        run = run_seed(seed)
        report.add(run)
        assert not run.charges, story(run)
    summary = report.as_json()
    assert summary["executions"] > SEEDS_PER_BATCH
    assert summary["faults"], "nothing went wrong in any of these seeds"
    assert summary["lost"] == summary["wrong"] == 0


def test_every_kind_of_fault_happens_in_a_few_seeds() -> None:
    report = Report()
    for seed in range(SEEDS_WITH_EVERYTHING):
        report.add(run_seed(seed))
    found = report.as_json()
    assert {"kill", "freeze", "hiccup", "unlock", "drain", "database_freeze"} <= set(
        found["faults"]
    )
    assert {"fails_before", "fails_after", "slow", "notification_lost"} <= set(found["faults"])
    assert found["zombie_writes_refused"] > 0
    assert found["recovery_seconds"]["kill"]["n"] > 0
    assert found["recovery_seconds"]["freeze"]["n"] > 0


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_worker_may_stop_at_any_flush(name: str) -> None:
    points, problems = sweep_one(name)
    assert points >= 6
    assert not problems, "\n".join(problems)


def test_a_seed_replays_its_run_exactly() -> None:
    first, second = run_seed(7), run_seed(7)
    assert first.story
    assert first.trace() == second.trace()
    assert run_seed(8).trace() != first.trace()


def test_a_seed_replays_its_run_in_another_process_with_other_hashes() -> None:
    script = "from simulation.run import run_seed; print(run_seed(6).trace())"
    traces = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert traces == {run_seed(6).trace() + "\n"}


def test_the_command_prints_a_report() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "--seeds", "2", "--from", "3", "--no-sweep"],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert report["seeds"] == 2
    assert report["failing_seeds"] == []
    assert {"executions", "faults", "lost", "wrong", "repeated_effects"} <= set(report)
    assert {"kill", "freeze"} == set(report["recovery_seconds"])


def test_a_released_execution_that_is_cancelled_ends_after_its_last_record() -> None:
    """What a few seeds find: a drain, and a cancellation before anybody else claims."""

    async def scenario() -> StoredExecution:
        world = World(shutdown_grace_seconds=0.0)
        world.outside.answers["https://slow.example/"] = world.gate.wait_for_it
        raw = document({"a": WAITS, "b": WAITS}, "start -> a", "start -> b")
        await world.engine.start()
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        await world.turn()
        await world.engine.shutdown()
        await world.store.request_cancel(context.execution_id)
        stored = await world.store.load(context.execution_id)
        assert stored is not None
        return stored

    stored = simulate(scenario())
    assert stored.progress.status is ExecutionStatus.CANCELLED
    assert stored.progress.last_seq == stored.steps[-1].seq + 1


def test_a_late_flush_does_not_take_an_execution_from_the_worker_that_claimed_it_since() -> None:
    """What few seeds find: the database freezes, a flush is repeated, and both are done."""

    async def scenario() -> dict[str, int]:
        world = World()
        context = await world.context(document({"a": WAITS}, "start -> a"))
        key, now = context.execution_id, world.clock.now()
        born = Progress(key, ExecutionStatus.RUNNING, start_time=now, held=True)
        parked = Progress(key, ExecutionStatus.WAITING, start_time=now, wake_at=now)
        await world.store.register("w", "worker", 10)
        await world.store.flush("w", Batch(created={key: (context, born)}))
        await world.store.flush("w", Batch(updates={key: parked}))
        [claimed] = await world.store.claim("w", Room(1))
        assert claimed.context.execution_id == key
        await world.store.flush("w", Batch(updates={key: parked}))
        return await world.store.held("w")

    assert len(simulate(scenario())) == 1


# The simulation is not blind: without a guarantee it finds a seed that breaks it.


def without_the_fence(patch: pytest.MonkeyPatch) -> None:
    """A dead worker may write."""
    flush, alive = MemoryStore.flush, MemoryStore._alive
    flushing: list[bool] = []

    async def unfenced(self: MemoryStore, worker_id: str, batch: Batch) -> None:
        flushing.append(True)
        try:
            await flush(self, worker_id, batch)
        finally:
            flushing.pop()

    patch.setattr(MemoryStore, "flush", unfenced)
    patch.setattr(MemoryStore, "_alive", lambda s, w: bool(flushing) or alive(s, w))


def with_an_answer_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """202 while the execution is still on its way."""

    async def at_once(*_: Any) -> None:
        return

    patch.setattr(engine_module.WorkflowEngine, "_durable", at_once)


def without_output_commit(patch: pytest.MonkeyPatch) -> None:
    """An effect starts before what it depends on is durable."""
    attempt = Runner._attempt

    async def hasty(self: Runner, step: Any, given: Any, depends_on: int) -> None:
        await attempt(self, step, given, 0)

    patch.setattr(Runner, "_attempt", hasty)


def without_a_look_at_the_letters_on_parking(patch: pytest.MonkeyPatch) -> None:
    """An execution that parks is not woken by a letter that came meanwhile."""
    flush, wake = MemoryStore.flush, MemoryStore._wake_if_unread
    flushing: list[bool] = []

    async def deaf(self: MemoryStore, worker_id: str, batch: Batch) -> None:
        flushing.append(True)
        try:
            await flush(self, worker_id, batch)
        finally:
            flushing.pop()

    patch.setattr(MemoryStore, "flush", deaf)
    patch.setattr(MemoryStore, "_wake_if_unread", lambda s, r: None if flushing else wake(s, r))


def with_a_record_missing_from_the_replay(patch: pytest.MonkeyPatch) -> None:
    """Whoever takes an execution over does not see its last record."""
    claim = MemoryStore.claim

    async def forgetful(self: MemoryStore, worker_id: str, limit: int) -> list[StoredExecution]:
        claimed = await claim(self, worker_id, limit)
        for stored in claimed:
            del stored.steps[-1:]
        return claimed

    patch.setattr(MemoryStore, "claim", forgetful)


def without_a_deadline_for_effects(patch: pytest.MonkeyPatch) -> None:
    """A worker that was frozen beyond its lease starts effects when it wakes."""
    patch.setattr(Session, "_may_act", lambda self: True)


def with_an_intent_that_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """An interrupted at_most_once effect is tried again."""
    patch.setattr(Runner, "_interrupted", lambda self, step: self._ready.append(step))


def with_letters_read_twice(patch: pytest.MonkeyPatch) -> None:
    """A letter that a record names already can be taken once more."""
    patch.setattr(Mailbox, "add", _adds_everything)


def _adds_everything(self: Mailbox, letters: Any) -> None:
    for letter in letters:
        self._known.add(letter.letter_id)
        self._unread[letter.letter_id] = letter


def with_a_flush_that_is_not_repeated(patch: pytest.MonkeyPatch) -> None:
    """The journal takes a batch for written that was refused."""
    write = Journal._write

    async def once(self: Journal, batch: Batch) -> None:
        try:
            await write(self, batch)
        except StoreUnavailable:
            return

    patch.setattr(Journal, "_write", once)


def without_a_sweeper(patch: pytest.MonkeyPatch) -> None:
    """Nobody declares dead workers dead."""

    async def idle(self: Worker) -> None:
        return

    patch.setattr(Worker, "sweep", idle)


def with_cancellations_that_nobody_obeys(patch: pytest.MonkeyPatch) -> None:
    """A cancellation is confirmed, and the execution goes on."""

    async def lie(self: engine_module.WorkflowEngine, execution_id: str) -> Any:
        return self._clock.now()

    patch.setattr(engine_module.WorkflowEngine, "cancel_execution", lie)


SABOTAGES: list[Break] = [
    without_the_fence,
    with_an_answer_before_the_commit,
    without_output_commit,
    without_a_look_at_the_letters_on_parking,
    with_a_record_missing_from_the_replay,
    without_a_deadline_for_effects,
    with_an_intent_that_is_forgotten,
    with_letters_read_twice,
    with_a_flush_that_is_not_repeated,
    without_a_sweeper,
    with_cancellations_that_nobody_obeys,
]


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda s: s.__name__)
def test_a_broken_guarantee_is_found(sabotage: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch)
    assert first_failing(SABOTAGED_SEEDS) is not None, f"nobody noticed: {sabotage.__doc__}"


def first_failing(seeds: int) -> Run | None:
    return next((run for run in map(run_seed, range(seeds)) if run.charges), None)
