"""What the journal writes and the store reads: rows of executions and of steps.

JSON fields of a row hold plain values when read. When written they may be `bytes`, JSON that is
already serialised, so that a value that stands in the row, in an event and in a reply is
serialised once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import orjson

from engine.context import (
    ExecutionContext,
    ExecutionStatus,
    Json,
    JsonObject,
    Kind,
    Outcome,
    StepError,
)

ROW_BYTES = 320
"""What a row of an execution, a step or a letter takes beside its JSON, about, indexes and all."""


def json_bytes(*values: Json) -> int:
    """How long values are as JSON, together; None is no value."""
    return sum(
        len(value if isinstance(value, bytes) else orjson.dumps(value))
        for value in values
        if value is not None
    )


@dataclass(slots=True)
class StepRow:
    """One record of the journal. `seq` is gapless per execution, `StatusChange`s counted in; seq 1
    is its creation, so the first record has seq 2, unless it was paused before that. `status` is
    `completed`, `failed`, `running` or `waiting`."""

    execution_id: str
    seq: int
    step_key: str
    node_id: str
    node_type: str
    kind: Kind
    status: str
    attempt: int
    started_at: datetime
    completed_at: datetime | None = None
    port: str | None = None
    input: Json = None
    output: Json = None
    variables: Json = None
    details: Json = None
    error: Json = None
    error_type: str | None = None
    logs: Json = None
    wake_at: datetime | None = None
    recorded_at: datetime | None = field(default=None, compare=False)
    """When it was written, once the store has said so."""

    @property
    def values(self) -> tuple[Json, ...]:
        """What of it is as long as its author makes it."""
        return self.input, self.output, self.variables, self.details, self.error

    @property
    def reused(self) -> bool:
        """Whether it is a copy: of a record of the execution that this one retries."""
        return bool(self.details and "reused" in self.details)


@dataclass(slots=True)
class Progress:
    """The columns of an execution's row that change while it runs."""

    execution_id: str
    status: ExecutionStatus
    start_time: datetime | None = None
    end_time: datetime | None = None
    held: bool = False
    """Whether a worker holds the execution: its `worker_id` is set, and only then."""
    wake_at: datetime | None = None
    last_seq: int = 1
    letters_read: int = 0
    """How many letters its worker has seen: one parked with fewer than arrived is due at once."""
    paused_seconds: float = 0.0
    """How long it was paused in all. The store counts it; a flush does not carry it."""
    claims: int = 0
    """How often the execution had been claimed when its worker took it: part of the fence."""
    nodes_executed: int = 0
    steps_completed: int = 0
    steps_failed: int = 0
    current_step: int = 0
    total_steps: int = 0
    engine_seconds: float = 0.0
    final_variables: Json = None
    final_output: Json = None
    error_message: str | None = None
    error_code: str | None = None
    error_node_id: str | None = None
    total_cost: float = 0.0
    tokens_used: int = 0
    recorded_bytes: int | None = None
    """Bytes of JSON that it was given and has recorded, as of when it was parked or ended last;
    None before that, and after its worker was lost or let it go."""

    def seconds(self) -> float | None:
        """Wall clock from start to end; None while it has not ended."""
        if self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()


@dataclass(frozen=True, slots=True)
class Letter:
    """What somebody outside has to say to an execution: a signal's payload, or how a child ended.

    A child's letter has its execution id as `letter_id`, its step's key as `name`, and the payload
    `{status, output, error_message, error_code, error_node_id}`. Letters are never changed or
    removed while the execution lives; one is used up when a step's record names it.
    """

    letter_id: str
    kind: Literal["signal", "child"]
    name: str
    payload: Json
    sent_at: datetime
    sent_by: int | None = None


