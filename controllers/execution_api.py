"""Blueprint `execution_api`: workflows are executed, seen, listed, rehearsed.

Its one rule: a handler reads the request, asks one service and answers.
"""

from __future__ import annotations

from math import ceil

from quart import Blueprint, Response
from quart import request as incoming

from controllers import answers
from controllers.auth import auth_required, current_caller
from controllers.described import Description
from controllers.endpoint import async_endpoint
from controllers.errors import failure_of
from controllers.operation import note, operation
from controllers.requests import (
    execution_id_of,
    idempotency_key,
    read_body,
    read_query,
    shape,
    workflow_id_of,
)
from controllers.responses import success
from controllers.schemas import (
    BatchBody,
    DetailsQuery,
    ExecuteBody,
    ExecuteQuery,
    ExecutionsQuery,
    StepsQuery,
    TestBody,
)
from controllers.started import location_of, started_view
from controllers.state import state
from engine.context import Json, JsonObject
from engine.engine import Started
from engine.trace_context import TRACEPARENT
from services.errors import NotValid, Problem, Refusal
from services.execution_lists import ExecutionPage, Order, PageRequest, Sort, summary
from services.execution_service import StartRequest

blueprint = Blueprint("execution_api", __name__, url_prefix="/api/v1/workflows")

_STARTING = (404, 409, 422)
_SORTS: dict[str, Sort] = {
    "start_time": "started_at",
    "status": "status",
    "execution_time": "total_duration",
}


@blueprint.post("/<workflow_id>/execute")
@async_endpoint(
    "execute_workflow",
    body=ExecuteBody,
    query=ExecuteQuery,
    answers={
        202: answers.Answer[answers.Started],
        200: answers.Answer[answers.Execution],
    },
    errors=_STARTING,
    says=Description(headers=("Idempotency-Key",), sends=("Location",)),
)
@auth_required("executions:execute")
async def execute_workflow(workflow_id: str) -> Response:
    """Starts an execution of the workflow's published version.

    202 means it is durable. With `wait`, 200 and the whole execution if it ends in time. A request
    repeated with the same `Idempotency-Key` and body within a day starts nothing more.
    """
    workflow_id = workflow_id_of(workflow_id)
    wait = read_query(ExecuteQuery).wait
    request = _start_request(await read_body(ExecuteBody))
    note(community_id=request.community_id)
    executions = state().executions
    key = idempotency_key()
    again = False
    if key is None:
        started = await executions.start(current_caller(), workflow_id, request)
    else:
        started, again = await executions.start_once(current_caller(), workflow_id, request, key)
    note(execution_id=started.execution_id)
    headers = {"Location": location_of(started.execution_id)}
    if again:
        headers["Idempotent-Replayed"] = "true"
    if not wait:
        return success(started_view(started), "Execution started", status=202, headers=headers)
    has_ended, found = await executions.awaited(started.execution_id, wait)
    if has_ended and found is not None:
        return success(found, "Execution ended", headers=headers)
    so_far = started_view(started) if found is None else _so_far(found)
    return success(so_far, "Execution goes on", status=202, headers=headers)


@blueprint.post("/<workflow_id>/execute/batch")
@async_endpoint(
    "execute_workflow_batch",
    body=BatchBody,
    answers={202: answers.Answer[answers.Batch]},
    errors=_STARTING,
    says=Description(headers=("Idempotency-Key",)),
)
@auth_required("executions:execute")
async def execute_workflow_batch(workflow_id: str) -> Response:
    """Starts up to 1000 executions of the workflow in one transaction.

    Each item is a body of `execute`, and gets an id or an error of its own. A request repeated
    with the same `Idempotency-Key` and body within a day starts nothing more.
    """
    workflow_id = workflow_id_of(workflow_id)
    key = idempotency_key()
    body = await read_body(BatchBody)
    requests = [_item_request(item) for item in body.items]
    batches, again = state().batches, False
    if key is None:
        items = _items(await batches.start(current_caller(), workflow_id, requests))
    else:
        items, again = await batches.start_once(
            current_caller(), workflow_id, requests, body.items, key, _items
        )
    accepted = sum(item["execution_id"] is not None for item in items)
    note(accepted=accepted, rejected=len(items) - accepted)
    data = {"accepted": accepted, "rejected": len(items) - accepted, "items": items}
    headers = {"Idempotent-Replayed": "true"} if again else {}
    message = f"{accepted} of {len(items)} executions started"
    return success(data, message, status=202, headers=headers)


@blueprint.get("/executions/<execution_id>")
@async_endpoint(
    "get_execution",
    query=DetailsQuery,
    answers={200: answers.Answer[answers.Execution]},
    errors=(404,),
)
@auth_required("executions:read")
async def get_execution(execution_id: str) -> Response:
    """Shows the whole state of an execution, also while it runs."""
    execution_id = execution_id_of(execution_id)
    query = read_query(DetailsQuery)
    found = await state().executions.details(
        current_caller(),
        execution_id,
        include_logs=query.include_logs,
        include_metrics=query.include_metrics,
    )
    note(community_id=found["community_id"], workflow_id=found["workflow_id"])
    return success(found, "Execution found")


