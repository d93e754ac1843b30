"""What a list of executions is asked for: whose, which, in which order, from where on.

Its one rule: plain values only. How they become SQL is `execution_pages`' business, who may ask
for what the services'.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Sort = Literal["created", "started_at", "completed_at", "total_duration", "status"]

MANY_WORKFLOWS = 2_000
"""Beyond so many, an admin's list by status walks through all executions instead of through each
workflow's."""

Key = datetime | float | str | None
"""A value of the order: None is "not yet", which comes after everything."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose executions may be seen: `user_id`'s own and those of `workflow_ids`; or `everything`,
    where `workflow_ids` are all workflows there are (`needs_workflows` tells where they have to be
    given). Where one community is asked for, they are that one's. With `community_id` there is no
    other."""

    user_id: int
    workflow_ids: tuple[str, ...] = ()
    everything: bool = False
    community_id: int | None = None


@dataclass(frozen=True, slots=True)
class Narrow:
    """Which executions are asked for; None and `()` do not narrow.

    `since` and `until` are about `created`: from the one on, before the other. Durations are
    seconds, both ends included. `text` is looked for, whatever its case, in the names of execution
    and workflow and in the error.
    """

    workflow_id: str | None = None
    community_id: int | None = None
    user_id: int | None = None
    statuses: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    trigger_source: str | None = None
    session_id: str | None = None
    execution_name: str | None = None
    error_code: str | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """By what a list is sorted. What is equal in that is sorted by id, the same way round."""

    sort: Sort = "created"
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: whose executions, which of them, in which order."""

    reach: Reach
    narrow: Narrow
    order: Order


@dataclass(frozen=True, slots=True)
class Place:
    """Where a list goes on: after the execution with these values of its order, and this id."""

    keys: tuple[Key, ...]
    execution_id: str


@dataclass(frozen=True, slots=True)
class Walk:
    """Executions that one index holds together and in order: those with one of `values` in
    `column`; all of them without a column."""

    column: Literal["user_id", "workflow_id", "community_id"] | None = None
    values: tuple[str | int, ...] = ()

    def knows_statuses(self, order: Order) -> bool:
        """Whether its index also separates the statuses."""
        return self.column in ("user_id", "workflow_id") and order.sort in ("created", "status")


def walks(listing: Listing) -> tuple[Walk, ...]:
    """The walks in which all executions within reach are found that are asked for, as far as
    walks can tell. No walk leads through what the reader may not see."""
    reach, narrow = listing.reach, listing.narrow
    if reach.community_id not in (None, _community(reach, narrow)):
        return ()
    mine = narrow.user_id in (None, reach.user_id)
    if narrow.workflow_id is not None:
        if narrow.workflow_id in reach.workflow_ids:
            return (Walk("workflow_id", (narrow.workflow_id,)),)
        return (Walk("user_id", (reach.user_id,)),) if mine and not reach.everything else ()
    if narrow.user_id is not None:
        allowed = mine or reach.everything
        return (Walk("user_id", (narrow.user_id,)),) if allowed else ()
    if reach.everything:
        return (_of_everything(listing),)
    of_workflows = Walk("workflow_id", reach.workflow_ids)
    own = Walk("user_id", (reach.user_id,))
    return (own, of_workflows) if reach.workflow_ids else (own,)


def needs_workflows(listing: Listing) -> bool:
    """Whether the ids of the workflows within reach have to be known."""
    reach, narrow, order = listing.reach, listing.narrow, listing.order
    if narrow.workflow_id is not None:
        return True
    if narrow.user_id is not None:
        return False
    return not reach.everything or bool(narrow.statuses) or order.sort != "created"


def _of_everything(listing: Listing) -> Walk:
    reach, narrow, order = listing.reach, listing.narrow, listing.order
    many = len(reach.workflow_ids) > MANY_WORKFLOWS and order.sort == "created"
    if (narrow.statuses or order.sort != "created") and not many:
        return Walk("workflow_id", reach.workflow_ids)
    community = _community(reach, narrow)
    return Walk() if community is None else Walk("community_id", (community,))


def _community(reach: Reach, narrow: Narrow) -> int | None:
    """The one community asked for, or the only one there is."""
    return reach.community_id if narrow.community_id is None else narrow.community_id
