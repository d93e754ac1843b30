"""When an alert's condition holds.

Its one rule: it is pure, and every metric is listed here with what its threshold may be.
"""

from __future__ import annotations

from datetime import datetime

from models.alert_watch import Measured
from models.alerts import Alert, Condition
from services.errors import Problem

FAILURE_RATE, FAILURES = "failure_rate", "failures"
DURATION_P95, NO_SUCCESS_FOR = "duration_p95", "no_success_for"
METRICS = (FAILURE_RATE, FAILURES, DURATION_P95, NO_SUCCESS_FOR)

SHORTEST_WINDOW, LONGEST_WINDOW = 60, 86_400
MOST_COUNT = 1_000_000
_MOST_FAILURES = 1_000_000_000
_LONGEST_DURATION = 31_536_000
_SOONEST_SECONDS, _LATEST_SECONDS, _PARTS = 5.0, 60.0, 30


def least_count(metric: str) -> int:
    """How many executions a verdict takes unless somebody says otherwise. Of none there is no rate
    and no percentile; but silence itself may be what one wants to hear of."""
    return 1 if metric in (FAILURE_RATE, DURATION_P95) else 0


def problems_of(condition: Condition) -> list[Problem]:
    """What is wrong with a condition, each with what would be right."""
    problems: list[Problem] = []
    if condition.metric not in METRICS:
        message = f"unknown metric {condition.metric[:64]!r}; known: {', '.join(METRICS)}"
        return [Problem(path="/condition/metric", message=message)]
    if not SHORTEST_WINDOW <= condition.window_seconds <= LONGEST_WINDOW:
        message = f"must be from {SHORTEST_WINDOW} to {LONGEST_WINDOW} seconds"
        problems.append(Problem(path="/condition/window_seconds", message=message))
    if not 0 <= condition.min_count <= MOST_COUNT:
        message = f"must be from 0 to {MOST_COUNT}"
        problems.append(Problem(path="/condition/min_count", message=message))
    wrong = _threshold_problem(condition)
    if wrong is not None:
        problems.append(Problem(path="/condition/threshold", message=wrong))
    return problems


def value_of(alert: Alert, measured: Measured, now: datetime) -> float | None:
    """The metric's value; None where there is nothing to tell it by."""
    metric = alert.condition.metric
    if metric == FAILURES:
        return float(measured.failures)
    if metric == DURATION_P95:
        return measured.p95
    if metric == FAILURE_RATE:
        return measured.failures / measured.executions if measured.executions else None
    since = max(measured.last_success_at or alert.counting_since, alert.counting_since)
    return max((now - since).total_seconds(), 0.0)


def holds(condition: Condition, measured: Measured, value: float | None) -> bool:
    """Whether the alert has reason to fire."""
    if value is None or measured.executions < condition.min_count:
        return False
    return value >= condition.threshold


def seconds_between(condition: Condition) -> float:
    """How often to look: thirty times a window, but not more often than every 5 seconds and not
    less than once a minute."""
    return min(max(condition.window_seconds / _PARTS, _SOONEST_SECONDS), _LATEST_SECONDS)


def _threshold_problem(condition: Condition) -> str | None:
    threshold = condition.threshold
    if condition.metric == FAILURE_RATE:
        return None if 0 < threshold <= 1 else "must be more than 0 and at most 1"
    if condition.metric == FAILURES:
        whole = threshold == int(threshold) and 1 <= threshold <= _MOST_FAILURES
        return None if whole else f"must be a whole number from 1 to {_MOST_FAILURES}"
    if condition.metric == DURATION_P95:
        right = 0 < threshold <= _LONGEST_DURATION
        return None if right else f"must be seconds, more than 0 and at most {_LONGEST_DURATION}"
    right = 1 <= threshold <= condition.window_seconds
    return None if right else "must be seconds, from 1 to window_seconds"
