"""How a process is told to stop, and what it does then.

Its one rule: the first word begins the grace time, a second one ends it, and whatever hangs does
not outlast it by much.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from controllers.server import EXIT_SECONDS, LastResort
from engine.engine import WorkflowEngine
from services.aaa_log import AaaLog


def when_told_to_stop(act: Callable[[], object]) -> None:
    """Calls `act` at SIGINT and SIGTERM, in place of what was called before."""
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, act)


def leave(
    engine: WorkflowEngine, lines: AaaLog, grace_seconds: float, last_resort: LastResort
) -> None:
    """Obeys the first word; a second one ends the grace time."""
    if not engine.departure.begun:
        lines.system("drain", grace_seconds=grace_seconds)
        engine.wind_down()
    else:
        engine.departure.hurry()
    last_resort.within(engine.departure.left() + EXIT_SECONDS)
