"""What this process counts about itself, in memory: executions, steps, flushes, requests.

Its one rule: counting is adding to a number. It happens once per flush for all steps of it and
once per request; nothing here waits, locks or grows beyond the kinds of nodes and the routes.

The numbers start at 0 with the process, and only ever grow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from engine.context import TERMINAL
from engine.records import Batch, Progress, StepRow, StoredExecution
from models.execution_store import Reaped

STATUSES = tuple(sorted(str(status) for status in TERMINAL))

_STEP = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_EXECUTION = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400,
)  # fmt: skip
_QUEUE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
_FLUSH = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_REQUEST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
_NO_ROUTE = "unknown"


class Distribution:
    """A histogram: how many values were up to each bound and above the one before, and their
    sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class EngineMeter:
    """What the engine of this process has done (`models.metered_store.Meter`)."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self.recovered = 0
        self.executions = Distribution(_EXECUTION)
        self.queue = Distribution(_QUEUE)
        self.flushes = Distribution(_FLUSH)
        self.rows = Distribution(_ROWS)
        self.steps: dict[str, Distribution] = {}

    def flushed(self, batch: Batch, seconds: float) -> None:
        """See `Meter.flushed`."""
        self.flushes.add(seconds)
        self.rows.add(len(batch.created) + len(batch.steps) + len(batch.updates))
        for context, progress in batch.created.values():
            if progress.start_time is not None:
                waited = (progress.start_time - context.created_at).total_seconds()
                self.queue.add(max(waited, 0.0))
            self._count_end(progress)
        for progress in batch.updates.values():
            self._count_end(progress)
        self._count_steps(batch.steps)

    def claimed(self, executions: Sequence[StoredExecution]) -> None:
        """See `Meter.claimed`. How long one waited is told the first time it is claimed; one that
        was started where it was accepted has told that already."""
        for one in executions:
            start = one.progress.start_time
            first = one.progress.claims == 1 and not one.recoveries and not one.steps
            if first and start is not None:
                self.queue.add(max((start - one.context.created_at).total_seconds(), 0.0))

    def cancelled(self) -> None:
        """See `Meter.cancelled`."""
        self.ended["cancelled"] += 1

    def reaped(self, dead: Reaped) -> None:
        """See `Meter.reaped`."""
        self.recovered += dead.freed
        self.ended["failed"] += dead.failed

    def _count_end(self, progress: Progress) -> None:
        if progress.end_time is None:
            return
        self.ended[str(progress.status)] += 1
        seconds = progress.seconds()
        if seconds is not None:
            self.executions.add(max(seconds, 0.0))

    def _count_steps(self, rows: Sequence[StepRow]) -> None:
        by_type = self.steps
        for row in rows:
            done = row.completed_at
            # A step that a retry took over from the execution before was counted there.
            if done is None or (row.details and "reused" in row.details):
                continue
            known = by_type.get(row.node_type)
            if known is None:
                known = by_type[row.node_type] = Distribution(_STEP)
            seconds = (done - row.started_at).total_seconds()
            known.counts[bisect_left(known.bounds, seconds)] += 1  # `add`, without the call
            known.total += seconds


class HttpMeter:
    """The requests that this process has answered."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """By method, route and status."""
        self.seconds: dict[tuple[str, str], Distribution] = {}
        """By method and route."""

    def answered(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """A request was answered. `route` is the rule that it matched, so that there are as many
        as there are rules; None of none."""
        where = (method if method in _METHODS else "other", route or _NO_ROUTE)
        self.requests[(*where, status)] += 1
        known = self.seconds.get(where)
        if known is None:
            known = self.seconds[where] = Distribution(_REQUEST)
        known.add(seconds)
