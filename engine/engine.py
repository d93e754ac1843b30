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
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from engine.admission import Admission
from engine.children import Callees
from engine.context import ExecutionContext, ExecutionStatus, Json, JsonObject, Kind, Limits
from engine.departure import Departure
from engine.dry_run import DryRun
from engine.effects import Effects
from engine.environment import Impure
from engine.errors import (
    ExecutionNotFound,
    LeaseLost,
    OutcomeUnknown,
    StoreUnavailable,
    WorkflowEngineException,
)
from engine.graph import Graph
from engine.graph_cache import GraphCache
from engine.messages import Request
from engine.pace import Pace
from engine.ports import (
    Carrying,
    Clock,
    Directory,
    EngineLog,
    ExecutionStore,
    HttpClient,
    Transport,
)
from engine.records import StepRow, StoredExecution
from engine.requests import Requests
from engine.rerun import born_again, recorded_before
from engine.session import Session
from engine.settings import EngineSettings
from engine.trial import read_trial
from engine.view import describe, metrics, report
from engine.watch import Watch

_HINTS = {each.value: each for each in (Request.CANCEL, Request.PAUSE, Request.RESUME)}


@dataclass(frozen=True, slots=True)
class Started:
    """An execution that is durable."""

    execution_id: str
    workflow_id: str
    status: str
    start_time: datetime | None
    execution_path: list[str]


class WorkflowEngine(Requests):
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
        carrying: Carrying | None = None,
    ) -> None:
        self.limits = limits
        self.settings = settings
        self.departure = Departure(clock, settings.shutdown_grace_seconds)
        self.graphs = GraphCache(store.definition, limits)
        self._callees = Callees(directory, self.graphs, clock.now, impure.uuid, limits)
        self._store = store
        self._make_effects = partial(Effects, transport, http, clock, carrying=carrying)
        self._clock = clock
        self._impure = impure
        self._log = log
        self._pace = Pace(clock)
        self._session: Session | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._admission = Admission(store, settings, clock)
        self._watch = Watch(store)
        self.draining = False
        self.leases_lost = 0
        """How many sessions have lost their lease."""

    @property
    def in_flight(self) -> int:
        """How many executions this process runs at this moment."""
        return 0 if self._session is None else self._session.running

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

    def wind_down(self) -> None:
        """The process was told to stop: nothing more is claimed or started here, nobody is kept
        waiting, and the grace time begins. What is asked is still done, until `shutdown`."""
        self.departure.begin()
        if self._session is not None:
            self._session.leave()

    async def shutdown(self) -> None:
        """Accepts nothing more, lets the steps that run finish within what is left of the grace
        time, and releases the rest to other workers."""
        self.wind_down()
        self.draining = True
        if self._supervisor is not None:
            self._supervisor.cancel()
        session, self._session = self._session, None
        if session is not None:
            await session.drain()

    async def execute_workflow(self, context: ExecutionContext, *, here: bool = True) -> Started:
        """Accepts one execution; returns once it is durable. With `here` it starts in this
        process at once if there is room. Without, it waits to be claimed: then several processes
        may accept the very same execution, and still only one runs it.

        Raises `Overloaded` beyond `MAX_PENDING_EXECUTIONS`, `CommunityFull` beyond
        `MAX_HISTORY_BYTES_PER_COMMUNITY`, `StoreUnavailable` if nothing was accepted,
        `OutcomeUnknown` if that cannot be known.
        """
        return (await self.execute_many([context], here=here))[0]

    async def execute_many(
        self, contexts: list[ExecutionContext], *, here: bool = True
    ) -> list[Started]:
        """Accepts several executions in one transaction. Raises as `execute_workflow`."""
        session = self._live_session()
        for community_id, count in Counter(c.community_id for c in contexts).items():
            await self._admission.afford(community_id)
            await self._admission.admit(session, community_id, count)
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
        """Waits at most `seconds` for an execution to end, wherever it runs, and no longer once
        this process is to stop. Whether it did."""
        deadline = self._clock.monotonic() + seconds
        while not self._watch.has_ended(execution_id):
            async with self._watch.over(execution_id) as hint:
                hurried = self.departure.begun or self._clock.monotonic() >= deadline
                if hurried or not self._runs_here(execution_id):
                    status = await self._store.status(execution_id)
                    if status is not None and status.terminal:
                        return True
                left = deadline - self._clock.monotonic()
                if left <= 0 or self.departure.begun:
                    return False
                await self.departure.wait(hint, seconds=left)
        return True

    def _runs_here(self, execution_id: str) -> bool:
        return self._session is not None and self._session.holds(execution_id)

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
        await self._admission.afford(again.community_id)
        await self._admission.admit(session, again.community_id, 1)
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
        if found is None:
            return None
        return describe(*found, self._clock.now(), include_logs=include_logs)

    async def get_execution_metrics(self, execution_id: str) -> JsonObject | None:
        """Where an execution's time went; None if there is none."""
        found = await self._find(execution_id)
        return None if found is None else metrics(*found, self._clock.now())

    async def get_execution_report(self, execution_id: str) -> JsonObject | None:
        """The state, the metrics, the attempts of each step and the timeline of an execution,
        from one reading; None if there is none."""
        found = await self._find(execution_id)
        return None if found is None else report(*found, self._clock.now())

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
        if kind in _HINTS:
            session.ask(execution_id, _HINTS[kind])
        elif kind == "letter":
            session.letter_arrived(execution_id)
        elif kind == "lease":
            session.hurry()
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
            self.departure,
            self._make_effects,
            self._watch.left,
        )
        await session.open()
        return session

    async def _supervise(self) -> None:
        """Background loop: opens a new session whenever the lease of the current one is lost."""
        while True:
            try:
                if self._session is not None:
                    opened = self._clock.monotonic()
                    await self._session.over.wait()
                    self.leases_lost += 1
                    await self._session.abandon()
                    self._session = None
                    if self._clock.monotonic() - opened < self.settings.poll_seconds:
                        await asyncio.sleep(self.settings.poll_seconds)
                self._session = await self._open_session()
                self._log.over("open_session")
            except Exception as failure:  # the edge of a background loop: it must not end
                self._log.trouble("open_session", reason=str(failure) or repr(failure))
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
