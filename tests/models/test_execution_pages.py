"""Pages of executions are the list by the book, whatever is asked, and are walked to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from threading import Thread
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from models.dal import AsyncDAL
from models.execution_filter import Listing, Narrow, Order, Place, Reach, Sort
from models.execution_pages import COUNT_CAP, WALK, ExecutionPages, Total
from models.query import Query
from tests.listed import CODES, NAMES, SOURCES, START, STATUSES, Row, expected, row, uuid_of, write
from tests.plans import MODES, Mode, explained, vacuumed

WORKFLOWS = [uuid_of(number) for number in range(1, 7)]
COMMUNITY_OF = {workflow: 1 + number // 3 for number, workflow in enumerate(WORKFLOWS)}
USERS = (1, 2, 3)
SORTS: tuple[Sort, ...] = ("created", "started_at", "completed_at", "total_duration", "status")
EVERYTHING = tuple(WORKFLOWS)

reaches = st.one_of(
    st.builds(
        Reach,
        user_id=st.sampled_from(USERS),
        workflow_ids=st.lists(st.sampled_from(WORKFLOWS), unique=True, max_size=4).map(tuple),
    ),
    st.builds(
        Reach, user_id=st.just(1), workflow_ids=st.just(EVERYTHING), everything=st.just(True)
    ),
    st.sampled_from((1, 2)).flatmap(
        lambda community: st.builds(
            Reach,
            user_id=st.sampled_from(USERS),
            workflow_ids=st.just(
                tuple(name for name, where in COMMUNITY_OF.items() if where == community)
            ),
            everything=st.booleans(),
            community_id=st.just(community),
        )
    ),
)
moments = st.integers(0, 200).map(lambda minutes: START + timedelta(minutes=minutes))
narrows = st.builds(
    Narrow,
    workflow_id=st.none() | st.sampled_from(WORKFLOWS),
    community_id=st.none() | st.sampled_from((1, 2)),
    user_id=st.none() | st.sampled_from(USERS),
    statuses=st.lists(st.sampled_from(STATUSES), unique=True, max_size=3).map(tuple),
    since=st.none() | moments,
    until=st.none() | moments,
    trigger_source=st.none() | st.sampled_from(SOURCES),
    session_id=st.none() | st.just("s-1"),
    execution_name=st.none() | st.sampled_from([name for name in NAMES if name]),
    error_code=st.none() | st.sampled_from(CODES),
    min_duration=st.none() | st.sampled_from((0.0, 1.0)),
    max_duration=st.none() | st.sampled_from((1.5, 2.5)),
    text=st.none() | st.sampled_from(("night", "100%", "_1", "BROKE", "zzz")),
)
orders = st.builds(Order, sort=st.sampled_from(SORTS), descending=st.booleans())


def executions(count: int, seed: int = 1) -> Iterator[Row]:
    rng = random.Random(seed)
    for _ in range(count):
        workflow = rng.choice(WORKFLOWS)
        yield row(rng, workflow, COMMUNITY_OF[workflow], rng.choice(USERS))


@st.composite
def listings(draw: st.DrawFn) -> Listing:
    """What the service may ask for: others' executions by user are for admins, and workflows are
    those of the community that is asked for."""
    reach, narrow, order = draw(reaches), draw(narrows), draw(orders)
    assume(reach.everything or narrow.user_id in (None, reach.user_id))
    ids = (
        workflow
        for workflow in reach.workflow_ids
        if narrow.community_id in (None, COMMUNITY_OF[workflow])
    )
    return Listing(replace(reach, workflow_ids=tuple(ids)), narrow, order)


async def whole(pages: ExecutionPages, listing: Listing, size: int) -> list[str]:
    """The ids on all pages, followed by their places."""
    ids: list[str] = []
    place: Place | None = None
    while True:
        found, _ = await pages.page(listing, limit=size, after=place)
        ids += [each["execution_id"] for each in found.rows]
        assert len(found.rows) <= size
        if not found.more:
            return ids
        assert found.place != place
        place = found.place


async def seeded(dal: AsyncDAL) -> list[Row]:
    """The rows that all examples of a test look at, written by the first of them."""
    rows = list(executions(200))
    if not await dal.fetchval("SELECT EXISTS (SELECT 1 FROM workflow_executions)"):
        await write(dal, rows)
    return rows


examples = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@examples
@given(listings(), st.sampled_from((3, 20, 100)))
async def test_every_list_is_the_one_by_the_book(
    dal: AsyncDAL, listing: Listing, size: int
) -> None:
    rows = await seeded(dal)
    pages = ExecutionPages(dal)
    ids = expected(rows, listing)
    assert await whole(pages, listing, size) == ids
    _, total = await pages.page(listing, limit=1)
    assert total == Total(len(ids), exact=True)


@examples
@given(listings(), st.integers(0, 60), st.sampled_from((1, 7, 50)))
async def test_a_page_by_number_is_that_part_of_the_list(
    dal: AsyncDAL, listing: Listing, offset: int, size: int
) -> None:
    rows = await seeded(dal)
    found, _ = await ExecutionPages(dal).page(listing, limit=size, offset=offset)
    ids = expected(rows, listing)
    assert [each["execution_id"] for each in found.rows] == ids[offset : offset + size]
    assert found.more == (len(ids) > offset + size)


@examples
@given(listings())
async def test_a_search_that_gives_up_goes_on_and_finds_all(
    dal: AsyncDAL, listing: Listing
) -> None:
    rows = await seeded(dal)
    pages = ExecutionPages(dal, examined=7)
    assert await whole(pages, listing, 5) == expected(rows, listing)


@examples
@given(listings(), st.sampled_from((1, 3, 20)))
async def test_a_search_in_steps_finds_what_one_in_a_single_step_does(
    dal: AsyncDAL, listing: Listing, size: int
) -> None:
    rows = await seeded(dal)
    ids = expected(rows, listing)
    stepping = ExecutionPages(dal, begins=2)
    assert await whole(stepping, listing, size) == ids
    found, total = await stepping.page(listing, limit=size)
    assert [each["execution_id"] for each in found.rows] == ids[:size]
    assert (found.more, found.cut) == (len(ids) > size, False)
    assert total == Total(len(ids), exact=True)
    assert await whole(ExecutionPages(dal, examined=30, begins=2), listing, size) == ids


async def test_a_search_for_what_is_frequent_takes_one_short_step(dal: AsyncDAL) -> None:
    """And one for what is rare takes the fewest that reach as far."""
    await seeded(dal)
    asked: list[int] = []

    class Watched(ExecutionPages):
        def query(self, *args: Any, **options: Any) -> Any:
            asked.append(options["examined"])
            return super().query(*args, **options)

    pages = Watched(dal, examined=100, begins=4)
    reach = Reach(1, everything=True)
    await pages.page(Listing(reach, Narrow(text="o"), Order()), limit=1)
    assert asked == [4]
    asked.clear()
    found, _ = await pages.page(Listing(reach, Narrow(text="zzz"), Order()), limit=1)
    assert asked == [4, 32, 64]
    assert (found.rows, found.more, found.cut) == ([], True, True)


async def test_a_search_in_steps_sees_one_moment(dal: AsyncDAL, database_url: str) -> None:
    """What ends between two steps stands where it stood when the first one began."""
    rows = await seeded(dal)
    reach = Reach(1, EVERYTHING, everything=True)
    listing = Listing(reach, Narrow(text="o"), Order("completed_at"))
    ids = expected(rows, listing)
    steps = 0

    async def end_the_first() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "UPDATE workflow_executions SET status = 'cancelled', end_time = '2001-01-01'"
            f" WHERE execution_id = '{ids[0]}' AND end_time IS NULL"
        )
        await connection.close()

    class Meanwhile(ExecutionPages):
        def query(self, *args: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == 2:
                other = Thread(target=lambda: asyncio.run(end_the_first()))
                other.start()
                other.join()
            return super().query(*args, **options)

    found, _ = await Meanwhile(dal, begins=2).page(listing, limit=len(ids) + 1)
    assert [each["execution_id"] for each in found.rows] == ids
    assert steps > 2
    ended = "SELECT end_time FROM workflow_executions WHERE execution_id = $1"
    assert await dal.fetchval(ended, ids[0]) == datetime(2001, 1, 1, tzinfo=UTC)


async def test_a_search_meets_no_more_than_it_may(dal: AsyncDAL) -> None:
    await seeded(dal)
    listing = Listing(Reach(1, everything=True), Narrow(text="zzz"), Order())
    found, total = await ExecutionPages(dal, examined=50).page(listing, limit=5)
    assert (found.rows, found.more, found.cut) == ([], True, True)
    assert total == Total(0, exact=False)


async def test_rows_that_come_between_pages_change_nothing_behind(dal: AsyncDAL) -> None:
    rows = await seeded(dal)
    pages = ExecutionPages(dal)
    reach = Reach(1, workflow_ids=EVERYTHING[:3])
    for order in (Order(sort, way) for sort in SORTS for way in (True, False)):
        listing = Listing(reach, Narrow(), order)
        before = expected(rows, listing)
        seen: list[str] = []
        place: Place | None = None
        for number in range(len(before)):
            found, _ = await pages.page(listing, limit=20, after=place)
            seen += [each["execution_id"] for each in found.rows]
            if not found.more:
                break
            place = found.place
            fresh = list(executions(5, seed=hash((order, number))))
            await write(dal, fresh)
            rows = [*rows, *fresh]
        assert [each for each in seen if each in set(before)] == before
        assert len(seen) == len(set(seen))


async def test_totals_are_exact_up_to_a_cap(dal: AsyncDAL) -> None:
    await write(dal, executions(COUNT_CAP))
    pages = ExecutionPages(dal)
    everything = Listing(Reach(1, everything=True), Narrow(), Order())
    both = Listing(Reach(1, workflow_ids=EVERYTHING), Narrow(), Order("total_duration"))
    lists = [everything, both]
    for listing in lists:
        assert (await pages.page(listing, limit=1))[1] == Total(COUNT_CAP, exact=True)
    await write(dal, executions(1, seed=2))
    for listing in lists:
        assert (await pages.page(listing, limit=1))[1] == Total(COUNT_CAP, exact=False)


async def test_totals_of_ones_own_are_exact_as_well(dal: AsyncDAL) -> None:
    rng = random.Random(1)
    mine = [row(rng, WORKFLOWS[0], 1, 1) for _ in range(COUNT_CAP)]
    await write(dal, mine)
    pages = ExecutionPages(dal)
    for reach in (
        Reach(1),
        Reach(1, community_id=1),
        Reach(1, workflow_ids=EVERYTHING[1:], community_id=1),
        Reach(1, workflow_ids=EVERYTHING),
    ):
        _, total = await pages.page(Listing(reach, Narrow(), Order()), limit=1)
        assert total == Total(COUNT_CAP, exact=True), reach


# How they are read

FILL = """
INSERT INTO workflow_executions (execution_id, workflow_id, workflow_version, workflow_name,
    community_id, user_id, trigger_source, trigger_node_id, status, created, start_time, end_time,
    execution_time_seconds, max_execution_seconds)
