"""What of a trouble is worth a line in the log.

Its one rule: a loop that fails on every try says so when that begins, once a minute while it
lasts, and when it is over; never once per try.
"""

from __future__ import annotations

from dataclasses import dataclass

REMIND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """How long something has failed so far, in seconds, and in how many tries."""

    seconds: float
    tries: int


class Outage:
    """One kind of trouble: from the first failed try to the first that works. Times are seconds
    of a clock that never goes back."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._said = 0.0
        self._tries = 0

    def failed(self, now: float) -> Trouble | None:
        """One more try has failed. What to say of it; None if enough has been said."""
        if self._since is None:
            self._since, self._tries = now, 0
        elif now - self._said < REMIND_SECONDS:
            self._tries += 1
            return None
        self._tries += 1
        self._said = now
        return Trouble(now - self._since, self._tries)

    def worked(self, now: float) -> Trouble | None:
        """A try has worked. What is over with it; None if there was no trouble."""
        if self._since is None:
            return None
        over = Trouble(now - self._since, self._tries)
        self._since = None
        return over
