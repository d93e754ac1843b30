"""W5: pages of executions and the details of one, on histories of several sizes, beside `SELECT 1`.

The rows are made by COPY: twenty workflows of four owners, started by fifty users. The reader owns
five of the workflows and has started some executions of the others, so a page is merged from six
walks and the total is counted as well. What is measured is the service's own call, from the caller
to the rows: all but HTTP.

What is remembered of a list or of metrics is measured as well when it is not: `counted anew`, `read
anew`. That is so once in a while, which stands in the place of a target.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import uuid_utils

from bench.measure import Figure, in_turn, ratios, seconds
from bench.world import World, chain, engine_on
from models.dal import AsyncDAL
from models.execution_pages import ExecutionPages
from models.migrate import migrate
from models.permissions import Permissions
from models.retention import History as UpkeepOfHistory
from models.rollups import Rollups
from models.secrets import Secrets
from models.steps import Steps
from models.workflows import Workflows
from services.caller import EVERYDAY_SCOPES, Caller
from services.cursors import Cursors
from services.execution_details import ExecutionDetails
from services.execution_lists import ExecutionLists, Narrow, Order, PageRequest
from services.metrics import MetricsRequest, MetricsService
from services.permission_service import PermissionService

SIZES = (10_000, 1_000_000)
QUICK = (10_000, 100_000)
PAGE = 20
FAR = 1_000
SELDOM = {"counted anew": "once in 10 s", "read anew": "once an hour"}
"""How often what has such a name is so, of all reads by one reader."""
REPEATED = 20
"""How often a page is read for one value: the middle one counts."""

Call = Callable[[], Awaitable[Any]]

READER = Caller(user_id=1, community_id=None, scopes=EVERYDAY_SCOPES)
WORKFLOWS = [f"0190f000-0000-7000-8000-{number:012d}" for number in range(20)]
OWNERS, USERS = 4, 50
COLUMNS = (
    "execution_id", "workflow_id", "workflow_version", "workflow_name", "community_id", "user_id",
    "trigger_source", "trigger_node_id", "status", "created", "start_time", "end_time",
    "execution_time_seconds", "error_message", "error_code", "max_execution_seconds",
)  # fmt: skip

OWNED = """
INSERT INTO workflows (workflow_id, community_id, name, document, created_by)
SELECT id, 1, 'a workflow', '{}', 1 + (n - 1) % $2
  FROM unnest($1::uuid[]) WITH ORDINALITY AS u (id, n)
"""
INDEXES = """
SELECT i.relname AS name, pg_get_indexdef(i.oid) AS made_by
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
 WHERE x.indrelid = 'workflow_executions'::regclass AND NOT x.indisunique
