"""Totals that are more than is counted, remembered for a while."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.execution_filter import Listing, Narrow, Order, Reach
from models.execution_pages import Found, Total
from services.caller import EVERYDAY_SCOPES, Caller
from services.estimates import CAPACITY, SECONDS, Estimates
from services.execution_lists import ExecutionLists, PageRequest

MANY = Total(10_000, exact=False)
LISTING = Listing(Reach(1, workflow_ids=("a", "b")), Narrow(statuses=("failed",)), Order())


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def estimates(clock: Clock) -> Estimates:
    return Estimates(clock)


def test_an_estimate_is_remembered_for_a_while_in_any_order(
    estimates: Estimates, clock: Clock
) -> None:
    estimates.note(LISTING, MANY)
    clock.now += SECONDS - 1
    assert estimates.of(LISTING) == MANY
    assert estimates.of(replace(LISTING, order=Order("total_duration"))) == MANY
    clock.now += 2
    assert estimates.of(LISTING) is None


def test_what_was_counted_exactly_is_counted_again(estimates: Estimates) -> None:
    estimates.note(LISTING, Total(9_999, exact=True))
    assert estimates.of(LISTING) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(LISTING, reach=replace(LISTING.reach, workflow_ids=("a",))),
        replace(LISTING, reach=replace(LISTING.reach, user_id=2)),
        replace(LISTING, reach=replace(LISTING.reach, everything=True)),
        replace(LISTING, reach=replace(LISTING.reach, community_id=1)),
        replace(LISTING, narrow=Narrow(statuses=("completed",))),
        replace(LISTING, narrow=replace(LISTING.narrow, text="\ud800")),
    ],
)
def test_whatever_decides_what_is_in_a_list_tells_it_from_others(
    estimates: Estimates, other: Listing
) -> None:
    estimates.note(LISTING, MANY)
    assert estimates.of(other) is None


def test_only_so_many_are_remembered(estimates: Estimates) -> None:
    for number in range(CAPACITY + 1):
        estimates.note(replace(LISTING, reach=Reach(number)), MANY)
    assert estimates.of(replace(LISTING, reach=Reach(0))) is None
    assert estimates.of(replace(LISTING, reach=Reach(1))) == MANY


class Pages:
    """Finds a page, and says whether it was told an estimate."""

    def __init__(self) -> None:
        self.told: list[Total | None] = []
        self.found = Found([{"execution_id": "x"}], None, more=True, cut=False)
        self.total = MANY

    async def page(self, *_: Any, estimate: Total | None, **__: Any) -> tuple[Found, Total]:
        self.told.append(estimate)
        return self.found, self.total


class Everything:
    async def viewable_ids(self, *_: Any, **__: Any) -> tuple[str, ...]:
        return ("a",)


async def test_a_list_read_again_is_not_counted_again_but_for_exact_and_cut_ones() -> None:
    caller, pages = Caller(user_id=1, community_id=None, scopes=EVERYDAY_SCOPES), Pages()
    lists = ExecutionLists(pages, Everything(), None)  # type: ignore[arg-type]

    async def read(**narrow: Any) -> None:
        await lists.visible(caller, Narrow(**narrow), Order(), PageRequest())

    for _ in range(2):
        await read(statuses=("failed",))
    assert pages.told == [None, MANY]

    pages.told.clear()
    pages.total = Total(7, exact=True)
    for _ in range(2):
        await read(statuses=("completed",))
    pages.total = Total(7, exact=False)
    pages.found = replace(pages.found, cut=True)
    for _ in range(2):
        await read(text="rare")
    assert pages.told == [None] * 4
