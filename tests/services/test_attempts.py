"""Failed attempts: counted by address, forgiven evenly, bounded, and no weapon against others."""

from __future__ import annotations

import pytest

from services.allowances import CAPACITY
from services.attempts import FailedAttempts, source_of
from services.errors import TooManyAttempts


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def exhausted(clock: Clock, address: str = "192.0.2.1", limit: int = 6) -> FailedAttempts:
    attempts = FailedAttempts(limit, clock=clock)
    for _ in range(limit):
        attempts.check(address, "guess")
        await attempts.failed(address)
    return attempts


async def test_an_address_has_so_many_attempts_and_gets_them_back_evenly(clock: Clock) -> None:
    attempts = await exhausted(clock)
    with pytest.raises(TooManyAttempts) as raised:
        attempts.check("192.0.2.1", "guess")
    assert raised.value.retry_after == 10
    clock.seconds += 10
    attempts.check("192.0.2.1", "guess")
    await attempts.failed("192.0.2.1")
    with pytest.raises(TooManyAttempts):
        attempts.check("192.0.2.1", "guess")
    clock.seconds += 60
    for _ in range(6):
        attempts.check("192.0.2.1", "guess")
        await attempts.failed("192.0.2.1")


async def test_another_address_has_its_own(clock: Clock) -> None:
    (await exhausted(clock)).check("192.0.2.2", "guess")


async def test_who_was_let_in_before_is_let_in_still(clock: Clock) -> None:
    attempts = FailedAttempts(1, clock=clock)
    attempts.passed("good")
    await attempts.failed("192.0.2.1")
    attempts.check("192.0.2.1", "good")
    with pytest.raises(TooManyAttempts):
        attempts.check("192.0.2.1", "guess")
    clock.seconds += 7200
    await attempts.failed("192.0.2.1")
    with pytest.raises(TooManyAttempts):
        attempts.check("192.0.2.1", "good")


async def test_a_limit_of_none_counts_nothing(clock: Clock) -> None:
    attempts = FailedAttempts(None, clock=clock)
    for _ in range(1000):
        await attempts.failed("192.0.2.1")
    attempts.passed("good")
    attempts.check("192.0.2.1", "guess")
    assert attempts.size == 0


async def test_memory_is_bounded_whatever_comes(clock: Clock) -> None:
    attempts = FailedAttempts(1, clock=clock, capacity=50)
    for number in range(500):
        await attempts.failed(f"192.0.2.{number}")
        attempts.passed(f"key {number}")
    assert attempts.size == 100
    assert CAPACITY <= 100_000


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("-", "-"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, source: str) -> None:
    assert source_of(address) == source
