"""The world outside the domain: the wall clock and fresh ids.

Its one rule: these are made by the composition root and handed down; nobody else asks the
machine for time or randomness.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import uuid_utils

_SURE_SECONDS = 0.5
"""An answer that took longer says too little about when it was given."""
_SLEW_SECONDS = 1.0
"""A step back of less than this is not taken: time stands still until it is made up for."""


class SystemClock:
    """The engine's `Clock`: the machine's until the database has said what time it is, and that
    of the database from then on.

    Timers are judged by the database, and several machines are timed by one. So the time is what
    the database last said plus what the monotonic clock has counted since: the wall clock of this
    machine may be wrong, or jump, without a timer being early or late for it. How far it can be
    from the database's is how long the answer took.
    """

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._at = monotonic()
        self._base = wall()
        self._heard = False
        self._last = self._base
        self._wall = wall

    def now(self) -> datetime:
        """The present moment, aware, UTC."""
        moment = self._moment() if self._heard else self._wall()
        if moment > self._last or (self._last - moment).total_seconds() >= _SLEW_SECONDS:
            self._last = moment
        return self._last

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic()

    def hear(self, told: datetime, asked: float) -> None:
        """See `Clock.hear`. It was `told` at some moment between `asked` and this one; as long as
        that agrees with what was known, nothing changes."""
        took = self._monotonic() - asked
        if self._heard and took > _SURE_SECONDS:
            return
        earliest, latest = told, told + timedelta(seconds=took)
        moment = self._moment() if self._heard else self._wall()
        self._base = min(max(moment, earliest), latest)
        self._at = self._monotonic()
        self._heard = True

    def _moment(self) -> datetime:
        return self._base + timedelta(seconds=self._monotonic() - self._at)


def new_id() -> str:
    """A UUID version 7 (RFC 9562): ids that sort by their time."""
    return str(uuid_utils.uuid7())
