"""LISTEN on a dedicated connection that comes back by itself.

One background loop, owned by `AsyncDAL`, which stops when told. It asks the server for a sign of
life now and then: a partitioned connection looks exactly like a quiet one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from engine.errors import StoreUnavailable
from engine.outage import Outage, Trouble

log = logging.getLogger(__name__)

SIGN_OF_LIFE_SECONDS = 5.0
RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)

Callback = Callable[[str], None]
Lost = Callable[[], None]


class Listener:
    """The channels listened to and the connection that does it."""

    def __init__(self, dsn: str, timeout: float) -> None:
        self._dsn = dsn
        self._timeout = timeout
        self._channels: dict[str, list[Callback]] = {}
        self._changed = asyncio.Event()
        self._listening: dict[str, asyncio.Event] = {}
        self._lost: dict[str, list[Lost]] = {}
        self._interrupted: set[str] = set()
        self._loop: asyncio.Task[None] | None = None
        self._outage = Outage()
        self._failures = 0

    async def listen(self, channel: str, callback: Callback, lost: Lost | None = None) -> None:
        """Adds a callback and returns once the channel is listened to. `lost` is called whenever
        it is listened to again after it was not. Raises `StoreUnavailable` if it takes too long
        to begin; the loop goes on trying."""
        self._channels.setdefault(channel, []).append(callback)
        if lost is not None:
            self._lost.setdefault(channel, []).append(lost)
        listening = self._listening.setdefault(channel, asyncio.Event())
        self._changed.set()
        if self._loop is None:
            self._loop = asyncio.create_task(self._run(), name="listen")
        try:
            async with asyncio.timeout(self._timeout):
                await listening.wait()
        except TimeoutError as error:
            raise StoreUnavailable(f"cannot LISTEN on {channel}: no answer in time") from error

    async def close(self) -> None:
        """Stops listening."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.cancel()
        await asyncio.wait([loop])

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    connection = await asyncpg.connect(
                        self._dsn,
                        timeout=self._timeout,
                        command_timeout=self._timeout,
                        target_session_attrs="read-write",
                        server_settings={"application_name": "workflow_core listen"},
                    )
                await self._serve(connection)
            except Exception as error:  # the edge of a background loop: it must not end
                _say_lost(self._outage.failed(asyncio.get_running_loop().time()), error)
                delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
                self._failures += 1
                await asyncio.sleep(delay)

    async def _serve(self, connection: asyncpg.Connection) -> None:
        """Listens on this connection until it fails, which it does by raising."""
        held: set[str] = set()
        connection.add_termination_listener(lambda _: self._changed.set())
        try:
            while True:
                self._changed.clear()
                async with asyncio.timeout(self._timeout):
                    await self._add_channels(connection, held)
                    await connection.fetchval("SELECT 1")
                self._failures = 0
                _say_over(self._outage.worked(asyncio.get_running_loop().time()))
                await self._wait_for_change()
        finally:
            connection.terminate()
            for listening in self._listening.values():
                listening.clear()
            self._interrupted |= held

    async def _add_channels(self, connection: asyncpg.Connection, held: set[str]) -> None:
        for channel in self._channels.keys() - held:
            await connection.add_listener(channel, self._notified)
            held.add(channel)
            self._listening[channel].set()
            if channel in self._interrupted:
                self._interrupted.discard(channel)
                for lost in self._lost.get(channel, ()):
                    lost()

    async def _wait_for_change(self) -> None:
        try:
            async with asyncio.timeout(SIGN_OF_LIFE_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return

    def _notified(self, connection: object, pid: int, channel: str, payload: str) -> None:
        for callback in self._channels[channel]:
            callback(payload)


def _say_lost(trouble: Trouble | None, error: Exception) -> None:
    if trouble is not None:
        reason = str(error) or "no answer in time"
        log.warning("LISTEN lost, %s tries in %.1f s: %s", trouble.tries, trouble.seconds, reason)


def _say_over(trouble: Trouble | None) -> None:
    if trouble is not None:
        log.warning("LISTEN again, after %s tries in %.1f s", trouble.tries, trouble.seconds)
