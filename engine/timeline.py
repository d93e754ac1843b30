"""When each attempt of each step was queued, running and waiting: an execution as a Gantt chart.

Its one rule: what the journal does not tell is left out, never guessed. A failed attempt's end is
the moment at which it was recorded, for no other is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from engine.context import JsonObject, Kind
from engine.graph import Graph
from engine.moments import rfc3339
from engine.records import StepRow, StoredExecution

MOST_BARS = 2_000
"""How many attempts a timeline shows."""


def timeline(stored: StoredExecution, graph: Graph) -> JsonObject:
    """`{queued_at, started_at, ended_at, bars: [{step_key, node_id, node_type, attempt, status,
    phases, committed_at}], bars_left_out}`, the bars by when they began."""
    steps = by_step(stored.steps)
    ended = {key: rows[-1].completed_at for key, rows in steps.items()}
    before = _predecessors(graph)
    bars: list[JsonObject] = []
    for key, rows in steps.items():
        prefix = key.removesuffix(rows[0].node_id)
        ready = _ready(rows[0], [ended.get(prefix + name) for name in before[rows[0].node_id]])
        if ready is None and not before[rows[0].node_id]:
            ready = stored.progress.start_time
        bars.extend(_bars(rows, ready, stored.progress.end_time))
    bars.sort(key=lambda bar: bar["phases"][0]["from"])
    return {
        "queued_at": rfc3339(stored.context.created_at),
        "started_at": _time(stored.progress.start_time),
        "ended_at": _time(stored.progress.end_time),
        "bars": bars[:MOST_BARS],
        "bars_left_out": max(len(bars) - MOST_BARS, 0),
    }


def by_step(rows: Iterable[StepRow]) -> dict[str, list[StepRow]]:
    """The records of each step, in their order."""
    grouped: dict[str, list[StepRow]] = {}
    for row in rows:
        grouped.setdefault(row.step_key, []).append(row)
    return grouped


def attempts(rows: list[StepRow], over: datetime | None = None) -> list[JsonObject]:
    """The attempts of one step: `{attempt, status, started_at, ended_at, duration_seconds, error,
    error_type, next_at, phases, committed_at}`. `over` is when the execution ended."""
    shown = []
    for tried in _by_attempt(rows):
        last = tried[-1]
        end = _end(last)
        seconds = None if end is None else (end - tried[0].started_at).total_seconds()
        shown.append(
            {
                "attempt": last.attempt,
                "status": _status(last, over),
                "started_at": rfc3339(tried[0].started_at),
                "ended_at": _time(end),
                "duration_seconds": seconds,
                "error": last.error["message"] if last.error else None,
                "error_type": last.error_type,
                "next_at": _time(last.wake_at) if last.kind is Kind.RETRYING else None,
                "phases": _phases(tried, None, _next(rows, tried), over),
                "committed_at": _time(last.recorded_at),
            }
        )
    return shown


def _bars(
    rows: list[StepRow], ready: datetime | None, over: datetime | None
) -> Iterable[JsonObject]:
    for tried in _by_attempt(rows):
        last = tried[-1]
        yield {
            "step_key": last.step_key,
            "node_id": last.node_id,
            "node_type": last.node_type,
            "attempt": last.attempt,
            "status": _status(last, over),
            "phases": _phases(tried, ready, _next(rows, tried), over),
            "committed_at": _time(last.recorded_at),
        }
        ready = last.wake_at  # the next attempt is due then, and queued from then on


def _phases(
    tried: list[StepRow],
    ready: datetime | None,
    following: datetime | None,
    over: datetime | None,
) -> list[JsonObject]:
    """What one attempt went through. `following` is when the next attempt began."""
    phases: list[JsonObject] = []
    begun = tried[0].started_at
    if ready is not None:
        phases.append(_phase("queued", min(ready, begun), begun))
    for place, row in enumerate(tried):
        later = tried[place + 1].started_at if place + 1 < len(tried) else None
        if row.kind is Kind.WAITING:
            if begun < row.started_at:
                phases.append(_phase("running", begun, row.started_at))
            begun = row.started_at if later is None else max(later, row.started_at)
            phases.append(_phase("waiting", row.started_at, later or over))
    last = tried[-1]
    if last.kind is Kind.RETRYING:
        end = max(last.recorded_at or begun, begun)
        phases.append(_phase("running", begun, end))
        phases.append(_phase("waiting", end, following or last.wake_at))
    elif last.kind is not Kind.WAITING:
        phases.append(_phase("running", begun, last.completed_at or over))
    return phases


def _phase(name: str, begun: datetime, ended: datetime | None) -> JsonObject:
    return {"phase": name, "from": rfc3339(begun), "to": _time(ended)}


def _by_attempt(rows: list[StepRow]) -> list[list[StepRow]]:
    grouped: dict[int, list[StepRow]] = {}
    for row in rows:
        grouped.setdefault(row.attempt, []).append(row)
    return list(grouped.values())


def _next(rows: list[StepRow], tried: list[StepRow]) -> datetime | None:
    return next((row.started_at for row in rows if row.seq > tried[-1].seq), None)


def _status(last: StepRow, over: datetime | None) -> str:
    if last.kind is Kind.RETRYING:
        return "failed"
    return "cancelled" if last.completed_at is None and over is not None else last.status


def _end(last: StepRow) -> datetime | None:
    return last.recorded_at if last.kind is Kind.RETRYING else last.completed_at


def _predecessors(graph: Graph) -> Mapping[str, list[str]]:
    """The nodes from which each node is reached."""
    before: dict[str, list[str]] = {node.node_id: [] for node in graph.nodes}
    for node in graph.nodes:
        for edge in node.all_out:
            before[graph.nodes[edge.target].node_id].append(node.node_id)
    return before


def _ready(first: StepRow, ended: list[datetime | None]) -> datetime | None:
    """When the last of the predecessors that had ended by then did."""
    return max((at for at in ended if at is not None and at <= first.started_at), default=None)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
