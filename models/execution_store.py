"""`ExecutionStore` on PostgreSQL: one literal SQL constant per state transition.

Theory of operation
-------------------
*One statement per flush.* A flush is a single statement of data-modifying CTEs, one `unnest` per
table: one round trip, one implicit transaction, one commit, however many executions it serves.

*The fence.* Its first CTE locks the worker's own row `FOR KEY SHARE` if it is alive. Every other
part joins it, so a worker that was declared dead writes nothing at all. Whoever declares it dead
locks that row `FOR UPDATE`, which waits for flushes in flight and makes later ones find no row. A
heartbeat changes no key, so it passes by a flush that has to wait.

*Writing twice is harmless.* Inserts ignore what is there (`seq` and ids are the caller's) and an
update touches only a row that this worker still holds, so a flush whose commit is in doubt is
simply repeated. The copy that was given up may still arrive later, even after the same worker has
claimed again what the flush parked: so an update names the claim that it was written under
(`claims`), and touches nothing that was claimed since.

*Death.* A worker holds a session advisory lock on a connection of its own: when its process dies
the socket closes, the lock is free, and anybody may take over at once. A worker that lives but
does not answer loses its lease by the database's clock. A lock proves nothing about a worker that
took it before the server's start, because a restart drops every lock; nor about one that has
written that it holds none (`locked_at` is `-infinity`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import orjson

from engine.context import ExecutionStatus, JsonObject
from engine.errors import LeaseLost, StoreUnavailable
from engine.ports import MOST_SIGNALS, Cancellation, Outlook, Posted, Room
from engine.records import Batch, Letter, StoredExecution
from models import claim_sql, worker_sql
from models import execution_sql as sql
from models.dal import AsyncDAL, bounded, cut
from models.execution_rows import CHANNEL, flush_statement, letter, step, stored
from models.failures import UNFIT, unavailable
from models.live_feed import LiveFeed

_CROSSINGS = 10


@dataclass(frozen=True, slots=True)
class Reaped:
    """What became of the executions of workers that were declared dead: those that have killed too
    many failed, the others are free."""

    failed: int = 0
    freed: int = 0


class _HasMoved(Exception):
    """What was asked about was parked or taken up between two statements."""


class PostgresExecutionStore:
    """See the module's theory of operation. `command_timeout` bounds every wait, in seconds;
    `live` hears what flushes wrote."""

    def __init__(
        self, dal: AsyncDAL, command_timeout: float = 10.0, live: LiveFeed | None = None
    ) -> None:
        self._dal = dal
        self._timeout = command_timeout
        self._live = live or LiveFeed(dal, str(uuid4()))
        self._locks: dict[str, asyncpg.Connection] = {}
        """A worker's id -> the connection that holds its advisory lock."""
        self._wake: Callable[[str], None] | None = None

    async def flush(self, worker_id: str, batch: Batch) -> None:
        """See `ExecutionStore.flush`."""
        with self._live.carried(worker_id, batch) as tell:
            statement, arguments = flush_statement(worker_id, batch, tell)
            try:
                alive = await self._dal.fetchval(statement, *arguments)
            except UNFIT as refused:
                raise ValueError(str(refused)) from refused
        if not alive:
            self._live.unsure()
            raise LeaseLost
        self._live.flushed(batch)

    async def load(self, execution_id: str) -> StoredExecution | None:
        """See `ExecutionStore.load`."""
        row = await self._dal.fetchrow(sql.LOAD, execution_id)
        if row is None:
            return None
        found = stored(row)
        found.steps = [step(r) for r in await self._dal.fetch(sql.LOAD_STEPS, [execution_id])]
        if row["letters"]:
            found.letters = await self.letters(execution_id)
        return found

    async def claim(
        self, worker_id: str, room: Room, *, limited: bool = True
    ) -> list[StoredExecution]:
        """See `ExecutionStore.claim`."""
        asked = (worker_id, room.free, list(room.running), list(room.running.values()), room.each)
        if limited or room.everywhere is not None:
            rows = await self._claim_limited(asked, room.everywhere)
        else:
            rows = await self._dal.fetch(claim_sql.CLAIM, *asked)
        claimed = {one.context.execution_id: one for one in map(stored, rows)}
        begun = [row["execution_id"] for row in rows if row["begun"]]
        if begun:
            for row in await self._dal.fetch(sql.LOAD_STEPS, begun):
                claimed[row["execution_id"]].steps.append(step(row))
        addressed = [row["execution_id"] for row in rows if row["letters"]]
        if addressed:
            for row in await self._dal.fetch(sql.LETTERS, addressed):
                claimed[row["execution_id"]].letters.append(letter(row))
        return list(claimed.values())

    async def _claim_limited(
        self, asked: tuple[Any, ...], everywhere: int | None
    ) -> list[asyncpg.Record]:
        """Claims with the limits in mind, one claimer at a time: the count of what already runs
        must not change under the claim. Whoever comes second takes what has no limit."""
        async with self._dal.transaction() as tx:
            if await tx.fetchval(claim_sql.TRY_LOCK):
                return await tx.fetch(claim_sql.CLAIM_LIMITED, *asked, everywhere)
            return [] if everywhere else await tx.fetch(claim_sql.CLAIM, *asked)

    async def look(self, worker_id: str) -> Outlook:
        """See `ExecutionStore.look`."""
        row = await self._dal.fetchrow(sql.LOOK, worker_id, self._live.process_id)
        assert row is not None
        await self._live.watched(worker_id, elsewhere=row["watched"])
        return Outlook(
            claimable=row["claimable"],
            cancel=tuple(row["cancel"]),
            next_wake=row["next_wake"],
            held=row["held"],
            letters=row["letters"],
            unanswered=row["unanswered"],
            pause=tuple(row["pause"]),
            limited=row["limited"],
            company=row["company"],
        )

    async def held(self, worker_id: str) -> dict[str, int]:
        """See `ExecutionStore.held`."""
        rows = await self._dal.fetch(sql.HELD, worker_id)
        return {row["execution_id"]: row["claims"] for row in rows}

    async def let_go(self, worker_id: str, held: Mapping[str, int]) -> int:
        """See `ExecutionStore.let_go`."""
        freed: int = await self._dal.fetchval(
            sql.LET_GO, worker_id, list(held), list(held.values()), CHANNEL
        )
        return freed

    async def pending(self, most: int, community_id: int | None = None) -> int:
        """See `ExecutionStore.pending`."""
        return int(await self._dal.fetchval(sql.PENDING, most, community_id))

    async def kept_bytes(self, community_id: int) -> int:
        """See `ExecutionStore.kept_bytes`."""
        return int(await self._dal.fetchval(sql.KEPT_BYTES, community_id))

    async def status(self, execution_id: str) -> ExecutionStatus | None:
        """See `ExecutionStore.status`."""
        status = await self._dal.fetchval(sql.STATUS, execution_id)
        return None if status is None else ExecutionStatus(status)

    async def ended(self, execution_ids: list[str]) -> set[str]:
        """See `ExecutionStore.ended`."""
        rows = await self._dal.fetch(sql.ENDED_AMONG, execution_ids)
        return {row["execution_id"] for row in rows}

    async def post(self, execution_id: str, letter: Letter) -> Posted | None:
        """See `ExecutionStore.post`."""
        values = (
            letter.letter_id, letter.kind, letter.name, orjson.dumps(letter.payload),
            letter.sent_by, letter.sent_at, CHANNEL, MOST_SIGNALS,
        )  # fmt: skip
        try:
            if await self._dal.fetchval(sql.POST, execution_id, *values):
                return "kept"
        except asyncpg.UniqueViolationError:
            return "known"  # the same letter, posted twice at once
        why: Posted | None = await self._dal.fetchval(
            sql.WHY_NOT_POSTED, execution_id, letter.letter_id
        )
        return why

    async def letters(self, execution_id: str, after: int = 0) -> list[Letter]:
        """See `ExecutionStore.letters`."""
        rows = await self._dal.fetch(sql.LETTERS_AFTER, execution_id, after)
        return [letter(row) for row in rows]

    async def peek(self, execution_id: str) -> StoredExecution | None:
        """See `ExecutionStore.peek`."""
        row = await self._dal.fetchrow(sql.LOAD, execution_id)
        return None if row is None else stored(row)

    async def unanswered(self, most: int) -> list[StoredExecution]:
        """See `ExecutionStore.unanswered`."""
        return [stored(row) for row in await self._dal.fetch(sql.UNANSWERED, most)]

    async def answered(self, execution_ids: list[str]) -> None:
        """See `ExecutionStore.answered`."""
        await self._dal.execute(sql.ANSWERED, execution_ids)

    async def request_cancel(self, execution_id: str) -> Cancellation | None:
        """See `ExecutionStore.request_cancel`. A cancellation locks parents before children, an
        end children before parents: where the two meet, PostgreSQL lets one of them try again. What
        its worker parks, or another takes up, in the middle of the asking is asked again, too."""
        for _ in range(_CROSSINGS):
            try:
                return await self._request_cancel(execution_id)
            except _HasMoved:
                continue
            except StoreUnavailable as crossed:
                if not isinstance(crossed.__cause__, asyncpg.DeadlockDetectedError):
                    raise
        raise StoreUnavailable("the execution keeps changing hands, or its family ends")

    async def _request_cancel(self, execution_id: str) -> Cancellation | None:
        at = await self._dal.fetchval(sql.CANCEL_UNHELD, execution_id)
        if at is not None:
            return Cancellation("cancelled", at=at)
        if await self._dal.fetchval(sql.REQUEST_CANCEL, execution_id, CHANNEL):
            return Cancellation("requested")
        row = await self._dal.fetchrow(sql.ENDED, execution_id)
        if row is None:
            return None
        if row["end_time"] is None:
            raise _HasMoved
        if row["status"] == ExecutionStatus.CANCELLED:
            return Cancellation("ended", at=row["end_time"], status=row["status"])
        return Cancellation("ended", status=row["status"])

    async def request_pause(self, execution_id: str) -> ExecutionStatus | None:
        """See `ExecutionStore.request_pause`."""
        return await self._asked(sql.PAUSE, execution_id)

    async def request_resume(self, execution_id: str) -> ExecutionStatus | None:
        """See `ExecutionStore.request_resume`."""
        return await self._asked(sql.RESUME, execution_id)

    async def _asked(self, statement: str, execution_id: str) -> ExecutionStatus | None:
        status = await self._dal.fetchval(statement, execution_id, CHANNEL)
        return await self.status(execution_id) if status is None else ExecutionStatus(status)

    async def register(self, worker_id: str, name: str, lease_seconds: float) -> datetime:
        """See `ExecutionStore.register`. Takes the worker's advisory lock first: its row must
        never be seen without it."""
        await self._lock(worker_id)
        try:
            now: datetime = await self._dal.fetchval(
                worker_sql.REGISTER, worker_id, name, lease_seconds, lock_key(worker_id)
            )
        except BaseException:
            cut(self._locks.pop(worker_id))
            raise
        self._live.joined(worker_id)
        return now

    async def heartbeat(self, worker_id: str, lease_seconds: float) -> datetime | None:
        """See `ExecutionStore.heartbeat`. A worker whose lock went with its connection (a server
        that restarted drops all of them) takes it again, so that its death is seen at once. If
        there is no connection for that (the server's table of them is full), it says so in its
        row and lives by its lease alone, or the first sweeper would declare it dead."""
        beat = worker_sql.HEARTBEAT
        held = self._locks.get(worker_id)
        if held is None or held.is_closed():
            try:
                await self._lock(worker_id)
                beat = worker_sql.HEARTBEAT_RELOCKED
            except StoreUnavailable:
                beat = worker_sql.HEARTBEAT_UNLOCKED
        now: datetime | None = await self._dal.fetchval(beat, worker_id, lease_seconds, urgent=True)
        return now

    async def _lock(self, worker_id: str) -> None:
        connection = await self._dal.connect()
        try:
            taking = connection.fetchval(worker_sql.LOCK_WORKER, lock_key(worker_id))
            if not await bounded(connection, taking, self._timeout):
                # By the connection before, whose end the server has not noticed yet.
                raise StoreUnavailable("the worker's lock is still held")
        except BaseException as error:
            cut(connection)
            failure = unavailable(error)
            if failure is not None:
                raise failure from error
            raise
        self._locks[worker_id] = connection
        connection.add_termination_listener(lambda _: self._unlocked(worker_id))

    def _unlocked(self, worker_id: str) -> None:
        """The connection has ended: until the lock is taken again, it seems to others that the
        worker has died. One that was let go on purpose is not in the list any more."""
        if worker_id in self._locks and self._wake is not None:
            self._wake("lease")

    async def reap(self, worker_id: str, max_recoveries: int) -> int:
        """See `ExecutionStore.reap`."""
        dead = await self._reap(worker_id, max_recoveries)
        return dead.failed + dead.freed

    async def _reap(self, worker_id: str, max_recoveries: int) -> Reaped:
        if not await self._dal.fetchval(worker_sql.ANY_SILENT, worker_id):
            return Reaped()
        async with self._dal.transaction() as tx:
            dead = [row["worker_id"] for row in await tx.fetch(worker_sql.DECLARE_DEAD, worker_id)]
            if not dead:
                return Reaped()
            poisoned = await tx.execute(worker_sql.FAIL_POISONED, dead, max_recoveries)
            freed = await tx.execute(worker_sql.FREE_ORPHANS, dead)
            await tx.execute(sql.NOTIFY, CHANNEL, "pending")
        return Reaped(poisoned, freed)

    async def release(self, worker_id: str) -> int:
        """See `ExecutionStore.release`. Retires the worker first: that waits for a flush that is
        still on its way, so that what it moves is freed as well."""
        try:
            async with self._dal.transaction() as tx:
                await tx.execute(worker_sql.RETIRE, worker_id)
                freed = await tx.execute(worker_sql.RELEASE, worker_id)
                if freed:
                    await tx.execute(sql.NOTIFY, CHANNEL, "pending")
        finally:
            self._live.left(worker_id)
            await self._unlock(worker_id)
        return freed

    async def close(self) -> None:
        """Lets every advisory lock go, and with it the claim that its worker is alive."""
        for worker_id in list(self._locks):
            await self._unlock(worker_id)

    async def _unlock(self, worker_id: str) -> None:
        connection = self._locks.pop(worker_id, None)
        if connection is None:
            return
        try:
            await connection.close(timeout=self._timeout)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            cut(connection)  # it was broken already, and with it the lock

    async def definition(self, workflow_id: str, version: int) -> JsonObject | None:
        """See `ExecutionStore.definition`."""
        document: JsonObject | None = await self._dal.fetchval(sql.DEFINITION, workflow_id, version)
        return document

    async def listen(self, wake: Callable[[str], None]) -> None:
        """See `ExecutionStore.listen`."""
        self._wake = wake
        await self._dal.listen(CHANNEL, wake)


def lock_key(worker_id: str) -> int:
    """The advisory lock of a worker: a class number of ours above a hash of its id."""
    return (0x5742 << 32) | zlib.crc32(worker_id.encode())
