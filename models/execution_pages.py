"""Pages of executions: any filter, any order, and never more read than a page is worth.

Its one rule: every page is read along an index that has the rows in the order of the list, from
the place where the page before ended. Nothing is sorted but the ends of the walks that are merged.

Theory of operation
-------------------
*Walks.* What a reader may see is a union: their own executions and those of each workflow they may
view. One condition with OR would make PostgreSQL read all of it and sort. So each part is walked
along its own index (`execution_filter.walks`), for as many rows as a page has; the page is the
first of what they found. One that two walks found counts once. The cost grows with the number of
workflows that the reader may view, not with their history.

*Places.* The columns of an order, and the id behind them, run the same way in index and list. What
has no start, end or duration yet stands at `infinity`. So "after this one" is one comparison of
rows, and the last page costs what the first does.

*Filters* that no index knows are put to the rows that a walk meets, and a walk gives up after a
number of them (`examined`). The last row that it met is then part of the result, marked `last`: up
to there the list is complete, and there it goes on. So a search for what is rare takes several
short requests and never a long one.

*Walking it must be.* Where a filter may reject much, PostgreSQL would rather read all that a walk
leads through and sort it, which is right for the whole list and wrong for its first page; and
where its statistics know one status only, it would walk along any index and look for others in
vain. So these statements run where it may neither read whole tables nor sort what it need not
(`WALK`), and their order is that of one index alone (`WalkQuery._where`). Then one way is left,
whatever the values and the statistics are, so it need not be planned anew for each page, which
took longer than the page.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import asyncpg

from models.dal import AsyncDAL, Session
from models.execution_filter import Listing, Order, Place, walks
from models.execution_shapes import Asked, Shape, shape_of
from models.execution_walks import WalkQuery, branches_of, key_names, key_of, orderby
from models.query import Query, compose, filled

COUNT_CAP = 10_000
"""Totals are exact up to here."""

EXAMINED_BY_WALK = 10_000
EXAMINED = 100_000
"""How many executions a filter that no index knows is put to for a page: in one walk, and in all
together. Most workflows have fewer, so all together are hardly ever so many."""

BEGINS = 500
"""How many it is put to in each walk at first. What is frequent is found by then; for what is rare
the walk goes on, eight times as far each time, up to where it gives up."""

COUNTED = 30_000
"""How many it is put to for a total, in all together."""

FEWEST_EXAMINED = 1_000
"""How many each of very many walks may meet."""

SHAPES = 1_000
"""How many statements are kept. One has three kilobytes."""

WALK = "; ".join(
    (
        # A search reads in several steps, and the total after the page: all see the same rows.
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SET LOCAL enable_bitmapscan = off",
        "SET LOCAL enable_seqscan = off",
        "SET LOCAL enable_sort = off",
        "SET LOCAL enable_incremental_sort = off",
        "SET LOCAL plan_cache_mode = force_generic_plan",
    )
)
"""How the transaction of a page begins."""

COLUMNS = (
    "execution_id", "execution_name", "workflow_id", "workflow_name", "workflow_version", "status",
    "created", "start_time", "end_time", "execution_time_seconds", "triggered_by",
    "trigger_source", "user_id", "community_id", "session_id", "current_step", "total_steps",
    "nodes_executed", "steps_completed", "steps_failed", "total_cost", "tokens_used",
    "error_message", "error_code",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A page: its rows, where it ends, and whether the list goes on there. `cut`: the search gave
    up there for now, so there may be more or not."""

    rows: list[dict[str, Any]]
    place: Place | None
    more: bool
    cut: bool


@dataclass(frozen=True, slots=True)
class Total:
    """How many executions a list has; at least so many unless `exact`."""

    count: int
    exact: bool


@dataclass(frozen=True, slots=True)
class _Rejects:
    """What the walks of a list do: whether any meets rows in vain (`filters`), and whether it
    searches, any or the last of them, for something that no index knows."""

    filters: bool
    searches: bool
    last_searches: bool


