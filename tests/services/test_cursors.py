"""Cursors are sealed: for one list, one caller, and all processes."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dal import AsyncDAL
from models.secrets import Secrets
from services.cursors import NAME, Cursors
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
