"""Rates: by key, user and community; what is refused is not counted."""

from __future__ import annotations

import pytest

from services.allowances import Allowances, Rate
from services.caller import Caller
from services.rate_limits import OwnCounts, RateLimits


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def caller(key: str | None = "k", user: int = 1, community: int | None = 5) -> Caller:
    return Caller(user_id=user, community_id=community, scopes=frozenset(), key_id=key)


async def refused(limits: RateLimits, who: Caller) -> int | None:
    standing = await limits.take(who)
    return None if standing is None else standing.retry_after


@pytest.mark.parametrize("limit", [1, 3, 7, 60, 1000])
async def test_a_name_has_exactly_its_limit_and_gets_it_back_evenly(limit: int) -> None:
    clock = Clock()
    limits = RateLimits((limit, None, None), OwnCounts(clock=clock))
    for left in range(limit - 1, -1, -1):
        standing = await limits.take(caller())
        assert standing is not None
        assert (standing.limit, standing.remaining, standing.retry_after) == (limit, left, None)
    assert await refused(limits, caller()) == max(-(-60 // limit), 1)
    clock.seconds += 60 / limit * 1.001
    assert await refused(limits, caller()) is None
    assert await refused(limits, caller()) is not None


@pytest.mark.parametrize(
    ("limits", "other"),
    [((2, None, None), caller(key="other")), ((None, 2, None), caller(user=2)),
     ((None, None, 2), caller(community=6))],
)  # fmt: skip
async def test_each_limit_counts_its_own_name(
    limits: tuple[int | None, int | None, int | None], other: Caller
) -> None:
    rates = RateLimits(limits, OwnCounts(clock=Clock()))
    assert [await refused(rates, caller()) is None for _ in range(3)] == [True, True, False]
    assert await refused(rates, other) is None


async def test_a_refused_request_is_counted_by_none() -> None:
    clock = Clock()
    rates = RateLimits((1, 100, None), OwnCounts(clock=clock))
    for _ in range(50):
        await rates.take(caller())
    standing = await rates.take(caller(key="other"))
    assert standing is not None
    assert standing.retry_after is None
    clock.seconds += 60
    assert await refused(rates, caller()) is None


async def test_whom_no_limit_concerns_has_no_standing() -> None:
    assert await RateLimits((None, None, None)).take(caller()) is None
    assert await RateLimits((1, None, 1)).take(caller(key=None, community=None)) is None


def test_names_are_bounded() -> None:
    allowances: Allowances[int] = Allowances(Rate(10), capacity=50)
    for number in range(500):
        allowances.spend(number)
    assert len(allowances) == 50
