"""Lists of executions: everything that a caller may see, and those of one workflow.

Its one rule: who may see what is part of the question, never of the answer. What is out of reach is
not read, so no filter, total or cursor can tell of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from engine.context import ExecutionStatus, Json, JsonObject
from engine.progress import how_far
from models.execution_filter import Key, Listing, Narrow, Order, Place, Reach, Sort, needs_workflows
from models.execution_pages import ExecutionPages, Total
from models.permissions import AccessFacts
from services.caller import Caller
from services.cursors import Cursors
from services.cuts import cut_text
from services.errors import Denied, NotValid, Problem
from services.estimates import Estimates
from services.permission_service import PermissionService

__all__ = [
    "ExecutionLists",
    "ExecutionPage",
    "Narrow",
    "Order",
    "PageRequest",
    "Sort",
    "item",
    "summary",
]

MAX_OFFSET = 10_000
"""How deep pages by number go; a cursor goes as far as there is something. No more rows than this
are ever skipped."""

_INSTANTS = frozenset({"created", "started_at", "completed_at"})


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page: the one after a cursor, or the one of this number; `size` executions."""

    size: int = 20
    number: int | None = None
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    """A page: `number` counts from 1, also along cursors. `partial`: the search gave up there for
    now and goes on with the cursor."""

    rows: list[dict[str, Any]]
    number: int
    total: Total
    cursor: str | None
    partial: bool


class ExecutionLists:
    """The use cases of lists of executions."""

    def __init__(
        self, pages: ExecutionPages, permissions: PermissionService, cursors: Cursors
    ) -> None:
        self._pages = pages
        self._estimates = Estimates()
        self._permissions = permissions
        self._cursors = cursors

    async def visible(
        self, caller: Caller, narrow: Narrow, order: Order, request: PageRequest
    ) -> ExecutionPage:
        """A page of what the caller started and of the executions of workflows that they may view;
        of everything, for an admin. Raises `Denied`, `NotValid`, `InvalidCursor`."""
        if narrow.user_id not in (None, caller.user_id) and not caller.is_admin:
            raise Denied("Only an admin may list the executions of another user.")
        reach = Reach(
            user_id=caller.user_id,
            everything=caller.is_admin,
            community_id=caller.community_id,
        )
        listing = Listing(reach, narrow, order)
        if needs_workflows(listing):
            ids = await self._permissions.viewable_ids(
                caller, community_id=narrow.community_id, workflow_id=narrow.workflow_id
            )
            listing = replace(listing, reach=replace(reach, workflow_ids=ids))
        return await self._page("executions", caller, listing, request)

    async def of_workflow(
        self,
        caller: Caller,
        workflow_id: str,
        community_id: int | None,
        statuses: tuple[str, ...],
        order: Order,
        request: PageRequest,
    ) -> tuple[AccessFacts, ExecutionPage]:
        """A page of a workflow's executions. Raises `WorkflowNotFound`, `Denied`, `NotValid`,
        `InvalidCursor`."""
        facts = await self._permissions.authorise(
            caller, workflow_id, "view", community_id=community_id
        )
        reach = Reach(user_id=caller.user_id, workflow_ids=(workflow_id,))
        narrow = Narrow(workflow_id=workflow_id, statuses=statuses)
        listing = Listing(reach, narrow, order)
        return facts, await self._page("workflow", caller, listing, request)

    async def _page(
        self, name: str, caller: Caller, listing: Listing, request: PageRequest
    ) -> ExecutionPage:
        binding = _binding(name, caller, listing)
        number, after, total = request.number or 1, None, None
        if request.cursor is not None:
            content = await self._cursors.open(request.cursor, binding)
            number, after, total = _read(content, listing.order)
        elif number * request.size > MAX_OFFSET:
            total = await self._short(listing)
            if (number - 1) * request.size >= total.count:
                return ExecutionPage([], number, total, None, partial=False)
        estimate = None if total else self._estimates.of(listing)
        found, counted = await self._pages.page(
            listing,
            limit=request.size,
            after=after,
            offset=0 if after else (number - 1) * request.size,
            total=total,
            estimate=estimate,
        )
        if total is None and estimate is None and not found.cut:
            self._estimates.note(listing, counted)
        cursor = None
        if found.more and found.place is not None:
            content = _content(number + 1, found.place, counted)
            cursor = await self._cursors.seal(content, binding)
        partial = found.cut and len(found.rows) < request.size
        return ExecutionPage(found.rows, number, counted, cursor, partial)

    async def _short(self, listing: Listing) -> Total:
        """The total of a list that ends where pages by number do, or before. Raises `NotValid`
        for one that goes on, or of which nobody can say without reading on."""
        total = await self._pages.total(listing)
        if not total.exact:
            message = (
                f"pages by number go as far as the {MAX_OFFSET}th execution, and this list goes on"
                " beyond what is counted; use the cursor instead"
            )
            hint = "Ask for a page before that, and go on with its next_cursor."
            raise NotValid([Problem(path="/page", message=message, hint=hint)])
        return total


