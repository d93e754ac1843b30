"""What is done to executions that exist: cancelled, signalled, run again.

Its one rule: whoever may do it is asked first; then the engine, which answers when it is true.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from engine.context import Json, JsonObject
from engine.engine import Started, WorkflowEngine
from engine.signals import SignalUnfit
from models.executions import ExecutionOwner
from models.idempotency import KnownKey
from services.caller import Caller
from services.errors import Denied, ExecutionUnknown, NotValid, Problem, WorkflowNotActive
from services.once import Once, digest_of
from services.permission_service import PermissionService
from services.requested import pending, refuse_reserved

ACTIVE = "active"


class ExecutionControl:
    """The use cases. `new_id` makes the ids of letters and executions."""

    def __init__(
        self,
        engine: WorkflowEngine,
        once: Once,
        permissions: PermissionService,
        *,
        new_id: Callable[[], str],
    ) -> None:
        self._engine = engine
        self._once = once
        self._permissions = permissions
        self._new_id = new_id

    async def cancel(self, caller: Caller, execution_id: str) -> tuple[ExecutionOwner, datetime]:
        """Cancels an execution; returns whose it was and when it ended. Raises
        `ExecutionUnknown`, `Denied`, `ExecutionNotRunning`."""
        owner = await self._authorised(caller, execution_id)
        return owner, await self._engine.cancel_execution(execution_id)

    async def pause(self, caller: Caller, execution_id: str) -> tuple[ExecutionOwner, str]:
        """Pauses an execution; whose it is, and its status then. Raises `ExecutionUnknown`,
        `Denied`, `ExecutionNotRunning`."""
        owner = await self._authorised(caller, execution_id)
        return owner, str(await self._engine.pause_execution(execution_id))

    async def resume(self, caller: Caller, execution_id: str) -> tuple[ExecutionOwner, str]:
        """Resumes an execution; whose it is, and its status then. Raises as `pause`."""
        owner = await self._authorised(caller, execution_id)
        return owner, str(await self._engine.resume_execution(execution_id))

    async def signal(
        self, caller: Caller, execution_id: str, name: str, payload: Json, key: str | None
    ) -> tuple[ExecutionOwner, bool]:
        """Sends a signal, once per `key`; whose execution it is, and whether this signal had been
        sent before. Raises `ExecutionUnknown`, `Denied`, `ExecutionNotRunning`, `SignalUnknown`,
        `NotValid` for a payload that no node would take, `IdempotencyKeyReused`."""
        owner = await self._authorised(caller, execution_id)
        letter_id = self._new_id()
        if key is not None:
            letter_id = str(uuid5(NAMESPACE_URL, f"{execution_id}/{caller.user_id}/{key}"))
        try:
            sent = await self._engine.signal_execution(
                execution_id, name, payload, sent_by=caller.user_id, letter_id=letter_id
            )
        except SignalUnfit as unfit:
            problems = [Problem(path=p.path, message=p.message) for p in unfit.problems]
            raise NotValid(problems, str(unfit)) from None
        return owner, not sent

    async def retry(
        self,
        caller: Caller,
        execution_id: str,
        origin: str,
        variables: JsonObject,
        key: str | None,
    ) -> tuple[ExecutionOwner, Started, bool]:
        """Runs an ended execution again from `origin`; whose it was, what was started, and
        whether this `key` had started it before. Raises `ExecutionUnknown`, `Denied`,
        `WorkflowNotActive`, `NotValid`, `IdempotencyKeyReused`, and what the engine raises."""
        refuse_reserved(variables)
        owner, user_id = await self._retriable(caller, execution_id)
        if key is None:
            started = await self._retry(user_id, execution_id, origin, variables, None)
            return owner, started, False
        digest = digest_of("retry", execution_id, origin, variables)
        known = await self._once.started(caller.user_id, owner.workflow_id, key, digest)
        if known is not None:
            return owner, pending(known, owner.workflow_id), True
        await self._engine.check_retry(execution_id, origin)  # a refused request claims no key
        wanted = KnownKey(digest, self._new_id())
        new_id = await self._once.start(
            caller.user_id,
            owner.workflow_id,
            key,
            wanted,
            lambda chosen: self._retry(user_id, execution_id, origin, variables, chosen),
        )
        return owner, pending(new_id, owner.workflow_id), new_id != wanted.execution_id

    async def _retry(
        self,
        user_id: int,
        execution_id: str,
        origin: str,
        variables: JsonObject,
        chosen: str | None,
    ) -> Started:
        return await self._engine.retry_execution(
            execution_id,
            origin,
            again_id=chosen or self._new_id(),
            user_id=user_id,
            variables=variables,
            here=chosen is None,
        )

    async def _retriable(self, caller: Caller, execution_id: str) -> tuple[ExecutionOwner, int]:
        """Whose execution it is, if the caller may run it again, and whose the new one is to be.

        Who may edit its workflow may, and who triggered it and may still execute that. (A child is
        its caller's, but reached by the authority of who published the parent.) It becomes the
        caller's, unless they may not see what it repeats: of that it has a copy.
        """
        owner, access = await self._permissions.execution_access(caller, execution_id)
        if access is None or not access.in_community:
            raise ExecutionUnknown(denied=True)
        mine = owner.user_id == caller.user_id and access.may("execute")
        if not mine and not access.may("edit"):
            raise Denied("You may neither edit this workflow nor execute it and retry your own.")
        status = access.facts.status
        if status != ACTIVE:
            raise WorkflowNotActive(
                f"The workflow is {status}; only executions of active workflows run again.",
                {"status": status},
            )
        sees = owner.user_id == caller.user_id or access.may("view")
        return owner, caller.user_id if sees else owner.user_id

    async def _authorised(self, caller: Caller, execution_id: str) -> ExecutionOwner:
        return await self._permissions.execution(caller, execution_id, "edit")
