"""Requests are limited by key, by user and by community.

Its one rule: a request that one of the limits refuses is counted by none, so nobody who is refused
falls further behind. Who counts is a `Counts`: this process, in memory, so that no request waits;
or a server that several processes share (`shared_counts.py`).

Written by hand, though quart-rate-limiter is at hand: its limits are for each endpoint by itself,
its memory grows with every name it ever saw, it tells the state of one limit only, and behind a
shared store two requests at once count as one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.allowances import Allowances, Rate, Standing
from services.caller import Caller

Name = str | int
Limits = tuple[int | None, int | None, int | None]
"""Requests a minute of a key, a user and a community; None does not limit."""

KINDS = ("key", "user", "community")


@dataclass(frozen=True, slots=True)
class Claim:
    """One name that something is counted for; names of another kind are other names."""

    kind: str
    name: Name
    rate: Rate


@dataclass(frozen=True, slots=True)
class Taken:
    """What was owed for each claim of a request before it, in seconds. It was counted for all of
    them or, if one of their rates `refused` it, for none."""

    owed: Sequence[float]
    refused: bool


class Counts(Protocol):
    """Counts requests: all claims of one at once, or none of them."""

    async def take(self, claims: Sequence[Claim]) -> Taken: ...


class OwnCounts:
    """The counts of this process. `clock` counts seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, Allowances[Name]] = {}

    async def take(self, claims: Sequence[Claim]) -> Taken:
        """Counts a request here."""
        owed = [self._of(claim).owed(claim.name) for claim in claims]
        refused = any(claim.rate.refuses(each) for claim, each in zip(claims, owed, strict=True))
        if not refused:
            self.spend(claims)
        return Taken(owed, refused)

    def spend(self, claims: Sequence[Claim]) -> None:
        """Counts a request that was let pass already."""
        for claim in claims:
            self._of(claim).spend(claim.name)

    def _of(self, claim: Claim) -> Allowances[Name]:
        kept = self._kept.get(claim.kind)
        if kept is None:
            kept = self._kept[claim.kind] = Allowances(claim.rate, clock=self._clock)
        return kept


class RateLimits:
    """The limits; `counts` are those of this process unless others are given."""

    def __init__(self, limits: Limits, counts: Counts | None = None) -> None:
        self._rates = tuple(None if limit is None else Rate(limit) for limit in limits)
        self._counts = counts or OwnCounts()

    async def take(self, caller: Caller) -> Standing | None:
        """Counts a request: the standing under the limit that is nearest. It was refused if that
        has a `retry_after`. None if no limit concerns the caller."""
        names = (caller.key_id, caller.user_id, caller.community_id)
        claims = [
            Claim(kind, name, rate)
            for kind, name, rate in zip(KINDS, names, self._rates, strict=True)
            if rate is not None and name is not None
        ]
        return _standing(claims, await self._counts.take(claims)) if claims else None


def _standing(claims: Sequence[Claim], taken: Taken) -> Standing:
    """Where a request stands: of what refused it that which does longest, else what is nearest."""
    rates = [(claim.rate, owed) for claim, owed in zip(claims, taken.owed, strict=True)]
    if taken.refused:
        rate, owed = max(rates, key=lambda each: each[0].wait(each[1]))
        return rate.closed(owed)
    after = [(rate, owed + rate.each) for rate, owed in rates]
    rate, owed = min(after, key=lambda each: each[0].left(each[1]) / each[0].limit)
    return rate.open(owed)
