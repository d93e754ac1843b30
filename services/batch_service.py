"""Batches: many executions of one workflow, started in one transaction.

Its one rule: an item that is refused stays in its place and hinders no other; what concerns the
workflow, or all of them together, refuses the batch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from engine.context import ExecutionContext, Json
from engine.derived_ids import item_id
from engine.engine import Started, WorkflowEngine
from engine.errors import WorkflowEngineException
from engine.graph import Graph
from models.idempotency import KnownKey
from models.permissions import AccessFacts
from services.caller import Caller
from services.errors import Refusal, WorkflowNotFound
from services.execution_service import ExecutionService, StartRequest
from services.once import Once, digest_of
from services.permission_service import PermissionService
from services.requested import pending

Item = StartRequest | Refusal
Outcome = Started | Exception
"""What became of an item."""


class BatchService:
    """The use cases. `new_id` makes ids."""

    def __init__(
        self,
        engine: WorkflowEngine,
        executions: ExecutionService,
        once: Once,
        permissions: PermissionService,
        *,
        new_id: Callable[[], str],
    ) -> None:
        self._engine = engine
        self._executions = executions
        self._once = once
        self._permissions = permissions
        self._new_id = new_id

    async def start(self, caller: Caller, workflow_id: str, items: Sequence[Item]) -> list[Outcome]:
        """Starts the items: for each, in order, what it became or why not. Raises
        `WorkflowNotFound`, `Denied`, `WorkflowNotActive`, `Overloaded`, …"""
        facts, graph = await self._executions.startable(caller, workflow_id, None)
        prepared = self._prepared(caller, facts, graph, items)
        contexts = [one for one in prepared if isinstance(one, ExecutionContext)]
        started = iter(await self._engine.execute_many(contexts) if contexts else [])
        return [one if isinstance(one, Exception) else next(started) for one in prepared]

    async def start_once(
        self,
        caller: Caller,
        workflow_id: str,
        items: Sequence[Item],
        body: Json,
        key: str,
        answer_to: Callable[[list[Outcome]], Json],
    ) -> tuple[Json, bool]:
        """Starts the batch that the caller's `key` stands for, or finds it started; what
        `answer_to` makes of its outcomes, the same both times, and whether the key was known.

        Raises `IdempotencyKeyReused` for another `body`, and what `start` raises.
        """
        await self._permissions.authorise(caller, workflow_id, "execute")
        digest = digest_of("batch", body)
        known = await self._once.batch(caller.user_id, workflow_id, key, digest)
        if known is not None:
            return known, True
        facts, graph = await self._executions.startable(caller, workflow_id, None)
        prepared = self._prepared(caller, facts, graph, items)

        def prepare(batch_id: str) -> tuple[Json, Callable[[], Awaitable[object]]]:
            named = [
                replace(one, execution_id=item_id(batch_id, index))
                if isinstance(one, ExecutionContext)
                else one
                for index, one in enumerate(prepared)
            ]
            outcomes = [
                pending(one.execution_id, workflow_id) if isinstance(one, ExecutionContext) else one
                for one in named
            ]
            contexts = [one for one in named if isinstance(one, ExecutionContext)]
            return answer_to(outcomes), lambda: self._start_all(contexts)

        wanted = KnownKey(digest, self._new_id())
        return await self._once.start_batch(caller.user_id, workflow_id, key, wanted, prepare)

    async def _start_all(self, contexts: list[ExecutionContext]) -> None:
        if contexts:
            await self._engine.execute_many(contexts, here=False)

    def _prepared(
        self, caller: Caller, facts: AccessFacts, graph: Graph, items: Sequence[Item]
    ) -> list[ExecutionContext | Exception]:
        return [self._one(caller, facts, graph, item) for item in items]

    def _one(
        self, caller: Caller, facts: AccessFacts, graph: Graph, item: Item
    ) -> ExecutionContext | Exception:
        """What will run, or why it will not."""
        if isinstance(item, Refusal):
            return item
        if item.community_id != facts.community_id:
            return WorkflowNotFound(denied=True)
        try:
            return self._executions.context(caller, facts, graph, item)
        except (Refusal, ValueError, WorkflowEngineException) as error:
            return error
