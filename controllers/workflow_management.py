"""Blueprint `workflow_management`: the second interface, for those who look after executions.

Its one rule: a handler reads the request, asks one service and answers. Success is a plain body;
errors are those of the whole API.
"""

from __future__ import annotations

from quart import Blueprint, Response

from controllers import answers
from controllers.auth import auth_required, current_caller
from controllers.endpoint import async_endpoint
from controllers.listing_queries import ManagedQuery, ManagedStepsQuery
from controllers.operation import note
from controllers.requests import execution_id_of, read_query
from controllers.responses import plain
from controllers.schemas import StepsQuery
from controllers.state import state
from engine.context import JsonObject
from services.execution_lists import ExecutionPage, item

blueprint = Blueprint("workflow_management", __name__, url_prefix="/api/v1/workflow-management")


@blueprint.get("/executions")
@async_endpoint(
    "list_managed_executions", query=ManagedQuery, answers={200: answers.ManagedExecutions}
)
@auth_required("executions:read")
async def list_managed_executions() -> Response:
    """Lists the executions that you started and those of workflows that you may view.

    All filters can be combined. `next_cursor` leads on for as long as there is more, at the same
    cost on every page.
    """
    query = read_query(ManagedQuery)
    note(community_id=query.community_id, workflow_id=query.workflow_id)
    request = query.request()
    page = await state().lists.visible(current_caller(), query.narrow(), query.sorting(), request)
    return plain(_listed(page, request.size))


@blueprint.get("/executions/<execution_id>")
@async_endpoint(
    "get_managed_execution",
    query=ManagedStepsQuery,
    answers={200: answers.ManagedExecution},
    errors=(404,),
)
@auth_required("executions:read")
async def get_managed_execution(execution_id: str) -> Response:
    """Shows an execution with its first steps, its timeline and where the time went.

    Large values are cut; a step's own page has them whole.
    """
    execution_id = execution_id_of(execution_id)
    limit = read_query(ManagedStepsQuery).limit
    owner, found = await state().details.details(current_caller(), execution_id, limit)
    note(community_id=owner.community_id, workflow_id=owner.workflow_id)
    return plain(found)


@blueprint.get("/executions/<execution_id>/steps")
@async_endpoint(
    "get_managed_steps",
    query=StepsQuery,
    answers={200: answers.ManagedSteps},
    errors=(404,),
)
@auth_required("executions:read")
async def get_managed_steps(execution_id: str) -> Response:
    """Pages through the steps of an execution: in the order in which they finished, then those
    that have not."""
    execution_id = execution_id_of(execution_id)
    query = read_query(StepsQuery)
    owner, page = await state().details.steps(
        current_caller(), execution_id, query.limit, query.cursor
    )
    note(community_id=owner.community_id, workflow_id=owner.workflow_id)
    return plain({"steps": page.steps, "total": page.total, "next_cursor": page.cursor})


@blueprint.get("/executions/<execution_id>/steps/<step:step_key>")
@async_endpoint("get_managed_step", answers={200: answers.ManagedStep}, errors=(404,))
@auth_required("executions:read")
async def get_managed_step(execution_id: str, step_key: str) -> Response:
    """Shows one step, whole."""
    execution_id = execution_id_of(execution_id)
    owner, step = await state().details.step(current_caller(), execution_id, step_key)
    note(community_id=owner.community_id, workflow_id=owner.workflow_id)
    return plain(step)


def _listed(page: ExecutionPage, size: int) -> JsonObject:
    shown: JsonObject = {
        "executions": [item(row) for row in page.rows],
        "total": page.total.count,
        "page": page.number,
        "page_size": size,
        "has_more": page.cursor is not None,
        "next_cursor": page.cursor,
    }
    if not page.total.exact:
        shown["total_is_estimate"] = True
    if page.partial:
        shown["partial"] = True
    return shown