SELECT gen_random_uuid(), ('00000000-0000-0000-0000-' || lpad((1 + i % 6)::text, 12, '0'))::uuid, 1,
       'w', 1 + (i % 6) / 3, 1 + i % 3, 'api', 'start',
       CASE WHEN i % 100 = 0 THEN 'waiting' WHEN i % 10 = 0 THEN 'failed' ELSE 'completed' END,
       at, at, CASE WHEN i % 100 > 0 THEN at + interval '1 s' END,
       CASE WHEN i % 100 > 0 THEN i * 7919 % 1000 END, 300
  FROM generate_series($1::int, $1 + 9999) i,
       LATERAL (SELECT now() - i * interval '1 s' AS at) moment
"""
ALIKE = """
INSERT INTO workflow_executions (execution_id, workflow_id, workflow_version, workflow_name,
       community_id, user_id, trigger_source, trigger_node_id, status, created, start_time,
       end_time, execution_time_seconds, max_execution_seconds)
SELECT gen_random_uuid(), $1::uuid, 1, 'w', 1, 5, 'api', 'start', 'completed', at, at, at, 1, 300
  FROM generate_series(1, 10000) i, LATERAL (SELECT now() - i * interval '1 s' AS at) moment
"""
READERS = {
    "an admin": Reach(1, EVERYTHING, everything=True),
    "an admin of a community": Reach(1, EVERYTHING[:3], everything=True, community_id=1),
    "somebody without workflows": Reach(1),
    "somebody with workflows": Reach(1, EVERYTHING[:3]),
    "somebody in a community": Reach(1, EVERYTHING[:3], community_id=1),
}
FILTERS = {
    "nothing": Narrow(),
    "a status": Narrow(statuses=("failed",)),
    "statuses": Narrow(statuses=("failed", "waiting")),
    "a workflow": Narrow(workflow_id=WORKFLOWS[0]),
    "a workflow's failures": Narrow(workflow_id=WORKFLOWS[0], statuses=("failed",)),
    "a community": Narrow(community_id=1),
    "a user": Narrow(user_id=1),
    "since": Narrow(since=START),
    "a session": Narrow(session_id="s-1"),
    "a source": Narrow(trigger_source="api"),
    "a name": Narrow(execution_name="import"),
    "an error": Narrow(error_code="TIMEOUT"),
    "a duration": Narrow(min_duration=10.0, max_duration=20.0),
    "a text": Narrow(text="night"),
}


async def test_every_list_is_walked_and_nothing_is_sorted_but_its_page(dal: AsyncDAL) -> None:
    for first in range(1, 60_000, 10_000):
        await dal.execute(FILL, first)
    await vacuumed(dal, "workflow_executions")
    wrong = await astray(dal, READERS, FILTERS, SORTS)
    assert not wrong, f"{len(wrong)} plans; the first:\n{wrong[0]}"


async def test_every_list_is_walked_whatever_the_statistics_know(dal: AsyncDAL) -> None:
    """One workflow, one user and one status are all that there is: whoever looks for another walks
    no further than to the place where it would be."""
    for _ in range(4):
        await dal.execute(ALIKE, WORKFLOWS[0])
    await vacuumed(dal, "workflow_executions")
    readers = {name: READERS[name] for name in ("somebody with workflows", "an admin")}
    filters = {name: FILTERS[name] for name in ("nothing", "a status", "statuses", "a user")}
    wrong = await astray(dal, readers, filters, SORTS)
    assert not wrong, f"{len(wrong)} plans; the first:\n{wrong[0]}"


async def astray(
    dal: AsyncDAL,
    readers: dict[str, Reach],
    filters: dict[str, Narrow],
    sorts: Sequence[Sort],
    limit: int = 20,
) -> list[str]:
    """The plans that read a whole table, sort more than a page, or walk along an index that does
    not hold what they look for together."""
    pages, wrong = ExecutionPages(dal), []
    for (who, reach), (what, narrow) in product(readers.items(), filters.items()):
        for sort, way in product(sorts, (True, False)):
            listing = Listing(reach, narrow, Order(sort, way))
            found, _ = await pages.page(listing, limit=limit, total=Total(0, exact=True))
            branches = (len(reach.workflow_ids) + 1) * max(len(narrow.statuses), 1)
            statements = {
                "first": pages.query(listing, limit=limit),
                "next": pages.query(listing, limit=limit, after=found.place),
                "total": pages.counting(listing),
            }
            for name, query in statements.items():
                plan = list(nodes(await plan_of(dal, query)))
                whole = [node for node in plan if node["Node Type"] == "Seq Scan"]
                passed = [n for n in plan if n.get("Index Name") and "Filter" in n]
                if whole or passed or sorted_in(plan) > branches * (limit + 1):
                    wrong.append(f"{who}, {what}, {sort}, {way}, {name}: {plan}")
    return wrong


async def test_what_is_counted_elsewhere_is_looked_up_and_not_compared_with_each(
    dal: AsyncDAL,
) -> None:
    """One's own ten thousand executions, besides those of a thousand workflows that one may view:
    the workflows are read once, into a hash."""
    await dal.execute(ALIKE, WORKFLOWS[0])
    seen = tuple(f"0190b000-0000-7000-8000-{number:012d}" for number in range(1_000))
    counting = ExecutionPages(dal).counting(Listing(Reach(5, seen), Narrow(), Order()))
    for mode in MODES:
        plan = await plan_of(dal, counting, mode)
        lists = [n for n in nodes(plan) if n.get("Parent Relationship") == "SubPlan"]
        assert [(each["Actual Loops"], each["Actual Rows"]) for each in lists] == [(1, 1_000)]


@pytest.mark.parametrize("sort", SORTS)
async def test_a_page_far_down_reads_no_more_than_the_first(dal: AsyncDAL, sort: Sort) -> None:
    for first in range(1, 60_000, 10_000):
        await dal.execute(FILL, first)
    await vacuumed(dal, "workflow_executions")
    pages = ExecutionPages(dal)
    for reach in READERS.values():
        listing = Listing(reach, Narrow(), Order(sort))
        far, _ = await pages.page(listing, limit=1, offset=9_000)
        first = blocks(await plan_of(dal, pages.query(listing, limit=20)))
        last = blocks(await plan_of(dal, pages.query(listing, limit=20, after=far.place)))
        assert last <= 1.5 * first


async def plan_of(dal: AsyncDAL, query: Query, mode: Mode = "force_generic_plan") -> dict[str, Any]:
    """The plan of a statement where pages are read."""
    async with dal.transaction() as tx:
        await tx.execute(WALK)
        [plan] = await explained(tx, query.sql, query.args, mode, "ANALYZE, BUFFERS, FORMAT JSON")
    return dict(plan[0]["Plan"])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, from the top."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def sorted_in(plan: list[dict[str, Any]]) -> float:
    """How many rows the largest of its sorts was given."""
    sorts = [node["Plans"][0] for node in plan if "Sort" in node["Node Type"]]
    return max((part["Actual Rows"] * part["Actual Loops"] for part in sorts), default=0)


def blocks(plan: dict[str, Any]) -> int:
    """How many blocks a plan read."""
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
