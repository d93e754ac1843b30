"""Which workflows an execution may start: the permission service's answer, in the engine's terms.

Its one rule: an execution reaches no further than the people behind it. A child or an error
workflow must be of the same community, and the user who triggered the execution or the one who
published its version must be allowed to execute it. What may not be started looks like what does
not exist.
"""

from __future__ import annotations

from engine.context import ExecutionContext
from engine.errors import StepFailure
from engine.ports import Callee
from models.permissions import AccessFacts
from models.workflows import Workflows
from services.caller import EVERYDAY_SCOPES, Caller
from services.permission_service import PermissionService


class WorkflowDirectory:
    """The engine's `Directory`."""

    def __init__(self, permissions: PermissionService, workflows: Workflows) -> None:
        self._permissions = permissions
        self._workflows = workflows

    async def callee(self, workflow_id: str, caller: ExecutionContext) -> Callee:
        """See `Directory.callee`."""
        facts = await self._executable(workflow_id, caller, caller.user_id, caller.community_id)
        if facts is None:
            publisher = await self._publisher(caller)
            if publisher is not None and publisher != caller.user_id:
                facts = await self._executable(workflow_id, caller, publisher, None)
        if facts is None:
            raise StepFailure(
                "SUBWORKFLOW_NOT_FOUND",
                f"There is no workflow {workflow_id} in this community that this one may start.",
            )
        if facts.status != "active" or facts.published_version is None:
            raise StepFailure(
                "SUBWORKFLOW_NOT_ACTIVE",
                f"The workflow {facts.name!r} is not active; publish it before another starts it.",
            )
        return Callee(facts.workflow_id, facts.published_version, facts.entity_id)

    async def _executable(
        self, workflow_id: str, caller: ExecutionContext, user_id: int, community_id: int | None
    ) -> AccessFacts | None:
        """The workflow, if this user may execute it. The credential that started the caller spoke
        for its user's community; a publisher must still be of it by themselves."""
        user = Caller(user_id=user_id, community_id=community_id, scopes=EVERYDAY_SCOPES)
        access = await self._permissions.access(user, workflow_id)
        if access is None or access.facts.community_id != caller.community_id:
            return None
        if not access.may("execute"):
            return None
        return access.facts

    async def _publisher(self, caller: ExecutionContext) -> int | None:
        version = await self._workflows.version(caller.workflow_id, caller.workflow_version)
        return None if version is None else version.published_by