@blueprint.get("/executions/<execution_id>/steps")
@async_endpoint(
    "get_execution_steps",
    query=StepsQuery,
    answers={200: answers.Answer[list[JsonObject]]},
    errors=(404,),
)
@auth_required("executions:read")
async def get_execution_steps(execution_id: str) -> Response:
    """Pages through the steps of an execution: in the order in which they finished, then those
    that have not."""
    execution_id = execution_id_of(execution_id)
    query = read_query(StepsQuery)
    owner, page = await state().details.steps(
        current_caller(), execution_id, query.limit, query.cursor
    )
    note(community_id=owner.community_id, workflow_id=owner.workflow_id)
    pagination = {
        "per_page": query.limit,
        "total": page.total,
        "has_next": page.cursor is not None,
        "next_cursor": page.cursor,
    }
    meta = {"total": page.total, "next_cursor": page.cursor, "pagination": pagination}
    return success(page.steps, "Steps found", meta=meta)


@blueprint.get("/executions/<execution_id>/steps/<step:step_key>")
@async_endpoint("get_execution_step", answers={200: answers.Answer[JsonObject]}, errors=(404,))
@auth_required("executions:read")
async def get_execution_step(execution_id: str, step_key: str) -> Response:
    """Shows one step of an execution, whole."""
    execution_id = execution_id_of(execution_id)
    owner, step = await state().details.step(current_caller(), execution_id, step_key)
    note(community_id=owner.community_id, workflow_id=owner.workflow_id)
    return success(step, "Step found")


@blueprint.get("/<workflow_id>/executions")
@async_endpoint(
    "list_executions",
    query=ExecutionsQuery,
    answers={200: answers.Answer[list[answers.Summary]]},
    errors=(404,),
)
@auth_required("executions:read")
async def list_executions(workflow_id: str) -> Response:
    """Lists the executions of a workflow."""
    workflow_id = workflow_id_of(workflow_id)
    query = read_query(ExecutionsQuery)
    if query.cursor is not None and query.page is not None:
        raise NotValid([Problem(path="/page", message="use either cursor or page")])
    facts, page = await state().lists.of_workflow(
        current_caller(),
        workflow_id,
        query.community_id,
        query.statuses,
        Order(_SORTS[query.sort_by], query.sort_order == "desc"),
        PageRequest(query.per_page, query.page, query.cursor),
    )
    note(community_id=facts.community_id)
    meta = {"pagination": _pagination(page, query.per_page)}
    return success([summary(row) for row in page.rows], "Executions found", meta=meta)


@blueprint.post("/<workflow_id>/test")
@async_endpoint(
    "test_workflow",
    body=TestBody,
    answers={200: answers.Answer[answers.Rehearsal]},
    errors=(404, 422, 504),
)
@auth_required("executions:execute")
async def test_workflow(workflow_id: str) -> Response:
    """Rehearses the workflow's latest edit, drafts included: nothing leaves the process."""
    workflow_id = workflow_id_of(workflow_id)
    body = await read_body(TestBody)
    note(community_id=body.community_id)
    rehearsal = await state().executions.rehearse(
        current_caller(),
        workflow_id,
        _start_request(body),
        definition=body.definition,
        trial=body.trial(),
    )
    return success(rehearsal, "Workflow tested")


def _start_request(body: ExecuteBody) -> StartRequest:
    return StartRequest(
        community_id=body.community_id,
        variables=body.variables,
        metadata=body.metadata,
        trigger_node_id=body.trigger_node_id,
        execution_name=body.execution_name,
        traceparent=incoming.headers.get(TRACEPARENT),
    )


def _item_request(item: Json) -> StartRequest | Refusal:
    try:
        return _start_request(shape(ExecuteBody, item))
    except Refusal as refusal:
        return refusal


def _items(outcomes: list[Started | Exception]) -> list[JsonObject]:
    return [_item(index, outcome) for index, outcome in enumerate(outcomes)]


def _item(index: int, outcome: Started | Exception) -> JsonObject:
    if isinstance(outcome, Started):
        return {
            "index": index,
            "execution_id": outcome.execution_id,
            "status": outcome.status,
            "error": None,
        }
    failed = failure_of(outcome, operation().request_id)
    error = {"error_code": failed.code, "message": failed.message, "details": failed.details or {}}
    return {"index": index, "execution_id": None, "status": None, "error": error}


def _so_far(found: JsonObject) -> JsonObject:
    """What `_started` says, of an execution that was read again."""
    names = ("execution_id", "workflow_id", "status", "start_time", "execution_path")
    return {name: found[name] for name in names}


def _pagination(page: ExecutionPage, size: int) -> JsonObject:
    shown = {
        "page": page.number,
        "per_page": size,
        "total": page.total.count,
        "total_pages": ceil(page.total.count / size),
        "has_next": page.cursor is not None,
        "has_prev": page.number > 1,
        "next_cursor": page.cursor,
    }
    return shown if page.total.exact else shown | {"total_is_estimate": True}
