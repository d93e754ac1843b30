"""Metrics of what has ended: counts, rates, durations, cost and nodes, by the hour or the day.

Its one rule: everything is told from roll-ups, of the workflows that the caller may view and of no
other. So an answer costs what its span and its workflows cost, whatever the length of history.

Durations are those of executions that ran to an end of their own, completed or failed: when
somebody cancels says nothing about how long a workflow takes. The success rate leaves them out too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from itertools import pairwise
from typing import Any, Literal

from engine.context import ExecutionStatus, JsonObject
from models.histograms import Histogram
from models.rollup_sql import HOURLY_DAYS
from models.rollups import Rollups, Span
from models.tallies import NodeKey, NodeRuns, Tally
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
_NOTHING = Tally()


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
        tallies = await self._rollups.read(viewer_of(caller), span)
        starts = [
            span.start + number * span.width
            for number in range(round((span.end - span.start) / span.width) + 1)
        ]
        buckets = [
            {"start": start, "end": end}
            | _figures(tallies.buckets.get(start, _NOTHING), _minutes(start, end, now))
            for start, end in pairwise(starts)
        ]
        totals = _figures(tallies.total, _minutes(span.start, span.end, now))
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
    # Rounding may add a bucket, and so may the one that has not ended; what was asked for may not.
    asked_for = timedelta() if asked.end is None else asked.end - (asked.start or start)
    if asked_for > most or end - start > most + width:
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


def _figures(tally: Tally, minutes: float) -> JsonObject:
    """What is told of a bucket that has lasted so many minutes."""
    figures: JsonObject | None = tally.told
    if figures is None:
        figures = tally.told = _lasting(tally)
    executions = figures["executions"]
    rate = round(executions / minutes, 6) if minutes else 0.0
    return {**figures, "throughput_per_minute": rate}


def _lasting(tally: Tally) -> JsonObject:
    """What is told of a bucket at any time; but for the throughput, whose place it keeps."""
    counts = dict.fromkeys(_STATUSES, 0)
    durations = Histogram()
    seconds = cost = tokens = 0.0
    for status, each in tally.ends.items():
        counts[status] += each.executions
        cost += each.cost
        tokens += each.tokens
        if status in _OF_ITS_OWN:
            seconds += each.seconds
            durations += each.durations
    ran = sum(counts[status] for status in _OF_ITS_OWN)
    measured, told = durations.quantiles(_SHARES)
    slowest, most_failing = _ranked(tally)
    return {
        "executions": sum(counts.values()),
        "by_status": counts,
        "success_rate": round(counts["completed"] / ran, 6) if ran else None,
        **dict(zip(_QUANTILES, told, strict=True)),
        "mean_duration": round(seconds / measured, 6) if measured else None,
        "throughput_per_minute": 0.0,
        "total_cost": round(cost, 9),
        "tokens_used": _whole(tokens),
        "slowest_nodes": slowest,
        "most_failing_nodes": most_failing,
    }


def _ranked(tally: Tally) -> tuple[list[JsonObject], list[JsonObject]]:
    """The nodes that take longest, and those that fail most."""
    ran = [each for each in tally.nodes.items() if each[1].runs > 0]
    slowest = nsmallest(MOST_NODES, ran, key=_by_slowness)
    failed = [each for each in ran if each[1].failures > 0]
    most_failing = nsmallest(MOST_NODES, failed, key=_by_failures)
    return [_node(*each) for each in slowest], [_node(*each) for each in most_failing]


def _by_slowness(each: tuple[NodeKey, NodeRuns]) -> tuple[Any, ...]:
    key, runs = each
    return -runs.seconds / runs.runs, *key


def _by_failures(each: tuple[NodeKey, NodeRuns]) -> tuple[Any, ...]:
    key, runs = each
    return -runs.failures, runs.runs, *key


def _whole(number: float) -> int:
    """As an integer that JSON's readers hold."""
    return max(min(round(number), _MOST_WHOLE), -_MOST_WHOLE)


def _node(key: NodeKey, runs: NodeRuns) -> JsonObject:
    workflow_id, node_id = key
    return {
        "workflow_id": workflow_id,
        "node_id": node_id,
        "node_type": runs.node_type,
        "runs": runs.runs,
        "failures": runs.failures,
        "failure_rate": round(runs.failures / runs.runs, 6),
        "mean_seconds": round(runs.seconds / runs.runs, 6),
        "longest_seconds": round(runs.longest_seconds, 6),
    }
