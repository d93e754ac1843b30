"""Blueprint `execution_control_api`: executions are cancelled, paused, resumed, retried, signalled.

Its one rule: a handler reads the request, asks one service and answers.
"""

from __future__ import annotations

from dataclasses import replace

from quart import Blueprint, Response

from controllers import answers
from controllers.auth import auth_required, current_caller
from controllers.described import Description
from controllers.endpoint import async_endpoint
from controllers.operation import note
from controllers.requests import (
    execution_id_of,
    idempotency_key,
    payload_of,
    read_json_or_nothing,
    read_optional,
)
from controllers.responses import success
from controllers.schemas import RetryBody, SignalBody
from controllers.started import location_of, started_view
from controllers.state import state

blueprint = Blueprint("execution_control_api", __name__, url_prefix="/api/v1/workflows")

_ONCE = Description(headers=("Idempotency-Key",), body_optional=True)
_MADE_ONCE = replace(_ONCE, sends=("Location",))


@blueprint.post("/executions/<execution_id>/cancel")
@async_endpoint(
    "cancel_execution",
    answers={200: answers.Answer[answers.Cancelled]},
    errors=(404, 409),
)
@auth_required("executions:cancel")
async def cancel_execution(execution_id: str) -> Response:
    """Cancels an execution, whichever process runs it, and answers once it is cancelled."""
    execution_id = execution_id_of(execution_id)
    owner, cancelled_at = await state().control.cancel(current_caller(), execution_id)
    note(community_id=owner.community_id, workflow_id=owner.workflow_id)
    data = {
        "execution_id": execution_id,
        "status": "cancelled",
        "cancelled_at": cancelled_at,
    }
    return success(data, "Execution cancelled")


@blueprint.post("/executions/<execution_id>/pause")
@async_endpoint(
    "pause_execution",
    answers={202: answers.Answer[answers.Paused]},
    errors=(404, 409),
)
@auth_required("executions:cancel")
async def pause_execution(execution_id: str) -> Response:
    """Pauses an execution, whichever process runs it.

    What runs finishes, nothing new starts, and time does not count against its limit. 202 means
    that the request is durable; `status` is `running` while something still finishes.
    """
    execution_id = execution_id_of(execution_id)
    owner, status = await state().control.pause(current_caller(), execution_id)
    note(community_id=owner.community_id, workflow_id=owner.workflow_id)
    message = "Execution paused" if status == "paused" else "Execution is being paused"
    return success({"execution_id": execution_id, "status": status}, message, status=202)


@blueprint.post("/executions/<execution_id>/resume")
@async_endpoint(
    "resume_execution",
    answers={202: answers.Answer[answers.Paused]},
    errors=(404, 409),
)
@auth_required("executions:execute")
async def resume_execution(execution_id: str) -> Response:
    """Lets a paused execution go on where it stopped; one that is not paused goes on anyhow."""
    execution_id = execution_id_of(execution_id)
    owner, status = await state().control.resume(current_caller(), execution_id)
    note(community_id=owner.community_id, workflow_id=owner.workflow_id)
    data = {"execution_id": execution_id, "status": status}
    return success(data, "Execution resumed", status=202)


@blueprint.post("/executions/<execution_id>/retry")
@async_endpoint(
    "retry_execution",
    body=RetryBody,
    answers={202: answers.Answer[answers.Retried]},
    errors=(404, 409, 422),
    says=_MADE_ONCE,
)
@auth_required("executions:execute")
async def retry_execution(execution_id: str) -> Response:
    """Runs an ended execution again, on the same version of its workflow.

    The new execution begins with the recorded results of everything before `from`; its steps show
    them as `reused`. A request repeated with the same `Idempotency-Key` starts nothing more.
    """
    execution_id = execution_id_of(execution_id)
    body = await read_optional(RetryBody)
    owner, started, again = await state().control.retry(
        current_caller(), execution_id, body.origin, body.variables, idempotency_key()
    )
    note(community_id=owner.community_id, workflow_id=owner.workflow_id, again=started.execution_id)
    headers = {"Location": location_of(started.execution_id)}
    if again:
        headers["Idempotent-Replayed"] = "true"
    data = {**started_view(started), "retry_of": execution_id}
    return success(data, "Execution started again", status=202, headers=headers)


@blueprint.post("/executions/<execution_id>/signals/<name>")
@async_endpoint(
    "signal_execution",
    body=SignalBody,
    answers={202: answers.Answer[answers.Signalled]},
    errors=(404, 409, 422),
    says=_ONCE,
)
@auth_required("executions:execute")
async def signal_execution(execution_id: str, name: str) -> Response:
    """Sends a signal to the node that waits for it, or that will.

    The body is the payload, any JSON or nothing; an object with the one field `payload` gives
    that. 202 means it is durable. Sent again with the same `Idempotency-Key` it counts once.
    """
    execution_id = execution_id_of(execution_id)
    payload = payload_of(await read_json_or_nothing())
    owner, again = await state().control.signal(
        current_caller(), execution_id, name, payload, idempotency_key()
    )
    note(community_id=owner.community_id, workflow_id=owner.workflow_id, signal=name)
    headers = {"Idempotent-Replayed": "true"} if again else {}
    data = {"execution_id": execution_id, "signal": name}
    return success(data, "Signal sent", status=202, headers=headers)
