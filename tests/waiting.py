"""Waiting for what another process, task or server does.

Its one rule: a test looks until it is so, and gives up only after longer than a machine stalls.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 60.0
"""More than anything takes, also on a machine that stands still for seconds."""


async def until(holds: Callable[[], Any]) -> None:
    """Returns once `holds()`, or what it awaits, is true. Raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = holds()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)
