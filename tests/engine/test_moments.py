"""Moments as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from engine.moments import rfc3339, rfc3339_each

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC) | OFFSETS)


@given(MOMENTS)
def test_a_moment_is_its_milliseconds_in_utc(moment: datetime) -> None:
    written = rfc3339(moment)
    assert len(written) == len("2026-11-27T16:00:00.123Z")
    assert written.endswith("Z")
    read = datetime.fromisoformat(written)
    assert read == moment - timedelta(microseconds=moment.microsecond % 1_000)


@given(st.lists(MOMENTS))
def test_many_moments_are_what_each_is(moments: list[datetime]) -> None:
    assert rfc3339_each(moments) == [rfc3339(moment).encode() for moment in moments]


def test_moments_in_utc_with_microseconds_are_written_together() -> None:
    begun = datetime(2026, 11, 27, 16, microsecond=1, tzinfo=UTC)
    moments = [begun + timedelta(microseconds=333_333 * number) for number in range(9)]
    expected = [rfc3339(moment).encode() for moment in moments]
    assert rfc3339_each(moments) == expected
    moments[4] = moments[4].replace(microsecond=0)  # without a fraction, it is shorter
    expected[4] = rfc3339(moments[4]).encode()
    assert rfc3339_each(moments) == expected
