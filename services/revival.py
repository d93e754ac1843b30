"""An embedded database that has died is started again.

Its one rule: it is looked after for as long as the service uses it, and whoever leaves does not
start it any more. (Other databases have somebody else who looks after them.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.errors import StoreUnavailable
from models.embedded import EmbeddedPostgres, NotStarted
from services.aaa_log import AaaLog
from services.rounds import Rounds

ACTION = "database_restart"
LOOK_SECONDS = 1.0
MOST_SECONDS = 30.0
"""Between two tries at most; each waits twice as long as the one before."""
_STOP_SECONDS = 15.0


class Revival:
    """Looks every `look_seconds` whether the server runs, which takes a file and a process to be
    looked at, and starts it again if not. Of several processes one does it."""

    def __init__(
        self, lines: AaaLog, server: EmbeddedPostgres, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._lines = lines
        self._server = server
        self._look_seconds = look_seconds
        self._wait_seconds = look_seconds
        self._rounds = Rounds(lines, ACTION, self._round, retry_seconds=0.0)

    def start(self) -> None:
        """Begins to look."""
        self._rounds.start()

    async def stop(self) -> None:
        """Ends after the try that is under way."""
        await self._rounds.stop(_STOP_SECONDS)

    async def _round(self) -> float:
        await self._rounds.pause(self._wait_seconds)
        if self._rounds.stopping:
            return 0.0
        try:
            revived = await asyncio.to_thread(self._server.revive)
        except (NotStarted, OSError) as error:
            self._wait_seconds = min(2 * self._wait_seconds, MOST_SECONDS)
            raise StoreUnavailable(str(error)) from error
        self._wait_seconds = self._look_seconds
        if revived:
            self._lines.system(ACTION, reason="the embedded PostgreSQL was gone")
        return 0.0


@asynccontextmanager
async def revived(lines: AaaLog, server: EmbeddedPostgres) -> AsyncIterator[None]:
    """The server is started again, while the block runs, whenever it is gone."""
    revival = Revival(lines, server)
    revival.start()
    try:
        yield
    finally:
        await revival.stop()