class ExecutionPages:
    """Reads pages of `workflow_executions`. `examined` and `begins` are for tests: how many
    executions a filter is put to in each branch of a walk, and how many at first."""

    def __init__(
        self, dal: AsyncDAL, *, examined: int = EXAMINED_BY_WALK, begins: int = BEGINS
    ) -> None:
        self._dal = dal
        self._examined = examined
        self._begins = begins
        self._rejects = lru_cache(maxsize=SHAPES)(self._found_to_reject)
        self._paging = lru_cache(maxsize=SHAPES)(self._compiled_page)
        self._totalling = lru_cache(maxsize=SHAPES)(self._compiled_total)

    async def page(
        self,
        listing: Listing,
        *,
        limit: int,
        after: Place | None = None,
        offset: int = 0,
        total: Total | None = None,
        estimate: Total | None = None,
    ) -> tuple[Found, Total]:
        """The `limit` executions that follow `after`, or else the first `offset`; and how many the
        whole list has, counted up to `COUNT_CAP`, unless that is known (`total`), or an `estimate`
        will do where the page does not tell."""
        asked = Asked(listing, walks(listing), after)
        if not asked.walks:
            return Found([], None, more=False, cut=False), Total(0, exact=True)
        rejects = self._rejects(shape_of(asked))
        skip = offset if rejects.filters else 0
        async with self._dal.transaction() as tx:
            await tx.execute(WALK)
            if skip or not rejects.searches:
                query = self.query(listing, limit=limit, after=after, offset=offset)
                found = _found(await tx.fetch(query), listing.order, limit, skip)
            else:
                found = await self._searched(tx, listing, limit, after)
            if total is None:
                total = _seen(found, limit, offset)
            if total is None and estimate is not None:
                total = replace(estimate, count=max(estimate.count, offset + len(found.rows)))
            if total is None:
                counted = await tx.fetchrow(self.counting(listing))
                # A page without rows says nothing about what lies before it.
                total = _total(counted, offset + len(found.rows) if found.rows else 0)
        return found, total

    async def _searched(
        self, tx: Session, listing: Listing, limit: int, after: Place | None
    ) -> Found:
        """The page of a search, in as many steps as it takes. All walks go equally far, so a
        step ends where the first of them does; which may be another one each time, so that what is
        rare takes more pages than in one step."""
        allowed = self._share(Asked(listing, walks(listing)))
        step, found = min(self._begins, allowed), Found([], after, more=True, cut=True)
        while found.cut and step:
            query = self.query(listing, limit=limit, after=found.place, examined=step)
            room = limit - len(found.rows)
            further = _found(await tx.fetch(query), listing.order, room, 0)
            rows = found.rows + further.rows
            found = replace(further, rows=rows, place=further.place or found.place)
            allowed -= step
            step = min(8 * step, allowed)
        return found

    async def total(self, listing: Listing) -> Total:
        """How many the whole list has, counted up to `COUNT_CAP`; no page is read."""
        if not walks(listing):
            return Total(0, exact=True)
        async with self._dal.transaction() as tx:
            await tx.execute(WALK)
            return _total(await tx.fetchrow(self.counting(listing)), 0)

    def query(
        self,
        listing: Listing,
        *,
        limit: int,
        after: Place | None = None,
        offset: int = 0,
        examined: int | None = None,
    ) -> Query:
        """The statement of a page. Where walks meet rows that are not wanted, the first `offset`
        rows are part of its result, else it skips them itself. Each branch meets at most `examined`
        executions, or its share of all that a page may meet."""
        asked = Asked(listing, walks(listing), after)
        shape = shape_of(asked)
        met = (examined or self._share(asked)) if self._rejects(shape).filters else 0
        return filled(self._paging(shape, limit, offset, met), asked)

    def counting(self, listing: Listing) -> Query:
        """The statement of a total. What is counted has no order, so that of creation will do; and
        once one walk has found too many to count, the other is not begun."""
        listing = replace(listing, order=Order())
        asked = Asked(listing, walks(listing))
        shape = shape_of(asked)
        # A walk that searches for nothing meets hardly anything in vain, except for what the walk
        # before it has counted: no more than can be counted.
        searches = self._rejects(shape).last_searches
        met = self._share(asked, COUNTED) if searches else 2 * (COUNT_CAP + 1)
        return filled(self._totalling(shape, met), asked)

    def _compiled_page(self, shape: Shape, limit: int, offset: int, examined: int) -> Query:
        order, walked, after = shape.order, *self._standing_in(shape)
        most = offset + limit + 1
        skipped = 0 if any(walk.filters for walk in walked) else offset
        parts = [walk.sql(most, examined, after) for walk in walked]
        keys = ", ".join(f"page.{name}" for name in key_names(order))
        columns = ", ".join(f"e.{name}" for name in COLUMNS)
        # The numbers are written out: of a placeholder PostgreSQL would think that it asks for a
        # tenth of the table.
        return compose(
            f"WITH page AS ({{}} ORDER BY {orderby(order)} LIMIT {most - skipped} OFFSET {skipped})"
            f" SELECT page.matches, page.last, {keys}, {columns}"
            " FROM page JOIN workflow_executions AS e ON e.execution_id = page.execution_id"
            f" ORDER BY {orderby(order, 'page.')}",
            _merged(parts, order),
        )

    def _compiled_total(self, shape: Shape, examined: int) -> Query:
        (*others, last), _ = self._standing_in(shape)
        first = _counted(last, examined)
        if not others:
            return first
        [own] = others
        besides = replace(own, besides=own.listing.reach.workflow_ids)
        return compose(
            "SELECT first.found + second.found AS found, first.cut OR second.cut AS cut"
            f" FROM ({{}}) AS first CROSS JOIN LATERAL ({{}} WHERE first.found <= {COUNT_CAP})"
            " AS second",
            first,
            _counted(besides, examined),
        )

    def _found_to_reject(self, shape: Shape) -> _Rejects:
        walked, _ = self._standing_in(shape)
        searches = [walk.searches for walk in walked]
        return _Rejects(any(walk.filters for walk in walked), any(searches), searches[-1])

    def _standing_in(self, shape: Shape) -> tuple[list[WalkQuery], Place | None]:
        """The walks of a list of this shape, with blanks for its values, and where it begins."""
        asked = shape.asked()
        return [WalkQuery(self._dal.db, walk, asked.listing) for walk in asked.walks], asked.after

    def _share(self, asked: Asked, in_all: int = EXAMINED) -> int:
        """How many executions each branch of the walks may meet."""
        branches = sum(branches_of(walk, asked.listing) for walk in asked.walks)
        return min(self._examined, max(in_all // max(branches, 1), FEWEST_EXAMINED))


def _merged(parts: list[Query], order: Order) -> Query:
    """What walks found, each execution once: keys, id, `matches`, `last`."""
    if len(parts) == 1:
        return compose("SELECT * FROM ({}) AS found", parts[0])
    names = ", ".join((*key_names(order), "execution_id"))
    return compose(
        f"SELECT {names}, bool_or(matches) AS matches, bool_or(last) AS last"
        f" FROM ({' UNION ALL '.join('({})' for _ in parts)}) AS found GROUP BY {names}",
        *parts,
    )


def _counted(walk: WalkQuery, examined: int) -> Query:
    """How many a walk finds, up to one more than can be counted. A WHERE may follow."""
    most = COUNT_CAP + 1
    if not walk.filters:
        return compose(
            "SELECT count(*) AS found, false AS cut"
            f" FROM (SELECT FROM ({{}}) AS w LIMIT {most}) AS counted",
            walk.tally(most),
        )
    return compose(
        "SELECT count(*) FILTER (WHERE matches) AS found, coalesce(bool_or(last), false) AS cut"
        f" FROM (SELECT matches, last FROM ({{}}) AS w LIMIT {most}) AS counted",
        walk.sql(most, examined, None),
    )


def _seen(found: Found, limit: int, offset: int) -> Total | None:
    """The total of a list that ends on the page behind `offset`, as far as the search went; None
    if there may be others, before or behind."""
    seen = len(found.rows)
    if (found.more and seen == limit) or (offset and not seen):
        return None
    return Total(offset + seen, exact=not found.more)


def _total(counted: asyncpg.Record, seen: int) -> Total:
    """What was counted; no less than what was seen, wherever the counting gave up."""
    number = max(counted["found"], seen)
    return Total(min(number, COUNT_CAP), exact=number <= COUNT_CAP and not counted["cut"])


def _found(rows: list[asyncpg.Record], order: Order, limit: int, skip: int) -> Found:
    """The page among what the walks found. It ends where a walk gave up: beyond that there may
    be earlier ones than those that the others found."""
    shown: list[dict[str, Any]] = []
    place: Place | None = None
    for row in rows:
        if row["matches"] and skip:
            skip -= 1
        elif row["matches"]:
            if len(shown) == limit:
                return Found(shown, place, more=True, cut=False)
            shown.append(dict(row))
        place = Place(tuple(key_of(row[name]) for name in key_names(order)), row["execution_id"])
        if row["last"]:
            return Found(shown, place, more=True, cut=True)
    return Found(shown, place, more=False, cut=False)
