"""Running an ended execution again: which of its recorded results the new one begins with.

Theory of operation
-------------------
The new execution's journal begins with copies of the old one's records, chosen by folding them
anew: a record is kept if its step is ready in the new fold and is not among what shall run again.
Whatever is not kept makes its successors not ready, so what follows it runs again by itself; a
journal that begins this way is one that a crash could have left, and nothing else in the engine
knows about retries. Only finished steps and decisions of loops are kept: an attempt that was
under way, a wait that was not over, start anew.

A record that ended something (by a failure, a break, a `terminate`) in which a node is to run again
is not kept either: that node would be cut off before it ran. So what ended it runs again as well,
beside it. What takes no time would do so first, so a retry of which that is left is refused.

In a loop that runs its iterations one after the other, an iteration that is not kept to its end
makes the later ones run again from their beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from engine.children import is_answer, new_execution
from engine.context import ExecutionContext, ExecutionStatus, Json, JsonObject, Kind
from engine.errors import ExecutionNotEnded, NothingFailed
from engine.graph import Graph, Node
from engine.records import StepRow, StoredExecution, outcome_of
from engine.scopes import Step
from engine.state import ExecutionState

_TAKE_TIME = ("effect", "subworkflow", "park")
FAILED = "failed"
START = "start"


def born_again(
    old: ExecutionContext,
    graph: Graph,
    *,
    execution_id: str,
    now: datetime,
    user_id: int,
    variables: JsonObject,
) -> ExecutionContext:
    """What the retry of an ended execution is born with: the same version, trigger and metadata,
    its variables overlaid with `variables`; of the user who asks for it, and nobody's child."""
    return new_execution(
        graph,
        workflow_id=old.workflow_id,
        execution_id=execution_id,
        created_at=now,
        community_id=old.community_id,
        entity_id=old.entity_id,
        user_id=user_id,
        triggered_by=str(user_id),
        trigger_node_id=old.trigger_node_id,
        trigger_source=old.trigger_source,
        variables={**old.variables, **variables},
        metadata=old.metadata,
        session_id=old.session_id,
        platform=old.platform,
        execution_name=old.execution_name,
        retry_of=old.execution_id,
        depth=old.depth,
        **({"error_workflow_id": None} if is_answer(old) else {}),
    )


def recorded_before(
    stored: StoredExecution, graph: Graph, origin: str, again: ExecutionContext
) -> list[StepRow]:
    """The records that the execution `again` begins with, numbered for it.

    `origin` is `failed` (what failed or was cut off runs again), `start` (everything does), or a
    node's id: that node and all that follows it. Raises `ExecutionNotEnded`, `NothingFailed`, and
    `ValueError` for anything else or a node that would not run.
    """
    status = stored.progress.status
    if not status.terminal:
        raise ExecutionNotEnded(status=str(status))
    if origin == START:
        return []
    if origin == FAILED:
        if status is ExecutionStatus.COMPLETED:
            raise NothingFailed
        fatal = _fatal_record(stored, graph)
        rows = (row for row in stored.steps if row is not fatal)
        return _kept(rows, _fresh(graph, again), set(), again)
    node = graph.by_id.get(origin)
    if node is None:
        raise ValueError(
            f"from: {origin!r} is neither `failed`, `start` nor a node of this workflow; "
            f"its nodes are {', '.join(graph.by_id)}"
        )
    state = _fresh(graph, again)
    run_again = _from_here_on(node, graph)
    kept = _kept(stored.steps, state, run_again, again)
    _refuse_to_be_cut_off(origin, stored.steps, state, run_again)
    if all(step.node is not node for step in state.active.values()):
        raise ValueError(
            f"from: {origin!r} would not be reached: the execution did not run it, or its branch "
            "lost a race; name a node before it"
        )
    return kept


def _refuse_to_be_cut_off(
    origin: str, rows: list[StepRow], state: ExecutionState, run_again: set[str]
) -> None:
    """Raises `ValueError` if a step that is not kept, and takes no time, would end what a node that
    is to run again is in, as it did before."""
    for row in rows:
        step = state.active.get(row.step_key)
        if step is None or step.node.family in _TAKE_TIME or row.node_id in run_again:
            continue
        if any(other.node.node_id in run_again for other in state.stopped_by(outcome_of(row))):
            raise ValueError(
                f"from: {origin!r} would be cut off before it ran: {row.node_id!r} ended what both "
                f"are in, and would do so at once; retry from {row.node_id!r}, from a node before "
                "both, or from `failed`"
            )


def _fatal_record(stored: StoredExecution, graph: Graph) -> StepRow | None:
    """The record with which the execution failed; None if it ended for another reason."""
    state = _fresh(graph, stored.context)
    for row in stored.steps:
        if state.apply(outcome_of(row)).ended is not None:
            return row if row.error is not None else None
    return None


def _kept(
    rows: Iterable[StepRow], state: ExecutionState, run_again: set[str], context: ExecutionContext
) -> list[StepRow]:
    """The records that hold in the new execution, whose `state` they are folded into."""
    kept: list[StepRow] = []
    undecided: set[str] = set()
    inputs: dict[str, Json] = {}
    """What steps were given that recorded it when they began to wait."""
    for row in rows:
        if row.input is not None:
            inputs[row.step_key] = row.input
        step = state.active.get(row.step_key)
        if row.step_key in undecided:
            continue
        if step is None or row.node_id in run_again or not _decided(row, step):
            if row.kind is Kind.ITERATE:
                undecided.add(row.step_key)  # the loop's later decisions are of later iterations
            continue
        details = {name: v for name, v in (row.details or {}).items() if name != "usage"}
        details.setdefault("reused", row.execution_id)
        copy = replace(
            row,
            execution_id=context.execution_id,
            seq=len(kept) + 2,
            input=inputs.get(row.step_key),
            details=details,
        )
        outcome = outcome_of(copy)
        if any(other.node.node_id in run_again for other in state.stopped_by(outcome)):
            continue
        state.apply(outcome)
        if state.ended is not None:
            break  # What ends the execution runs again, so that it ends in its own time.
        kept.append(copy)
    return kept


def _decided(row: StepRow, step: Step) -> bool:
    """Whether a record says something final, about a step that stands where the record was made."""
    if row.kind is Kind.ENTERED:
        return step.phase == "enter"
    if row.kind is Kind.ITERATE:
        return step.loop is not None and step.loop.testing
    if row.kind is not Kind.FINISHED:
        return False
    return step.loop is None or step.phase == "finish" or step.loop.testing


def _from_here_on(node: Node, graph: Graph) -> set[str]:
    """The ids of a node and of every node that follows it. (Loops around it need not be named:
    without an iteration's end there is no loop's end.)"""
    reached: set[int] = set()
    todo = [node.index]
    while todo:
        number = todo.pop()
        if number in reached:
            continue
        reached.add(number)
        here = graph.nodes[number]
        todo.extend(edge.target for edge in (*here.all_out, *here.body_out))
    return {graph.nodes[number].node_id for number in reached}


def _fresh(graph: Graph, context: ExecutionContext) -> ExecutionState:
    state = ExecutionState(graph, context.variables, context.trigger_node_id)
    state.start()
    return state
