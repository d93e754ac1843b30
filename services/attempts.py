"""Refused credentials are counted by address, and too many of them are not even looked at.

Its one rule: a bad neighbour shuts nobody out who was let in before. While an address has used up
its attempts, a credential that this process accepted lately is looked at as ever; any other is
refused unread, so guessing costs the guesser time and the database nothing.

Every address has `limit` attempts, and gets them back evenly over `window_seconds`. IPv6 counts by
/64, which is what one customer has. Both memories are bounded; what was stored first goes first.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from hashlib import blake2b

from services.allowances import CAPACITY, WINDOW_SECONDS, Allowances, Rate
from services.errors import TooManyAttempts

PROVEN_SECONDS = 3600.0

_SIZE = 16
_PREFIX = 64


class FailedAttempts:
    """The attempts of all addresses. `limit` None counts nothing."""

    def __init__(
        self,
        limit: int | None,
        *,
        window_seconds: float = WINDOW_SECONDS,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures: Allowances[str] | None = None
        if limit is not None:
            rate = Rate(limit, window_seconds)
            self._failures = Allowances(rate, capacity=capacity, clock=clock)
        self._capacity = capacity
        self._clock = clock
        self._proven: dict[bytes, float] = {}

    def check(self, address: str, credential: str) -> None:
        """Lets an attempt pass. Raises `TooManyAttempts`."""
        if not self._failures:
            return  # nothing is counted, or nobody has failed
        wait = self._failures.retry_after(source_of(address))
        if wait is not None and self._proven.get(_digest(credential), 0.0) <= self._clock():
            raise TooManyAttempts(wait)

    def failed(self, address: str) -> None:
        """Counts a credential that was refused."""
        if self._failures is not None:
            self._failures.spend(source_of(address))

    def passed(self, credential: str) -> None:
        """Remembers for an hour a credential that was accepted."""
        if self._failures is None:
            return
        digest, now = _digest(credential), self._clock()
        if self._proven.get(digest, 0.0) > now + PROVEN_SECONDS / 2:
            return
        self._proven.pop(digest, None)
        while len(self._proven) >= self._capacity:
            del self._proven[next(iter(self._proven))]
        self._proven[digest] = now + PROVEN_SECONDS

    @property
    def size(self) -> int:
        """How many addresses and credentials are remembered."""
        return len(self._failures or ()) + len(self._proven)


def source_of(address: str) -> str:
    """What an address counts as: itself, or its IPv6 network."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed, _PREFIX), strict=False))


def _digest(credential: str) -> bytes:
    return blake2b(credential.encode("utf-8", "surrogateescape"), digest_size=_SIZE).digest()
