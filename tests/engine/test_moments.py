"""Moments as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from engine.moments import rfc3339

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC) | OFFSETS)


@given(MOMENTS)
def test_a_moment_is_its_milliseconds_in_utc(moment: datetime) -> None:
    written = rfc3339(moment)
    assert len(written) == len("2026-11-27T16:00:00.123Z")
    assert written.endswith("Z")
    read = datetime.fromisoformat(written)
    assert read == moment - timedelta(microseconds=moment.microsecond % 1_000)
