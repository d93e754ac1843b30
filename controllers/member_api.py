"""Blueprint `member_api`: who is in a community, in which roles.

Its one rule: a handler reads the request, asks one service and answers.
"""

from __future__ import annotations

from quart import Blueprint, Response

from controllers import answers
from controllers.auth import auth_required, current_caller
from controllers.described import Description
from controllers.endpoint import async_endpoint
from controllers.member_schemas import MemberBody, MembersQuery, MemberView, RoleQuery
from controllers.operation import note
from controllers.requests import community_id_of, number_of, read_optional, read_query
from controllers.responses import listed, success
from controllers.state import state
from engine.context import JsonObject
from services.caller import ADMIN
from services.errors import NotValid, Problem
from services.members import Member

blueprint = Blueprint("member_api", __name__, url_prefix="/api/v1/communities")


@blueprint.get("/<community_id>/members")
@async_endpoint(
    "list_members",
    query=MembersQuery,
    answers={200: answers.Answer[list[MemberView]]},
    errors=(404,),
)
@auth_required(ADMIN)
async def list_members(community_id: str) -> Response:
    """Lists a community's members by user id, all of them or those in a role."""
    query = read_query(MembersQuery)
    page = await state().members.page(
        current_caller(),
        community_id_of(community_id),
        role=query.role,
        limit=query.limit,
        cursor=query.cursor,
    )
    rows = [_shown(member) for member in page.rows]
    return listed(rows, "Members found", size=query.limit, cursor=page.cursor)


@blueprint.get("/<community_id>/members/<user_id>")
@async_endpoint("get_member", answers={200: answers.Answer[MemberView]}, errors=(404,))
@auth_required(ADMIN)
async def get_member(community_id: str, user_id: str) -> Response:
    """Shows a member's roles."""
    note(target=f"user:{user_id}")
    member = await state().members.get(
        current_caller(), community_id_of(community_id), number_of(user_id)
    )
    return success(_shown(member), "Member found")


@blueprint.put("/<community_id>/members/<user_id>")
@async_endpoint(
    "set_member",
    body=MemberBody,
    answers={200: answers.Answer[MemberView]},
    errors=(404,),
    says=Description(body_optional=True),
)
@auth_required(ADMIN)
async def set_member(community_id: str, user_id: str) -> Response:
    """Makes a user a member with exactly these roles, whatever they had; without a body in the
    role `member`."""
    community, user = community_id_of(community_id), number_of(user_id)
    note(target=f"user:{user_id}")
    body = await read_optional(MemberBody)
    if user is None:
        raise NotValid([Problem(path="/user_id", message="must be a user's id, an integer")])
    note(roles=",".join(body.roles))
    member = await state().members.set(current_caller(), community, user, body.roles)
    return success(_shown(member), "Member set")


@blueprint.delete("/<community_id>/members/<user_id>")
@async_endpoint(
    "remove_member",
    query=RoleQuery,
    answers={200: answers.Answer[MemberView]},
    errors=(404,),
)
@auth_required(ADMIN)
async def remove_member(community_id: str, user_id: str) -> Response:
    """Takes one role from a member, or all of them; answers with what was taken. Who has no role
    left is no member."""
    community = community_id_of(community_id)
    role = read_query(RoleQuery).role
    note(target=f"user:{user_id}")
    member = await state().members.remove(current_caller(), community, number_of(user_id), role)
    note(roles=",".join(member.roles))
    return success(_shown(member), "Roles removed")


def _shown(member: Member) -> JsonObject:
    return {
        "community_id": member.community_id,
        "user_id": member.user_id,
        "roles": list(member.roles),
    }
