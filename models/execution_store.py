"""`ExecutionStore` on PostgreSQL: one literal SQL constant per state transition.

Theory of operation
-------------------
*One statement per flush.* A flush is a single statement of data-modifying CTEs, one `unnest` per
table: one round trip, one implicit transaction, one commit, however many executions it serves.

*The fence.* Its first CTE locks the worker's own row `FOR SHARE` if it is alive. Every other part
joins it, so a worker that was declared dead writes nothing at all. Declaring it dead is an UPDATE
of that row, which waits for flushes in flight and makes later ones find no row.

*Writing twice is harmless.* Inserts ignore what is there (`seq` and ids are the caller's) and an
update touches only a row that this worker still holds, so a flush whose commit is in doubt is
simply repeated.

*Death.* A worker holds a session advisory lock on a connection of its own: when its process dies
the socket closes, the lock is free, and anybody may take over at once. A worker that lives but
does not answer loses its lease by the database's clock. A lock proves nothing about a worker that
took it before the server's start, because a restart drops every lock.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from engine.context import ExecutionContext, ExecutionStatus, Json, JsonObject, Kind
from engine.errors import LeaseLost
from engine.ports import Cancellation, Outlook
from engine.records import Batch, Progress, StepRow, StoredExecution
from models import execution_sql as sql
from models.dal import AsyncDAL, bounded, cut
from models.failures import unavailable

CHANNEL = "workflow_engine"


class PostgresExecutionStore:
    """See the module's theory of operation. `command_timeout` bounds every wait, in seconds."""

    def __init__(self, dal: AsyncDAL, command_timeout: float = 10.0) -> None:
        self._dal = dal
        self._timeout = command_timeout
        self._locks: dict[str, asyncpg.Connection] = {}
        """A worker's id -> the connection that holds its advisory lock."""

    async def flush(self, worker_id: str, batch: Batch) -> None:
        """See `ExecutionStore.flush`."""
        statement, arguments = _flush_statement(worker_id, batch)
        try:
            alive = await self._dal.fetchval(statement, *arguments)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as refused:
            raise ValueError(str(refused)) from refused
        if not alive:
            raise LeaseLost

    async def load(self, execution_id: str) -> StoredExecution | None:
        """See `ExecutionStore.load`."""
        row = await self._dal.fetchrow(sql.LOAD, execution_id)
        if row is None:
            return None
        stored = _stored(row)
        stored.steps = [_step(r) for r in await self._dal.fetch(sql.LOAD_STEPS, [execution_id])]
        return stored

    async def claim(self, worker_id: str, limit: int) -> list[StoredExecution]:
        """See `ExecutionStore.claim`."""
        rows = await self._dal.fetch(sql.CLAIM, worker_id, limit)
        if len(rows) < limit:
            rows = [*rows, *await self._claim_limited(worker_id, limit - len(rows))]
        claimed = {stored.context.execution_id: stored for stored in map(_stored, rows)}
        begun = [row["execution_id"] for row in rows if row["begun"]]
        if begun:
            for row in await self._dal.fetch(sql.LOAD_STEPS, begun):
                claimed[row["execution_id"]].steps.append(_step(row))
        return list(claimed.values())

    async def _claim_limited(self, worker_id: str, limit: int) -> list[asyncpg.Record]:
        """Claims executions of workflows with `max_parallel_executions`, one claimer at a time:
        the count of what already runs must not change under the claim."""
        if not await self._dal.fetchval(sql.ANY_LIMITED):
            return []
        async with self._dal.transaction() as tx:
            await tx.execute(sql.LOCK_LIMITED)
            return await tx.fetch(sql.CLAIM_LIMITED, worker_id, limit)

    async def look(self, worker_id: str) -> Outlook:
        """See `ExecutionStore.look`."""
        row = await self._dal.fetchrow(sql.LOOK, worker_id)
        assert row is not None
        cancel = tuple(map(str, row["cancel"]))
        return Outlook(row["claimable"], cancel, row["next_wake"], row["held"])

    async def held(self, worker_id: str) -> set[str]:
        """See `ExecutionStore.held`."""
        return {str(row["execution_id"]) for row in await self._dal.fetch(sql.HELD, worker_id)}

    async def let_go(self, worker_id: str, execution_ids: list[str]) -> int:
        """See `ExecutionStore.let_go`."""
        return await self._dal.execute(sql.LET_GO, worker_id, execution_ids)

    async def pending(self, most: int) -> int:
        """See `ExecutionStore.pending`."""
        return int(await self._dal.fetchval(sql.PENDING, most))

    async def status(self, execution_id: str) -> ExecutionStatus | None:
        """See `ExecutionStore.status`."""
        status = await self._dal.fetchval(sql.STATUS, execution_id)
        return None if status is None else ExecutionStatus(status)

    async def request_cancel(self, execution_id: str) -> Cancellation | None:
        """See `ExecutionStore.request_cancel`."""
        at = await self._dal.fetchval(sql.CANCEL_UNHELD, execution_id)
        if at is not None:
            return Cancellation("cancelled", at=at)
        if await self._dal.fetchval(sql.REQUEST_CANCEL, execution_id, CHANNEL):
            return Cancellation("requested")
        row = await self._dal.fetchrow(sql.ENDED, execution_id)
        if row is None:
            return None
        if row["status"] == ExecutionStatus.CANCELLED:
            return Cancellation("ended", at=row["end_time"], status=row["status"])
        return Cancellation("ended", status=row["status"])

    async def register(self, worker_id: str, name: str, lease_seconds: float) -> None:
        """See `ExecutionStore.register`. Takes the worker's advisory lock first: its row must
        never be seen without it."""
        await self._lock(worker_id)
        try:
            await self._dal.execute(
                sql.REGISTER, worker_id, name, lease_seconds, lock_key(worker_id)
            )
        except BaseException:
            cut(self._locks.pop(worker_id))
            raise

    async def heartbeat(self, worker_id: str, lease_seconds: float) -> bool:
        """See `ExecutionStore.heartbeat`. A worker whose lock went with its connection (a server
        that restarted drops all of them) takes it again, so that its death is seen at once."""
        held = self._locks.get(worker_id)
        if held is not None and not held.is_closed():
            return bool(await self._dal.fetchval(sql.HEARTBEAT, worker_id, lease_seconds))
        await self._lock(worker_id)
        return bool(await self._dal.fetchval(sql.HEARTBEAT_RELOCKED, worker_id, lease_seconds))

    async def _lock(self, worker_id: str) -> None:
        connection = await self._dal.connect()
        try:
            await bounded(
                connection, connection.execute(sql.LOCK_WORKER, lock_key(worker_id)), self._timeout
            )
        except BaseException as error:
            cut(connection)
            failure = unavailable(error)
            if failure is not None:
                raise failure from error
            raise
        self._locks[worker_id] = connection

    async def reap(self, worker_id: str, max_recoveries: int) -> int:
        """See `ExecutionStore.reap`."""
        if not await self._dal.fetchval(sql.ANY_OTHER_WORKER, worker_id):
            return 0
        async with self._dal.transaction() as tx:
            dead = [row["worker_id"] for row in await tx.fetch(sql.DECLARE_DEAD, worker_id)]
            if not dead:
                return 0
            poisoned = await tx.execute(sql.FAIL_POISONED, dead, max_recoveries)
            freed = await tx.execute(sql.FREE_ORPHANS, dead)
            await tx.execute(sql.NOTIFY, CHANNEL, "pending")
        return poisoned + freed

    async def release(self, worker_id: str) -> int:
        """See `ExecutionStore.release`. Retires the worker first: that waits for a flush that is
        still on its way, so that what it moves is freed as well."""
        try:
            async with self._dal.transaction() as tx:
                await tx.execute(sql.RETIRE, worker_id)
                freed = await tx.execute(sql.RELEASE, worker_id)
                if freed:
                    await tx.execute(sql.NOTIFY, CHANNEL, "pending")
        finally:
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
        await self._dal.listen(CHANNEL, wake)


