"""Blueprint `api_key_api`: keys are made, listed, rotated and revoked.

Its one rule: the secret of a key is in the answer that made it, which no cache may keep, and
nowhere else.
"""

from __future__ import annotations

from dataclasses import asdict

from quart import Blueprint, Response

from controllers import answers
from controllers.auth import auth_required, current_caller
from controllers.described import Description
from controllers.endpoint import async_endpoint
from controllers.key_schemas import (
    KeyBody,
    KeysQuery,
    KeyView,
    MadeKeyView,
    RotateBody,
    RotatedKeyView,
)
from controllers.operation import note
from controllers.requests import key_id_of, read_body, read_optional, read_query
from controllers.responses import listed, success
from controllers.state import state
from engine.context import JsonObject
from services.api_keys import NewKey
from services.caller import ADMIN
from services.key_admin import ApiKey, KeyFilter

blueprint = Blueprint("api_key_api", __name__, url_prefix="/api/v1/api-keys")

_UNCACHED = {"Cache-Control": "no-store"}


@blueprint.post("")
@async_endpoint("create_api_key", body=KeyBody, answers={201: answers.Answer[MadeKeyView]})
@auth_required(ADMIN)
async def create_api_key() -> Response:
    """Makes a key. Its secret is in this answer and never shown again."""
    caller, body = current_caller(), await read_body(KeyBody)
    user_id = caller.user_id if body.user_id is None else body.user_id
    note(community_id=body.community_id, for_user=user_id, scopes=",".join(sorted(body.scopes)))
    new = NewKey(**{**body.model_dump(), "user_id": user_id})
    row, made = await state().key_admin.create(caller, new)
    note(community_id=row.community_id, target=row.key_id)
    headers = {**_UNCACHED, "Location": f"{blueprint.url_prefix}/{row.key_id}"}
    data = {**_view(row), "key": made.secret}
    return success(data, "API key created", status=201, headers=headers)


@blueprint.get("")
@async_endpoint("list_api_keys", query=KeysQuery, answers={200: answers.Answer[list[KeyView]]})
@auth_required(ADMIN)
async def list_api_keys() -> Response:
    """Lists keys, newest first, without their secrets; those that have ended too."""
    query = read_query(KeysQuery)
    narrow = KeyFilter(community_id=query.community_id, user_id=query.user_id)
    page = await state().key_admin.page(
        current_caller(), narrow, limit=query.limit, cursor=query.cursor
    )
    rows = [_view(row) for row in page.rows]
    return listed(rows, "API keys found", size=query.limit, cursor=page.cursor)


@blueprint.get("/<key_id>")
@async_endpoint("get_api_key", answers={200: answers.Answer[KeyView]}, errors=(404,))
@auth_required(ADMIN)
async def get_api_key(key_id: str) -> Response:
    """Shows a key, without its secret."""
    row = await state().key_admin.get(current_caller(), key_id_of(key_id))
    note(community_id=row.community_id)
    return success(_view(row), "API key found")


@blueprint.delete("/<key_id>")
@async_endpoint("revoke_api_key", answers={200: answers.Answer[KeyView]}, errors=(404,))
@auth_required(ADMIN)
async def revoke_api_key(key_id: str) -> Response:
    """Ends a key's life, in every process within a second. Doing it again changes nothing."""
    row = await state().key_admin.revoke(current_caller(), key_id_of(key_id))
    note(community_id=row.community_id)
    return success(_view(row), "API key revoked")


@blueprint.post("/<key_id>/rotate")
@async_endpoint(
    "rotate_api_key",
    body=RotateBody,
    answers={201: answers.Answer[RotatedKeyView]},
    errors=(404, 409),
    says=Description(body_optional=True),
)
@auth_required(ADMIN)
async def rotate_api_key(key_id: str) -> Response:
    """Replaces a key by a new one with the same rights and as long a life.

    The old key works for `grace_seconds` more (a day unless told otherwise, at most 30), but not
    beyond its own end. A key that was rotated, revoked or has expired is 409.
    """
    key_id = key_id_of(key_id)
    body = await read_optional(RotateBody)
    done = await state().key_admin.rotate(current_caller(), key_id, body.grace_seconds)
    note(community_id=done.made.community_id, successor=done.made.key_id)
    headers = {**_UNCACHED, "Location": f"{blueprint.url_prefix}/{done.made.key_id}"}
    data = {**_view(done.made), "key": done.secret, "replaces": _view(done.old)}
    return success(data, "API key rotated", status=201, headers=headers)


def _view(row: ApiKey) -> JsonObject:
    return {**asdict(row), "state": state().key_admin.keys.state_of(row)}
