"""The world outside the domain: the wall clock, fresh ids, and the engine's way into the log.

Its one rule: these are made by the composition root and handed down; nobody else asks the
machine for time or randomness.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, cast

import uuid_utils

from services.aaa_log import AaaLog, Result


class SystemClock:
    """The engine's `Clock` on the machine's clocks."""

    def now(self) -> datetime:
        """The present moment, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class EngineLines:
    """The engine's `EngineLog` on the AAA log."""

    def __init__(self, lines: AaaLog) -> None:
        self._lines = lines

    def system(self, action: str, result: str, **fields: Any) -> None:
        """Something the operator may want to know."""
        self._lines.system(action, cast(Result, result), **fields)

    def error(self, action: str, result: str, **fields: Any) -> None:
        """Something that should not happen."""
        self._lines.error(action, cast(Result, result), **fields)


def new_id() -> str:
    """A UUID version 7 (RFC 9562): ids that sort by their time."""
    return str(uuid_utils.uuid7())
