"""An execution's journal folded over its graph, with the moments that the fold tells of.

Its one rule: a moment is one that stands in the journal. A step that has recorded nothing began
when the record was made that let it begin; whether it was still queued then (for a place among
`MAX_PARALLEL_NODES`, or in a limited parallel) nobody recorded, so that is not told. So it is with
another attempt: it began when it was due, if somebody had the execution in memory then. What was
cut off ended with the record that made it pointless, or with the execution.

A retry begins with copies of records, and their moments are facts of the execution before. A step
that was over there keeps them. One that was not (a loop whose later iterations run again) began for
this execution when its own work did: with the first record that is no copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from engine import step_log
from engine.context import ExecutionStatus, JsonObject, Kind
from engine.graph import Graph
from engine.records import StepRow, StoredExecution, outcome_of
from engine.scopes import Step
from engine.state import ExecutionState


@dataclass(frozen=True, slots=True)
class Folded:
    """What the fold of a stored execution says."""

    stored: StoredExecution
    graph: Graph
    state: ExecutionState
    steps: dict[str, list[StepRow]]
    """The records of each step, the steps in the order in which they finished (or, still open,
    were last heard of). An attempt that has begun again is one more, which nobody has recorded."""
    lines: dict[int, list[JsonObject]]
    """What each record tells, by its number."""
    readied: dict[str, datetime]
    """When the record was made that let each step begin. The trigger's is missing."""
    beaten: dict[str, datetime]
    """When the record was made that cut each of these steps off."""
    over_before: set[str]
    """The steps that were over, finished or cut off, in the execution that this one retries."""

    def open_until(self, step_key: str, now: datetime) -> datetime | None:
        """Until when somebody may have worked on a step that has not finished: until it was cut
        off, or else until `now`; None if nobody has its execution in memory."""
        if self.is_cut_off(step_key):
            return self.cut_off_at(step_key)
        return now if self.stored.progress.status is ExecutionStatus.RUNNING else None

    def ready_at(self, step_key: str) -> datetime | None:
        """When what a step waits for was there; None if the journal does not tell."""
        start = self.stored.progress.start_time
        if step_key == self.state.trigger.node_id:
            return start
        ready = self.readied.get(step_key)
        if ready is None or start is None or step_key in self.over_before:
            return ready
        return max(ready, start)

    def cut_off_at(self, step_key: str) -> datetime | None:
        """When a step that is still open was cut off; None if it was not."""
        progress = self.stored.progress
        return self.beaten.get(step_key) or (
            progress.end_time if progress.status.terminal else None
        )

    def is_cut_off(self, step_key: str) -> bool:
        """Whether a step that is still open will never finish."""
        return self.stored.progress.status.terminal or step_key in self.state.lost

    def unrecorded(self) -> list[Step]:
        """The steps that have begun and recorded nothing yet: effects that run now, or that were
        cut off. None has in an execution that no worker ever took, and none runs in one that has
        left memory, be it paused or parked."""
        progress = self.stored.progress
        if progress.start_time is None:
            return []
        running = progress.status is ExecutionStatus.RUNNING or progress.status.terminal
        steps = [*self.state.lost.values(), *(self.state.active.values() if running else ())]
        return [step for step in steps if step.key not in self.steps]

    def began_at(self, step: Step) -> datetime | None:
        """When a step that has recorded nothing could begin, and so did as far as anybody knows."""
        ready, cut = self.ready_at(step.key), self.cut_off_at(step.key)
        return ready if ready is None or cut is None else min(ready, cut)


def fold(stored: StoredExecution, graph: Graph, now: datetime) -> Folded:
    """Folds a stored execution, as it stands `now`, over the graph of its version."""
    context, progress = stored.context, stored.progress
    state = ExecutionState(graph, context.variables, context.trigger_node_id)
    state.start()
    lines: dict[int, list[JsonObject]] = {}
    readied: dict[str, datetime] = {}
    beaten: dict[str, datetime] = {}
    over_before: set[str] = set()
    budget = step_log.Budget()
    for row in stored.steps:
        lines[row.seq] = budget.take(row)
        moment = row.completed_at or row.started_at
        transition = state.apply(outcome_of(row))
        for step in transition.ready:
            readied.setdefault(step.key, moment)
        over = moment if transition.ended is None else progress.end_time or moment
        for step in transition.cancelled:
            beaten[step.key] = over
        if row.reused:
            over_before.update(step.key for step in transition.cancelled)
            if row.kind is Kind.FINISHED:
                over_before.add(row.step_key)
    steps = _by_step(stored.steps)
    own = own_beginning(stored.steps) or progress.start_time or context.created_at
    for key, rows in steps.items():
        if key not in over_before:
            steps[key] = begun_anew(rows, own)
    folded = Folded(stored, graph, state, steps, lines, readied, beaten, over_before)
    for key, rows in steps.items():
        again = _tried_again(rows[-1], folded.open_until(key, now))
        if again is not None:
            rows.append(again)
    return folded


def _tried_again(failed: StepRow, until: datetime | None) -> StepRow | None:
    """The attempt that follows one that failed, as far as it got; None if it was not due."""
    due = failed.wake_at if failed.kind is Kind.RETRYING else None
    if due is None or until is None or until <= due:
        return None
    return StepRow(
        execution_id=failed.execution_id,
        seq=failed.seq,
        step_key=failed.step_key,
        node_id=failed.node_id,
        node_type=failed.node_type,
        kind=Kind.INTENT,
        status="running",
        attempt=failed.attempt + 1,
        started_at=due,
    )


def own_beginning(rows: Iterable[StepRow]) -> datetime | None:
    """When an execution's own work began, by its records; None if all are copies."""
    return next((row.started_at for row in rows if not row.reused), None)


def begun_anew(rows: list[StepRow], at: datetime) -> list[StepRow]:
    """The records of a step that goes on in an execution whose own work began `at`."""
    return [replace(row, started_at=at) if row.reused else row for row in rows]


def _by_step(rows: Iterable[StepRow]) -> dict[str, list[StepRow]]:
    """The records of each step, the steps in the order in which they were last heard of."""
    grouped: dict[str, list[StepRow]] = {}
    for row in rows:
        of_step = grouped.pop(row.step_key, [])
        of_step.append(row)
        grouped[row.step_key] = of_step
    return grouped
