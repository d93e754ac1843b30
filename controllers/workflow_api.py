"""Blueprint `workflow_api`: workflow definitions, their versions and their validation.

Its one rule: a handler reads the request, asks one service and answers.
"""

from __future__ import annotations

import re
from math import ceil

from quart import Blueprint, Response, request

from controllers import answers
from controllers.auth import ANY_SCOPE, auth_required, current_caller
from controllers.described import Description
from controllers.endpoint import async_endpoint
from controllers.operation import note
from controllers.requests import (
    read_json,
    read_object,
    read_object_or_nothing,
    read_query,
    workflow_id_of,
)
from controllers.responses import success
from controllers.schemas import whole
from controllers.state import state
from controllers.workflow_schemas import (
    CreateQuery,
    JudgedBody,
    NextBody,
    WorkflowBody,
    WorkflowChanges,
    WorkflowsQuery,
)
from engine.context import JsonObject
from engine.definition import DOCUMENT_FIELDS
from services.errors import NotValid, Problem
from services.workflow_service import VersionRow, WorkflowFilter, WorkflowRow

blueprint = Blueprint("workflow_api", __name__, url_prefix="/api/v1/workflows")

_NOT_GIVEN: JsonObject = dict.fromkeys(sorted(DOCUMENT_FIELDS - {"nodes", "connections"}))
"""Every field of a document, as it is answered where it was not given. Null and not a default of
the service's: an answer that is sent back must leave the document as it is."""
_TAGGED = Description(sends=("ETag",))
_EDITED = Description(headers=("If-Match",), sends=("ETag",))
_ETAG = re.compile(r'(?:W/)?"?([0-9]{1,9})"?')


@blueprint.post("")
@async_endpoint(
    "create_workflow",
    body=WorkflowBody,
    query=CreateQuery,
    answers={201: answers.Answer[answers.Workflow]},
    errors=(422,),
    says=_TAGGED,
)
@auth_required("workflows:write")
async def create_workflow() -> Response:
    """Stores a workflow as a draft, or publishes it at once with `publish=true`."""
    publish = read_query(CreateQuery).publish
    row = await state().workflows.create(current_caller(), await read_object(), publish=publish)
    note(community_id=row.community_id, workflow_id=row.workflow_id)
    message = "Workflow created and published" if publish else "Workflow created"
    location = f"/api/v1/workflows/{row.workflow_id}"
    return _answer(row, message, status=201, headers={"Location": location})


@blueprint.get("")
@async_endpoint(
    "list_workflows",
    query=WorkflowsQuery,
    answers={200: answers.Answer[list[answers.Workflow]]},
)
@auth_required("workflows:read")
async def list_workflows() -> Response:
    """Lists the workflows that you may view, newest first, by cursor or by page."""
    query = read_query(WorkflowsQuery)
    note(community_id=query.community_id)
    narrow = WorkflowFilter(
        community_id=query.community_id,
        status=query.statuses,
        search=query.search,
        tag=query.tag,
        entity_id=query.entity_id,
    )
    if query.cursor is not None and query.page is not None:
        raise NotValid([Problem(path="/page", message="use either cursor or page")])
    size = query.size
    page = await state().workflows.page(
        current_caller(), narrow, limit=size, number=query.page or 1, cursor=query.cursor
    )
    pagination = {
        "page": page.number,
        "per_page": size,
        "total": page.total,
        "total_pages": ceil(page.total / size),
        "has_next": page.cursor is not None,
        "has_prev": page.number > 1,
        "next_cursor": page.cursor,
    }
    rows = [_workflow(row) for row in page.rows]
    return success(rows, "Workflows found", meta={"pagination": pagination})


@blueprint.get("/<workflow_id>")
@async_endpoint(
    "get_workflow",
    answers={200: answers.Answer[answers.Workflow]},
    errors=(404,),
    says=_TAGGED,
)
@auth_required("workflows:read")
async def get_workflow(workflow_id: str) -> Response:
    """Shows a workflow with its latest edit."""
    row = await state().workflows.get(current_caller(), workflow_id_of(workflow_id))
    note(community_id=row.community_id)
    return _answer(row, "Workflow found")


@blueprint.put("/<workflow_id>")
@async_endpoint(
    "update_workflow",
    body=WorkflowChanges,
    answers={200: answers.Answer[answers.Workflow | answers.ChangedWorkflow]},
    errors=(404, 409, 422),
    says=_EDITED,
)
@auth_required("workflows:write")
async def update_workflow(workflow_id: str) -> Response:
    """Stores an edit: the fields sent replace the document's, the others stay.

    `If-Match`, or `version` in the body, names the version it was made on; a stale one is 409.
    What is published goes on running until the edit is published too.
    """
    workflow_id = workflow_id_of(workflow_id)
    changes = await read_object()
    on_version = _on_version(changes)
    done = await state().workflows.update(current_caller(), workflow_id, changes, on_version)
    note(community_id=done.row.community_id, version=done.row.version)
    return _answer(done.row, "Workflow updated", whole=done.readable)


