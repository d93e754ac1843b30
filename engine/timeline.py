"""When each attempt of each step was queued, running and waiting: an execution as a Gantt chart.

Its one rule: what the journal does not tell is left out, never guessed. A failed attempt's end is
the moment at which it was recorded, for no other is kept; an attempt that has recorded nothing runs
from when it could begin (`folded.py`), and nobody knows for how long it was queued.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from engine.context import JsonObject, Kind
from engine.folded import Folded
from engine.moments import rfc3339
from engine.records import StepRow
from engine.scopes import Step

MOST_BARS = 2_000
"""How many attempts a timeline shows."""


def timeline(folded: Folded) -> JsonObject:
    """`{queued_at, started_at, ended_at, bars: [{step_key, node_id, node_type, attempt, status,
    phases, committed_at}], bars_left_out}`, the bars by when they began."""
    context, progress = folded.stored.context, folded.stored.progress
    bars: list[JsonObject] = []
    for key, rows in folded.steps.items():
        bars.extend(_bars(rows, folded.ready_at(key), folded.cut_off_at(key)))
    for step in folded.unrecorded():
        bars.extend(_unrecorded_bars(folded, step))
    bars.sort(key=lambda bar: bar["phases"][0]["from"])
    return {
        "queued_at": rfc3339(context.created_at),
        "started_at": _time(progress.start_time),
        "ended_at": _time(progress.end_time),
        "bars": bars[:MOST_BARS],
        "bars_left_out": max(len(bars) - MOST_BARS, 0),
    }


def attempts(rows: list[StepRow], over: datetime | None = None) -> list[JsonObject]:
    """The attempts of one step: `{attempt, status, started_at, ended_at, duration_seconds, error,
    error_type, next_at, phases, committed_at}`. `over` is when it was cut off, if it was."""
    shown = []
    for tried in _by_attempt(rows):
        last = tried[-1]
        end = _end(last, over)
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


def unrecorded_attempts(folded: Folded, step: Step) -> list[JsonObject]:
    """The attempts, as `attempts` has them, of a step that has recorded nothing: the one that
    runs or was cut off; none if nothing tells when it began."""
    cut = folded.cut_off_at(step.key)
    return [
        {
            "attempt": step.attempt,
            "status": bar["status"],
            "started_at": rfc3339(began),
            "ended_at": _time(cut),
            "duration_seconds": None if cut is None else (cut - began).total_seconds(),
            "error": None,
            "error_type": None,
            "next_at": None,
            "phases": bar["phases"],
            "committed_at": None,
        }
        for bar in _unrecorded_bars(folded, step)
        if (began := folded.began_at(step)) is not None
    ]


def _unrecorded_bars(folded: Folded, step: Step) -> list[JsonObject]:
    began = folded.began_at(step)
    if began is None:
        return []
    return [
        {
            "step_key": step.key,
            "node_id": step.node.node_id,
            "node_type": step.node.node_type,
            "attempt": step.attempt,
            "status": "cancelled" if folded.is_cut_off(step.key) else "running",
            "phases": [_phase("running", began, folded.cut_off_at(step.key))],
            "committed_at": None,
        }
    ]


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
        phases.append(_phase("waiting", end, following or _until(last.wake_at, end, over)))
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


def _end(last: StepRow, over: datetime | None) -> datetime | None:
    return last.recorded_at if last.kind is Kind.RETRYING else last.completed_at or over


def _until(due: datetime | None, since: datetime, over: datetime | None) -> datetime | None:
    """Until when what is `due` waited, that has waited `since` and was perhaps cut off."""
    return due if due is None or over is None else max(min(due, over), since)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
