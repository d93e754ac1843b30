"""How often something may happen, for each of many names: the generic cell rate algorithm.

Its one rule: one number for a name, and a bounded count of names. A name may use `limit` at once
and gets them back evenly over `window_seconds`; what it has paid for reaches up to some moment, and
that moment is all that is kept. The name used longest ago goes first, which only ever forgives.
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


@dataclass(frozen=True, slots=True)
class Standing:
    """What a name has left of its `limit`, and in how many seconds it has all of it again.
    `retry_after`: in how many seconds it may go on, if it may not now."""

    limit: int
    remaining: int
    reset: int
    retry_after: int | None = None


class Allowances(Generic[K]):
    """The allowances of all names. `clock` counts seconds."""

    def __init__(
        self,
        limit: int,
        *,
        window_seconds: float = WINDOW_SECONDS,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window = window_seconds
        self._each = window_seconds / limit
        self._capacity = capacity
        self._clock = clock
        self._paid_until: dict[K, float] = {}

    def __len__(self) -> int:
        return len(self._paid_until)

    def spend(self, name: K) -> None:
        """Uses one of the name's, whether or not it has one left."""
        now = self._clock()
        paid = max(self._paid_until.pop(name, now), now)
        while len(self._paid_until) >= self._capacity:
            del self._paid_until[next(iter(self._paid_until))]
        self._paid_until[name] = paid + self._each

    def standing(self, name: K) -> Standing:
        """Where the name stands, without using anything."""
        now = self._clock()
        owed = max(self._paid_until.get(name, now) - now, 0.0)
        wait = owed - self._window + self._each
        # A sliver of what is owed is an error of rounding, not a debt.
        remaining = int((self._window - owed) / self._each + 1e-6)
        late = wait > self._each * 1e-6
        return Standing(
            limit=self._limit,
            remaining=0 if late else max(remaining, 0),
            reset=ceil(owed),
            retry_after=max(ceil(wait), 1) if late else None,
        )
