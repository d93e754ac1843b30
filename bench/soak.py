"""`python -m bench.soak --minutes 60`: a service under a steady load, watched for what it gathers.

Every ten seconds: resident memory, connections to PostgreSQL and open file descriptors of
the service, all of which must be flat. The load is that of every day: batches of executions of ten
steps at a steady rate, single ones that are waited for, their details, and a list. It writes
`bench/results/soak-<date>.json` and a chart beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from time import perf_counter

import aiohttp

from bench.lines import Panel, lines
from bench.report import RESULTS
from bench.service import Service, everyday_key, publish, service
from bench.w2_throughput import STEPS
from bench.w6_parked import MIB, database
from bench.world import PAYLOAD, World, chain, machine, world
from models.dal import AsyncDAL

EVERY_SECONDS = 10.0
RATE = 50
"""Executions a second that are asked for in batches."""
BATCH = 25
CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
ENDED = "SELECT count(*) FROM workflow_executions WHERE status = 'completed'"
OPEN = "SELECT count(*) FROM workflow_executions WHERE end_time IS NULL"


@dataclass(frozen=True, slots=True)
class Sample:
    """The service at one moment, in seconds from the beginning."""

    seconds: float
    memory_mib: float
    connections: int
    descriptors: int
    executions: int


@dataclass(frozen=True, slots=True)
class Site:
    """The service that is watched, and how to ask it."""

    service: Service
    dal: AsyncDAL
    http: aiohttp.ClientSession
    workflow: str
    """The address of the workflow."""

    async def sample(self, began: float, executions: int) -> Sample:
        """What it uses now."""
        connections = await self.dal.fetchval(CONNECTIONS)
        descriptors = self.service.descriptors()
        memory = self.service.resident() / MIB
        return Sample(perf_counter() - began, memory, connections, descriptors, executions)


class Load:
    """What is asked of a service all the while, and how much was accepted."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.executions = 0

    async def batches(self) -> None:
        """A batch, so many of them a second."""
        items = [{"community_id": 1, "variables": PAYLOAD}] * BATCH
        due = perf_counter()
        while True:
            await self._post("/execute/batch", {"items": items}, 202)
            self.executions += BATCH
            due += BATCH / RATE
            await asyncio.sleep(max(due - perf_counter(), 0))

    async def singles(self) -> None:
        """One that is waited for, its details, and the first page of all."""
        workflows = self._site.workflow.rpartition("/")[0]
        while True:
            body = {"community_id": 1, "variables": PAYLOAD}
            done = await self._post("/execute?wait=10", body, 200)
            self.executions += 1
            for path in (
                f"{workflows}/executions/{done['data']['execution_id']}",
                f"{self._site.workflow}/executions",
            ):
                async with self._site.http.get(path) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()
            await asyncio.sleep(0.2)

    async def _post(self, path: str, body: object, expected: int) -> dict[str, dict[str, str]]:
        async with self._site.http.post(self._site.workflow + path, json=body) as answer:
            said: dict[str, dict[str, str]] = await answer.json()
            assert answer.status == expected, said
            return said


async def soak(world: World, seconds: float, every: float) -> list[Sample]:
    """Samples of a service of its own under load. Raises what the load raises: a request that is
    refused ends it. Raises `AssertionError` unless all that was accepted has completed."""
    dsn = await database(world, "soak")
    async with AsyncDAL(dsn, min_size=1, max_size=2) as dal:
        key = await everyday_key(dal)
        async with (
            service(dsn, RATE_LIMIT="off", LOG_LEVEL="WARNING") as running,
            aiohttp.ClientSession(headers={"X-API-Key": key}) as http,
        ):
            site = Site(
                running,
                dal,
                http,
                await publish(http, running.url, chain(STEPS, "data_variable_set")),
            )
            load = Load(site)
            samples = await _while_loaded(load, site, seconds, every)
            await _all_ended(dal, load.executions)
    return samples


async def _while_loaded(load: Load, site: Site, seconds: float, every: float) -> list[Sample]:
    asked: list[Callable[[], Awaitable[None]]] = [load.batches, load.singles]
    tasks = [asyncio.ensure_future(each()) for each in asked]
    samples: list[Sample] = []
    began = perf_counter()
    try:
        while perf_counter() - began < seconds:
            samples.append(await site.sample(began, load.executions))
            done, _ = await asyncio.wait(tasks, timeout=every, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        samples.append(await site.sample(began, load.executions))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return samples


async def _all_ended(dal: AsyncDAL, accepted: int) -> None:
    async with asyncio.timeout(60):
        while await dal.fetchval(OPEN):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    ended = await dal.fetchval(ENDED)
    # What was under way when the load was cut off may have been accepted as well.
    assert accepted <= ended <= accepted + BATCH + 1, f"{accepted} accepted, {ended} completed"


def growth(samples: list[Sample]) -> dict[str, float]:
    """By how much the last third is above the middle one, on average; the first one warms up."""
    third = max(len(samples) // 3, 1)
    middle, last = samples[-2 * third : -third] or samples, samples[-third:]
    return {
        name: mean(getattr(each, name) for each in last)
        - mean(getattr(each, name) for each in middle)
        for name in ("memory_mib", "connections", "descriptors")
    }


def _save(samples: list[Sample], on: str, now: datetime) -> list[Path]:
    written = RESULTS / f"soak-{now:%Y-%m-%d}.json"
    drawn = written.with_suffix(".svg")
    grown = growth(samples)
    report = {
        "at": now.isoformat(timespec="seconds"),
        "machine": on,
        "last third over the middle one": grown,
        "samples": [asdict(each) for each in samples],
    }
    written.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    heading = f"{now:%Y-%m-%d}: {on}; {samples[-1].executions:,} executions of {STEPS} steps"
    panels = [
        Panel("resident memory, MiB", [each.memory_mib for each in samples]),
        Panel("connections to PostgreSQL", [each.connections for each in samples]),
        Panel("open file descriptors", [each.descriptors for each in samples]),
    ]
    minutes = [each.seconds / 60 for each in samples]
    drawn.write_text(lines(heading, minutes, panels), encoding="utf-8")
    return [written, drawn]


async def _run(minutes: float, every: float) -> None:
    async with world() as running:
        samples = await soak(running, 60 * minutes, every)
        on = await machine(running)
    for file in _save(samples, on, datetime.now(UTC)):
        print(file)
    for name, value in growth(samples).items():
        print(f"{name}: {value:+.2f} in the last third over the middle one")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long (60)")
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, help="seconds a sample (10)")
    given = parser.parse_args()
    asyncio.run(_run(given.minutes, given.every))


if __name__ == "__main__":
    main()