def stored_bytes(progress: Progress, letters: Iterable[Letter]) -> int:
    """What an execution's rows take, about: how long its JSON is, and `ROW_BYTES` for each row.
    Before it was parked or ended, its letters alone."""
    kept = sum(ROW_BYTES + json_bytes(letter.payload) for letter in letters)
    if progress.recorded_bytes is not None:
        kept += progress.recorded_bytes + ROW_BYTES * (1 + progress.last_seq)
    return kept


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A number of an execution that is no step's record: that it was paused (`paused`), or may go
    on (`pending` if it has not started, else `waiting`)."""

    execution_id: str
    seq: int
    status: ExecutionStatus
    at: datetime


@dataclass(slots=True)
class StoredExecution:
    """An execution as a store gives it back; `steps` in order of `seq`, `letters` as they came."""

    context: ExecutionContext
    progress: Progress
    recoveries: int = 0
    cancel_requested: bool = False
    pause_requested: bool = False
    steps: list[StepRow] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    def rejected(self, now: datetime, message: str) -> Progress:
        """How it stands when it is failed at `now` without having been run."""
        recorded = self.steps[-1].seq if self.steps else 0
        started = self.progress.start_time or now
        return replace(
            self.progress,
            status=ExecutionStatus.FAILED,
            held=False,
            wake_at=None,
            start_time=started,
            end_time=max(now, started),
            last_seq=max(self.progress.last_seq, recorded) + 1,
            error_message=message,
            error_code="INTERNAL_ERROR",
        )


@dataclass(slots=True)
class Batch:
    """What one flush writes, in one transaction. An execution that is created and has already
    moved on is in `created` with its newest progress, never in both."""

    created: dict[str, tuple[ExecutionContext, Progress]] = field(default_factory=dict)
    steps: list[StepRow] = field(default_factory=list)
    updates: dict[str, Progress] = field(default_factory=dict)
    wake: bool = False
    """Whether the other workers are told that there is something to claim."""

    def executions(self) -> set[str]:
        """The ids of every execution with something in this batch."""
        return {
            *self.created,
            *(row.execution_id for row in self.steps),
            *self.updates,
        }

    def families(self) -> list[set[str]]:
        """The executions of this batch, each with the children that it is created with: what
        must be written together."""
        family = {execution_id: {execution_id} for execution_id in sorted(self.executions())}
        for child, (context, _) in self.created.items():
            parent = context.parent_execution_id
            if context.parent_step_key is None or parent not in family:
                continue
            if family[parent] is family[child]:
                continue
            joined = family[parent] | family[child]
            for member in joined:
                family[member] = joined
        return list({id(members): members for members in family.values()}.values())

    def only(self, executions: set[str]) -> Batch:
        """The part of this batch that belongs to these executions."""
        return Batch(
            created={k: v for k, v in self.created.items() if k in executions},
            steps=[row for row in self.steps if row.execution_id in executions],
            updates={k: v for k, v in self.updates.items() if k in executions},
            wake=self.wake,
        )


def details_of(outcome: Outcome) -> Json:
    """What of an outcome has no column of its own; None if nothing has."""
    details: JsonObject = {}
    if outcome.dead_edges:
        details["dead_edges"] = list(outcome.dead_edges)
    if outcome.local:
        details["local"] = outcome.local
    if outcome.usage:
        details["usage"] = outcome.usage
    if outcome.signal:
        details["signal"] = outcome.signal
    if outcome.letter:
        details["letter"] = outcome.letter
    return details or None


def error_of(outcome: Outcome) -> Json:
    """The error of an outcome as it is recorded; None if it has none."""
    if outcome.error is None:
        return None
    body = outcome.error.as_json()
    if outcome.error.fatal:
        body["fatal"] = True
    return body


def outcome_of(row: StepRow) -> Outcome:
    """The outcome a record was made from: what a replay folds."""
    details = row.details or {}
    return Outcome(
        step_key=row.step_key,
        kind=row.kind,
        port=row.port,
        output=row.output,
        variables=row.variables,
        local=details.get("local"),
        error=_step_error(row),
        dead_edges=tuple(details.get("dead_edges") or ()),
        attempt=row.attempt,
        wake_at=row.wake_at,
        signal=details.get("signal"),
        letter=details.get("letter"),
        usage=details.get("usage"),
    )


def _step_error(row: StepRow) -> StepError | None:
    if row.error is None:
        return None
    return StepError(
        message=row.error["message"],
        type=row.error["type"],
        node_id=row.node_id,
        step_key=row.step_key,
        attempts=row.error.get("attempts", row.attempt),
        fatal=bool(row.error.get("fatal")),
        details=row.error.get("details"),
    )
