"""An execution as people see it: its row and its journal, folded over its graph.

Skipped and running nodes are not stored anywhere; the fold knows them. So any process can answer
for an execution that another one runs, from the table alone.
"""

from __future__ import annotations

from datetime import datetime

from engine import step_log
from engine.context import Json, JsonObject, Kind
from engine.folded import Folded, begun_anew, fold
from engine.graph import Graph, Node
from engine.moments import rfc3339
from engine.progress import how_far
from engine.records import StepRow, StoredExecution
from engine.scopes import Step
from engine.timeline import attempts, timeline, unrecorded_attempts


def describe(
    stored: StoredExecution, graph: Graph, now: datetime, *, include_logs: bool = True
) -> JsonObject:
    """The whole state of an execution, as `GET /workflows/executions/:id` answers it."""
    return _described(fold(stored, graph, now), include_logs=include_logs)


def _described(folded: Folded, *, include_logs: bool = True) -> JsonObject:
    stored, graph = folded.stored, folded.graph
    context, progress = stored.context, stored.progress
    steps = [_step_view(folded, rows, include_logs=include_logs) for rows in folded.steps.values()]
    steps += [_begun(folded, step) for step in folded.unrecorded()]
    done = progress.status.terminal
    return {
        "execution_id": context.execution_id,
        "execution_name": context.execution_name,
        "workflow_id": context.workflow_id,
        "workflow_name": context.workflow_name,
        "workflow_version": context.workflow_version,
        "community_id": context.community_id,
        "entity_id": context.entity_id,
        "user_id": context.user_id,
        "triggered_by": context.triggered_by,
        "trigger_source": context.trigger_source,
        "trigger_node_id": context.trigger_node_id,
        "session_id": context.session_id,
        "platform": context.platform,
        "parent_execution_id": context.parent_execution_id,
        "retry_of": context.retry_of,
        "status": str(progress.status),
        "created_at": rfc3339(context.created_at),
        "start_time": _time(progress.start_time),
        "end_time": _time(progress.end_time),
        "wake_at": _time(progress.wake_at),
        "execution_time_seconds": progress.seconds(),
        "input_parameters": context.variables,
        "metadata": context.metadata,
        "execution_path": folded.state.path,
        "node_states": _node_states(folded, steps),
        "steps": steps,
        "progress": how_far(progress.status, folded.state.settled_count(), graph.enabled_count),
        "steps_completed": folded.state.completed,
        "steps_failed": folded.state.failed,
        "nodes_executed": len(folded.state.path),
        "final_variables": _final_variables(folded) if done else None,
        "variables": folded.state.variables,
        "final_output": progress.final_output,
        "error_message": progress.error_message,
        "error_code": progress.error_code,
        "error_node_id": progress.error_node_id,
        "total_cost": folded.state.cost,
        "tokens_used": folded.state.tokens,
    }


def report(stored: StoredExecution, graph: Graph, now: datetime) -> JsonObject:
    """`{state, metrics, timeline}`: everything there is to see. Its steps have their `attempts`;
    those that have finished come first, in that order, as pages of steps have them."""
    folded = fold(stored, graph, now)
    state = _described(folded)
    tried = {key: attempts(rows, folded.cut_off_at(key)) for key, rows in folded.steps.items()}
    tried |= {step.key: unrecorded_attempts(folded, step) for step in folded.unrecorded()}
    for step in state["steps"]:
        step["attempts"] = tried[step["step_key"]]
    state["steps"].sort(key=lambda step: not is_finished(step))
    return {"state": state, "metrics": _measured(folded), "timeline": timeline(folded)}


def is_finished(step: JsonObject) -> bool:
    """Whether a step, as these views show it, has finished: one that was cut off has not."""
    return step["status"] in ("completed", "failed")


def goes_on(rows: list[StepRow]) -> bool:
    """Whether a finished step had begun in the execution that this one retries, and went on here
    (a loop): then `finished_step` has to know when that was."""
    return rows[0].reused and not rows[-1].reused


def finished_step(rows: list[StepRow], own: datetime | None = None) -> JsonObject:
    """One step that has finished, from all of its records: what needs no fold. `own` is when the
    execution's own work began (`folded.own_beginning`), for one that `goes_on`."""
    budget = step_log.Budget()
    logs = [line for row in rows for line in budget.take(row)]
    if own is not None:
        rows = begun_anew(rows, own)
    shown = _shown(rows, rows[-1].status, logs, reused=rows[-1].reused)
    return {**shown, "attempts": attempts(rows)}


def metrics(stored: StoredExecution, graph: Graph, now: datetime) -> JsonObject:
    """Where an execution's time went: `get_execution_metrics()` of the API."""
    return _measured(fold(stored, graph, now))


def _measured(folded: Folded) -> JsonObject:
    stored, graph, state = folded.stored, folded.graph, folded.state
    context, progress = stored.context, stored.progress
    spent: dict[str, float] = {}
    for key, rows in folded.steps.items():
        last = rows[-1]
        if last.completed_at is not None and key not in folded.over_before:
            seconds = (last.completed_at - rows[0].started_at).total_seconds()
            spent[last.node_id] = spent.get(last.node_id, 0.0) + seconds
    slowest = max(spent, key=spent.__getitem__, default=None)
    queued = progress.start_time - context.created_at if progress.start_time else None
    return {
        "total_duration_seconds": progress.seconds(),
        "node_count": len(graph.nodes),
        "nodes_executed": len(state.path),
        "nodes_skipped": len(_skipped(folded)),
        "nodes_failed": state.failed,
        "average_node_time_seconds": sum(spent.values()) / len(spent) if spent else 0.0,
        "slowest_node_id": slowest,
        "slowest_node_time_seconds": spent[slowest] if slowest is not None else None,
        "engine_time_seconds": round(progress.engine_seconds, 6),
        "queue_time_seconds": max(queued.total_seconds(), 0.0) if queued is not None else None,
        "variable_count": len(state.variables),
    }


