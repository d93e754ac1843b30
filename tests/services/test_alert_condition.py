"""When an alert's condition holds, and which conditions there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from models.alert_watch import Measured
from models.alerts import Alert, Condition
from services.alert_condition import holds, least_count, problems_of, seconds_between, value_of

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SINCE = NOW - timedelta(hours=2)


def an_alert(metric: str, **changes: object) -> Alert:
    alert = Alert(
        alert_id="a",
        community_id=1,
        workflow_id=None,
        condition=Condition(metric, 1, 300, 0),
        notify=(),
        created_by=1,
        seen_by=1,
        sees_all=True,
        enabled=True,
        state="ok",
        state_since=SINCE,
        value=None,
        executions=None,
        evaluated_at=None,
        counting_since=SINCE,
        last_success_at=None,
        created_at=SINCE,
        updated_at=SINCE,
    )
    return replace(alert, **changes)  # type: ignore[arg-type]  # by name


NOTHING = Measured(0, 0, None, None)


@pytest.mark.parametrize(
    ("metric", "measured", "value"),
    [
        ("failures", NOTHING, 0),
        ("failures", Measured(10, 4, None, None), 4),
        ("failure_rate", NOTHING, None),
        ("failure_rate", Measured(10, 4, None, None), 0.4),
        ("duration_p95", NOTHING, None),
        ("duration_p95", Measured(10, 4, 2.5, None), 2.5),
        ("no_success_for", NOTHING, 7_200),
        ("no_success_for", Measured(1, 0, None, NOW - timedelta(seconds=30)), 30),
        ("no_success_for", Measured(1, 0, None, SINCE - timedelta(days=1)), 7_200),
        ("no_success_for", Measured(1, 0, None, NOW + timedelta(seconds=1)), 0),
    ],
)
def test_a_metric_is_told_by_what_the_window_holds(
    metric: str, measured: Measured, value: float | None
) -> None:
    assert value_of(an_alert(metric), measured, NOW) == value


@pytest.mark.parametrize(
    ("value", "executions", "firing"),
    [(0.5, 10, True), (0.51, 10, True), (0.49, 10, False), (1.0, 9, False), (None, 10, False)],
)
def test_it_holds_at_the_threshold_and_above_of_enough_executions(
    value: float | None, executions: int, firing: bool
) -> None:
    condition = Condition("failure_rate", 0.5, 300, 10)

    assert holds(condition, Measured(executions, 0, None, None), value) is firing


@pytest.mark.parametrize(
    ("condition", "path", "words"),
    [
        (Condition("errors", 1, 300, 0), "metric", "known: failure_rate"),
        (Condition("failure_rate", 0, 300, 0), "threshold", "more than 0 and at most 1"),
        (Condition("failure_rate", 1.01, 300, 0), "threshold", "more than 0 and at most 1"),
        (Condition("failures", 0, 300, 0), "threshold", "whole number from 1"),
        (Condition("failures", 1.5, 300, 0), "threshold", "whole number from 1"),
        (Condition("failures", 1e300, 300, 0), "threshold", "whole number from 1"),
        (Condition("duration_p95", 0, 300, 0), "threshold", "more than 0"),
        (Condition("duration_p95", 1e9, 300, 0), "threshold", "at most"),
        (Condition("no_success_for", 0.5, 300, 0), "threshold", "window_seconds"),
        (Condition("no_success_for", 301, 300, 0), "threshold", "window_seconds"),
        (Condition("failures", 1, 59, 0), "window_seconds", "60 to 86400"),
        (Condition("failures", 1, 86_401, 0), "window_seconds", "60 to 86400"),
        (Condition("failures", 1, 300, -1), "min_count", "0 to"),
        (Condition("failures", 1, 300, 1_000_001), "min_count", "0 to"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_with_what_would_be_right(
    condition: Condition, path: str, words: str
) -> None:
    [problem] = problems_of(condition)

    assert problem["path"] == f"/condition/{path}"
    assert words in problem["message"]


@pytest.mark.parametrize(
    "condition",
    [
        Condition("failure_rate", 1, 60, 0),
        Condition("failures", 1, 86_400, 1_000_000),
        Condition("duration_p95", 0.001, 60, 1),
        Condition("no_success_for", 60, 60, 0),
    ],
)
def test_a_condition_within_its_bounds_is_taken(condition: Condition) -> None:
    assert problems_of(condition) == []


def test_silence_needs_no_executions_and_a_rate_needs_one() -> None:
    metrics = ("failure_rate", "failures", "duration_p95", "no_success_for")

    assert [least_count(metric) for metric in metrics] == [1, 0, 1, 0]


@pytest.mark.parametrize(("window", "seconds"), [(60, 5), (300, 10), (1_800, 60), (86_400, 60)])
def test_a_longer_window_is_looked_at_less_often(window: int, seconds: float) -> None:
    assert seconds_between(Condition("failures", 1, window, 0)) == seconds
