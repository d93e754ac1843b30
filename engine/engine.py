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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from engine.admission import Admission
from engine.children import Callees
from engine.context import ExecutionContext, ExecutionStatus, Json, JsonObject, Kind, Limits
from engine.dry_run import DryRun
from engine.effects import Effects
from engine.environment import Impure
from engine.errors import (
    ExecutionNotFound,
    ExecutionNotRunning,
    LeaseLost,
    OutcomeUnknown,
    StoreUnavailable,
    TooManySignals,
    WorkflowEngineException,
)
from engine.graph import Graph
from engine.graph_cache import GraphCache
from engine.messages import Request
from engine.pace import Pace
from engine.ports import (
    MOST_SIGNALS,
    Clock,
    Directory,
    EngineLog,
    ExecutionStore,
    HttpClient,
    Transport,
)
from engine.records import Letter, StepRow, StoredExecution
from engine.rerun import born_again, recorded_before
from engine.scopes import Step
from engine.session import Session
from engine.settings import EngineSettings
from engine.signals import check_signal, refuse_reuse
from engine.trial import read_trial
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
        directory: Directory,
        clock: Clock,
        impure: Impure,
        log: EngineLog,
        limits: Limits,
        settings: EngineSettings,
    ) -> None:
        self.limits = limits
        self.settings = settings
        self.graphs = GraphCache(store.definition, limits)
        self._callees = Callees(directory, self.graphs, clock.now, impure.uuid, limits)
        self._store = store
        self._transport = transport
        self._http = http
        self._clock = clock
        self._impure = impure
        self._log = log
        self._pace = Pace(clock)
        self._session: Session | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._admission = Admission(store, settings, clock)
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
        await self._admission.admit(session, len(contexts))
        graphs = [await self.graphs.get(c.workflow_id, c.workflow_version) for c in contexts]
        started = [
            self._submit(session, context, graph, here=here)
            for context, graph in zip(contexts, graphs, strict=True)
        ]
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

    async def signal_execution(
        self, execution_id: str, name: str, payload: Json, *, sent_by: int, letter_id: str
    ) -> bool:
        """Sends a signal; it is durable on return, and waits for a node that has not got there
        yet. False if it had been sent before: one `letter_id` (a UUID) is one signal.

        Raises `ExecutionNotFound`, `ExecutionNotRunning`, `SignalUnknown`, `SignalUnfit`,
        `SignalReused` if the id stands for another signal, `TooManySignals`.
        """
        stored = await self._store.peek(execution_id)
        if stored is None:
            raise ExecutionNotFound
        context = stored.context
        if not stored.progress.status.terminal:
            graph = await self.graphs.get(context.workflow_id, context.workflow_version)
            check_signal(graph, name, payload)
        letter = Letter(letter_id, "signal", name, payload, self._clock.now(), sent_by)
        became = await self._store.post(execution_id, letter)
        if became == "full":
            raise TooManySignals(most=MOST_SIGNALS)
        if became == "known":
            refuse_reuse(await self._store.letters(execution_id), letter)
        elif became != "kept":
            raise ExecutionNotRunning(status=str(await self._store.status(execution_id)))
        return became == "kept"

    async def retry_execution(
        self,
        execution_id: str,
        origin: str,
        *,
        again_id: str,
        user_id: int,
        variables: JsonObject,
        here: bool = True,
    ) -> Started:
        """Runs an ended execution again as `again_id`, beginning with the recorded results of
        everything before `origin`: `failed`, `start`, or a node's id. `variables` overlay the old
        ones; `here` as in `execute_workflow`.

        Raises `ExecutionNotFound`, `ExecutionNotEnded`, `NothingFailed`, `ValueError` for another
        `origin`, and what `execute_workflow` raises.
        """
        again, graph, rows = await self._retry_of(
            execution_id, origin, again_id, user_id, variables
        )
        session = self._live_session()
        await self._admission.admit(session, 1)
        started = self._submit(session, again, graph, here=here, rows=rows)
        await self._durable(session, [again.execution_id])
        if started.status == ExecutionStatus.PENDING:
            session.nudge()
        return started

    async def check_retry(self, execution_id: str, origin: str) -> None:
        """Passes if `retry_execution` would find what to run again. Raises as that does."""
        await self._retry_of(execution_id, origin, execution_id, 0, {})

    async def _retry_of(
        self, execution_id: str, origin: str, again_id: str, user_id: int, variables: JsonObject
    ) -> tuple[ExecutionContext, Graph, list[StepRow]]:
        stored, graph = await self._found(execution_id)
        again = born_again(
            stored.context,
            graph,
            execution_id=again_id,
            now=self._clock.now(),
            user_id=user_id,
            variables=variables,
        )
        return again, graph, recorded_before(stored, graph, origin, again)

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
        self, graph: Graph, context: ExecutionContext, mocks: Json = None, **asked: Json
    ) -> JsonObject:
        """Tries a graph without any effect leaving the process. `asked` are the other parts of
        the trial (`read_trial`). Raises `TrialRefused`, `WorkflowTimeoutException`."""
        trial = read_trial(graph, mocks=mocks, **asked)
        call, tools = self._callees.call, (self._impure, self._clock, self._pace)
        return await DryRun(graph, context, trial, *tools, call).run()

    # Accepting

    def _live_session(self) -> Session:
        session = self._session
        if session is None or not session.alive or self.draining:
            raise StoreUnavailable("The engine is not running; try again shortly.")
        return session

    def _submit(
        self,
        session: Session,
        context: ExecutionContext,
        graph: Graph,
        *,
        here: bool,
        rows: Sequence[StepRow] = (),
    ) -> Started:
        try:
            progress = session.submit(context, graph, here, rows)
        except LeaseLost as lost:
            raise StoreUnavailable from lost
        path = [row.node_id for row in rows if row.kind is Kind.FINISHED]
        return Started(
            context.execution_id,
            context.workflow_id,
            str(progress.status),
            progress.start_time,
            path,
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
        elif kind == "letter":
            session.letter_arrived(execution_id)
        else:
            session.nudge()

    async def _open_session(self) -> Session:
        session = Session(
            self._store,
            self._callees,
            self._admission,
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
                    opened = self._clock.monotonic()
                    await self._session.over.wait()
                    await self._session.abandon()
                    self._session = None
                    if self._clock.monotonic() - opened < self.settings.poll_seconds:
                        await asyncio.sleep(self.settings.poll_seconds)
                self._session = await self._open_session()
            except Exception as failure:  # the edge of a background loop: it must not end
                self._log.error("open_session", "FAILURE", reason=str(failure) or repr(failure))
                await asyncio.sleep(self.settings.poll_seconds)

    async def _found(self, execution_id: str) -> tuple[StoredExecution, Graph]:
        found = await self._find(execution_id)
        if found is None:
            raise ExecutionNotFound
        return found

    async def _find(self, execution_id: str) -> tuple[StoredExecution, Graph] | None:
        stored = await self._store.load(execution_id)
        if stored is None:
            return None
        context = stored.context
        return stored, await self.graphs.get(context.workflow_id, context.workflow_version)
