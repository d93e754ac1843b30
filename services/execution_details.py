"""One execution in all its details: its steps by pages, each step whole, and where the time went.

Its one rule: who asks must be allowed to see it before anything is read. A page of steps in the
middle reads its own steps and no others: only what is still open takes a fold.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.context import Json, JsonObject, Kind
from engine.engine import WorkflowEngine
from engine.records import StepRow
from engine.view import finished_step, goes_on, is_finished
from models.executions import ExecutionOwner
from models.steps import Steps
from services.caller import Caller
from services.cursors import Cursors, bound
from services.cuts import cut_step, cut_text, cut_value
from services.errors import ExecutionUnknown, StepUnknown
from services.execution_lists import item
from services.permission_service import PermissionService


@dataclass(frozen=True, slots=True)
class StepPage:
    """A page of steps: those that finished in that order, then those still open. `total` is how
    many there were when the first page was read."""

    steps: list[JsonObject]
    total: int
    cursor: str | None


@dataclass(frozen=True, slots=True)
class _StepPlace:
    """Where a page of steps begins: after the record `seq`, `opened` steps into the open ones."""

    seq: int = 0
    opened: int = 0


class ExecutionDetails:
    """The use cases of one execution's details."""

    def __init__(
        self,
        engine: WorkflowEngine,
        steps: Steps,
        permissions: PermissionService,
        cursors: Cursors,
    ) -> None:
        self._engine = engine
        self._steps = steps
        self._permissions = permissions
        self._cursors = cursors

    async def details(
        self, caller: Caller, execution_id: str, limit: int
    ) -> tuple[ExecutionOwner, JsonObject]:
        """Whose the execution is, and everything about it with its first `limit` steps. Raises
        `ExecutionUnknown`, `Denied`."""
        owner = await self._authorised(caller, execution_id)
        report = await self._report(execution_id)
        state, steps = report["state"], report["state"]["steps"]
        page = await self._first(caller, execution_id, steps, limit)
        return owner, {
            **item(_row(state)),
            "input_parameters": cut_value(state["input_parameters"]),
            "steps": page.steps,
            "steps_total": page.total,
            "steps_next_cursor": page.cursor,
            "step_results": {
                step["step_key"]: step["output_data"]
                for step in page.steps
                if step["status"] == "completed"
            },
            "final_result": cut_value(state["final_output"]),
            "error_details": _error_details(state),
            "performance_data": report["metrics"],
            "timeline": report["timeline"],
        }

    async def steps(
        self, caller: Caller, execution_id: str, limit: int, cursor: str | None
    ) -> tuple[ExecutionOwner, StepPage]:
        """Whose the execution is, and a page of its steps, large values cut. Raises
        `ExecutionUnknown`, `Denied`, `InvalidCursor`."""
        owner = await self._authorised(caller, execution_id)
        if cursor is None:
            steps = (await self._report(execution_id))["state"]["steps"]
            return owner, await self._first(caller, execution_id, steps, limit)
        seq, opened, total = await self._cursors.open(cursor, bound("steps", caller, execution_id))
        found = await self._steps.finished(execution_id, seq, limit + 1)
        shown = [cut_step(await self._finished(execution_id, rows)) for rows in found[:limit]]
        if len(found) > limit:
            place = _StepPlace(found[limit - 1][-1].seq)
        else:
            place = _StepPlace(found[-1][-1].seq if found else seq, opened)
            rest = (await self._open(execution_id))[opened:]
            room = limit - len(shown)
            shown += [cut_step(step) for step in rest[:room]]
            if len(rest) <= room:
                return owner, StepPage(shown, total, None)
            place = _StepPlace(place.seq, opened + room)
        return owner, await self._page(caller, execution_id, shown, total, place)

    async def step(
        self, caller: Caller, execution_id: str, step_key: str
    ) -> tuple[ExecutionOwner, JsonObject]:
        """Whose the execution is, and one of its steps, whole. Raises `ExecutionUnknown`,
        `Denied`, `StepUnknown`."""
        owner = await self._authorised(caller, execution_id)
        rows = await self._steps.of(execution_id, step_key)
        if rows and rows[-1].kind is Kind.FINISHED:
            return owner, await self._finished(execution_id, rows)
        for step in await self._open(execution_id):
            if step["step_key"] == step_key:
                return owner, step
        raise StepUnknown

    async def _authorised(self, caller: Caller, execution_id: str) -> ExecutionOwner:
        return await self._permissions.execution(caller, execution_id, "view")

    async def _report(self, execution_id: str) -> JsonObject:
        report = await self._engine.get_execution_report(execution_id)
        if report is None:
            raise ExecutionUnknown  # retention has dropped it this moment
        return report

    async def _finished(self, execution_id: str, rows: list[StepRow]) -> JsonObject:
        own = await self._steps.own_beginning(execution_id) if goes_on(rows) else None
        return finished_step(rows, own)

    async def _open(self, execution_id: str) -> list[JsonObject]:
        """The steps that have not finished."""
        steps = (await self._report(execution_id))["state"]["steps"]
        return [step for step in steps if not is_finished(step)]

    async def _first(
        self, caller: Caller, execution_id: str, steps: list[JsonObject], limit: int
    ) -> StepPage:
        shown = [cut_step(step) for step in steps[:limit]]
        if len(steps) <= limit:
            return StepPage(shown, len(steps), None)
        finished = [step["seq"] for step in shown if is_finished(step)]
        place = _StepPlace(finished[-1] if finished else 0, len(shown) - len(finished))
        return await self._page(caller, execution_id, shown, len(steps), place)

    async def _page(
        self,
        caller: Caller,
        execution_id: str,
        shown: list[JsonObject],
        total: int,
        place: _StepPlace,
    ) -> StepPage:
        content = [place.seq, place.opened, total]
        cursor = await self._cursors.seal(content, bound("steps", caller, execution_id))
        return StepPage(shown, total, cursor)


def _row(state: JsonObject) -> JsonObject:
    """The state of an execution under the names of its columns."""
    return {
        **state,
        "created": state["created_at"],
        "current_step": state["progress"]["current_step"],
        "total_steps": state["progress"]["total_steps"],
    }


def _error_details(state: JsonObject) -> Json:
    """Why it failed, and in which step; None if it did not."""
    if state["error_code"] is None and state["error_message"] is None:
        return None
    there = (step for step in reversed(state["steps"]) if step["node_id"] == state["error_node_id"])
    failed = next((step for step in there if step["status"] == "failed"), None)
    return {
        "error_code": state["error_code"],
        "message": cut_text(state["error_message"]),
        "node_id": state["error_node_id"],
        "step_key": None if failed is None else failed["step_key"],
        "attempts": None if failed is None else failed["attempt"],
    }
