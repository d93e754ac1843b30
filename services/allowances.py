"""How often something may happen, for each of many names: the generic cell rate algorithm.

Its one rule: one number for a name, and a bounded count of names. A name may use `limit` at once
and gets them back evenly over a minute; what it has paid for reaches up to some moment, and
that moment is all that is kept. The name used longest ago goes first, which only ever forgives.

What a name owes is how far that moment lies ahead, in seconds. Who keeps the moments, this process
or a server that several share, does not matter to what is said of them: see `Rate`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

CAPACITY = 10_000
WINDOW_SECONDS = 60.0

SLIVER = 1e-6
"""Of one use: so much of what is owed is an error of rounding, not a debt."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a name has left of its `limit`, and in how many seconds it has all of it again.
    `retry_after`: in how many seconds it may go on, if it may not now."""

    limit: int
    remaining: int
    reset: int
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """So many uses in a minute, and what it means to owe `owed` seconds under it."""

    limit: int

    @property
    def each(self) -> float:
        """The seconds that one use costs."""
        return WINDOW_SECONDS / self.limit

    def wait(self, owed: float) -> float:
        """The seconds until the name may go on; what is not above `SLIVER` of one use is none."""
        return owed - WINDOW_SECONDS + self.each

    def refuses(self, owed: float) -> bool:
        """Whether a name that owes this may not go on now."""
        return self.wait(owed) > self.each * SLIVER

    def left(self, owed: float) -> int:
        """How often it may go on at once."""
        return max(int((WINDOW_SECONDS - owed) / self.each + SLIVER), 0)

    def open(self, owed: float) -> Standing:
        """What is told of a name that was let pass."""
        return Standing(limit=self.limit, remaining=self.left(owed), reset=ceil(owed))

    def closed(self, owed: float) -> Standing:
        """What is told of a name that was not."""
        return Standing(self.limit, 0, ceil(owed), max(ceil(self.wait(owed)), 1))


class Allowances(Generic[K]):
    """The allowances of all names. `clock` counts seconds."""

    def __init__(
        self,
        rate: Rate,
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = rate
        self._capacity = capacity
        self._clock = clock
        self._paid_until: dict[K, float] = {}

    def __len__(self) -> int:
        return len(self._paid_until)

    def owed(self, name: K) -> float:
        """The seconds that the name owes, without using anything."""
        now = self._clock()
        return max(self._paid_until.get(name, now) - now, 0.0)

    def spend(self, name: K) -> None:
        """Uses one of the name's, whether or not it has one left."""
        now = self._clock()
        self._keep(name, max(self._paid_until.get(name, now), now) + self.rate.each)

    def owes(self, name: K, owed: float) -> None:
        """Takes somebody else's word for what the name owes, if that is more than is known here."""
        self._keep(name, max(self._paid_until.get(name, 0.0), self._clock() + owed))

    def closed(self, name: K) -> Standing | None:
        """How a name stands that may not go on now; None if it may."""
        owed = self.owed(name)
        return self.rate.closed(owed) if self.rate.refuses(owed) else None

    def _keep(self, name: K, paid_until: float) -> None:
        self._paid_until.pop(name, None)
        while len(self._paid_until) >= self._capacity:
            del self._paid_until[next(iter(self._paid_until))]
        self._paid_until[name] = paid_until