def lock_key(worker_id: str) -> int:
    """The advisory lock of a worker: a class number of ours above a hash of its id."""
    return (0x5742 << 32) | zlib.crc32(worker_id.encode())


class _Serialised:
    """JSON for one flush. A value that stands in several columns (a step's output is the next
    one's input) is serialised once; asyncpg must not see it, because it takes lists in an array
    for further dimensions."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Json, bytes]] = {}

    def __call__(self, value: Json) -> bytes | None:
        if value is None or isinstance(value, bytes):
            return value
        key = id(value)
        found = self._done.get(key)
        if found is None:
            found = self._done[key] = (value, orjson.dumps(value))
        return found[1]


def _flush_statement(worker_id: str, batch: Batch) -> tuple[str, list[Any]]:
    arguments: list[Any] = [worker_id]
    json = _Serialised()
    if batch.created:
        pairs = batch.created.values()
        rows = [(*_context_values(c, json), *_progress_values(p, json)) for c, p in pairs]
        arguments.extend(_columns(rows))
    if batch.steps:
        arguments.extend(_columns(_step_values(row, json) for row in batch.steps))
    if batch.updates:
        moved = batch.updates.values()
        arguments.extend(_columns((p.execution_id, *_progress_values(p, json)) for p in moved))
    statement = sql.flush(
        created=bool(batch.created), steps=bool(batch.steps), moved=bool(batch.updates)
    )
    return statement, arguments


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))


def _context_values(c: ExecutionContext, json: _Serialised) -> tuple[Any, ...]:
    return (
        c.execution_id, c.workflow_id, c.workflow_version, c.workflow_name, c.community_id,
        c.entity_id, c.user_id, c.triggered_by, c.trigger_source, c.trigger_node_id,
        c.session_id, c.platform, c.execution_name, c.parent_execution_id, c.parent_step_key,
        c.retry_of, json(c.variables), json(c.metadata), c.created_at, c.max_execution_seconds,
        c.max_parallel_executions,
    )  # fmt: skip


def _progress_values(p: Progress, json: _Serialised) -> tuple[Any, ...]:
    return (
        str(p.status), p.start_time, p.end_time, p.seconds(), p.held, p.wake_at, p.last_seq,
        p.nodes_executed, p.steps_completed, p.steps_failed, p.current_step, p.total_steps,
        p.engine_seconds, json(p.final_variables), json(p.final_output), p.error_message,
        p.error_code, p.error_node_id, p.total_cost, p.tokens_used,
    )  # fmt: skip


def _step_values(r: StepRow, json: _Serialised) -> tuple[Any, ...]:
    return (
        r.execution_id, r.seq, r.step_key, r.node_id, r.node_type, str(r.kind), r.status,
        r.attempt, r.started_at, r.completed_at, r.port, json(r.input), json(r.output),
        json(r.variables), json(r.details), json(r.error), r.error_type, json(r.logs), r.wake_at,
    )  # fmt: skip


def _stored(row: asyncpg.Record) -> StoredExecution:
    return StoredExecution(
        context=_context(row),
        progress=_progress(row),
        recoveries=row["recoveries"],
        cancel_requested=row["cancel_requested_at"] is not None,
    )


def _context(row: asyncpg.Record) -> ExecutionContext:
    return ExecutionContext(
        execution_id=row["execution_id"],
        workflow_id=row["workflow_id"],
        workflow_name=row["workflow_name"],
        workflow_version=row["workflow_version"],
        community_id=row["community_id"],
        user_id=row["user_id"],
        trigger_node_id=row["trigger_node_id"],
        created_at=row["created"],
        max_execution_seconds=row["max_execution_seconds"],
        variables=row["input_parameters"],
        metadata=row["metadata"],
        trigger_source=row["trigger_source"],
        entity_id=row["entity_id"],
        session_id=row["session_id"],
        platform=row["platform"],
        execution_name=row["execution_name"],
        triggered_by=row["triggered_by"],
        max_parallel_executions=row["max_parallel_executions"],
        parent_execution_id=row["parent_execution_id"],
        parent_step_key=row["parent_step_key"],
        retry_of=row["retry_of"],
    )


def _progress(row: asyncpg.Record) -> Progress:
    return Progress(
        execution_id=row["execution_id"],
        status=ExecutionStatus(row["status"]),
        start_time=row["start_time"],
        end_time=row["end_time"],
        held=row["worker_id"] is not None,
        wake_at=row["wake_at"],
        last_seq=row["last_seq"],
        nodes_executed=row["nodes_executed"],
        steps_completed=row["steps_completed"],
        steps_failed=row["steps_failed"],
        current_step=row["current_step"],
        total_steps=row["total_steps"],
        engine_seconds=row["engine_seconds"],
        final_variables=row["final_variables"],
        final_output=row["final_output"],
        error_message=row["error_message"],
        error_code=row["error_code"],
        error_node_id=row["error_node_id"],
        total_cost=row["total_cost"],
        tokens_used=row["tokens_used"],
    )


def _step(row: asyncpg.Record) -> StepRow:
    value: Callable[[str], Json] = row.__getitem__
    completed: datetime | None = row["completed_at"]
    return StepRow(
        execution_id=row["execution_id"],
        seq=row["seq"],
        step_key=row["step_key"],
        node_id=row["node_id"],
        node_type=row["node_type"],
        kind=Kind(row["kind"]),
        status=row["status"],
        attempt=row["attempt"],
        started_at=row["started_at"],
        completed_at=completed,
        port=row["port"],
        input=value("input_data"),
        output=value("output_data"),
        variables=value("variables"),
        details=value("details"),
        error=value("error"),
        error_type=row["error_type"],
        logs=value("logs"),
        wake_at=row["wake_at"],
    )
