"""Refused credentials are counted by address, and too many of them are not even looked at.

Its one rule: a bad neighbour shuts nobody out who was let in before. While an address has used up
its attempts, a credential that this process accepted lately is looked at as ever; any other is
refused unread, so guessing costs the guesser time and the database nothing.

Processes that count together (`counts`) tell each other of what failed, and nothing else: only a
credential that was refused costs a round trip. A process learns how an address stands when one of
its own attempts fails, so each of them may look at one attempt more than the limit.

Every address has `limit` attempts, and gets them back evenly over a minute. IPv6 counts by
/64, which is what one customer has. Both memories are bounded; what was stored first goes first.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from hashlib import blake2b

from services.allowances import CAPACITY, Allowances, Rate
from services.errors import TooManyAttempts
from services.rate_limits import Claim, Counts

PROVEN_SECONDS = 3600.0

_SIZE = 16
_PREFIX = 64


class FailedAttempts:
    """The attempts of all addresses. `limit` None counts nothing; `counts` are those of several
    processes together."""

    def __init__(
        self,
        limit: int | None,
        counts: Counts | None = None,
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures: Allowances[str] | None = None
        if limit is not None:
            self._failures = Allowances(Rate(limit), capacity=capacity, clock=clock)
        self._counts = counts
        self._capacity = capacity
        self._clock = clock
        self._proven: dict[bytes, float] = {}

    def check(self, address: str, credential: str) -> None:
        """Lets an attempt pass. Raises `TooManyAttempts`."""
        if not self._failures:
            return  # nothing is counted, or nobody has failed
        closed = self._failures.closed(source_of(address))
        if closed is not None and self._proven.get(_digest(credential), 0.0) <= self._clock():
            raise TooManyAttempts(closed)

    async def failed(self, address: str) -> None:
        """Counts a credential that was refused."""
        if self._failures is None:
            return
        source, rate = source_of(address), self._failures.rate
        self._failures.spend(source)
        if self._counts is not None:
            taken = await self._counts.take([Claim("address", source, rate)])
            self._failures.owes(source, taken.owed[0] + (0 if taken.refused else rate.each))

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
