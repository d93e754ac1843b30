"""Cursors are sealed: for one list, one caller, and all processes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dal import AsyncDAL
from models.secrets import Secrets
from models.workflows import After
from services.caller import Caller
from services.cursors import NAME, Cursors, Page, bound
from services.errors import InvalidCursor

SECRET = "a secret of the tests, long enough"
CONTENT = [2, ["2026-01-01T00:00:00.000001+00:00", None, 1.5, "failed"], "an id", 10_000, False]


class Nowhere:
    """No database: whoever has a key of their own asks none."""

    async def get(self, name: str) -> bytes:
        raise AssertionError(name)


def sealed_with(secret_key: str) -> Cursors:
    return Cursors(Nowhere(), secret_key)  # type: ignore[arg-type]  # it must not be asked


async def test_what_was_sealed_is_read() -> None:
    cursor = await sealed_with(SECRET).seal(CONTENT, ["list", 1])
    assert await sealed_with(SECRET).open(cursor, ["list", 1]) == CONTENT


@pytest.mark.parametrize("binding", [["list", 2], ["list"], [], None, {"list": 1}])
async def test_another_binding_is_refused(binding: object) -> None:
    cursor = await sealed_with(SECRET).seal(CONTENT, ["list", 1])
    with pytest.raises(InvalidCursor):
        await sealed_with(SECRET).open(cursor, binding)


async def test_another_key_is_refused() -> None:
    cursor = await sealed_with(SECRET).seal(CONTENT, [])
    with pytest.raises(InvalidCursor):
        await sealed_with(SECRET + "!").open(cursor, [])


async def test_the_key_itself_signs_nothing() -> None:
    """A JWT's key and a cursor's are different, so that neither can be made from the other."""
    cursors = sealed_with(SECRET)
    await cursors.seal(CONTENT, [])
    assert cursors._key != SECRET.encode()


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
async def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        await sealed_with(SECRET).open(text, [])


async def test_without_a_key_all_processes_share_that_of_the_database(dal: AsyncDAL) -> None:
    processes = [Cursors(Secrets(dal), None) for _ in range(8)]
    cursors = await asyncio.gather(*(each.seal(CONTENT, [1]) for each in processes))
    assert len(set(cursors)) == 1
    restarted = Cursors(Secrets(dal), None)
    assert await restarted.open(cursors[0], [1]) == CONTENT
    names = [row["name"] for row in await dal.fetch("SELECT name FROM service_secrets")]
    assert names == [NAME]


# Pages

ROWS = [10, 20, 30, 40, 50]
BORN = datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)


async def numbers(most: int, after: object) -> list[int]:
    """The first of `ROWS`, or those that follow one of them."""
    start = 0 if after is None else after
    assert isinstance(start, int)
    return [row for row in ROWS if row > start][:most]


@pytest.mark.parametrize("limit", range(1, 7))
async def test_pages_give_every_row_once_and_end(limit: int) -> None:
    cursors, seen, cursor, pages = sealed_with(SECRET), list[int](), None, 0
    while pages == 0 or cursor is not None:
        page = await cursors.page(["list"], limit, cursor, numbers, lambda row: row)
        assert len(page.rows) <= limit
        seen, cursor, pages = seen + page.rows, page.cursor, pages + 1
    assert seen == ROWS
    assert pages == -(-len(ROWS) // limit)


async def test_a_page_goes_on_after_an_instant_and_an_id_to_the_microsecond() -> None:
    asked: list[After | None] = []

    async def read(most: int, after: After | None) -> list[After]:
        asked.append(after)
        return [After(BORN, "a"), After(BORN, "b")][:most]

    async def turned(cursor: str | None) -> Page[After]:
        return await sealed_with(SECRET).newest_first(["list"], 1, cursor, read, lambda row: row)

    await turned((await turned(None)).cursor)
    assert asked == [None, After(BORN, "a")]


@pytest.mark.parametrize(
    ("user", "community", "filters"), [(2, 4242, [1]), (1, 7, [1]), (1, None, [1]), (1, 4242, [2])]
)
async def test_a_cursor_is_bound_to_its_caller_and_filters(
    user: int, community: int | None, filters: list[int]
) -> None:
    cursors = sealed_with(SECRET)
    owner, other = Caller(1, 4242, frozenset()), Caller(user, community, frozenset())
    cursor = await cursors.seal(10, bound("list", owner, 1))
    with pytest.raises(InvalidCursor):
        await cursors.page(bound("list", other, *filters), 1, cursor, numbers, lambda row: row)
