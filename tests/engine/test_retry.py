"""When a failed step is tried again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.retry import (
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    RetryPolicy,
    delay_before,
    parse_retry,
)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        ("exponential", [1, 2, 4, 8, 10, 10]),
        ("linear", [1, 2, 3, 4, 5, 6]),
        ("fixed", [1, 1, 1, 1, 1, 1]),
        ("constant", [1, 1, 1, 1, 1, 1]),
    ],
)
def test_delays_grow_as_the_policy_says_up_to_its_maximum(
    backoff: str, delays: list[float]
) -> None:
    policy = parse_retry({"backoff": backoff, "max_seconds": 10, "jitter": False})
    assert [delay_before(policy, attempt, 0.7) for attempt in range(2, 8)] == delays


def test_jitter_spreads_a_delay_over_its_upper_half() -> None:
    policy = RetryPolicy(max_attempts=3, initial_seconds=10)
    assert delay_before(policy, 2, 0.0) == 5
    assert delay_before(policy, 2, 0.5) == 7.5
    assert 9.9 < delay_before(policy, 2, 0.999) < 10


def test_a_very_late_attempt_is_no_overflow() -> None:
    assert delay_before(RetryPolicy(jitter=False), 10**9, 0.0) == 60


@pytest.mark.parametrize(
    ("wish", "delay"),
    [(None, 1), (0, 1), (-5, 1), (0.5, 1), (30, 30), (600, 600), (10**9, 3600), (float("nan"), 1)],
)
def test_the_peers_wish_is_a_minimum_up_to_an_hour(wish: float | None, delay: float) -> None:
    policy = RetryPolicy(max_attempts=3, jitter=False)
    assert delay_before(policy, 2, 0.0, wish) == delay


def test_a_longer_maximum_of_the_policy_bounds_the_peers_wish() -> None:
    policy = RetryPolicy(max_seconds=7200, jitter=False)
    assert delay_before(policy, 2, 0.0, 10**9) == 7200


def test_a_policy_is_read_with_its_defaults() -> None:
    assert parse_retry(None) == RetryPolicy(max_attempts=1)
    assert parse_retry({}) == RetryPolicy(max_attempts=3)
    assert parse_retry({"max_attempts": 5, "initial_seconds": 90}) == RetryPolicy(
        max_attempts=5, initial_seconds=90.0, max_seconds=90.0
    )


@pytest.mark.parametrize(
    ("retry", "message"),
    [
        (5, "retry must be an object"),
        ({"max_attempts": 0}, "max_attempts must be a whole number from 1 to 100"),
        ({"max_attempts": 101}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"max_attempts": "3"}, "max_attempts"),
        ({"backoff": "random"}, "backoff must be exponential, linear or fixed"),
        ({"backoff": ["fixed"]}, "backoff must be"),
        ({"initial_seconds": -1}, "initial_seconds must be a number of seconds"),
        ({"initial_seconds": True}, "initial_seconds"),
        ({"max_seconds": float("inf")}, "max_seconds"),
        ({"max_seconds": float("nan")}, "max_seconds"),
        ({"jitter": 1}, "jitter must be true or false"),
        ({"attempts": 3}, "retry has no key 'attempts'"),
    ],
)
def test_a_wrong_policy_says_what_is_wrong(retry: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_retry(retry)


POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, MAX_ATTEMPTS),
    backoff=st.sampled_from(["exponential", "linear", "fixed"]),
    initial_seconds=st.floats(0, MAX_DELAY_SECONDS),
    max_seconds=st.floats(0, MAX_DELAY_SECONDS),
    jitter=st.booleans(),
)
RANDOM = st.floats(0, 1, exclude_max=True)
ATTEMPTS = st.integers(2, 10**6)
WISHES = st.none() | st.floats()


@given(POLICIES, ATTEMPTS, RANDOM)
def test_without_a_wish_a_delay_is_never_longer_than_the_policys_longest(
    policy: RetryPolicy, attempt: int, random: float
) -> None:
    assert 0 <= delay_before(policy, attempt, random) <= policy.max_seconds


@given(POLICIES, ATTEMPTS, RANDOM)
def test_jitter_takes_no_more_than_half_away_and_adds_nothing(
    policy: RetryPolicy, attempt: int, random: float
) -> None:
    whole = delay_before(replace(policy, jitter=False), attempt, random)
    assert whole / 2 <= delay_before(replace(policy, jitter=True), attempt, random) <= whole


@given(POLICIES, ATTEMPTS, RANDOM)
def test_a_later_attempt_never_comes_sooner(
    policy: RetryPolicy, attempt: int, random: float
) -> None:
    earlier = delay_before(policy, attempt, random)
    assert earlier <= delay_before(policy, attempt + 1, random)


@given(POLICIES, ATTEMPTS, RANDOM, WISHES)
def test_a_wish_only_ever_lengthens_a_delay_and_no_further_than_it_says(
    policy: RetryPolicy, attempt: int, random: float, wish: float | None
) -> None:
    own = delay_before(policy, attempt, random)
    delay = delay_before(policy, attempt, random, wish)
    assert own <= delay <= max(policy.max_seconds, 3600)
    if wish is not None and wish > own:
        assert delay <= wish


def test_a_first_pause_longer_than_the_longest_is_cut() -> None:
    policy = parse_retry({"initial_seconds": 90, "max_seconds": 5, "jitter": False})
    assert [delay_before(policy, attempt, 0.0) for attempt in (2, 3)] == [5, 5]


def test_no_pause_at_all_stays_none() -> None:
    policy = parse_retry({"initial_seconds": 0})
    assert [delay_before(policy, attempt, 0.9) for attempt in (2, 50)] == [0, 0]
