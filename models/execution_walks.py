"""One walk along an index, as SQL.

Its one rule: the columns that a walk is held by, the statuses and instants that its index knows and
the place where it begins are two ends of a stretch of the index, one comparison of rows each; all
else is asked of the rows that it meets, of so many at most. `execution_pages` has the theory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.execution_filter import Key, Listing, Order, Place, Sort, Walk
from models.query import (
    Comparison,
    Query,
    compose,
    flag,
    formula,
    none_of,
    raw,
    rows_compare,
    select,
)
from models.tables import INSTANT

_INFINITY = datetime.max
"""What asyncpg reads and writes as `infinity`."""

_NOT_YET = "coalesce(workflow_executions.{}, 'infinity')"

_KEYS: dict[Sort, tuple[tuple[str, Any], ...]] = {
    "created": (("workflow_executions.created", INSTANT),),
    "started_at": ((_NOT_YET.format("start_time"), INSTANT),),
    "completed_at": ((_NOT_YET.format("end_time"), INSTANT),),
    "total_duration": ((_NOT_YET.format("execution_time_seconds"), "double"),),
    "status": (("workflow_executions.status", "text"), ("workflow_executions.created", INSTANT)),
}

_TYPES = {"user_id": "bigint", "workflow_id": "uuid", "community_id": "bigint"}


_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(frozen=True, slots=True)
class _Held:
    """A column in which a branch has one value: that value, or an expression for it."""

    column: Any
    value: Any


@dataclass(frozen=True, slots=True)
class WalkQuery:
    """A walk and what is asked of it. `db` is the schema that queries are built from."""

    db: Any
    walk: Walk
    listing: Listing
    besides: tuple[str, ...] = ()
    """Workflows whose executions it passes by: another walk has found them."""

    def sql(self, most: int, examined: int, after: Place | None) -> Query:
        """The first `most` that the walk finds after a place; it meets at most `examined`."""
        return self._in_all_branches(self._walked(most, examined, after))

    def tally(self, most: int) -> Query:
        """The id of each that the walk finds, `most` of a branch; for walks that meet nothing in
        vain."""
        one = self.db.workflow_executions.execution_id
        found = select(self.db, self._where(None), one, orderby=self._by())
        return self._in_all_branches(Query(f"{found.sql} LIMIT {most}", found.args))

    @property
    def _several(self) -> bool:
        """Whether it walks in several places of the index, or in so many as its values say."""
        many_values = len(self.walk.values) != 1 and self.walk.column is not None
        return many_values or len(self._statuses()) > 1

    def _in_all_branches(self, inner: Query) -> Query:
        if not self._several:
            return inner
        values, statuses = self.walk.values, self._statuses()
        kind = _TYPES[self.walk.column or "user_id"]
        branches = Query(f"SELECT v.value FROM unnest($1::{kind}[]) AS v (value)", (list(values),))
        if statuses:
            branches = Query(
                f"SELECT v.value, s.status FROM unnest($1::{kind}[]) AS v (value)"
                " CROSS JOIN unnest($2::text[]) AS s (status)",
                (list(values), list(statuses)),
            )
        return compose(
            "SELECT hit.* FROM ({}) AS branch CROSS JOIN LATERAL ({}) AS hit", branches, inner
        )

    def _walked(self, most: int, examined: int, after: Place | None) -> Query:
        lead, names = self._lead(), key_names(self.listing.order)
        met = self._met()
        fields = [key.with_alias(name) for key, name in zip(self._keys(), names, strict=True)]
        fields.append(self.db.workflow_executions.execution_id)
        shown = ", ".join(f"w.{name}" for name in (*names, "execution_id"))
        if met is not None:
            fields.append(flag(self.db, met, "matches"))
            fields += [each.column.with_alias(f"l{n}") for n, each in enumerate(lead)]
        rows = select(self.db, self._where(after), *fields, orderby=self._by())
        if met is None:
            return compose(
                f"SELECT {shown}, true AS matches, false AS last FROM ({{}} LIMIT {most}) AS w",
                rows,
            )
        # In the order of the index, so that nothing is sorted to be numbered.
        way = " DESC" if self.listing.order.descending else ""
        behind = names[len(names) - len(self._rest()) :]
        ordered = (*(f"l{n}" for n in range(len(lead))), *behind, "execution_id")
        sequence = ", ".join(f"{name}{way}" for name in ordered)
        return compose(
            f"SELECT {shown}, w.matches, w.last FROM (SELECT w.*,"
            f" row_number() OVER (ORDER BY {sequence}) = {examined} AS last"
            f" FROM ({{}} LIMIT {examined}) AS w) AS w"
            f" WHERE matches OR last ORDER BY {sequence} LIMIT {most}",
            rows,
        )

    # Where in the index: `lead` holds a branch together, `rest` orders it

    def _keys(self) -> list[Any]:
        """The columns of the order."""
        return [raw(self.db, sql, kind) for sql, kind in _KEYS[self.listing.order.sort]]

    def _lead(self) -> list[_Held]:
        """What the index begins with and a branch has one value of."""
        table, statuses, several = self.db.workflow_executions, self._statuses(), self._several
        lead = []
        if self.walk.column is not None:
            kind = _TYPES[self.walk.column]
            value = raw(self.db, "branch.value", kind) if several else self.walk.values[0]
            lead.append(_Held(table[self.walk.column], value))
        if statuses:
            status = raw(self.db, "branch.status", "text") if several else statuses[0]
            lead.append(_Held(table.status, status))
        return lead

    def _rest(self) -> list[Any]:
        """The columns of the order by which a branch is sorted: where it has one status, only
        `created` is left of an order by status."""
        return self._keys()[-1:] if self._statuses() else self._keys()

    def _ordered(self) -> list[Any]:
        """The columns of the index, in its order."""
        held = [each.column for each in self._lead()]
        return [*held, *self._rest(), self.db.workflow_executions.execution_id]

    def _by(self) -> list[Any]:
        ordered = self._ordered()
        return [~column for column in ordered] if self.listing.order.descending else ordered

    def _where(self, after: Place | None) -> Any:
        """The stretch of the index that is walked: between two comparisons of rows that begin with
        `lead`. A comparison for equality would do for the rows, but then indexes without `lead`
        would have the same order, and PostgreSQL would walk through all executions where its
        statistics say that nearly all of them have this value."""
        lead, order = self._lead(), self.listing.order
        columns, values = [each.column for each in lead], [each.value for each in lead]
        low, high = self._ends(columns, values)
        if after is not None and order.descending:
            high = rows_compare(self.db, self._ordered(), "<", self._begin(values, after))
        elif after is not None:
            low = rows_compare(self.db, self._ordered(), ">", self._begin(values, after))
        if lead and low is None:
            low = rows_compare(self.db, columns, ">=", values)
        if lead and high is None:
            high = rows_compare(self.db, columns, "<=", values)
        if low is None and high is None:
            return self.db.workflow_executions.execution_id != None  # noqa: E711 - IS NOT NULL
        return _both(low, high)

    def _ends(self, columns: list[Any], values: list[Any]) -> tuple[Any, Any]:
        """The ends of the stretch that filters of the order's first column give: None for none.
        What has no duration yet is within no bounds of it."""
        narrow, [first, *_] = self.listing.narrow, self._keys()

        def end(how: Comparison, value: Any) -> Any:
            return rows_compare(self.db, [*columns, first], how, [*values, value])

        low = high = None
        if self.listing.order.sort == "created":
            low = None if narrow.since is None else end(">=", narrow.since)
            high = None if narrow.until is None else end("<", narrow.until)
        elif self.listing.order.sort == "total_duration":
            shortest, longest = narrow.min_duration, narrow.max_duration
            low = None if shortest is None else end(">=", shortest)
            if longest is not None:
                high = end("<=", longest)
            elif shortest is not None:
                high = end("<", float("inf"))
        return low, high

    def _begin(self, values: list[Any], after: Place) -> list[Any]:
        """Where the walk begins that goes on after a place, by the columns `_ordered`. A branch of
        one status, in a list by status, is walked from its own beginning, from the place or not at
        all: by where the place is."""
        keys = bound_keys(after, self.listing.order)
        if len(keys) == len(self._rest()):
            return [*values, *keys, after.execution_id]
        *held, mine = values
        status, created = keys
        least, moment, last = (
            ("LEAST", "infinity", _LAST_ID)
            if self.listing.order.descending
            else ("GREATEST", "-infinity", _FIRST_ID)
        )
        both = ((mine, "text"), (status, "text"))
        there = "CASE WHEN {{}}::text = {{}}::text THEN {{}}::{kind} ELSE '{else_}'::{kind} END"
        return [
            *held,
            formula(self.db, f"{least}({{}}::text, {{}}::text)", "text", *both),
            formula(
                self.db,
                there.format(kind="timestamptz", else_=moment),
                INSTANT,
                *both,
                (created, INSTANT),
            ),
            formula(
                self.db,
                there.format(kind="uuid", else_=last),
                "text",
                *both,
                (after.execution_id, "text"),
            ),
        ]

    def _statuses(self) -> tuple[str, ...]:
        """The statuses that the index of the walk separates."""
        return self.listing.narrow.statuses if self.walk.knows_statuses(self.listing.order) else ()

    def _created(self) -> Any:
        table, narrow = self.db.workflow_executions, self.listing.narrow
        since = None if narrow.since is None else table.created >= narrow.since
        until = None if narrow.until is None else table.created < narrow.until
        return _both(since, until)

    def _durations(self) -> Any:
        """Of the key rather than the column, so that the index knows it; what has no duration yet
        is none of either."""
        narrow = self.listing.narrow
        if narrow.min_duration is None and narrow.max_duration is None:
            return None
        [(sql, kind)] = _KEYS["total_duration"]
        seconds = raw(self.db, sql, kind)
        longest = narrow.max_duration
        most = seconds < float("inf") if longest is None else seconds <= longest
        shortest = narrow.min_duration
        return most if shortest is None else most & (seconds >= shortest)

    @property
    def filters(self) -> bool:
        """Whether rows are met that are not wanted."""
        return self._met() is not None

    @property
    def searches(self) -> bool:
        """Whether it is asked for something that no index knows. That one's own executions are of
        the only community there is hardly rejects any."""
        return self._asked() is not None

    def _met(self) -> Any:
        """What rows are asked that the walk meets; None if nothing."""
        table, community = self.db.workflow_executions, self.listing.narrow.community_id
        if community is None:
            community = self.listing.reach.community_id
        met = self._asked()
        if self.walk.column == "user_id" and community is not None:
            met = _both(met, table.community_id == community)
        if self.besides:
            met = _both(met, none_of(self.db, table.workflow_id, self.besides, "uuid"))
        return met

    def _asked(self) -> Any:
        """The filters that its index does not know."""
        table, narrow = self.db.workflow_executions, self.listing.narrow
        asked: Any = None
        if self.listing.order.sort != "created":
            asked = self._created()
        if self.listing.order.sort != "total_duration":
            asked = _both(asked, self._durations())
        if narrow.statuses and not self._statuses():
            asked = _both(asked, table.status.belongs(narrow.statuses))
        equal: dict[str, Any] = {
            "workflow_id": narrow.workflow_id,
            "user_id": narrow.user_id,
            "trigger_source": narrow.trigger_source,
            "session_id": narrow.session_id,
            "execution_name": narrow.execution_name,
            "error_code": narrow.error_code,
        }
        for name, value in equal.items():
            if value is not None and name != self.walk.column:
                asked = _both(asked, table[name] == value)
        return asked if narrow.text is None else _both(asked, self._texts(narrow.text))

    def _texts(self, text: str) -> Any:
        table = self.db.workflow_executions
        searched = (table.execution_name, table.workflow_name, table.error_message)
        if text.isascii():
            # In the collation "C" only these letters have two cases, which takes half the time.
            # (Two others have one of them as small letter: the Kelvin sign and the dotted I.)
            searched = tuple(
                formula(self.db, '{} COLLATE "C"', "text", (column, "text")) for column in searched
            )
        first, *others = (column.contains(text, case_sensitive=False) for column in searched)
        for other in others:
            first |= other
        return first


def _both(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return one if other is None else other
    return one & other


def key_names(order: Order) -> list[str]:
    """What the columns of an order are called in the result of a walk."""
    return [f"k{number}" for number in range(len(_KEYS[order.sort]))]


def orderby(order: Order, prefix: str = "", keys: Sequence[str] = ()) -> str:
    """An order over results of walks, as text; by `keys`, if not by all of its columns."""
    names = (f"{prefix}{name}" for name in (*(keys or key_names(order)), "execution_id"))
    way = " DESC" if order.descending else ""
    return ", ".join(f"{name}{way}" for name in names)


def key_of(value: Any) -> Key:
    """A value of an order as places have it."""
    if value in (_INFINITY, float("inf")):
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value  # type: ignore[no-any-return]  # a row has no types


def branches_of(walk: Walk, listing: Listing) -> int:
    """In how many places of the index a walk leads through a list."""
    statuses = len(listing.narrow.statuses) if walk.knows_statuses(listing.order) else 0
    return max(len(walk.values), 1) * max(statuses, 1)


def bound_keys(place: Place, order: Order) -> list[Any]:
    """The values of a place as they are bound."""
    kinds = [kind for _, kind in _KEYS[order.sort]]
    return [_bound(key, kind) for key, kind in zip(place.keys, kinds, strict=True)]


def _bound(key: Key, kind: Any) -> Any:
    if key is not None:
        return key
    return _INFINITY if kind is INSTANT else float("inf")
