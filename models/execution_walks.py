"""One walk along an index, as SQL.

Its one rule: the columns that a walk is held by, the statuses and instants that its index knows and
the place where it begins are conditions of the index; all else is asked of the rows that it meets,
of so many at most. `execution_pages` has the theory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.execution_filter import Key, Listing, Order, Place, Sort, Walk
from models.query import Query, beyond, compose, flag, none_of, raw, select
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


@dataclass(frozen=True, slots=True)
class WalkQuery:
    """A walk and what is asked of it. `db` is the schema that queries are built from."""

    db: Any
    walk: Walk
    listing: Listing
    besides: tuple[str, ...] = ()
    """Workflows whose executions it passes by: another walk has found them."""

    @property
    def branches(self) -> int:
        """In how many places of the index it walks."""
        return max(len(self.walk.values), 1) * max(len(self._statuses()), 1)

    def sql(self, most: int, examined: int, after: Place | None) -> Query:
        """The first `most` that the walk finds after a place; it meets at most `examined`."""
        return self._in_all_branches(self._walked(most, examined, after))

    def tally(self, most: int) -> Query:
        """A row without columns for each that the walk finds, in no order, `most` of a branch; for
        walks that meet nothing in vain."""
        one = raw(self.db, "1", "integer")
        found = select(self.db, self._along(), one)
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
        table, names = self.db.workflow_executions, key_names(self.listing.order)
        keys = [raw(self.db, sql, kind) for sql, kind in _KEYS[self.listing.order.sort]]
        where = self._along()
        if after is not None:
            kinds = (kind for _, kind in _KEYS[self.listing.order.sort])
            values = [_bound(key, kind) for key, kind in zip(after.keys, kinds, strict=True)]
            where &= beyond(
                self.db,
                [*keys, table.execution_id],
                [*values, after.execution_id],
                descending=self.listing.order.descending,
            )
        met = self._met()
        fields = [key.with_alias(name) for key, name in zip(keys, names, strict=True)]
        fields.append(table.execution_id)
        if met is not None:
            fields.append(flag(self.db, met, "matches"))
        ordered = [*keys, table.execution_id]
        by = [~key for key in ordered] if self.listing.order.descending else ordered
        rows = select(self.db, where, *fields, orderby=by)
        if met is None:
            return compose(
                "SELECT w.*, true AS matches, false AS last"
                f" FROM ({{}} LIMIT {most}) AS w", rows
            )  # fmt: skip
        # Where the walk has one status, only `created` is left of an order by status.
        sequence = orderby(self.listing.order, keys=names[-1:] if self._statuses() else names)
        return compose(
            "SELECT * FROM (SELECT w.*,"
            f" row_number() OVER (ORDER BY {sequence}) = {examined} AS last"
            f" FROM ({{}} LIMIT {examined}) AS w) AS s"
            f" WHERE matches OR last ORDER BY {sequence} LIMIT {most}",
            rows,
        )

    def _along(self) -> Any:
        """What the index of the walk knows."""
        table, statuses, several = self.db.workflow_executions, self._statuses(), self._several
        where = table.execution_id != None  # noqa: E711 - pyDAL's IS NOT NULL
        if self.walk.column is not None:
            column = table[self.walk.column]
            kind = _TYPES[self.walk.column]
            value = raw(self.db, "branch.value", kind) if several else self.walk.values[0]
            where = column == value
        if statuses:
            status = raw(self.db, "branch.status", "text") if several else statuses[0]
            where &= table.status == status
        if self.listing.order.sort == "created":
            where = _both(where, self._created())
        if self.listing.order.sort == "total_duration":
            where = _both(where, self._durations())
        return where

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


def _bound(key: Key, kind: Any) -> Any:
    if key is not None:
        return key
    return _INFINITY if kind is INSTANT else float("inf")
