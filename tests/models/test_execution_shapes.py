"""A list's statement that was compiled for all of its shape is the one compiled for itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dal import AsyncDAL
from models.execution_filter import Key, Listing, Narrow, Order, Place, Reach, walks
from models.execution_pages import ExecutionPages
from models.execution_shapes import Shape
from models.execution_walks import WalkQuery
from models.query import Blank, Query
from tests.listed import START, uuid_of
from tests.models.test_execution_pages import WORKFLOWS, examples, listings

TEXTS = st.none() | st.sampled_from(("a", "100%", r"\_", "naïve", "ß%"))


class ForItself(ExecutionPages):
    """Compiles with the values of one list."""

    def __init__(self, dal: AsyncDAL, listing: Listing, after: Place | None) -> None:
        super().__init__(dal)
        self._listing, self._after = listing, after

    def counting(self, listing: Listing) -> Query:
        self._listing = replace(listing, order=Order())
        return super().counting(listing)

    def _standing_in(self, shape: Shape) -> tuple[list[WalkQuery], Place | None]:
        real = self._listing
        return [WalkQuery(self._dal.db, walk, real) for walk in walks(real)], self._after


KEYS: dict[str, st.SearchStrategy[tuple[Key, ...]]] = {
    "created": st.just((START,)),
    "started_at": st.sampled_from(((START,), (None,))),
    "completed_at": st.sampled_from(((START,), (None,))),
    "total_duration": st.sampled_from(((1.25,), (None,))),
    "status": st.sampled_from((("failed", START), ("waiting", START))),
}


@st.composite
def asked(draw: st.DrawFn) -> tuple[Listing, Place | None]:
    listing = draw(listings())
    # `belongs` sorts, which makes no difference to what it finds.
    statuses = tuple(sorted(listing.narrow.statuses))
    narrow = replace(listing.narrow, statuses=statuses, text=draw(TEXTS))
    after = None
    if draw(st.booleans()):
        after = Place(draw(KEYS[listing.order.sort]), uuid_of(draw(st.integers(1, 9))))
    return replace(listing, narrow=narrow), after


@pytest.fixture(scope="module")
def shared() -> dict[str, ExecutionPages]:
    """Pages that all examples share, so that they are asked for lists of every shape in turn."""
    return {}


@examples
@given(asked(), st.sampled_from((1, 20)), st.sampled_from((0, 7)), st.sampled_from((None, 50)))
async def test_what_is_filled_in_is_what_is_compiled_for_the_list_itself(
    dal: AsyncDAL,
    shared: dict[str, ExecutionPages],
    case: tuple[Listing, Place | None],
    limit: int,
    offset: int,
    examined: int | None,
) -> None:
    listing, after = case
    if not walks(listing):
        return
    pages = shared.setdefault("pages", ExecutionPages(dal))
    itself = ForItself(dal, listing, after)
    options: dict[str, Any] = {"limit": limit, "offset": 0 if after else offset}
    options |= {"after": after, "examined": examined}
    assert pages.query(listing, **options) == itself.query(listing, **options)
    itself = ForItself(dal, listing, None)
    assert pages.counting(listing) == itself.counting(listing)


async def test_no_blank_is_left_and_no_value_of_another_list(dal: AsyncDAL) -> None:
    pages, seen = ExecutionPages(dal), set[str]()
    for user in range(1, 30):
        reach = Reach(user, (WORKFLOWS[user % 6],))
        narrow = Narrow(session_id=f"of {user}", text=f"text {user}", statuses=("failed",))
        for query in (
            pages.query(Listing(reach, narrow, Order()), limit=20),
            pages.counting(Listing(reach, narrow, Order())),
        ):
            seen.add(query.sql)
            assert not any(isinstance(arg, Blank) for arg in query.args)
            texts = {arg for arg in query.args if isinstance(arg, str)}
            assert texts == {WORKFLOWS[user % 6], f"of {user}", f"%text {user}%", "failed"}
            assert {arg for arg in query.args if isinstance(arg, int)} == {user}
    assert len(seen) == 2, "one of a page, one of a total"
