"""Blueprint `permission_api`: who was granted what on a workflow.

Its one rule: a handler reads the request, asks one service and answers.
"""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response

from controllers import answers
from controllers.auth import auth_required, current_caller
from controllers.endpoint import async_endpoint
from controllers.operation import note
from controllers.permission_schemas import (
    GrantBody,
    GrantListBody,
    GrantsBody,
    GrantTarget,
    GrantTargetQuery,
)
from controllers.requests import (
    read_json_or_nothing,
    read_object,
    read_query,
    shape,
    workflow_id_of,
)
from controllers.responses import success
from controllers.state import state
from engine.context import Json, JsonObject
from services.errors import NotValid, Problem
from services.grants import FLAGS, Gift, Grant

blueprint = Blueprint("permission_api", __name__, url_prefix="/api/v1/workflows")

_TARGET = ("permission_type", "target_id")


@blueprint.get("/<workflow_id>/permissions")
@async_endpoint(
    "list_permissions", answers={200: answers.Answer[list[answers.Grant]]}, errors=(404,)
)
@auth_required("workflows:read")
async def list_permissions(workflow_id: str) -> Response:
    """Lists the grants on a workflow, the oldest first. The owner needs none and has none."""
    grants = await state().grants.of(current_caller(), workflow_id_of(workflow_id))
    return success([_shown(grant) for grant in grants], "Permissions found")


@blueprint.put("/<workflow_id>/permissions")
@async_endpoint(
    "grant_permissions",
    body=GrantsBody,
    answers={200: answers.Answer[answers.Grant | list[answers.Grant]]},
    errors=(404, 409),
)
@auth_required("workflows:write")
async def grant_permissions(workflow_id: str) -> Response:
    """Grants a user, a role or the community exactly what the body names, whatever it had.

    `{"permissions": [...]}` grants to several at once, or to none if one of them is wrong; who is
    not named keeps what they have.
    """
    workflow_id = workflow_id_of(workflow_id)
    body = await read_object()
    several = "permissions" in body
    bodies = shape(GrantListBody, body).permissions if several else [shape(GrantBody, body)]
    gifts = [_gift(each, f"/permissions/{n}" if several else "") for n, each in enumerate(bodies)]
    note(
        target=" ".join(":".join(gift.target) for gift in gifts),
        granted=" ".join(_named(gift) for gift in gifts),
    )
    given = await state().grants.give(current_caller(), workflow_id, gifts)
    shown = [_shown(grant) for grant in given]
    return success(shown if several else shown[0], "Permissions granted")


@blueprint.delete("/<workflow_id>/permissions")
@async_endpoint(
    "revoke_permissions",
    query=GrantTargetQuery,
    answers={200: answers.Answer[answers.Grant]},
    errors=(404,),
)
@auth_required("workflows:write")
async def revoke_permissions(workflow_id: str) -> Response:
    """Takes a grant away; the query or the body names whose, or each of them a part of it."""
    workflow_id = workflow_id_of(workflow_id)
    named = read_query(GrantTargetQuery).model_dump(exclude_none=True)
    target = _one_target(named, await read_json_or_nothing())
    note(target=f"{target.permission_type}:{target.target_id}")
    grant = await state().grants.take(current_caller(), workflow_id, target.target())
    return success(_shown(grant), "Permissions revoked")


def _one_target(named: JsonObject, body: Json) -> GrantTarget:
    """Whose grant is meant. Raises `NotValid`, also where query and body mean two."""
    if not isinstance(body, dict):
        return shape(GrantTarget, body or named)
    target = shape(GrantTarget, {**named, **body})
    by_query = shape(GrantTarget, {**body, **named})
    pairs = zip(_TARGET, target.target(), by_query.target(), strict=True)
    if problems := [
        Problem(path=f"/{name}", message=f"contradicts the query, where it is {asked!r}")
        for name, said, asked in pairs
        if said != asked
    ]:
        raise NotValid(problems)
    return target


def _gift(body: GrantBody, path: str) -> Gift:
    return Gift(body.target(), {flag: getattr(body, flag) for flag in FLAGS}, path)


def _named(gift: Gift) -> str:
    return ",".join(flag for flag in FLAGS if gift.flags[flag])


def _shown(grant: Grant) -> dict[str, Any]:
    return {
        "permission_id": grant.permission_id,
        "workflow_id": grant.workflow_id,
        "permission_type": grant.permission_type,
        "target_id": grant.target_id,
        **{flag: getattr(grant, flag) for flag in FLAGS},
        "granted_by": grant.granted_by,
        "created_at": grant.created_at,
    }
