"""Requests are limited by key, by user and by community.

Its one rule: a request that one of the limits refuses is counted by none, so nobody who is refused
falls further behind. Counts are of one process, in memory: no request waits for them.

Written by hand, though quart-rate-limiter is at hand: its limits are for each endpoint by itself,
its memory grows with every name it ever saw, it tells the state of one limit only, and behind a
shared store two requests at once count as one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from services.allowances import Allowances, Standing
from services.caller import Caller

Name = str | int


class RateLimits:
    """The limits, each in requests a minute; None does not limit."""

    def __init__(
        self,
        per_key: int | None,
        per_user: int | None,
        per_community: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        def allowances(limit: int | None) -> Allowances[Name] | None:
            return None if limit is None else Allowances(limit, clock=clock)

        self._limits = tuple(map(allowances, (per_key, per_user, per_community)))

    def take(self, caller: Caller) -> Standing | None:
        """Counts a request: the standing under the limit that is nearest. It was refused if that
        has a `retry_after`. None if no limit concerns the caller."""
        names = (caller.key_id, caller.user_id, caller.community_id)
        concerned = [
            (limit, name)
            for limit, name in zip(self._limits, names, strict=True)
            if limit is not None and name is not None
        ]
        if not concerned:
            return None
        before = [limit.standing(name) for limit, name in concerned]
        refused = [each for each in before if each.retry_after is not None]
        if refused:
            return max(refused, key=lambda each: each.retry_after or 0)
        for limit, name in concerned:
            limit.spend(name)
        nearest = min((limit.standing(name) for limit, name in concerned), key=_nearness)
        return replace(nearest, retry_after=None)  # this request was served, if it was the last


def _nearness(standing: Standing) -> float:
    return standing.remaining / standing.limit
