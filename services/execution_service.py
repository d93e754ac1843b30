"""Executions: started, seen, rehearsed.

Its one rule: nothing is started or shown before the permission service has said yes, and
what is started uses the version that was live at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from engine.children import new_execution
from engine.context import ExecutionContext, JsonObject
from engine.engine import Started, WorkflowEngine
from engine.errors import OutcomeUnknown, StoreUnavailable
from engine.graph import Graph, choose_trigger
from engine.issues import Issue
from engine.trace_context import traced
from engine.trial import TrialRefused
from models.idempotency import KnownKey
from models.permissions import AccessFacts
from services.caller import Caller
from services.errors import (
    ExecutionUnknown,
    NotValid,
    Problem,
    WorkflowNotActive,
)
from services.once import Once, digest_of
from services.permission_service import PermissionService
from services.rehearsed_secrets import warn_of_secrets
from services.requested import pending, refuse_reserved
from services.vault import Vault
from services.workflow_service import WorkflowService

LONGEST_SOUGHT = 1_024
"""Characters of a text that executions are found by: two of them, and all other filters, go into an
address, which has at most 8,192 bytes. More is not taken where they are started either."""


@dataclass(frozen=True, slots=True)
class StartRequest:
    """What a caller asks to run."""

    community_id: int
    variables: JsonObject = field(default_factory=dict)
    metadata: JsonObject = field(default_factory=dict)
    trigger_node_id: str | None = None
    execution_name: str | None = None
    traceparent: str | None = None
    """The header of that name. It differs from try to try, and is no part of what is asked."""


class ExecutionService:
    """The use cases of executions. `now` and `new_id` are the clock and the source of ids;
    `traces`: whether executions are traced."""

    def __init__(
        self,
        engine: WorkflowEngine,
        once: Once,
        permissions: PermissionService,
        workflows: WorkflowService,
        vault: Vault,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        *,
        traces: bool = False,
    ) -> None:
        self._traces = traces
        self._engine = engine
        self._once = once
        self._permissions = permissions
        self._workflows = workflows
        self._vault = vault
        self._now = now
        self._new_id = new_id

    async def start(self, caller: Caller, workflow_id: str, request: StartRequest) -> Started:
        """Starts an execution; it is durable when this returns. Raises `WorkflowNotFound`,
        `Denied`, `WorkflowNotActive`, `NotValid`, `AmbiguousTrigger`, `Overloaded`, …"""
        facts, graph = await self.startable(caller, workflow_id, request.community_id)
        context = self.context(caller, facts, graph, request)
        return await self._engine.execute_workflow(context)

    async def start_once(
        self, caller: Caller, workflow_id: str, request: StartRequest, key: str
    ) -> tuple[Started, bool]:
        """Starts the execution that the caller's `key` stands for, or finds it started; whether
        it was the latter. The answer is the same both times.

        Raises `IdempotencyKeyReused` for another request, and what `start` raises.
        """
        await self._permissions.authorise(
            caller, workflow_id, "execute", community_id=request.community_id
        )
        asked = asdict(request)
        del asked["traceparent"]
        digest = digest_of(asked)
        known = await self._once.started(caller.user_id, workflow_id, key, digest)
        if known is not None:
            return pending(known, workflow_id), True
        facts, graph = await self.startable(caller, workflow_id, request.community_id)
        context = self.context(caller, facts, graph, request)
        execution_id = await self._once.start(
            caller.user_id,
            workflow_id,
            key,
            KnownKey(digest, context.execution_id),
            lambda chosen: self._engine.execute_workflow(
                replace(context, execution_id=chosen), here=False
            ),
        )
        return pending(execution_id, workflow_id), execution_id != context.execution_id

    async def awaited(self, execution_id: str, seconds: float) -> tuple[bool, JsonObject | None]:
        """Whether an execution that the caller has just started ended within so many seconds, and
        its whole state. Where the database does not say, it goes on: it was accepted anyhow."""
        try:
            has_ended = await self._engine.wait(execution_id, seconds)
            return has_ended, await self._engine.get_execution_status(execution_id)
        except (StoreUnavailable, OutcomeUnknown):
            return False, None

    async def details(
        self,
        caller: Caller,
        execution_id: str,
        *,
        include_logs: bool = True,
        include_metrics: bool = False,
    ) -> JsonObject:
        """The whole state of an execution. Raises `ExecutionUnknown`, `Denied`."""
        await self._permissions.execution(caller, execution_id, "view")
        state = await self._engine.get_execution_status(execution_id, include_logs=include_logs)
        if state is None:
            raise ExecutionUnknown  # retention has dropped it this moment
        if include_metrics:
            state["metrics"] = await self._engine.get_execution_metrics(execution_id)
        return state

    async def rehearse(
        self,
        caller: Caller,
        workflow_id: str,
        request: StartRequest,
        *,
        definition: JsonObject | None,
        trial: JsonObject,
    ) -> JsonObject:
        """Runs the workflow's latest edit, or `definition`, without any effect. `trial` is what
        the dry run is asked (`engine.trial.read_trial`). Raises `WorkflowTimeoutException` and
        what starting raises."""
        facts = await self._permissions.authorise(
            caller, workflow_id, "execute", community_id=request.community_id
        )
        given = definition is not None
        if definition is None:
            definition = (await self._workflows.latest(workflow_id)).document
        if definition.get("community_id", facts.community_id) != facts.community_id:
            message = f"must be the workflow's community, {facts.community_id}"
            raise NotValid([Problem(path="/definition/community_id", message=message)])
        definition = {"community_id": facts.community_id, **definition}
        try:
            document = self._workflows.runnable(definition)
        except NotValid as refused:
            raise (refused.below("/definition") if given else refused) from None
        graph = self._engine.graphs.compile(document)
        context = self.context(caller, facts, graph, request)
        try:
            report = await self._engine.dry_run(graph, context, **trial)
        except TrialRefused as refused:
            raise NotValid([_problem(issue) for issue in refused.issues]) from None
        await warn_of_secrets(report, facts.community_id, self._vault)
        return report

    async def startable(
        self, caller: Caller, workflow_id: str, community_id: int | None
    ) -> tuple[AccessFacts, Graph]:
        """A workflow that the caller may start now, and the graph of its live version. Raises
        `WorkflowNotFound`, `Denied`, `WorkflowNotActive`."""
        facts = await self._permissions.authorise(
            caller, workflow_id, "execute", community_id=community_id
        )
        if facts.status != "active" or facts.published_version is None:
            raise WorkflowNotActive(
                f"The workflow is {_article(facts.status)}; publish it before executing it.",
                {"status": facts.status},
            )
        return facts, await self._engine.graphs.get(workflow_id, facts.published_version)

    def context(
        self, caller: Caller, facts: AccessFacts, graph: Graph, request: StartRequest
    ) -> ExecutionContext:
        """What an execution that is asked for is born with. Raises `NotValid`,
        `AmbiguousTrigger`, …"""
        refuse_reserved(request.variables)
        metadata = request.metadata
        source = _sought(metadata, "trigger_source") or "api"
        execution_id = self._new_id()
        if self._traces:
            metadata = traced(metadata, execution_id, request.traceparent)
        return new_execution(
            graph,
            workflow_id=facts.workflow_id,
            execution_id=execution_id,
            created_at=self._now(),
            community_id=facts.community_id,
            entity_id=facts.entity_id,
            user_id=caller.user_id,
            triggered_by=str(caller.user_id),
            trigger_node_id=choose_trigger(graph, request.trigger_node_id, source),
            trigger_source=source,
            variables=request.variables,
            metadata=metadata,
            session_id=_sought(metadata, "session_id"),
            platform=_text(metadata, "platform"),
            execution_name=request.execution_name,
        )


def _text(metadata: JsonObject, name: str) -> str | None:
    value = metadata.get(name)
    if value is not None and not isinstance(value, str):
        raise NotValid([Problem(path=f"/metadata/{name}", message="must be a string")])
    return value


def _sought(metadata: JsonObject, name: str) -> str | None:
    """A text that executions are found by, exactly."""
    value = _text(metadata, name)
    if value is not None and len(value) > LONGEST_SOUGHT:
        message = f"must have at most {LONGEST_SOUGHT} characters, not {len(value)}"
        raise NotValid([Problem(path=f"/metadata/{name}", message=message)])
    return value


def _problem(issue: Issue) -> Problem:
    problem = Problem(path=issue.path, message=issue.message)
    return problem if issue.hint is None else problem | {"hint": issue.hint}


def _article(status: str) -> str:
    return {"draft": "a draft", "archived": "archived"}.get(status, status)