"""


@dataclass(frozen=True, slots=True)
class History:
    """The services on a database with a history of some size."""

    dal: AsyncDAL
    lists: ExecutionLists
    fresh: Callable[[], ExecutionLists]
    """As `lists`, without anything remembered."""
    details: ExecutionDetails
    metrics: MetricsService
    fresh_metrics: Callable[[], MetricsService]
    """As `metrics`, without anything remembered."""
    execution_id: str
    """One that an engine has really run."""

    async def page(
        self, narrow: Narrow | None = None, order: Order | None = None, cursor: str | None = None
    ) -> str | None:
        """Reads a page; returns the cursor of the next one."""
        request = PageRequest(PAGE, cursor=cursor)
        found = await self.lists.visible(READER, narrow or Narrow(), order or Order(), request)
        assert found.rows
        return found.cursor

    async def counted(self, narrow: Narrow) -> None:
        """Reads a first page whose total nobody has counted yet."""
        await replace(self, lists=self.fresh()).page(narrow)

    async def report(self, asked: MetricsRequest) -> None:
        """Reads metrics."""
        assert (await self.metrics.report(READER, asked))["totals"]["executions"]

    async def reported_anew(self, asked: MetricsRequest) -> None:
        """Reads metrics of which nothing gathered is known yet."""
        await replace(self, metrics=self.fresh_metrics()).report(asked)

    async def far(self, order: Order) -> tuple[str, int]:
        """The cursor of page 1,000, or of the last one before the end; and which page that is."""
        cursor = await self.page(order=order)
        assert cursor is not None
        for number in range(2, FAR):
            following = await self.page(order=order, cursor=cursor)
            if following is None:
                return cursor, number
            cursor = following
        return cursor, FAR


async def run(world: World, rounds: int, sizes: tuple[int, ...]) -> list[Figure]:
    """All pages at each size, in turn, and what size does to them."""
    async with AsyncExitStack() as stack:
        calls: dict[int, dict[str, Call]] = {}
        numbers: dict[int, int] = {}
        for size in sizes:
            found = await stack.enter_async_context(history(world, size))
            calls[size], numbers[size] = await _calls(found)
        names = list(calls[sizes[0]])
        measured = {
            f"{size} {name}": partial(_milliseconds, calls[size][name])
            for name in names
            for size in sizes
        }
        taken = await in_turn(rounds, **measured)
    figures: list[Figure] = []
    for size in sizes:
        values = {name: taken[f"{size} {name}"] for name in names}
        figures += _figures(size, values, numbers[size])
    if len(sizes) > 1:
        for name in names:
            if name != "select":
                grown = ratios(taken[f"{sizes[-1]} {name}"], taken[f"{sizes[0]} {name}"])
                what = f"{name}, {sizes[-1]:,} over {sizes[0]:,}"
                figures.append(Figure("W5", what, " x", grown, _target(name, "<= 1.5")))
    return figures


async def _calls(found: History) -> tuple[dict[str, Call], int]:
    """What is measured on a history, by name, and which page is the one far down."""
    slowest, failed = Order("total_duration"), Narrow(statuses=("failed",))
    text = Narrow(text="went wrong")
    newest = await found.page()
    cursor, number = await found.far(Order())
    calls: dict[str, Call] = {
        "select": partial(found.dal.fetchval, "SELECT 1"),
        "first page": found.page,
        "second page": partial(found.page, cursor=newest),
        "page far down": partial(found.page, cursor=cursor),
        "first page of failures": partial(found.page, failed),
        "first page of failures, counted anew": partial(found.counted, failed),
        "first page with a text": partial(found.page, text),
        "first page with a text, counted anew": partial(found.counted, text),
        "first page by duration": partial(found.page, None, slowest),
        "details": partial(found.details.details, READER, found.execution_id, 100),
        "metrics of a day, by the hour": partial(found.report, MetricsRequest("hour")),
        "metrics of a month, by the day": partial(found.report, MetricsRequest("day")),
        "metrics of a day, read anew": partial(found.reported_anew, MetricsRequest("hour")),
        "metrics of a month, read anew": partial(found.reported_anew, MetricsRequest("day")),
    }
    return calls, number


async def _milliseconds(call: Call) -> float:
    return 1000 * median([await seconds(call()) for _ in range(REPEATED)])


def _figures(size: int, values: dict[str, list[float]], number: int) -> list[Figure]:
    allowed = [3 * value + 5 for value in values["select"]]
    figures = [Figure("W5", f"{size:,}: SELECT 1", "ms", values["select"])]
    for name, taken in values.items():
        if name != "select":
            what = f"{size:,}: {name}" + (f" (page {number:,})" if "far" in name else "")
            figures.append(Figure("W5", what, "ms", taken))
            within = ratios(taken, allowed)
            share = f"{what}, of 3 x SELECT 1 + 5 ms"
            figures.append(Figure("W5", share, " x", within, _target(name, "<= 1")))
    deep = ratios(values["page far down"], values["second page"])
    figures.append(Figure("W5", f"{size:,}: page {number:,} over page 2", " x", deep, "<= 1.2"))
    return figures


def _target(name: str, bound: str) -> str:
    """The bound, or how seldom it is to be expected that it is not kept."""
    return next((often for end, often in SELDOM.items() if name.endswith(end)), bound)


@asynccontextmanager
async def history(world: World, size: int) -> AsyncIterator[History]:
    """A database of its own with so many executions, and the services on it."""
    name = f"w5_{size}"
    await world.dal.execute(f"CREATE DATABASE {name}")
    dsn = urlunsplit(urlsplit(world.dsn)._replace(path=f"/{name}"))
    await migrate(dsn)
    async with AsyncDAL(dsn, command_timeout=600) as dal:
        await filled(dal, size)
        async with engine_on(dal) as (engine, clock):
            inner = World(dal, dsn, engine, clock)
            context = replace(
                await inner.publish(chain(10, "data_variable_set")),
                execution_id=str(uuid_utils.uuid7()),
            )
            await engine.execute_workflow(context)
            assert await engine.wait(context.execution_id, 60)
            permissions = PermissionService(Permissions(dal), Workflows(dal))
            cursors = Cursors(Secrets(dal), None)
            details = ExecutionDetails(engine, Steps(dal), permissions, cursors)

            def metrics() -> MetricsService:
                return MetricsService(Rollups(dal), permissions, now=clock.now)

            fresh = partial(ExecutionLists, ExecutionPages(dal), permissions, cursors)
            yield History(dal, fresh(), fresh, details, metrics(), metrics, context.execution_id)
    await world.dal.execute(f"DROP DATABASE {name}")


async def filled(dal: AsyncDAL, size: int) -> None:
    """Copies the rows in, and builds the indexes afterwards, as one loads a database."""
    await dal.execute(OWNED, WORKFLOWS, OWNERS)
    indexes = await dal.fetch(INDEXES)
    for index in indexes:
        await dal.execute(f"DROP INDEX {index['name']}")
    async with dal.acquire() as connection:
        await connection.copy_records_to_table(
            "workflow_executions", records=_rows(size), columns=COLUMNS, timeout=3_600
        )
    for index in indexes:
        await dal.execute(index["made_by"])
    upkeep = UpkeepOfHistory(dal)
    while await upkeep.compact_rollups():
        pass
    await dal.execute("VACUUM (ANALYZE)")


def _rows(size: int) -> Iterator[tuple[Any, ...]]:
    """Executions of a year, one after the other: one of a hundred failed, the newest still wait."""
    rng = random.Random(5)
    apart = timedelta(days=365) / size
    now = datetime.now(UTC)
    for number in range(size):
        created = now - (size - number) * apart
        started = created + timedelta(milliseconds=rng.randrange(50))
        took = rng.expovariate(1)
        failed, waits = rng.random() < 0.01, number >= size - 100
        status = "waiting" if waits else "failed" if failed else "completed"
        yield (
            str(uuid_utils.uuid7()), rng.choice(WORKFLOWS), 1, "a workflow", 1,
            1 + rng.randrange(USERS), "api", "start", status, created, started,
            None if waits else started + timedelta(seconds=took), None if waits else took,
            "It went wrong." if status == "failed" else None,
            "HTTP_STATUS" if status == "failed" else None, 300,
        )  # fmt: skip
