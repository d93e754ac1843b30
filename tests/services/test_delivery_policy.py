"""What becomes of a delivery after a try."""

from __future__ import annotations

import pytest

from engine.errors import StepFailure
from engine.ports import HttpResponse
from services.delivery_policy import (
    DELAYS,
    JITTER,
    KEPT_CHARACTERS,
    LONGEST_WISH_SECONDS,
    TRIES,
    judge_answer,
    judge_failure,
    next_delay,
)

DAY = 86_400


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_g10_every_2xx_is_a_success(status: int) -> None:
    trial = judge_answer(HttpResponse(status, {}, "fine"), 1, 0.5)

    assert (trial.error, trial.retry_seconds, trial.gone) == (None, None, False)
    assert trial.response_body == "fine"


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 307, 308, 400, 404, 429, 500, 599])
def test_g10_everything_else_is_a_failure_that_is_tried_again(status: int) -> None:
    trial = judge_answer(HttpResponse(status, {"location": "https://example.org"}, ""), 1, 0)

    assert str(status) in (trial.error or "")
    assert (trial.retry_seconds, trial.gone) == (DELAYS[0], False)


def test_gone_is_final() -> None:
    trial = judge_answer(HttpResponse(410, {"retry-after": "5"}, ""), 1, 0)

    assert (trial.retry_seconds, trial.gone) == (None, True)


def test_g10_ten_tries_spread_over_a_day() -> None:
    for chance in (0.0, 0.999):
        delays = [next_delay(attempt, chance) for attempt in range(1, TRIES + 1)]

        assert len(delays) == 10
        assert delays[-1] is None
        known = [delay for delay in delays if delay is not None]
        assert known == sorted(known)
        assert DAY * (0.98 - JITTER) < sum(known) <= DAY


def test_chance_makes_a_delay_shorter_by_a_bounded_part() -> None:
    assert next_delay(2, 0.0) == DELAYS[1]
    assert next_delay(2, 0.5) == pytest.approx(DELAYS[1] * (1 - JITTER / 2))


@pytest.mark.parametrize(
    ("wish", "delay"),
    [
        ("1", DELAYS[0]),
        ("120", 120.0),
        ("99999999", LONGEST_WISH_SECONDS),
        ("9" * 400, LONGEST_WISH_SECONDS),
        ("-5", DELAYS[0]),
        ("soon", DELAYS[0]),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_puts_a_try_off_and_never_forward(status: int, wish: str, delay: float) -> None:
    trial = judge_answer(HttpResponse(status, {"retry-after": wish}, ""), 1, 0)

    assert trial.retry_seconds == delay


def test_retry_after_may_be_a_date() -> None:
    headers = {
        "date": "Fri, 27 Nov 2026 12:00:00 GMT",
        "retry-after": "Fri, 27 Nov 2026 12:10:00 GMT",
    }
    assert judge_answer(HttpResponse(429, headers, ""), 1, 0).retry_seconds == 600


def test_of_an_answer_only_its_beginning_is_kept() -> None:
    trial = judge_answer(HttpResponse(500, {}, "x" * 5_000), 1, 0)

    assert trial.response_body == "x" * KEPT_CHARACTERS


def test_a_failure_without_an_answer_is_tried_again_until_the_last_try() -> None:
    failure = StepFailure("NETWORK_ERROR", "the connection broke off")

    assert judge_failure(failure, 9, 0).retry_seconds == DELAYS[8]
    assert judge_failure(failure, 10, 0).retry_seconds is None
    assert judge_failure(failure, 10, 0).error == "the connection broke off"
