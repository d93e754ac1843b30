"""The service under test: several processes of it on one database.

Its one rule: a process that was started here is ended here, by its number, whatever happens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import aiohttp

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
LEASE_SECONDS = 2.0
GRACE_SECONDS = 5.0

_UNSEEN = "exception was never retrieved"
"""What asyncio says of a background task that has broken without anybody looking."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a process gets of this one's environment: none of the settings that it may have."""


@dataclass(slots=True)
class Member:
    """One process of the service. `database_url` says to the database who it is, `settings` go
    over those that every process gets; `up` is whether it serves and nobody has stopped it."""

    number: int
    port: int
    home: Path
    log: IO[bytes]
    database_url: str
    settings: Mapping[str, str] = field(default_factory=dict)
    process: Process | None = None
    up: bool = False
    exits: list[int] = field(default_factory=list)
    """The statuses with which it ended although nobody had ended it, or other than 0 when it was
    asked to."""

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://{HOST}:{self.port}/api/v1"

    async def start(self) -> None:
        """Starts the process, again if it must, and returns once it serves."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            while loop.time() < deadline:
                if self.process is None or self.process.returncode is not None:
                    await self._spawn()
                if await self._serves(http):
                    self.up = True
                    return
                await asyncio.sleep(0.1)
        raise RuntimeError(f"process {self.number} does not serve; see {self.log.name}")

    async def kill(self) -> None:
        """Ends the process without a word."""
        self.up = False
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends the process a signal, if it is there."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    async def drain(self, seconds: float) -> None:
        """Asks the process to end, as a deploy does; remembers its status unless that is 0, or that
        it had to be killed after `seconds`."""
        self.up = False
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                status = await process.wait()
        except TimeoutError:
            await self.kill()
            status = -signal.SIGKILL
        if status:
            self.exits.append(status)

    async def stop(self, seconds: float) -> None:
        """Ends the process, by force after `seconds`."""
        self.signal(signal.SIGCONT)
        await self.drain(seconds)
        self.log.close()

    def tracebacks(self) -> int:
        """How many exceptions nobody had foreseen: a service that caught one prints one line."""
        with open(self.log.name, encoding="utf-8", errors="replace") as printed:
            return sum(line.startswith("Traceback ") or _UNSEEN in line for line in printed)

    def note_exit(self) -> bool:
        """Whether the process has ended by itself; remembers its status."""
        gone = self.up and self.process is not None and self.process.returncode is not None
        if gone and self.process is not None and self.process.returncode is not None:
            self.exits.append(self.process.returncode)
            self.up = False
        return gone

    async def _spawn(self) -> None:
        inherited = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app",
            cwd=self.home,
            env={
                **inherited,
                "PYTHONPATH": str(ROOT),
                "HOST": HOST,
                "PORT": str(self.port),
                "DATABASE_URL": self.database_url,
                "DATA_DIR": str(self.home / "data"),
                "EGRESS_ALLOW": "127.0.0.0/8",
                "LEASE_SECONDS": str(LEASE_SECONDS),
                "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
                **self.settings,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    async def _serves(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"http://{HOST}:{self.port}/healthz") as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False


def members(
    count: int,
    home: Path,
    url_of: Callable[[int], str],
    settings: Mapping[str, str] | None = None,
) -> list[Member]:
    """`count` processes that have not been started, on free ports. `url_of(port)` is the database
    as the process on that port is to name it."""
    made = []
    for number in range(count):
        port = _free_port()
        log = (home / f"service-{number}.log").open("ab")
        made.append(Member(number, port, home, log, url_of(port), settings or {}))
    return made


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])
