"""Metrics of what has ended: counts, rates, durations, cost and nodes, by the hour or the day.

Its one rule: everything is told from roll-ups, of the workflows that the caller may view and of no
other. So an answer costs what its span and its workflows cost, whatever the length of history.

Durations are those of executions that ran to an end of their own, completed or failed: when
somebody cancels says nothing about how long a workflow takes. The success rate leaves them out too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from engine.context import ExecutionStatus, JsonObject
from models.histograms import Histogram
from models.rollup_sql import HOURLY_DAYS
from models.rollups import Ends, NodeRuns, Rollups, Span
from services.caller import Caller
from services.errors import NotValid, Problem
from services.permission_service import PermissionService, viewer_of

Bucket = Literal["hour", "day"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDTHS: dict[str, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
LONGEST_DAYS: dict[str, int] = {"hour": HOURLY_DAYS - 1, "day": 400}
"""How many days an answer may span, by the width of its buckets."""
_USUAL: dict[str, timedelta] = {"hour": timedelta(hours=24), "day": timedelta(days=30)}
MOST_NODES = 5
_MOST_WHOLE = 2**53
_QUANTILES = ("p50_duration", "p95_duration", "p99_duration")
_SHARES = (0.5, 0.95, 0.99)
_OF_ITS_OWN = (str(ExecutionStatus.COMPLETED), str(ExecutionStatus.FAILED))
_STATUSES = (*_OF_ITS_OWN, str(ExecutionStatus.CANCELLED))


@dataclass(frozen=True, slots=True)
class MetricsRequest:
    """What is asked for. Without `start` and `end`: up to now, a day by the hour or thirty days by
    the day."""

    bucket: Bucket = "hour"
    start: datetime | None = None
    end: datetime | None = None
    workflow_id: str | None = None
    community_id: int | None = None


class MetricsService:
    """Metrics for callers. `now` tells the time."""

    def __init__(
        self, rollups: Rollups, permissions: PermissionService, *, now: Callable[[], datetime]
    ) -> None:
        self._rollups = rollups
        self._permissions = permissions
        self._now = now

    async def report(self, caller: Caller, asked: MetricsRequest) -> JsonObject:
        """The metrics of a span, bucket by bucket and in all.

        Raises `NotValid`, `StoreUnavailable`, and for a workflow that the caller may not view what
        `PermissionService.authorise` raises.
        """
        now = self._now()
        span = span_of(asked, now)
        if asked.workflow_id is not None:
            await self._permissions.authorise(
                caller, asked.workflow_id, "view", community_id=asked.community_id
            )
        viewer = viewer_of(caller)
        ends, nodes = await self._rollups.read(viewer, span, MOST_NODES)
        starts = [
            span.start + number * span.width
            for number in range(round((span.end - span.start) / span.width) + 1)
        ]
        by_start = _grouped(ends)
        nodes_of = _grouped(nodes)
        buckets = [
            {"start": start, "end": end}
            | _figures(by_start.get(start, []), nodes_of.get(start, []), _minutes(start, end, now))
            for start, end in pairwise(starts)
        ]
        totals = _figures(ends, nodes_of.get(None, []), _minutes(span.start, span.end, now))
        return {
            "from": span.start,
            "to": span.end,
            "bucket": asked.bucket,
            "workflow_id": asked.workflow_id,
            "community_id": asked.community_id,
            "totals": totals,
            "buckets": buckets,
        }


def span_of(asked: MetricsRequest, now: datetime) -> Span:
    """The whole buckets that hold what is asked for. Raises `NotValid`."""
    width, most = _WIDTHS[asked.bucket], timedelta(days=LONGEST_DAYS[asked.bucket])
    end = _floor((asked.end or now) + width - timedelta(microseconds=1), width)
    start = end - _USUAL[asked.bucket] if asked.start is None else _floor(asked.start, width)
    if (asked.start or start) >= (asked.end or end):
        _refuse("from", "must be earlier than to, which is now unless it is given")
    if end - start > most + width:
        _refuse("from", _too_long(asked.bucket, most.days))
    if asked.bucket == "hour" and start < now - most - width:
        _refuse(
            "from",
            f"is too long ago for bucket=hour, which reaches back {most.days} days; use bucket=day",
        )
    return Span(start, end, width, asked.workflow_id, asked.community_id)


def _too_long(bucket: str, most_days: int) -> str:
    other = "; use bucket=day" if bucket == "hour" else ""
    return f"is too early: with bucket={bucket} a span is at most {most_days} days{other}"


def _refuse(parameter: str, message: str) -> None:
    raise NotValid([Problem(path=f"/{parameter}", message=message)])


def _floor(at: datetime, width: timedelta) -> datetime:
    return at - (at - _EPOCH) % width


def _minutes(start: datetime, end: datetime, now: datetime) -> float:
    """How much of a bucket there has been so far."""
    return max((min(end, now) - start) / timedelta(minutes=1), 0.0)


def _grouped(rows: Iterable[Any]) -> dict[datetime | None, list[Any]]:
    groups: dict[datetime | None, list[Any]] = {}
    for row in rows:
        groups.setdefault(row.start, []).append(row)
    return groups


def _figures(ends: list[Ends], nodes: list[NodeRuns], minutes: float) -> JsonObject:
    counts = dict.fromkeys(_STATUSES, 0)
    durations = Histogram()
    seconds = 0.0
    for each in ends:
        counts[each.status] += each.executions
        if each.status in _OF_ITS_OWN:
            seconds += each.seconds
            durations += each.durations
    executions = sum(counts.values())
    ran = sum(counts[status] for status in _OF_ITS_OWN)
    measured, told = durations.quantiles(_SHARES)
    return {
        "executions": executions,
        "by_status": counts,
        "success_rate": round(counts["completed"] / ran, 6) if ran else None,
        **dict(zip(_QUANTILES, told, strict=True)),
        "mean_duration": round(seconds / measured, 6) if measured else None,
        "throughput_per_minute": round(executions / minutes, 6) if minutes else 0.0,
        "total_cost": round(sum(each.cost for each in ends), 9),
        "tokens_used": _whole(sum(each.tokens for each in ends)),
        "slowest_nodes": [
            _node(row)
            for _, row in sorted((row.slow, row) for row in nodes if row.slow is not None)
        ],
        "most_failing_nodes": [
            _node(row)
            for _, row in sorted((row.failing, row) for row in nodes if row.failing is not None)
        ],
    }


def _whole(number: float) -> int:
    """As an integer that JSON's readers hold."""
    return max(min(round(number), _MOST_WHOLE), -_MOST_WHOLE)


def _node(row: NodeRuns) -> JsonObject:
    return {
        "workflow_id": row.workflow_id,
        "node_id": row.node_id,
        "node_type": row.node_type,
        "runs": row.runs,
        "failures": row.failures,
        "failure_rate": round(row.failures / row.runs, 6),
        "mean_seconds": round(row.seconds / row.runs, 6),
        "longest_seconds": round(row.longest_seconds, 6),
    }
