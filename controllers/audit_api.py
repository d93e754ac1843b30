"""Blueprint `audit_api`: what was decided and changed, by whom.

Its one rule: a handler reads the request, asks one service and answers.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from quart import Blueprint, Response

from controllers import answers
from controllers.answers import Instant
from controllers.auth import auth_required, current_caller
from controllers.endpoint import async_endpoint
from controllers.listing_queries import Moment, moment
from controllers.operation import note
from controllers.requests import read_query
from controllers.responses import listed
from controllers.schemas import MAX_TEXT, Cursor, Id, Request, Size
from controllers.state import state
from engine.context import JsonObject
from services.audit_reader import AuditEntry, AuditFilter
from services.caller import ADMIN

blueprint = Blueprint("audit_api", __name__, url_prefix="/api/v1/audit")


class AuditQuery(Request):
    """Which entries to list."""

    community_id: Id | None = Field(default=None, description="What concerned this community.")
    user_id: Id | None = Field(default=None, description="What this user did, or was denied.")
    action: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = Field(
        default=None, description="The name of an operation, such as execute_workflow."
    )
    since: Moment | None = Field(
        default=None, alias="from", description="Happened at or after this date or instant."
    )
    until: Moment | None = Field(
        default=None,
        alias="to",
        description="Happened on or before this date, at or before this instant.",
    )
    limit: Size = 20
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")


class AuditView(BaseModel):
    """One event."""

    audit_id: int
    at: str | None = Instant
    recorded_at: str | None = Instant
    category: Literal["AUTH", "AUTHZ", "AUDIT"]
    action: str
    result: Literal["SUCCESS", "DENIED", "FAILURE"]
    community_id: int | None
    user_id: int | None
    workflow_id: str | None
    execution_id: str | None
    request_id: str | None
    address: str | None = Field(description="Where the request came from.")
    details: JsonObject
    hash: str = Field(description="Covers this entry and all before it: 64 hex digits.")


@blueprint.get("")
@async_endpoint("list_audit", query=AuditQuery, answers={200: answers.Answer[list[AuditView]]})
@auth_required(ADMIN)
async def list_audit() -> Response:
    """Lists what was decided and changed, newest first. An admin of one community sees what
    concerned that one."""
    query = read_query(AuditQuery)
    note(community_id=query.community_id)
    narrow = AuditFilter(
        community_id=query.community_id,
        user_id=query.user_id,
        action=query.action,
        since=moment("from", query.since),
        until=moment("to", query.until, last=True),
    )
    page = await state().audit_reader.page(
        current_caller(), narrow, limit=query.limit, cursor=query.cursor
    )
    rows = [_shown(entry) for entry in page.rows]
    return listed(rows, "Audit entries found", size=query.limit, cursor=page.cursor)


def _shown(entry: AuditEntry) -> JsonObject:
    return {
        "audit_id": entry.audit_id,
        "at": entry.at,
        "recorded_at": entry.recorded_at,
        "category": entry.category,
        "action": entry.action,
        "result": entry.result,
        "community_id": entry.community_id,
        "user_id": entry.user_id,
        "workflow_id": entry.workflow_id,
        "execution_id": entry.execution_id,
        "request_id": entry.request_id,
        "address": entry.address,
        "details": entry.details or {},
        "hash": entry.hash.hex(),
    }
