"""Blueprint `secret_api`: the secrets that a community's workflows may send.

Its one rule: a handler reads the request, asks one service and answers; no answer has a value.
"""

from __future__ import annotations

from quart import Blueprint, Response

from controllers import answers
from controllers.auth import auth_required, current_caller
from controllers.endpoint import async_endpoint
from controllers.operation import note
from controllers.requests import community_id_of, read_body, read_query
from controllers.responses import listed, success
from controllers.secret_schemas import SecretBody, SecretsQuery, SecretView
from controllers.state import state
from engine.context import JsonObject
from services.caller import ADMIN
from services.community_secrets import Secret

blueprint = Blueprint("secret_api", __name__, url_prefix="/api/v1/communities")


@blueprint.get("/<community_id>/secrets")
@async_endpoint(
    "list_secrets",
    query=SecretsQuery,
    answers={200: answers.Answer[list[SecretView]]},
    errors=(404,),
)
@auth_required(ADMIN)
async def list_secrets(community_id: str) -> Response:
    """Lists a community's secrets by name, without their values."""
    query = read_query(SecretsQuery)
    page = await state().secrets.page(
        current_caller(), community_id_of(community_id), limit=query.limit, cursor=query.cursor
    )
    rows = [_shown(secret) for secret in page.rows]
    return listed(rows, "Secrets found", size=query.limit, cursor=page.cursor)


@blueprint.get("/<community_id>/secrets/<secret_name>")
@async_endpoint("get_secret", answers={200: answers.Answer[SecretView]}, errors=(404,))
@auth_required(ADMIN)
async def get_secret(community_id: str, secret_name: str) -> Response:
    """Shows what there is to know of a secret, but not its value."""
    note(target=f"secrets.{secret_name}")
    secret = await state().secrets.get(current_caller(), community_id_of(community_id), secret_name)
    return success(_shown(secret), "Secret found")


@blueprint.put("/<community_id>/secrets/<secret_name>")
@async_endpoint(
    "set_secret", body=SecretBody, answers={200: answers.Answer[SecretView]}, errors=(404, 409)
)
@auth_required(ADMIN)
async def set_secret(community_id: str, secret_name: str) -> Response:
    """Makes a secret, or gives one another value and other hosts. Workflows of the community send
    it as `{{ secrets.name }}`; nobody is shown it again."""
    community = community_id_of(community_id)
    note(target=f"secrets.{secret_name}")
    body = await read_body(SecretBody)
    secret = await state().secrets.set(
        current_caller(), community, secret_name, value=body.value, allowed_hosts=body.allowed_hosts
    )
    note(allowed_hosts=",".join(secret.allowed_hosts))
    return success(_shown(secret), "Secret set")


@blueprint.delete("/<community_id>/secrets/<secret_name>")
@async_endpoint("remove_secret", answers={200: answers.Answer[SecretView]}, errors=(404,))
@auth_required(ADMIN)
async def remove_secret(community_id: str, secret_name: str) -> Response:
    """Removes a secret: the next request that would carry it fails."""
    note(target=f"secrets.{secret_name}")
    secret = await state().secrets.remove(
        current_caller(), community_id_of(community_id), secret_name
    )
    return success(_shown(secret), "Secret removed")


def _shown(secret: Secret) -> JsonObject:
    return {
        "community_id": secret.community_id,
        "name": secret.name,
        "allowed_hosts": list(secret.allowed_hosts),
        "created_at": secret.created_at,
        "created_by": secret.created_by,
        "updated_at": secret.updated_at,
        "updated_by": secret.updated_by,
        "usable": secret.usable,
    }
