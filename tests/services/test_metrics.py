"""Which buckets are asked for, and what is told from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.errors import NotValid
from services.metrics import LONGEST_DAYS, Bucket, MetricsRequest, span_of

NOW = datetime(2026, 11, 27, 13, 20, 30, 123456, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def test_without_a_span_it_is_the_last_day_by_the_hour_or_thirty_by_the_day() -> None:
    hours = span_of(MetricsRequest(), NOW)
    days = span_of(MetricsRequest(bucket="day"), NOW)

    assert (hours.start, hours.end) == (at("2026-11-26T14:00"), at("2026-11-27T14:00"))
    assert (days.start, days.end) == (at("2026-10-29T00:00"), at("2026-11-28T00:00"))


def test_a_span_of_whole_buckets_stays_as_it_is() -> None:
    asked = MetricsRequest("hour", at("2026-11-27T01:00"), at("2026-11-27T03:00"))

    span = span_of(asked, NOW)

    assert (span.start, span.end) == (asked.start, asked.end)


@pytest.mark.parametrize("bucket", ["hour", "day"])
def test_the_longest_span_up_to_this_moment_may_be_asked_for(bucket: str) -> None:
    longest = NOW - timedelta(days=LONGEST_DAYS[bucket])

    assert span_of(MetricsRequest(bucket, longest), NOW).start <= longest  # type: ignore[arg-type]
    with pytest.raises(NotValid, match="/from"):
        span_of(MetricsRequest(bucket, longest - DAY), NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("bucket", ["hour", "day"])
def test_a_span_that_is_longer_than_it_may_be_is_not_rounded_away(bucket: Bucket) -> None:
    days, width = LONGEST_DAYS[bucket] * DAY, {"hour": HOUR, "day": DAY}[bucket]
    end = at("2026-11-28T00:00")

    span = span_of(MetricsRequest(bucket, end - days, end), NOW)
    assert (span.start, span.end) == (end - days, end)
    between = end - width / 2
    assert span_of(MetricsRequest(bucket, between - days, between), NOW).end == end
    with pytest.raises(NotValid, match="/from"):
        span_of(MetricsRequest(bucket, end - days - width, end), NOW)
