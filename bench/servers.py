"""W1 and W2's single requests under each server that may stand in front of the app, beside the
default one.

The app is plain ASGI and runs unchanged under all of them. Its one rule: each server is a process
of its own with a database of its own, as users run it, and all of them are asked in turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import aiohttp

from bench.measure import Figure, Measured, in_turn, ratios
from bench.service import publish, service
from bench.w1_trigger import milliseconds
from bench.w2_http import Caller
from bench.w2_throughput import IN_FLIGHT, STEPS
from bench.world import chain

DEFAULT = "hypercorn"
_APP = "app:create_app"
COMMANDS = {
    DEFAULT: ("-m", "app"),
    "uvicorn": (
        "-m", "uvicorn", "--factory", "--port", "{port}", "--log-level", "warning",
        "--no-access-log", _APP,
    ),
    "granian": (
        "-m", "granian", "--factory", "--interface", "asgi", "--port", "{port}",
        "--log-level", "warning", _APP,
    ),
}  # fmt: skip
"""What Python runs. Hypercorn is started by the service itself, with the settings it needs."""

MEASURED = {
    "accepted": ("W1", "to 202", "ms"),
    "completed": ("W1", "to completed (?wait)", "ms"),
    "singles": ("W2", "accepted one by one", "/s"),
}


def missing(servers: Iterable[str] = COMMANDS) -> list[str]:
    """Those that are not installed: only the default is among what the service needs."""
    return [name for name in servers if find_spec(name) is None]


async def run(rounds: int, requests: int) -> tuple[list[Figure], dict[str, str]]:
    """What those that are installed do, over what the default does, and their versions."""
    names = [name for name in COMMANDS if name not in missing()]
    async with AsyncExitStack() as running:
        measured: dict[str, Measured] = {}
        for name in names:
            measured |= await _asked(running, name, requests)
        values = await in_turn(rounds, **measured)
    figures = []
    for key, (workload, what, unit) in MEASURED.items():
        default = values[f"{DEFAULT}_{key}"]
        figures.append(Figure(workload, f"{DEFAULT}, {what}", unit, default))
        for name in names:
            if name != DEFAULT:
                own = values[f"{name}_{key}"]
                over = f"{name} over {DEFAULT}, {what}"
                figures.append(Figure(workload, f"{name}, {what}", unit, own))
                figures.append(Figure(workload, over, " x", ratios(own, default)))
    return figures, {name: _version(name) for name in names}


def _version(name: str) -> str:
    """Which one it is. uvicorn is another server with what it takes up when it finds it."""
    parts = [part for part in ("httptools", "uvloop") if name == "uvicorn" and find_spec(part)]
    return " with ".join([version(name), " and ".join(parts)]) if parts else version(name)


async def _asked(running: AsyncExitStack, name: str, requests: int) -> dict[str, Measured]:
    """Starts the app under a server; what is asked of it in each round."""
    served = service(command=COMMANDS[name], LOG_LEVEL="WARNING")
    measured = await running.enter_async_context(served)
    # While the others have their turn, each of them closes what is idle: the client does so first.
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, keepalive_timeout=0.5)
    http = await running.enter_async_context(
        aiohttp.ClientSession(connector=connector, headers={"X-API-Key": measured.first_key()})
    )
    short = await publish(http, measured.url, chain(1, "data_variable_set"))
    long = await publish(http, measured.url, chain(STEPS, "data_variable_set"))
    caller = Caller(http, long, "")
    return {
        f"{name}_accepted": partial(milliseconds, http, f"{short}/execute", 202),
        f"{name}_completed": partial(milliseconds, http, f"{short}/execute?wait=10", 200),
        f"{name}_singles": partial(caller.singles, requests),
    }
