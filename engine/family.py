"""What the executions of one session have to do with each other: children and error workflows.

A child is created in the very flush that records that its parent waits for it, so neither is ever
there without the other. How a child's end reaches its parent, and a parent's end its children, is
the store's business (`ExecutionStore`). An error workflow is started from the table, like
everything that may run: failures that nobody answered are rows that match a query.

A child that an execution of its own workflow waits for, directly or through others, shares that
one's place under the workflow's limit: it is born without one, so whatever claims or counts need
not know of families, and nobody waits for a place that is held by who waits for him.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from engine.children import Callees
from engine.context import ExecutionContext, JsonObject
from engine.errors import (
    LeaseLost,
    OutcomeUnknown,
    Overloaded,
    StepFailure,
    StoreUnavailable,
    WorkflowEngineException,
)
from engine.graph import Graph
from engine.journal import Journal
from engine.messages import Request
from engine.ports import EngineLog, ExecutionStore
from engine.records import Progress, StoredExecution

_ANSWERED_AT_ONCE = 50
_STORE_PAUSE_SECONDS = 0.5

Admit = Callable[[int], Awaitable[None]]
Submit = Callable[[ExecutionContext, Graph, bool], Progress]
Ask = Callable[[str, Request], bool]


class Family:
    """Starts and abandons executions on behalf of others. `submit(context, graph, here)` gives
    one to the session and says how it stands, `ask` passes a request on to one that
    runs here, `nudge` is called when there may be something to claim, `admit` raises `Overloaded`
    when nothing more of a community is accepted."""

    def __init__(
        self,
        store: ExecutionStore,
        journal: Journal,
        callees: Callees,
        log: EngineLog,
        submit: Submit,
        ask: Ask,
        nudge: Callable[[], None],
        admit: Admit,
    ) -> None:
        self._store = store
        self._journal = journal
        self._callees = callees
        self._log = log
        self._submit = submit
        self._ask = ask
        self._nudge = nudge
        self._admit = admit
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(
        self, caller: ExecutionContext, step_key: str, given: JsonObject
    ) -> tuple[ExecutionContext, Graph]:
        """The child that a step may start; asks again while the store cannot say. Raises
        `StepFailure`, `LeaseLost`."""
        while True:
            try:
                child, graph = await self._callees.call(caller, step_key, given)
                if await self._has_its_place(caller, child):
                    child = replace(child, max_parallel_executions=None)
                await self._admit(caller.community_id)
                return child, graph
            except Overloaded as overloaded:
                raise StepFailure("OVERLOADED", str(overloaded), retryable=True) from overloaded
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    def start(self, context: ExecutionContext, graph: Graph) -> None:
        """Starts a child, together with what its parent records next. Raises `LeaseLost`."""
        if not self._submit(context, graph, True).held:
            position = self._journal.position
            self.later(lambda: self._claimable_at(position))

    def abandon(self, execution_id: str) -> asyncio.Task[None]:
        """Cancels a child whose step is pointless while its parent goes on, once the record that
        says so is durable. The parent must not be parked before this is done: a replay does it
        again, but nobody replays what sleeps."""
        position = self._journal.position
        return self.later(lambda: self._abandon(execution_id, position))

    async def answer_failures(self) -> None:
        """Starts the error workflows of failures nobody has answered. Raises what the store
        raises."""
        settled: list[str] = []
        for failure in await self._store.unanswered(_ANSWERED_AT_ONCE):
            try:
                await self._answer(failure)
            except Overloaded:
                break  # The rest is asked for again; the table forgets nothing.
            except (StoreUnavailable, OutcomeUnknown, LeaseLost):
                raise
            except Exception as reason:  # the edge of an execution: its error workflow cannot run
                self._log.error(
                    "start_error_workflow",
                    "FAILURE",
                    execution=failure.context.execution_id,
                    error_workflow=failure.context.error_workflow_id,
                    reason=str(reason),
                )
            settled.append(failure.context.execution_id)
        await self._journal.committed(self._journal.position)
        if settled:
            await self._store.answered(settled)
            self._nudge()

    async def stop(self) -> None:
        """Ends what is still on its way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, failure: StoredExecution) -> None:
        context, graph = await self._callees.answer(failure.context, failure.progress)
        await self._admit(context.community_id)
        # Not started here: another process may be answering it too, and one of the two runs it.
        self._submit(context, graph, False)

    async def _has_its_place(self, caller: ExecutionContext, child: ExecutionContext) -> bool:
        """Whether one of those that wait for the child counts against its workflow's limit: the
        caller, or who waits for that, and so on."""
        if child.max_parallel_executions is None or child.parent_step_key is None:
            return False
        above: ExecutionContext | None = caller
        while above is not None:
            if above.workflow_id == child.workflow_id and above.max_parallel_executions is not None:
                return True
            above = await self._waits_for(above)
        return False

    async def _waits_for(self, execution: ExecutionContext) -> ExecutionContext | None:
        """The execution that waits for this one, if any does."""
        if execution.parent_step_key is None or execution.parent_execution_id is None:
            return None
        await self._journal.committed(self._journal.position)  # It may have been born just now.
        stored = await self._store.peek(execution.parent_execution_id)
        return None if stored is None else stored.context

    async def _claimable_at(self, position: int) -> None:
        await self._journal.committed(position)
        self._nudge()

    async def _abandon(self, execution_id: str, created_at: int) -> None:
        await self._journal.committed(created_at)
        self._ask(execution_id, Request.CANCEL)
        while True:
            try:
                await self._store.request_cancel(execution_id)
                return
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    def later(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Does something beside the executions, and logs it if it cannot be done."""
        task = asyncio.create_task(self._quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _quietly(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except LeaseLost:
            return  # Whoever takes the parent over sees to it.
        except WorkflowEngineException as unreachable:
            self._log.trouble("follow_up", reason=str(unreachable))
        else:
            self._log.over("follow_up")
