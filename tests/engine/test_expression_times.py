"""Moments as text: every directive, every name, every form a moment may have."""

from __future__ import annotations

from typing import Any

import pytest

from engine.expressions import Budget, ExpressionError, MapEnv, compile_expression

MORNING = "2026-03-05T09:07:08.000123+05:30"
EVENING = "0987-11-29T21:45:59-03:45"


def formatted(moment: Any, fmt: str) -> Any:
    source = "date_format(moment, fmt)"
    return compile_expression(source).evaluate(MapEnv({"moment": moment, "fmt": fmt}), Budget())


@pytest.mark.parametrize(
    ("directive", "morning", "evening"),
    [
        ("%Y", "2026", "0987"),
        ("%y", "26", "87"),
        ("%m", "03", "11"),
        ("%B", "March", "November"),
        ("%b", "Mar", "Nov"),
        ("%d", "05", "29"),
        ("%e", " 5", "29"),
        ("%j", "064", "333"),
        ("%A", "Thursday", "Thursday"),
        ("%a", "Thu", "Thu"),
        ("%u", "4", "4"),
        ("%w", "4", "4"),
        ("%G", "2026", "0987"),
        ("%V", "10", "48"),
        ("%H", "09", "21"),
        ("%I", "09", "09"),
        ("%p", "AM", "PM"),
        ("%M", "07", "45"),
        ("%S", "08", "59"),
        ("%f", "000123", "000000"),
        ("%s", "1772681828", "-30991674541"),
        ("%z", "+0530", "-0345"),
        ("%Z", "UTC+0530", "UTC-0345"),
        ("%F", "2026-03-05", "0987-11-29"),
        ("%T", "09:07:08", "21:45:59"),
        ("%%", "%", "%"),
        ("a%%b%Yc", "a%b2026c", "a%b0987c"),
        ("%Y\n%m", "2026\n03", "0987\n11"),
        ("", "", ""),
    ],
)
def test_a_directive_writes_its_part(directive: str, morning: str, evening: str) -> None:
    assert formatted(MORNING, directive) == morning
    assert formatted(EVENING, directive) == evening


def test_months_and_days_have_their_english_names() -> None:
    months = [formatted(f"2026-{month:02d}-01", "%B %b") for month in range(1, 13)]
    assert months == [
        "January Jan", "February Feb", "March Mar", "April Apr", "May May", "June Jun",
        "July Jul", "August Aug", "September Sep", "October Oct", "November Nov", "December Dec",
    ]  # fmt: skip
    days = [formatted(f"2026-02-0{day}", "%A %a %u %w") for day in range(2, 9)]
    assert days == [
        "Monday Mon 1 1", "Tuesday Tue 2 2", "Wednesday Wed 3 3", "Thursday Thu 4 4",
        "Friday Fri 5 5", "Saturday Sat 6 6", "Sunday Sun 7 0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hour", "written"),
    [(0, "12 AM"), (1, "01 AM"), (11, "11 AM"), (12, "12 PM"), (13, "01 PM"), (23, "11 PM")],
)
def test_the_clock_of_twelve_hours(hour: int, written: str) -> None:
    assert formatted(f"2026-01-31T{hour:02d}:00:00Z", "%I %p") == written


@pytest.mark.parametrize(
    ("day", "week"),
    [("2027-01-01", "2026-53"), ("2027-01-04", "2027-01"), ("2024-12-30", "2025-01")],
)
def test_weeks_are_those_of_iso_8601(day: str, week: str) -> None:
    assert formatted(day, "%G-%V") == week


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        ("2026-01-31", "2026-01-31 00:00:00 +0000 UTC"),
        ("2026-01-31T20:05:09", "2026-01-31 20:05:09 +0000 UTC"),
        ("2026-01-31T20:05:09Z", "2026-01-31 20:05:09 +0000 UTC"),
        ("2026-01-31T20:05:09+00:00", "2026-01-31 20:05:09 +0000 UTC"),
        ("2026-01-31T20:05:09-00:15", "2026-01-31 20:05:09 -0015 UTC-0015"),
        ("  2026-01-31 20:05:09.5+12:00\n", "2026-01-31 20:05:09 +1200 UTC+1200"),
        ("2026-01-31" + " " * 54, "2026-01-31 00:00:00 +0000 UTC"),
        (0, "1970-01-01 00:00:00 +0000 UTC"),
        (-1, "1969-12-31 23:59:59 +0000 UTC"),
        (1769889909.75, "2026-01-31 20:05:09 +0000 UTC"),
    ],
)
def test_a_moment_is_iso_8601_or_seconds_and_keeps_its_offset(moment: Any, written: str) -> None:
    assert formatted(moment, "%F %T %z %Z") == written


def test_a_format_may_have_256_characters() -> None:
    assert formatted(0, "x" * 256) == "x" * 256
    with pytest.raises(ExpressionError, match="longer than 256"):
        formatted(0, "x" * 257)
