"""Executions that other executions start: what they are born with.

Its one rule: nothing is started that the directory does not vouch for, and every execution knows
how many are above it, so that no chain of them goes on for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.context import ExecutionContext, ExecutionStatus, JsonObject, Limits
from engine.derived_ids import answer_id
from engine.errors import AmbiguousTrigger, InvalidDefinition, StepFailure
from engine.graph import Graph, choose_trigger
from engine.graph_cache import GraphCache
from engine.moments import rfc3339
from engine.ports import Callee, Directory
from engine.records import Progress
from engine.trace_context import passed_on

ERROR_SOURCE = "error"
"""The `trigger_source` of an execution that answers a failure; its own failure is not answered."""


def is_answer(context: ExecutionContext) -> bool:
    """Whether an execution answers a failure, or was started by one that does."""
    started_by_one = (
        context.trigger_source == "subworkflow" and "answers_failure" in context.metadata
    )
    return context.trigger_source == ERROR_SOURCE or started_by_one


def new_execution(graph: Graph, *, workflow_id: str, **born_with: Any) -> ExecutionContext:
    """What an execution of this graph is born with: what its version says, and the rest of the
    `ExecutionContext`'s fields as given."""
    document = graph.document
    says: dict[str, Any] = {
        "workflow_name": document["name"],
        "workflow_version": graph.version,
        "max_execution_seconds": document.get("max_execution_time_seconds")
        or graph.limits.workflow_timeout_seconds,
        "max_parallel_executions": document.get("max_parallel_executions"),
        "error_workflow_id": document.get("error_workflow_id"),
    }
    return ExecutionContext(workflow_id=workflow_id, **(says | born_with))


@dataclass(frozen=True, slots=True)
class Callees:
    """Finds what an execution wants to start, and says what that is born with."""

    directory: Directory
    graphs: GraphCache
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    limits: Limits

    async def call(
        self, caller: ExecutionContext, step_key: str, given: JsonObject
    ) -> tuple[ExecutionContext, Graph]:
        """The child that a sub-workflow's step starts, and its graph. `given` is the node's
        rendered `{workflow_id, variables, wait}`.

        Raises `StepFailure` (`SUBWORKFLOW_NOT_FOUND`, `SUBWORKFLOW_NOT_ACTIVE`,
        `SUBWORKFLOW_TOO_DEEP`, `AMBIGUOUS_TRIGGER`), `StoreUnavailable`.
        """
        callee, graph = await self._find(given["workflow_id"], caller)
        context = _family_member(
            caller,
            callee,
            graph,
            execution_id=self.new_id(),
            created_at=self.now(),
            variables=given["variables"],
            metadata={
                "trigger_source": "subworkflow",
                "parent_execution_id": caller.execution_id,
                **({"answers_failure": True} if is_answer(caller) else {}),
                **passed_on(caller, step_key),
            },
            trigger_source="subworkflow",
            # The failure of a child that somebody waits for is its parent's to deal with, and what
            # an answer starts is part of the answer.
            **({"parent_step_key": step_key} if given["wait"] else {}),
            **({"error_workflow_id": None} if given["wait"] or is_answer(caller) else {}),
        )
        return context, graph

    async def answer(
        self, failed: ExecutionContext, progress: Progress
    ) -> tuple[ExecutionContext, Graph]:
        """The execution that answers a failure. Its id follows from that of the failure, so that
        however many processes start it, there is one. Raises as `call`."""
        assert failed.error_workflow_id is not None
        callee, graph = await self._find(failed.error_workflow_id, failed)
        details = _failure(failed, progress)
        context = _family_member(
            failed,
            callee,
            graph,
            execution_id=answer_id(failed.execution_id, progress.end_time or self.now()),
            created_at=self.now(),
            variables={"failed_execution": details},
            metadata={"trigger_source": ERROR_SOURCE, "payload": details, **passed_on(failed)},
            trigger_source=ERROR_SOURCE,
            error_workflow_id=None,
        )
        return context, graph

    async def _find(self, workflow_id: str, caller: ExecutionContext) -> tuple[Callee, Graph]:
        most = self.limits.max_subworkflow_depth
        if caller.depth >= most:
            raise StepFailure(
                "SUBWORKFLOW_TOO_DEEP",
                f"This execution has {caller.depth} others above it; a workflow may start "
                f"workflows at most {most} deep (MAX_SUBWORKFLOW_DEPTH).",
                fatal=True,
            )
        callee = await self.directory.callee(workflow_id, caller)
        return callee, await self.graphs.get(callee.workflow_id, callee.version)


def sent_off(child: ExecutionContext) -> JsonObject:
    """What a sub-workflow's step gives that does not wait for its child."""
    return {
        "execution_id": child.execution_id,
        "workflow_id": child.workflow_id,
        "status": str(ExecutionStatus.PENDING),
    }


def _family_member(
    caller: ExecutionContext, callee: Callee, graph: Graph, **own: Any
) -> ExecutionContext:
    try:
        trigger = choose_trigger(graph, None, own["trigger_source"])
    except (AmbiguousTrigger, InvalidDefinition) as unclear:
        several = isinstance(unclear, AmbiguousTrigger)
        failure = StepFailure(
            "AMBIGUOUS_TRIGGER" if several else "INVALID_DEFINITION", str(unclear)
        )
        raise failure from unclear
    terms = {
        "community_id": caller.community_id,
        "entity_id": callee.entity_id,
        "user_id": caller.user_id,
        "triggered_by": caller.triggered_by,
        "session_id": caller.session_id,
        "platform": caller.platform,
        "trigger_node_id": trigger,
        "parent_execution_id": caller.execution_id,
        "depth": caller.depth + 1,
    }
    return new_execution(graph, workflow_id=callee.workflow_id, **terms, **own)


def _failure(failed: ExecutionContext, progress: Progress) -> JsonObject:
    """A failed execution as the trigger of its error workflow shows it."""
    return {
        "execution_id": failed.execution_id,
        "execution_name": failed.execution_name,
        "workflow_id": failed.workflow_id,
        "workflow_name": failed.workflow_name,
        "workflow_version": failed.workflow_version,
        "status": str(progress.status),
        "error_message": progress.error_message,
        "error_code": progress.error_code,
        "error_node_id": progress.error_node_id,
        "trigger_source": failed.trigger_source,
        "user_id": failed.user_id,
        "session_id": failed.session_id,
        "platform": failed.platform,
        "input_parameters": failed.variables,
        "started_at": None if progress.start_time is None else rfc3339(progress.start_time),
        "ended_at": None if progress.end_time is None else rfc3339(progress.end_time),
    }
