"""The WorkflowEngine: accepts executions, runs them in this process, and takes over others'.

Theory of operation
-------------------
*One kind of work.* Fresh, due and orphaned executions are rows that match the claim query; there
is no second queue that could disagree with the table. The only short cut: an execution accepted
here while there is room is created as already held by this worker and starts at once.

*A session* is one identity of this process: worker, journal, runners. When its lease is lost the
session drops everything without writing (the fence would refuse it anyhow) and a new one opens.

*Being woken.* The claim loop sleeps until somebody calls it (a NOTIFY, a local submission, room
that became free), the next parked execution is due, or a poll interval has passed. Waking it too
often costs a query; a lost wake-up costs an interval, never an execution.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from engine.context import ExecutionContext, ExecutionStatus, JsonObject, Limits
from engine.dry_run import DryRun
from engine.effects import Effects
from engine.environment import Impure
from engine.errors import (
    ExecutionNotFound,
    ExecutionNotRunning,
    LeaseLost,
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
    WorkflowEngineException,
)
from engine.graph import Graph
from engine.graph_cache import GraphCache
from engine.messages import Request
from engine.pace import Pace
from engine.ports import Clock, EngineLog, ExecutionStore, HttpClient, Transport
from engine.records import Progress, StoredExecution
from engine.scopes import Step
from engine.session import Session
from engine.settings import EngineSettings
from engine.view import describe, metrics

_WAIT_POLL_SECONDS = 0.2
_CANCEL_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Started:
    """An execution that is durable."""

    execution_id: str
    workflow_id: str
    status: str
    start_time: datetime | None
    execution_path: list[str]


class WorkflowEngine:
    """Runs workflows. See the module's theory of operation."""

    def __init__(
        self,
        store: ExecutionStore,
        transport: Transport,
        http: HttpClient,
        clock: Clock,
        impure: Impure,
        log: EngineLog,
        limits: Limits,
        settings: EngineSettings,
    ) -> None:
        self.limits = limits
        self.settings = settings
        self.graphs = GraphCache(store.definition, limits)
        self._store = store
        self._transport = transport
        self._http = http
        self._clock = clock
        self._impure = impure
        self._log = log
        self._pace = Pace(clock)
        self._session: Session | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._pending = 0
        self._pending_seen = float("-inf")
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether executions are accepted and run here."""
        session = self._session
        return session is not None and session.alive and not self.draining

    async def start(self) -> None:
        """Opens the first session. Raises `StoreUnavailable`."""
        await self._store.listen(self._hint)
        self._session = await self._open_session()
        self._supervisor = asyncio.create_task(self._supervise(), name="engine-supervisor")

    async def shutdown(self) -> None:
        """Accepts nothing more, lets what runs go on for the grace time, and releases the rest
        to other workers."""
        self.draining = True
        if self._supervisor is not None:
            self._supervisor.cancel()
        session, self._session = self._session, None
        if session is not None:
            await session.drain(self.settings.shutdown_grace_seconds)

    async def execute_workflow(self, context: ExecutionContext, *, here: bool = True) -> Started:
        """Accepts one execution; returns once it is durable. With `here` it starts in this
        process at once if there is room. Without, it waits to be claimed: then several processes
        may accept the very same execution, and still only one runs it.

        Raises `Overloaded` beyond `MAX_PENDING_EXECUTIONS`, `StoreUnavailable` if nothing was
        accepted, `OutcomeUnknown` if that cannot be known.
        """
        return (await self.execute_many([context], here=here))[0]

    async def execute_many(
        self, contexts: list[ExecutionContext], *, here: bool = True
    ) -> list[Started]:
        """Accepts several executions in one transaction. Raises as `execute_workflow`."""
        session = self._live_session()
        await self._admit(session, len(contexts))
        graphs = [await self.graphs.get(c.workflow_id, c.workflow_version) for c in contexts]
        try:
            started = [
                self._submit(session, context, graph, here=here)
                for context, graph in zip(contexts, graphs, strict=True)
            ]
        except LeaseLost as lost:
            raise StoreUnavailable from lost
        await self._durable(session, [context.execution_id for context in contexts])
        if any(each.status == ExecutionStatus.PENDING for each in started):
            session.nudge()
        return started

    async def wait(self, execution_id: str, seconds: float) -> bool:
        """Waits at most `seconds` for an execution to end, wherever it runs. Whether it did."""
        deadline = self._clock.monotonic() + seconds
        while True:
            session = self._session
            left = deadline - self._clock.monotonic()
            if session is not None and session.holds(execution_id):
                await session.ended(execution_id, max(left, 0.0))
            status = await self._store.status(execution_id)
            if status is not None and status.terminal:
                return True
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(_WAIT_POLL_SECONDS, left))

    async def cancel_execution(self, execution_id: str) -> datetime:
        """Cancels an execution, whichever process runs it; returns when it was, once it is.

        Raises `ExecutionNotFound`, `ExecutionNotRunning` if it had ended already.
        """
        deadline = self._clock.monotonic() + _CANCEL_PATIENCE_SECONDS
        asked = False
        while True:
            session = self._session
            if session is not None and session.ask(execution_id, Request.CANCEL):
                asked = True
                await session.ended(execution_id, _WAIT_POLL_SECONDS * 5)
            answer = await self._store.request_cancel(execution_id)
            if answer is None:
                raise ExecutionNotFound
            if answer.state == "cancelled" and answer.at is not None:
                return answer.at
            if answer.state == "ended":
                if asked and answer.at is not None:
                    return answer.at
                raise ExecutionNotRunning(status=answer.status)
            asked = True
            if self._clock.monotonic() > deadline:
                raise StoreUnavailable("the worker that runs the execution does not answer")
            await asyncio.sleep(_WAIT_POLL_SECONDS)

    async def get_execution_status(
        self, execution_id: str, *, include_logs: bool = True
    ) -> JsonObject | None:
        """The whole state of an execution; None if there is none."""
        found = await self._find(execution_id)
        return None if found is None else describe(*found, include_logs=include_logs)

    async def get_execution_metrics(self, execution_id: str) -> JsonObject | None:
        """Where an execution's time went; None if there is none."""
        found = await self._find(execution_id)
        return None if found is None else metrics(*found)

    async def dry_run(
        self, graph: Graph, context: ExecutionContext, mocks: JsonObject | None = None
    ) -> JsonObject:
        """Tries a graph without any effect leaving the process. Raises
        `WorkflowTimeoutException`."""
        return await DryRun(
            graph, context, mocks or {}, self._impure, self._clock, self._pace
        ).run()

    # Accepting

    def _live_session(self) -> Session:
        session = self._session
        if session is None or not session.alive or self.draining:
            raise StoreUnavailable("The engine is not running; try again shortly.")
        return session

    async def _admit(self, session: Session, count: int) -> None:
        most = self.settings.max_pending_executions
        if session.journal.backlog > most:
            raise Overloaded
        if session.room() >= count and not session.crowded:
            return
        now = self._clock.monotonic()
        if now - self._pending_seen > self.settings.poll_seconds:
            self._pending = await self._store.pending(most + 1)
            self._pending_seen = now
        if self._pending + count > most:
            raise Overloaded(pending=self._pending, most=most)
        self._pending += count

    def _submit(
        self, session: Session, context: ExecutionContext, graph: Graph, *, here: bool
    ) -> Started:
        now = self._clock.now()
        local = here and session.room() > 0 and context.max_parallel_executions is None
        progress = Progress(
            execution_id=context.execution_id,
            status=ExecutionStatus.RUNNING if local else ExecutionStatus.PENDING,
            start_time=now if local else None,
            held=local,
            total_steps=graph.enabled_count,
        )
        session.journal.create(context, progress)
        if local:
            session.launch(context, graph, replace(progress), [])
        return Started(
            context.execution_id, context.workflow_id, str(progress.status), progress.start_time, []
        )

    async def _durable(self, session: Session, execution_ids: list[str]) -> None:
        try:
            async with asyncio.timeout(self.settings.commit_patience_seconds):
                await session.journal.committed(session.journal.position)
        except (TimeoutError, LeaseLost) as late:
            withdrawn = [session.withdraw(execution_id) for execution_id in execution_ids]
            if all(withdrawn):
                raise StoreUnavailable from late
            raise OutcomeUnknown from late
        reasons = [session.refusal(execution_id) for execution_id in execution_ids]
        for reason in filter(None, reasons):
            raise WorkflowEngineException(f"The execution cannot be stored: {reason}") from reason

    # Background

    def _hint(self, topic: str) -> None:
        session = self._session
        if session is None:
            return
        kind, _, execution_id = topic.partition(":")
        if kind == "cancel":
            session.ask(execution_id, Request.CANCEL)
        else:
            session.nudge()

    async def _open_session(self) -> Session:
        session = Session(
            self._store,
            self.graphs,
            self._clock,
            self._impure,
            self._pace,
            self._log,
            self.settings,
            self._make_effects,
        )
        await session.open()
        return session

    def _make_effects(
        self, may_act: Callable[[], bool], crashed: Callable[[Step, Exception], None]
    ) -> Effects:
        return Effects(self._transport, self._http, self._clock, may_act, crashed)

    async def _supervise(self) -> None:
        """Background loop: opens a new session whenever the lease of the current one is lost."""
        while True:
            try:
                if self._session is not None:
                    await self._session.over.wait()
                    await self._session.abandon()
                    self._session = None
                self._session = await self._open_session()
            except Exception as failure:  # the edge of a background loop: it must not end
                self._log.error("open_session", "FAILURE", reason=str(failure) or repr(failure))
                await asyncio.sleep(self.settings.poll_seconds)

    async def _find(self, execution_id: str) -> tuple[StoredExecution, Graph] | None:
        stored = await self._store.load(execution_id)
        if stored is None:
            return None
        context = stored.context
        return stored, await self.graphs.get(context.workflow_id, context.workflow_version)