def _final_variables(folded: Folded) -> JsonObject:
    stored: JsonObject | None = folded.stored.progress.final_variables
    return folded.state.variables if stored is None else stored


def _step_view(folded: Folded, rows: list[StepRow], *, include_logs: bool) -> JsonObject:
    last, key = rows[-1], rows[-1].step_key
    logs = _logs(folded, rows) if include_logs else []
    reused = key in folded.over_before
    if last.completed_at is None and folded.is_cut_off(key):
        return _shown(rows, "cancelled", logs, reused=reused, over=folded.cut_off_at(key))
    return _shown(rows, last.status, logs, reused=reused)


def _shown(
    rows: list[StepRow],
    status: str,
    logs: list[JsonObject],
    *,
    reused: bool,
    over: datetime | None = None,
) -> JsonObject:
    """One step from its records; `over` is when it was cut off."""
    began, ended = rows[0].started_at, rows[-1].completed_at or over
    last = rows[-1]
    return {
        "step_key": last.step_key,
        "node_id": last.node_id,
        "node_type": last.node_type,
        "seq": last.seq,
        "attempt": last.attempt,
        "status": status,
        "started_at": rfc3339(began),
        "completed_at": _time(ended),
        "duration_seconds": _duration(began, ended),
        "input_data": _input(rows),
        "output_data": last.output if last.kind is Kind.FINISHED else None,
        "port": last.port,
        "retry_count": sum(1 for row in rows if row.kind is Kind.RETRYING),
        "logs": logs,
        "error": last.error["message"] if last.error else None,
        "error_type": last.error_type,
        "wake_at": _time(last.wake_at) if status != "cancelled" else None,
        "reused": reused,
        "child_execution_id": _child(rows),
    }


def _child(rows: list[StepRow]) -> str | None:
    """The execution that a sub-workflow's step started last."""
    last = rows[-1]
    if last.node_type != "flow_subworkflow":
        return None
    waited = [row.output["child"] for row in rows if row.kind is Kind.WAITING]
    if waited:
        return str(waited[-1])
    if last.details and "letter" in last.details:  # reused: the child of the first try
        return str(last.details["letter"])
    detached = last.error is None and isinstance(last.input, dict) and not last.input["wait"]
    return str(last.output["execution_id"]) if detached else None


def _duration(began: datetime | None, ended: datetime | None) -> float | None:
    return None if began is None or ended is None else (ended - began).total_seconds()


def _input(rows: list[StepRow]) -> Json:
    return next((row.input for row in reversed(rows) if row.input is not None), None)


def _logs(folded: Folded, rows: list[StepRow]) -> list[JsonObject]:
    numbers = dict.fromkeys(row.seq for row in rows)
    return [line for number in numbers for line in folded.lines.get(number, ())]


def _node_states(folded: Folded, steps: list[JsonObject]) -> JsonObject:
    """The state of every node of the graph; one in a loop shows its last run."""
    latest: dict[str, JsonObject] = {}
    for step in steps:
        latest[step["node_id"]] = step
    skipped = _skipped(folded)
    states: JsonObject = {}
    for node in folded.graph.nodes:
        recorded = latest.get(node.node_id)
        state = _unrecorded(folded, node, skipped) if recorded is None else recorded
        shown = {k: v for k, v in state.items() if k not in ("step_key", "seq", "attempt")}
        states[node.node_id] = {**shown, "iterations": folded.state.runs.get(node.index, 0)}
    return states


def _skipped(folded: Folded) -> set[int]:
    """The nodes that did not run and will not."""
    progress = folded.stored.progress
    begun = progress.start_time is not None
    return folded.state.never_ran(over=progress.status.terminal, begun=begun)


def _begun(folded: Folded, step: Step) -> JsonObject:
    began, over = folded.began_at(step), folded.cut_off_at(step.key)
    return {
        **_blank(step.node, "cancelled" if folded.is_cut_off(step.key) else "running"),
        "step_key": step.key,
        "seq": None,
        "attempt": step.attempt,
        "started_at": _time(began),
        "completed_at": _time(over),
        "duration_seconds": _duration(began, over),
        "reused": step.key in folded.over_before,
    }


def _unrecorded(folded: Folded, node: Node, skipped: set[int]) -> JsonObject:
    if node.index in skipped:
        return _blank(node, "skipped")
    if node.index in folded.state.cancelled_nodes:
        return _blank(node, "cancelled")
    return _blank(node, "pending")


def _blank(node: Node, status: str) -> JsonObject:
    return {
        "node_id": node.node_id,
        "node_type": node.node_type,
        "status": status,
        "started_at": None,
        "completed_at": None,
        "duration_seconds": None,
        "input_data": None,
        "output_data": None,
        "port": None,
        "retry_count": 0,
        "logs": [],
        "error": None,
        "error_type": None,
        "wake_at": None,
        "reused": False,
        "child_execution_id": None,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
