"""Statements of lists, compiled once for all lists of one shape.

Compiling takes half a millisecond to two, as long as reading a page. How a statement reads depends
on which filters a list has and never on their values; so it is compiled with a `Blank` for each
value, and every list of this shape has its own values filled in.

Its one rule: whatever a statement's text depends on is in its `Shape`. The tests compare what is
filled in with what is compiled for the list itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from models.execution_filter import Listing, Narrow, Order, Place, Reach, Walk
from models.execution_walks import bound_keys, key_names
from models.query import Blank

_VALUES = (
    "workflow_id", "community_id", "user_id", "since", "until", "trigger_source", "session_id",
    "execution_name", "error_code", "min_duration", "max_duration",
)  # fmt: skip
"""The filters that are one value, bound as it is."""


class Asked(NamedTuple):
    """A list, the walks through it, and where its page begins."""

    listing: Listing
    walks: tuple[Walk, ...]
    after: Place | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What lists have in common whose statements read alike. `walks`: the column of each, and
    whether it has one value; `filters`: the names of those that are one value; `statuses`: how
    many; `text`: none, or whether it is `ascii`."""

    order: Order
    walks: tuple[tuple[str | None, bool], ...]
    filters: tuple[str, ...]
    statuses: int
    text: Literal["", "ascii", "other"]
    of_community: bool
    has_workflows: bool
    begun: bool

    def asked(self) -> Asked:
        """A list of this shape, with blanks for its values."""
        filters: dict[str, Any] = {
            name: Blank(name, attrgetter(f"listing.narrow.{name}")) for name in self.filters
        }
        if self.text:
            name = "text" if self.text == "ascii" else "täxt"
            filters["text"] = Blank(name, attrgetter("listing.narrow.text"))
        narrow = Narrow(statuses=tuple(map(_status, range(self.statuses))), **filters)
        community = Blank("of", attrgetter("listing.reach.community_id"))
        workflows = Blank("in", attrgetter("listing.reach.workflow_ids"), several=True)
        reach = Reach(
            0,
            workflow_ids=(workflows,) if self.has_workflows else (),
            community_id=_any(community) if self.of_community else None,
        )
        return Asked(
            Listing(reach, narrow, self.order),
            tuple(_walk(number, *each) for number, each in enumerate(self.walks)),
            _place(self.order) if self.begun else None,
        )


def shape_of(asked: Asked) -> Shape:
    """The shape of a list."""
    reach, narrow, order = asked.listing.reach, asked.listing.narrow, asked.listing.order
    text: Literal["", "ascii", "other"] = ""
    if narrow.text is not None:
        text = "ascii" if narrow.text.isascii() else "other"
    return Shape(
        order=order,
        walks=tuple((walk.column, len(walk.values) == 1) for walk in asked.walks),
        filters=tuple(name for name in _VALUES if getattr(narrow, name) is not None),
        statuses=len(narrow.statuses),
        text=text,
        of_community=reach.community_id is not None,
        has_workflows=bool(reach.workflow_ids),
        begun=asked.after is not None,
    )


def _walk(number: int, column: Any, one: bool) -> Walk:
    if one:
        return Walk(column, (_any(Blank("one", lambda asked: asked.walks[number].values[0])),))
    values = Blank("all", lambda asked: asked.walks[number].values, several=True)
    return Walk(column, (values, values) if column else ())


def _status(number: int) -> Blank:
    return Blank(str(number), lambda asked: asked.listing.narrow.statuses[number])


def _place(order: Order) -> Place:
    """The place that a page begins after."""
    keys = tuple(_key(order, number) for number in range(len(key_names(order))))
    return Place(keys, Blank("id", attrgetter("after.execution_id")))


def _key(order: Order, number: int) -> Blank:
    return Blank(f"key {number}", lambda asked: bound_keys(asked.after, order)[number])


def _any(blank: Blank) -> Any:
    """A blank in the place of a number or an instant."""
    return blank
