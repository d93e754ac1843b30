"""What a step's log says, and that it ends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from engine.context import Json, Kind
from engine.records import StepRow
from engine.step_log import (
    LONGEST_MESSAGE,
    MOST_OF_A_STEP,
    MOST_OF_AN_EXECUTION,
    Budget,
    line,
    lines_of,
)

NOW = datetime(2026, 11, 22, 15, 32, 1, 980_000, UTC)


def a_row(kind: Kind = Kind.FINISHED, step: str = "a", **more: Json) -> StepRow:
    values: dict[str, Json] = {"status": "completed", "attempt": 1, "started_at": NOW, **more}
    return StepRow("e", 2, step, step, "data_transform", kind, **values)


@pytest.mark.parametrize(
    ("row", "level", "message"),
    [
        (a_row(port="yes"), "info", "Finished; left by port 'yes'."),
        (a_row(), "info", "Finished."),
        (a_row(error={"message": "It broke."}), "error", "It broke."),
        (a_row(Kind.ENTERED, output=b"[1,2,3]"), "info", "Entered the loop with 3 items."),
        (a_row(Kind.ENTERED, output=3), "info", "Entered the loop with 3 items."),
        (a_row(Kind.ITERATE), "info", "Begins another iteration."),
        (a_row(Kind.INTENT), "info", "Attempt 1 begins; if it is cut off, it is not repeated."),
        (a_row(Kind.WAITING, output=b'{"signal":"go"}'), "info", "Waiting for the signal 'go'."),
        (
            a_row(Kind.RETRYING, error={"message": "down"}, wake_at=NOW),
            "warning",
            "Attempt 1 failed: down. Next attempt at 2026-11-22T15:32:01.980Z.",
        ),
        (a_row(details={"reused": "x"}, port="yes"), "info", "Reused from execution x."),
    ],
)
def test_each_kind_of_record_says_what_was_done(row: StepRow, level: str, message: str) -> None:
    expected = {"timestamp": "2026-11-22T15:32:01.980Z", "level": level, "message": message}
    assert lines_of(row) == [expected]


def test_a_message_that_is_too_long_is_cut_and_says_so() -> None:
    message = line(NOW, "info", "x" * (LONGEST_MESSAGE + 1))["message"]
    assert message == "x" * LONGEST_MESSAGE + f"… (cut; {LONGEST_MESSAGE + 1} characters)"


def test_a_step_has_a_bound_and_the_last_line_says_that_it_was_cut() -> None:
    budget = Budget()
    lines = [each for _ in range(MOST_OF_A_STEP + 50) for each in budget.take(a_row())]
    assert len(lines) == MOST_OF_A_STEP + 1
    assert [each.get("cut") for each in lines[-2:]] == [None, True]
    assert "step" in lines[-1]["message"]
    assert budget.take(a_row(step="b"))


def test_an_execution_has_a_bound_and_the_last_line_says_that_it_was_cut() -> None:
    budget = Budget()
    steps = range(MOST_OF_AN_EXECUTION + 50)
    lines = [each for n in steps for each in budget.take(a_row(step=f"s{n}"))]
    assert len(lines) == MOST_OF_AN_EXECUTION + 1
    assert "execution" in lines[-1]["message"]
    assert lines[-1]["cut"]
