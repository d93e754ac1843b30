"""W7: a busy process with 1,000 clients that watch it, beside the same load without them.

The process is the service itself, on a database of its own; its load are batches of executions of
ten recorded steps, as fast as it takes them. Each client is a stream of server-sent events over
one session, and the executions are spread over all sessions, so that every event of every
execution goes to a client. The clients are a process of their own, but share the machine's cores
with the service and PostgreSQL: what they cost there is part of the loss. The lag of an event is
from the moment that an execution ended, before the commit, to when a client has read that.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from statistics import quantiles
from time import perf_counter
from urllib.parse import urlsplit

import aiohttp
import uuid_utils

from bench.measure import Figure, in_turn, ratios
from bench.service import PATIENCE_SECONDS, ROOT, everyday_key, publish, service
from bench.w2_throughput import STEPS
from bench.w6_parked import database
from bench.world import PAYLOAD, World, chain
from models.dal import AsyncDAL

CLIENTS = 1_000
BATCH = 100
OPENED_AT_ONCE = 50
ENDED_EVENT = b'"status":"completed","progress"'
"""What only the event has that tells the end: of a step, the status stands elsewhere."""
ENDED = "SELECT coalesce(sum(executions), 0)::int FROM execution_rollups"
"""From what is counted as it ends: counting the executions themselves would take a core from those
that are measured. Nothing is gathered elsewhere before an hour is over."""


@dataclass(frozen=True, slots=True)
class Site:
    """The measured process: its database, its address, a key, and the workflow's address."""

    dal: AsyncDAL
    url: str
    key: str
    workflow: str


async def run(world: World, rounds: int, executions: int, clients: int = CLIENTS) -> list[Figure]:
    """Executions a second with and without clients, the loss, and the events' lag."""
    lags: list[float] = []
    async with _site(world) as site:

        async def without() -> float:
            return executions / await _load(site, executions, clients)

        async def watched() -> float:
            async with _clients(site, clients) as them:
                took = await _load(site, executions, clients)
                lags.append(await _lag(them, executions))
            return executions / took

        values = await in_turn(rounds, without=without, watched=watched)
    loss = [1 - each for each in ratios(values["watched"], values["without"])]
    many = f"{clients:,} clients"
    return [
        Figure("W7", "without clients, executions", "/s", values["without"]),
        Figure("W7", f"{many}, executions", "/s", values["watched"]),
        Figure("W7", f"loss by {many}", " x", loss, "<= 0.2"),
        Figure("W7", "lag of an end, p99", " ms", lags[1:], "<= 250"),
    ]


async def _load(site: Site, executions: int, sessions: int) -> float:
    """Seconds until so many more executions have ended."""
    before = await site.dal.fetchval(ENDED)
    items = [
        {
            "community_id": 1,
            "variables": PAYLOAD,
            "metadata": {"session_id": f"s{number % sessions}"},
        }
        for number in range(executions)
    ]
    path = f"{site.workflow}/execute/batch"
    began = perf_counter()
    async with aiohttp.ClientSession(headers={"X-API-Key": site.key}) as http:
        for first in range(0, executions, BATCH):
            body = {"items": items[first : first + BATCH]}
            async with http.post(path, json=body) as answer:
                assert answer.status == 202, await answer.text()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await site.dal.fetchval(ENDED) < before + executions:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return perf_counter() - began


@asynccontextmanager
async def _site(world: World) -> AsyncIterator[Site]:
    """The service as a process of its own, on a database that no other engine works on."""
    name = f"w7_{uuid_utils.uuid7().hex}"
    dsn = await database(world, name)
    async with AsyncDAL(dsn) as dal:
        key = await everyday_key(dal)
        async with (
            service(dsn, LOG_LEVEL="ERROR") as measured,
            aiohttp.ClientSession(headers={"X-API-Key": key}) as http,
        ):
            workflow = await publish(http, measured.url, chain(STEPS, "data_variable_set"))
            yield Site(dal, measured.url, key, workflow)
    await world.dal.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def _clients(site: Site, clients: int) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.w7_live", site.url, site.key, str(clients),
        cwd=ROOT, stdin=pipe, stdout=pipe,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        assert said.strip() == b"ready", said
        yield process
        await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _lag(process: asyncio.subprocess.Process, executions: int) -> float:
    """The 99th percentile of the lags, in milliseconds, once every end was read. Raises
    `AssertionError` unless every event of every execution was, once."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"%d\n" % executions)
    report = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS))
    events = executions * (STEPS + 3)
    assert (report["ends"], report["events"], report["resyncs"]) == (executions, events, 0), report
    return float(report["p99"])


class Watchers:
    """The clients, and what they have read."""

    def __init__(self) -> None:
        self.open = 0
        self.events = 0
        self.resyncs = 0
        self.lost = 0
        self.lags: list[float] = []

    def read(self, events: bytes) -> None:
        """Whole events, each but the first with a line break before it. Comments have no data."""
        self.resyncs += events.count(b'"resync"')
        self.events += events.count(b"\ndata: ") + events.startswith(b"data: ")
        found = events.find(ENDED_EVENT)
        while found >= 0:
            data = events[events.rindex(b"data: ", 0, found) + 6 :].partition(b"\n")[0]
            ended = datetime.fromisoformat(json.loads(data)["timestamp"])
            self.lags.append((datetime.now(UTC) - ended).total_seconds() * 1000)
            found = events.find(ENDED_EVENT, found + 1)


class Client(asyncio.Protocol):
    """One client, on a bare socket: it shares the machine with what is measured, so it does as
    little as it can. It relies on each chunk holding whole events."""

    def __init__(self, them: Watchers, request: bytes) -> None:
        self._them = them
        self._request = request
        self._rest = b""
        self._began = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._began:
            self._rest += data
            if b"retry: " not in self._rest:
                return
            assert self._rest.startswith(b"HTTP/1.1 200 "), self._rest
            self._began, data, self._rest = True, self._rest.partition(b"retry: ")[2], b""
            self._them.open += 1
        events, whole, self._rest = (self._rest + data).rpartition(b"\n\n")
        if whole:
            self._them.read(events)

    def connection_lost(self, exc: Exception | None) -> None:
        self._them.lost += 1


async def _watch_all(url: str, key: str, clients: int) -> None:
    """The process of the clients: watches until it is told how many ends there are to see."""
    them, loop = Watchers(), asyncio.get_running_loop()
    host, _, port = urlsplit(url).netloc.partition(":")
    for first in range(0, clients, OPENED_AT_ONCE):
        for number in range(first, min(first + OPENED_AT_ONCE, clients)):
            request = (
                f"GET /api/v1/workflow-management/executions/stream?session_id=s{number} HTTP/1.1"
                f"\r\nHost: {host}\r\nX-API-Key: {key}\r\n\r\n"
            )
            made = partial(Client, them, request.encode())
            await loop.create_connection(made, host, int(port))
        await _until(lambda most: them.open >= most, min(first + OPENED_AT_ONCE, clients), them)
    print("ready", flush=True)
    ends = int(await asyncio.to_thread(sys.stdin.readline))
    await _until(lambda most: len(them.lags) >= most, ends, them)
    report = {
        "ends": len(them.lags),
        "events": them.events,
        "resyncs": them.resyncs,
        "p99": quantiles(them.lags, n=100)[98],
    }
    print(json.dumps(report), flush=True)


async def _until(holds: Callable[[int], bool], number: int, them: Watchers) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds(number):
            assert not them.lost, f"{them.lost} clients were cut off"
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(_watch_all(sys.argv[1], sys.argv[2], int(sys.argv[3])))
