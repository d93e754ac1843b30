"""Refused credentials are counted by address, and too many of them are not even looked at.

Its one rule: a bad neighbour shuts nobody out who was let in before. While an address has used up
its attempts, a credential that this process accepted lately is looked at as ever; any other is
refused unread, so guessing costs the guesser time and the database nothing.

Every address has `limit` attempts, and gets them back evenly over `window_seconds`: the generic
cell rate algorithm, one number for an address. IPv6 counts by /64, which is what one customer has.
Both memories are bounded; what was stored first goes first.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from hashlib import blake2b
from math import ceil

from services.errors import TooManyAttempts

WINDOW_SECONDS = 60.0
CAPACITY = 10_000
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
        self._limit = limit
        self._window = window_seconds
        self._capacity = capacity
        self._clock = clock
        self._paid_until: dict[str, float] = {}
        self._proven: dict[bytes, float] = {}

    def check(self, address: str, credential: str) -> None:
        """Lets an attempt pass. Raises `TooManyAttempts`."""
        paid = self._paid_until.get(source_of(address)) if self._paid_until else None
        if paid is None or self._limit is None:
            return
        now = self._clock()
        wait = paid - now - self._window + self._window / self._limit
        if wait > 0 and self._proven.get(_digest(credential), 0.0) <= now:
            raise TooManyAttempts(ceil(wait))

    def failed(self, address: str) -> None:
        """Counts a credential that was refused."""
        if self._limit is None:
            return
        source, now = source_of(address), self._clock()
        paid = max(self._paid_until.pop(source, now), now)
        _make_room(self._paid_until, self._capacity)
        self._paid_until[source] = paid + self._window / self._limit

    def passed(self, credential: str) -> None:
        """Remembers for an hour a credential that was accepted."""
        if self._limit is None:
            return
        digest, now = _digest(credential), self._clock()
        if self._proven.get(digest, 0.0) > now + PROVEN_SECONDS / 2:
            return
        self._proven.pop(digest, None)
        _make_room(self._proven, self._capacity)
        self._proven[digest] = now + PROVEN_SECONDS

    @property
    def size(self) -> int:
        """How many addresses and credentials are remembered."""
        return len(self._paid_until) + len(self._proven)


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


def _make_room(held: dict[str, float] | dict[bytes, float], capacity: int) -> None:
    while len(held) >= capacity:
        del held[next(iter(held))]  # type: ignore[arg-type]  # its own key
