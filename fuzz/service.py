"""The service that is fuzzed: a process of its own, with its own database, in an empty directory.

Its one rule: it is the command that everybody starts; only what would end the fuzzing early, the
limits of requests and of refused credentials, is off.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, the admin key it has made, and the file that has what it printed."""

    url: str
    key: str
    log: Path


@asynccontextmanager
async def started(home: Path) -> AsyncIterator[Service]:
    """Starts the service in `home` and ends it afterwards. Raises `RuntimeError`."""
    with socket.create_server((HOST, 0)) as taken:
        port = int(taken.getsockname()[1])
    log = home / "service.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app",
            cwd=home,
            env={name: os.environ[name] for name in _KEPT if name in os.environ}
            | {
                "PORT": str(port),
                "PYTHONPATH": str(ROOT),
                "RATE_LIMIT": "off",
                "AUTH_FAILURES_PER_MINUTE": "0",
            },
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://{HOST}:{port}"
        await _ready(url, process, log)
        yield Service(url, (home / ".data" / "api-key").read_text(encoding="ascii").strip(), log)
    finally:
        await _end(process)


async def _ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as http:
        while process.returncode is None:
            try:
                async with http.get(f"{url}/healthz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # it does not listen yet
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the service did not start; it has printed {log}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
