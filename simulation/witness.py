"""Who sees everything that happens, and says which promise it breaks.

Its one rule: it believes the tables and the outside, never what an engine says about itself. Each
charge names the guarantee it breaks.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from engine.context import ExecutionStatus, Json, Kind, Limits
from engine.graph import Graph, compile_graph
from engine.records import Batch, StepRow, StoredExecution, json_bytes, outcome_of
from engine.state import ExecutionState
from simulation.faulty_store import FaultyStore, Tables, finished
from simulation.outside import NOTHING_SEEN, Outside
from simulation.processes import Process
from simulation.results import Results

LIVE = (ExecutionStatus.RUNNING, ExecutionStatus.WAITING, ExecutionStatus.PAUSED)


@dataclass(frozen=True, slots=True)
class Charge:
    """A broken promise."""

    guarantee: str
    what: str

    def __str__(self) -> str:
        return f"{self.guarantee}: {self.what}"


@dataclass(slots=True)
class Takeover:
    """An execution whose worker was struck, until another one goes on with it."""

    execution_id: str
    fault: str
    at: float
    worker_id: str


@dataclass(slots=True)
class Seen:
    """What the witness remembers of one execution."""

    ended: StoredExecution | None = None
    records: dict[int, StepRow] = field(default_factory=dict)


class Witness:
    """Watches the tables (as `Database.watch`) and the outside (`began`)."""

    def __init__(self, tables: Tables) -> None:
        self.charges: list[Charge] = []
        self.recoveries: dict[str, list[float]] = {"kill": [], "freeze": []}
        self.refused = 0
        """How many writes of zombies the fence refused."""
        self.cancelled: dict[str, float] = {}
        """When the cancellation of an execution was acknowledged."""
        self._tables = tables
        self._stores: dict[str, FaultyStore] = {}
        self._graphs: dict[tuple[str, int], Graph] = {}
        self._seen: dict[str, Seen] = {}
        self._open: dict[str, Takeover] = {}
        self._excused: set[str] = set()
        self._zombie = False
        """Whether the worker of the flush that is being performed is dead."""

    def meet(self, process: Process, store: FaultyStore) -> None:
        """Introduces a process."""
        self._stores[process.name] = store

    def excuse(self, worker_id: str) -> None:
        """This worker lost its lock although it lives: it may act until it hears of it."""
        self._excused.add(worker_id)

    def charge(self, guarantee: str, what: str) -> None:
        """Something is wrong."""
        at = asyncio.get_running_loop().time()
        self.charges.append(Charge(guarantee, f"{what} (at {at:.3f})"))

    # Recovery

    def struck(self, fault: str, worker_ids: list[str]) -> None:
        """Workers were killed or frozen: what they hold must go on elsewhere."""
        now = asyncio.get_running_loop().time()
        for stored, holder in self._tables.rows():
            key = stored.context.execution_id
            if holder is not None and holder in worker_ids and key not in self._open:
                self._open[key] = Takeover(key, fault, now, holder)

    # The tables

    def before(self, name: str, arguments: tuple[Any, ...]) -> None:
        """A call is about to be performed."""
        if name == "flush":
            self._flushing(*arguments)

    def after(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """A call was performed: whatever has ended must stay as it is."""
        for stored, holder in self._tables.rows():
            key = stored.context.execution_id
            seen = self._seen.setdefault(key, Seen())
            self._ends_once(key, seen, stored, holder)
            takeover = self._open.get(key)
            if takeover is not None and holder != takeover.worker_id:
                self._recovered(takeover, stored, holder)
        self._limits_hold()
        if name == "flush":
            self._flushed(*arguments)

    def _limits_hold(self) -> None:
        live: Counter[str] = Counter()
        for stored, _ in self._tables.rows():
            most, workflow_id = stored.context.max_parallel_executions, stored.context.workflow_id
            unborn = stored.progress.start_time is None  # paused before it had started
            if most is not None and stored.progress.status in LIVE and not unborn:
                live[workflow_id] += 1
                if live[workflow_id] > most:
                    self.charge("limits", f"more than {most} executions of {workflow_id} live")

    def _ends_once(self, key: str, seen: Seen, stored: StoredExecution, holder: str | None) -> None:
        progress = stored.progress
        if seen.ended is not None and progress != seen.ended.progress:
            was = seen.ended.progress.status
            self.charge("G3", f"{key} had ended {was} and is now {progress.status}")
        if seen.ended is None and progress.status.terminal:
            seen.ended = stored
            if holder is not None:
                self.charge("G3", f"{key} has ended and is still held")

    def _recovered(self, takeover: Takeover, stored: StoredExecution, holder: str | None) -> None:
        """Free is not enough: somebody must have taken it, unless it ended or waits."""
        if holder is None and stored.progress.status is ExecutionStatus.PENDING:
            return
        del self._open[takeover.execution_id]
        now = asyncio.get_running_loop().time()
        self.recoveries[takeover.fault].append(now - takeover.at)

    def _flushing(self, worker_id: str, batch: Batch) -> None:
        """A record must never stand beside another one of its number, and only whoever holds an
        execution may write of it."""
        self._zombie = not self._tables.lives(worker_id)
        if self._zombie:
            self.refused += 1
            return
        for row in batch.steps:
            there = self._tables.record(row.execution_id, row.seq)
            key = f"{row.execution_id}#{row.seq} {row.step_key}"
            if there is None:
                holder = self._tables.holder(row.execution_id)
                born = row.execution_id in batch.created and holder is None
                if holder != worker_id and not born:
                    self.charge("G5", f"{worker_id} writes {key}, which {holder} holds")
            elif _differs(there, row):
                self.charge("G3", f"{key} is written twice: {there.step_key} {there.kind} before")

    def _flushed(self, worker_id: str, batch: Batch) -> None:
        if self._zombie:
            self.charge("G5", f"{worker_id} is dead, and its flush was accepted")
        for row in batch.steps:
            there = self._tables.record(row.execution_id, row.seq)
            if there is None:
                continue
            records = self._seen.setdefault(row.execution_id, Seen()).records
            if records.setdefault(row.seq, there) is not there:
                self.charge("G3", f"{row.execution_id}#{row.seq} was changed")
            if self._tables.row(row.execution_id) is None:
                self.charge("G7", f"{row.execution_id} has records and no row")

    # Effects

    def began(self, process: Process, key: str, seen: Json) -> None:
        """An attempt of an effect starts: everything it depends on must be durable."""
        execution_id, _, step_key = key.partition(":")
        stored = self._tables.row(execution_id)
        if stored is None:
            self.charge("G7", f"the effect {key} starts before its execution is durable")
            return
        if not self._may_begin(process, stored, key):
            return
        state = self.fold(stored)
        step = state.active.get(step_key)
        if step is None or state.ended is not None:
            self.charge("G7", f"the effect {key} starts, but by the records its turn is not now")
            return
        if step.waiting and step.wake_at is not None and step.wake_at > _now(self._tables):
            self.charge("G9", f"the effect {key} starts before its back-off is over")
        if step.node.at_most_once and not step.intended:
            self.charge("G4", f"the effect {key} starts before its intent is durable")
        if seen is not NOTHING_SEEN and seen != state.input_of(step):
            self.charge("G7", f"the effect {key} saw an input that no record has")

    def _may_begin(self, process: Process, stored: StoredExecution, key: str) -> bool:
        """Whether whoever holds the execution starts it: what an excused worker does without
        knowing better is compared with nothing, for others have gone on meanwhile."""
        execution_id = stored.context.execution_id
        holder = self._tables.holder(execution_id)
        workers = self._stores[process.name].workers
        if holder not in workers and self._excused.intersection(workers):
            return False
        if execution_id in self.cancelled:
            self.charge("G8", f"the effect {key} starts after its cancellation was acknowledged")
        if stored.progress.status.terminal:
            self.charge("G3", f"the effect {key} starts after the end")
        elif holder not in workers:
            self.charge("G5", f"{process.name} starts {key}, which {holder} holds")
        return True

    # Reading

    def graph(self, stored: StoredExecution) -> Graph:
        """The graph of an execution's version."""
        key = (stored.context.workflow_id, stored.context.workflow_version)
        if key not in self._graphs:
            document = finished(self._tables.definition(*key))
            self._graphs[key] = compile_graph(
                document, Limits(), workflow_id=key[0], version=key[1]
            )
        return self._graphs[key]

    def fold(self, stored: StoredExecution) -> ExecutionState:
        """What an execution's records say."""
        context = stored.context
        state = ExecutionState(self.graph(stored), context.variables, context.trigger_node_id)
        state.start()
        for row in stored.steps:
            state.apply(outcome_of(row))
        return state

    def judge(self, stored: StoredExecution) -> None:
        """An execution's journal, once all is over."""
        key = stored.context.execution_id
        changes = self._tables.changes(key)
        numbers = sorted([row.seq for row in stored.steps] + [each.seq for each in changes])
        if numbers != list(range(2, len(numbers) + 2)):
            self.charge("G7", f"the records of {key} are numbered {numbers}")
        last = numbers[-1] if numbers else 1
        if stored.progress.last_seq != last + 1:
            self.charge("G7", f"{key} ends with {stored.progress.last_seq} after record {last}")
        kept = json_bytes(
            *(stored.context.variables, stored.context.metadata),
            *(value for row in stored.steps for value in row.values),
            *(stored.progress.final_variables, stored.progress.final_output),
        )
        if stored.progress.recorded_bytes != kept:
            self.charge("quotas", f"{key}: {stored.progress.recorded_bytes} bytes, {kept} kept")
        paused = [each.status is ExecutionStatus.PAUSED for each in changes]
        if paused != [number % 2 == 0 for number in range(len(paused))]:
            self.charge("G7", f"{key} is paused or goes on twice: {changes}")
        done = Counter(row.step_key for row in stored.steps if row.kind is Kind.FINISHED)
        for step_key, times in done.items():
            if times > 1:
                self.charge("G3", f"{key} recorded {step_key} {times} times")
        letters = Counter(
            row.details["letter"] for row in stored.steps if row.details and "letter" in row.details
        )
        for letter, times in letters.items():
            if times > 1:
                self.charge("signals", f"{key} took the letter {letter} {times} times")

    def judge_family(self, stored: StoredExecution, results: Results) -> None:
        """A child is there exactly if a record says so, and a failure is answered exactly once."""
        key = stored.context.execution_id
        recorded: set[str] = set()
        for row in stored.steps:
            if row.node_type == "flow_subworkflow" and isinstance(row.output, dict):
                waits = row.kind is Kind.WAITING
                name = row.output.get("child" if waits else "execution_id")
                recorded |= {name} if isinstance(name, str) and self._stands_for(row) else set()
        born = results.started(key)
        if recorded != born:
            self.charge("children", f"{key} recorded {sorted(recorded)}, started {sorted(born)}")
        failed = stored.progress.status is ExecutionStatus.FAILED
        due = 1 if failed and stored.context.error_workflow_id is not None else 0
        if results.answers(key) != due:
            self.charge("error workflow", f"{key} was answered {results.answers(key)} times")

    def _stands_for(self, row: StepRow) -> bool:
        """Whether a sub-workflow's record names a child: one that waits for it, or the answer of
        a step that does not wait. (What a child gives may look like the latter.)"""
        output = row.output
        return row.kind is Kind.WAITING or set(output) == {"execution_id", "workflow_id", "status"}

    def judge_effects(self, stored: StoredExecution, outside: Outside) -> None:
        """What is recorded has happened; what is `at_most_once` not more than once."""
        graph, key = self.graph(stored), stored.context.execution_id
        for row in stored.steps:
            node = graph.by_id[row.node_id]
            if node.family != "effect" or row.kind is not Kind.FINISHED:
                continue
            name = f"{key}:{row.step_key}"
            if row.error is None and not outside.done[name]:
                self.charge("G4", f"{name} is recorded and never happened")
            if node.at_most_once and outside.arrivals[name] > 1:
                self.charge("G4", f"{name} is at_most_once and happened twice")


def _differs(there: StepRow, row: StepRow) -> bool:
    same = (there.step_key, there.kind, there.attempt, there.started_at)
    return same != (row.step_key, row.kind, row.attempt, row.started_at)


def _now(tables: Tables) -> Any:
    return tables.clock.now()
