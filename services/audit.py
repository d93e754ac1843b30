"""The audit trail: every security decision and operation, on stdout and in `audit_log`.

Its one rule: a request never waits for it. An event is a log line at once and a row soon: rows
collect in a bounded buffer that one background loop writes, many to a statement. While the
database is away, or refuses every row, the buffer fills; what then no longer fits is counted and
said so in the log, where the line itself already stands.

A row that cannot be stored holds nobody up: the batch it is in is halved until it stands alone,
and it is then left out, with a line that says which and why.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from engine.context import JsonObject
from engine.errors import OutcomeUnknown, StoreUnavailable
from models.audit import AuditLog, AuditRow, Unstorable
from services.aaa_log import AaaLog, Category, Result
from services.rounds import elapse

STORED = frozenset({"AUTH", "AUTHZ", "AUDIT"})
"""The categories that become rows; `ERROR` and `SYSTEM` are lines only."""


MOST_REFUSALS = 3
"""How many rows in a row are left out for an error that nobody foresaw; from then on it is thought
to be the table that refuses, and rows are kept until it takes them."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth remembering: who did what to what, and how it went."""

    category: Category
    action: str
    result: Result
    community_id: int | None = None
    user_id: int | None = None
    workflow_id: str | None = None
    execution_id: str | None = None
    request_id: str | None = None
    address: str | None = None
    details: JsonObject = field(default_factory=dict)

    @property
    def level(self) -> int:
        """How loud its line is. A caller's mistake is not an error of the service."""
        if self.category == "ERROR":
            return logging.ERROR
        return logging.INFO if self.result == "SUCCESS" else logging.WARNING


class AuditTrail:
    """Records events. `linger_seconds` is how long rows may collect before they are written,
    `retry_seconds` how long the loop waits after the database refused."""

    def __init__(
        self,
        lines: AaaLog,
        log: AuditLog,
        *,
        now: Callable[[], datetime],
        capacity: int = 20_000,
        batch: int = 1_000,
        linger_seconds: float = 0.5,
        retry_seconds: float = 2.0,
    ) -> None:
        self._lines = lines
        self._log = log
        self._now = now
        self._capacity = capacity
        self._batch = batch
        self._size = batch
        self._refusals = 0
        self._linger = linger_seconds
        self._retry = retry_seconds
        self._rows: deque[AuditRow] = deque()
        self._dropped = 0
        self._arrived = asyncio.Event()
        self._stopping = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts writing rows."""
        self._loop = asyncio.create_task(self._write_rows(), name="audit-writer")

    async def stop(self, timeout_seconds: float = 5.0) -> None:
        """Writes what is left and ends, waiting at most `timeout_seconds`."""
        self._stopping.set()
        self._arrived.set()
        loop, self._loop = self._loop, None
        if loop is None:
            return
        _, pending = await asyncio.wait({loop}, timeout=timeout_seconds)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        if self._rows:
            self._lines.error("audit_write", unwritten=len(self._rows))

    def record(self, event: Event, cause: BaseException | None = None) -> None:
        """Writes the event's line and queues its row. `cause` adds a line with its traceback."""
        fields: dict[str, object] = {
            "workflow_id": event.workflow_id,
            "execution_id": event.execution_id,
            "request_id": event.request_id,
            "address": event.address,
            **event.details,
        }
        self._lines.write(
            event.level,
            event.category,
            event.action,
            event.result,
            community=event.community_id,
            user=event.user_id,
            fields={name: value for name, value in fields.items() if value is not None},
        )
        if cause is not None:
            self._lines.error(event.action, cause=cause, request_id=event.request_id)
        if event.category in STORED:
            self._queue(event)

    def _queue(self, event: Event) -> None:
        if len(self._rows) >= self._capacity:
            self._dropped += 1
            return
        self._rows.append(
            AuditRow(
                at=self._now(),
                category=event.category,
                action=event.action,
                result=event.result,
                community_id=event.community_id,
                user_id=event.user_id,
                workflow_id=event.workflow_id,
                execution_id=event.execution_id,
                request_id=event.request_id,
                address=event.address,
                details=event.details,
            )
        )
        self._arrived.set()

    async def _write_rows(self) -> None:
        while not (self._stopping.is_set() and not self._rows):
            await self._arrived.wait()
            self._arrived.clear()
            await self._pause(self._linger)
            while self._rows:
                last_try = self._stopping.is_set()
                if not await self._write_batch() and last_try:
                    return

    async def _write_batch(self) -> bool:
        """Writes the oldest rows, or comes nearer to it; False if all there is to do is wait."""
        batch = [self._rows[i] for i in range(min(self._size, len(self._rows)))]
        try:
            await self._log.append(batch)
        except (StoreUnavailable, OutcomeUnknown) as error:
            # A commit whose outcome is unknown is repeated: twice is better than never here.
            return await self._put_off(error)
        except Exception as error:
            if len(batch) > 1:
                self._size = len(batch) // 2
                return True
            self._refusals += 0 if isinstance(error, Unstorable) else 1
            if self._refusals > MOST_REFUSALS:
                return await self._put_off(error)
            self._leave_out(self._rows.popleft(), error)
            return True
        self._refusals = 0
        self._size = min(2 * self._size, self._batch)
        for _ in batch:
            self._rows.popleft()
        self._lines.over("audit_write")
        self._say_dropped()
        return True

    def _leave_out(self, row: AuditRow, error: Exception) -> None:
        self._lines.error(
            "audit_write",
            lost=1,
            lost_action=row.action,
            request_id=row.request_id,
            error_type=type(error).__name__,
            reason=str(error),
        )

    async def _put_off(self, error: Exception) -> bool:
        self._lines.trouble("audit_write", cause=error, waiting=len(self._rows))
        await self._pause(self._retry)
        return False

    async def _pause(self, seconds: float) -> None:
        """Waits, but not when told to stop."""
        if seconds <= 0 or self._stopping.is_set():
            await asyncio.sleep(0)
            return
        await elapse(self._stopping, seconds)

    def _say_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._lines.error("audit_write", dropped=dropped)