@blueprint.delete("/<workflow_id>")
@async_endpoint(
    "archive_workflow",
    answers={200: answers.Answer[answers.Workflow | answers.ChangedWorkflow]},
    errors=(404,),
    says=_TAGGED,
)
@auth_required("workflows:write")
async def archive_workflow(workflow_id: str) -> Response:
    """Archives a workflow: nothing starts from it any more; its history stays. Publishing it
    brings it back."""
    done = await state().workflows.archive(current_caller(), workflow_id_of(workflow_id))
    note(community_id=done.row.community_id)
    return _answer(done.row, "Workflow archived", whole=done.readable)


@blueprint.post("/<workflow_id>/publish")
@async_endpoint(
    "publish_workflow",
    answers={200: answers.Answer[answers.Workflow | answers.ChangedWorkflow]},
    errors=(404, 409, 413, 422),
    says=_EDITED,
)
@auth_required("workflows:write")
async def publish_workflow(workflow_id: str) -> Response:
    """Makes the latest edit an immutable version, which new executions use from now on."""
    workflow_id = workflow_id_of(workflow_id)
    on_version = _on_version({})
    done = await state().workflows.publish(current_caller(), workflow_id, on_version)
    note(community_id=done.row.community_id, published_version=done.row.published_version)
    return _answer(done.row, "Workflow published", whole=done.readable)


@blueprint.get("/<workflow_id>/versions")
@async_endpoint(
    "list_workflow_versions",
    answers={200: answers.Answer[list[answers.Version]]},
    errors=(404,),
)
@auth_required("workflows:read")
async def list_workflow_versions(workflow_id: str) -> Response:
    """Lists the published versions, newest first."""
    workflow_id = workflow_id_of(workflow_id)
    live, rows = await state().workflows.versions(current_caller(), workflow_id)
    return success([_version(row, live) for row in rows], "Versions found")


@blueprint.get("/<workflow_id>/versions/<number>")
@async_endpoint(
    "get_workflow_version",
    answers={200: answers.Answer[answers.Version]},
    errors=(404,),
)
@auth_required("workflows:read")
async def get_workflow_version(workflow_id: str, number: str) -> Response:
    """Shows a published version with its document."""
    workflow_id = workflow_id_of(workflow_id)
    live, row = await state().workflows.version(current_caller(), workflow_id, _number(number))
    return success({**_version(row, live), "document": row.document}, "Version found")


@blueprint.post("/<workflow_id>/validate")
@async_endpoint(
    "validate_workflow",
    body=NextBody,
    answers={200: answers.Answer[answers.ValidationReport]},
    errors=(404,),
    says=Description(body_optional=True),
)
@auth_required("workflows:read")
async def validate_workflow(workflow_id: str) -> Response:
    """Reports everything wrong with a workflow's latest edit, or with what it would be with the
    fields sent, which are read as PUT reads them; 200 also when it is not valid."""
    workflow_id = workflow_id_of(workflow_id)
    changes = await read_object_or_nothing()
    report = await state().workflows.validate_next(current_caller(), workflow_id, changes)
    return success(report.as_json(), _verdict(is_valid=report.is_valid))


@blueprint.post("/validate")
@async_endpoint(
    "validate_definition",
    body=JudgedBody,
    answers={200: answers.Answer[answers.ValidationReport]},
)
@auth_required(ANY_SCOPE)
async def validate_definition() -> Response:
    """Reports everything wrong with the document sent; 200 also when it is not valid."""
    report = state().workflows.validate(await read_json())
    return success(report.as_json(), _verdict(is_valid=report.is_valid))


def _answer(
    row: WorkflowRow,
    message: str,
    *,
    whole: bool = True,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """The workflow; not `whole` is for who changed it and may not read it."""
    tagged = {"ETag": f'"{row.version}"', **(headers or {})}
    shown = _workflow(row) if whole else _standing(row)
    return success(shown, message, status=status, headers=tagged)


def _workflow(row: WorkflowRow) -> JsonObject:
    return {
        **_NOT_GIVEN,
        **row.document,
        **_standing(row),
        "created_by": row.created_by,
        "created_at": row.created_at,
    }


def _standing(row: WorkflowRow) -> JsonObject:
    """What became of a workflow, with nothing of its definition."""
    return {
        "workflow_id": row.workflow_id,
        "community_id": row.community_id,
        "status": row.status,
        "version": row.version,
        "published_version": row.published_version,
        "updated_at": row.updated_at,
        "published_at": row.published_at,
    }


def _version(row: VersionRow, live: int | None) -> JsonObject:
    return {
        "version": row.version,
        "published_by": row.published_by,
        "published_at": row.published_at,
        "live": row.version == live,
    }


def _on_version(body: JsonObject) -> int | None:
    """The revision an edit was made on: `If-Match`, else `version` in the body."""
    header = request.headers.get("If-Match", "").strip(" \t")
    if header and header != "*":
        found = _ETAG.fullmatch(header)
        if found is None:
            message = 'must be the ETag of the workflow, such as "3"'
            raise NotValid([Problem(path="/headers/If-Match", message=message)])
        return int(found[1])
    version = whole(body.get("version"))
    if version is None:
        return None
    if isinstance(version, bool) or not isinstance(version, int):
        raise NotValid([Problem(path="/version", message="must be an integer")])
    return version


def _number(text: str) -> int:
    """A version number from the path; what is none is a version that does not exist."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _verdict(*, is_valid: bool) -> str:
    return "The workflow is valid" if is_valid else "The workflow is not valid"