def _binding(name: str, caller: Caller, listing: Listing) -> Json:
    """What a cursor is bound to: the list, its filters and order, and whose it is."""
    who = [caller.user_id, caller.community_id, caller.is_admin]
    return [name, who, asdict(listing.narrow), asdict(listing.order)]


def _content(number: int, place: Place, total: Total) -> Json:
    return [number, list(place.keys), place.execution_id, total.count, total.exact]


def _read(content: Json, order: Order) -> tuple[int, Place, Total]:
    number, written, execution_id, count, exact = content
    keys: list[Key] = list(written)
    if order.sort in _INSTANTS or order.sort == "status":
        keys[-1] = None if keys[-1] is None else datetime.fromisoformat(str(keys[-1]))
    return number, Place(tuple(keys), execution_id), Total(count, exact)


def summary(row: Mapping[str, Any]) -> JsonObject:
    """An execution in the list of its workflow. `success` is None until it has ended."""
    status = ExecutionStatus(row["status"])
    return {
        "execution_id": row["execution_id"],
        "workflow_id": row["workflow_id"],
        "workflow_name": row["workflow_name"],
        "workflow_version": row["workflow_version"],
        "execution_name": row["execution_name"],
        "status": row["status"],
        "success": status is ExecutionStatus.COMPLETED if status.terminal else None,
        "created_at": row["created"],
        "start_time": row["start_time"],
        "end_time": row["end_time"],
        "execution_time_seconds": row["execution_time_seconds"],
        "nodes_executed": row["nodes_executed"],
        "error": cut_text(row["error_message"]),
        "error_code": row["error_code"],
        "triggered_by": row["triggered_by"],
        "trigger_source": row["trigger_source"],
        "user_id": row["user_id"],
        "community_id": row["community_id"],
    }


def item(row: Mapping[str, Any]) -> JsonObject:
    """An execution as the second interface shows it. Where two names mean the same, both stand
    there, for clients know it by either."""
    return {
        "id": row["execution_id"],
        "execution_id": row["execution_id"],
        "execution_name": row["execution_name"],
        "workflow_id": row["workflow_id"],
        "workflow_template_id": row["workflow_id"],
        "workflow_name": row["workflow_name"],
        "status": row["status"],
        "created": row["created"],
        "started_at": row["start_time"],
        "start_time": row["start_time"],
        "completed_at": row["end_time"],
        "end_time": row["end_time"],
        "duration": row["execution_time_seconds"],
        "total_duration": row["execution_time_seconds"],
        "triggered_by": row["triggered_by"],
        "user_id": row["user_id"],
        "community_id": row["community_id"],
        "session_id": row["session_id"],
        # As recorded when it last parked or ended.
        "progress": how_far(row["status"], row["current_step"], row["total_steps"]),
        "steps_completed": row["steps_completed"],
        "steps_failed": row["steps_failed"],
        "total_cost": row["total_cost"],
        "tokens_used": row["tokens_used"],
        "error": cut_text(row["error_message"]),
    }
