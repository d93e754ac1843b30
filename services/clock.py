"""The world outside the domain: the wall clock and fresh ids.

Its one rule: these are made by the composition root and handed down; nobody else asks the
machine for time or randomness.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import uuid_utils


class SystemClock:
    """The engine's `Clock` on the machine's clocks."""

    def now(self) -> datetime:
        """The present moment, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


def new_id() -> str:
    """A UUID version 7 (RFC 9562): ids that sort by their time."""
    return str(uuid_utils.uuid7())
