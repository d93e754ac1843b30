"""Workflow definitions: created, edited, published, archived.

Its one rule: what is stored is canonical. A draft may be unfinished but not wrong; a published
version has no errors at all and is never changed. What a community keeps stays within its quota.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime

from engine.context import Json, JsonObject, Limits
from engine.validation import Report, validate
from models.quotas import OverQuota
from models.workflows import After, VersionRow, WorkflowFilter, WorkflowRow, Workflows
from services.caller import Caller
from services.cursors import Cursors, bound
from services.errors import (
    DefinitionRefused,
    DefinitionsTooLarge,
    NotValid,
    Problem,
    TooManyWorkflows,
    VersionConflict,
    VersionNotFound,
    WorkflowNotFound,
)
from services.permission_service import PermissionService

MAX_VERSIONS_LISTED = 1000

__all__ = [
    "ChangedWorkflow",
    "VersionRow",
    "WorkflowFilter",
    "WorkflowPage",
    "WorkflowRow",
    "WorkflowService",
    "problems_of",
]


@dataclass(frozen=True, slots=True)
class WorkflowPage:
    """One page of workflows, the cursor of the next (None after the last), and how many there are
    in all. `number` counts from 1, also along cursors."""

    rows: list[WorkflowRow]
    number: int
    cursor: str | None
    total: int


@dataclass(frozen=True, slots=True)
class ChangedWorkflow:
    """A workflow that a command has changed. Without `readable`, the caller could not read its
    definition before, and does not get to by changing it."""

    row: WorkflowRow
    readable: bool


class WorkflowService:
    """The use cases of workflow definitions."""

    def __init__(
        self,
        workflows: Workflows,
        permissions: PermissionService,
        cursors: Cursors,
        limits: Limits,
        *,
        new_id: Callable[[], str],
    ) -> None:
        self._workflows = workflows
        self._permissions = permissions
        self._cursors = cursors
        self._limits = limits
        self._new_id = new_id

    async def create(self, caller: Caller, raw: JsonObject, *, publish: bool) -> WorkflowRow:
        """Stores a new workflow of the caller's. Raises `NotValid`, `DefinitionRefused`,
        `Denied`, `TooManyWorkflows`, `DefinitionsTooLarge`."""
        report = self._checked(raw, publish=publish)
        await self._permissions.authorise_community(caller, report.document["community_id"])
        with _quota_told():
            return await self._workflows.insert(
                self._new_id(), report.document, caller.user_id, publish=publish
            )

    async def get(self, caller: Caller, workflow_id: str) -> WorkflowRow:
        """One workflow that the caller may view."""
        await self._permissions.authorise(caller, workflow_id, "view")
        return await self._existing(workflow_id)

    async def latest(self, workflow_id: str) -> WorkflowRow:
        """One workflow, for a caller who has been authorised already."""
        return await self._existing(workflow_id)

    async def page(
        self,
        caller: Caller,
        narrow: WorkflowFilter,
        *,
        limit: int,
        number: int = 1,
        cursor: str | None = None,
    ) -> WorkflowPage:
        """A page of the workflows that the caller may view, newest first: the one of this number,
        or the one after a cursor. Raises `InvalidCursor`."""
        binding = bound("numbered workflows", caller, asdict(narrow))
        after = None
        if cursor is not None:
            number, created_at, row_id = await self._cursors.open(cursor, binding)
            after = After(datetime.fromisoformat(created_at), row_id)
        rows = await self._permissions.list_workflows_for_user(
            caller,
            narrow,
            limit=limit + 1,
            offset=0 if after else (number - 1) * limit,
            after=after,
        )
        following = None
        if len(rows) > limit:
            rows = rows[:limit]
            place = [number + 1, rows[-1].created_at.isoformat(), rows[-1].workflow_id]
            following = await self._cursors.seal(place, binding)
        total = await self._permissions.count_workflows_for_user(caller, narrow)
        return WorkflowPage(rows, number, following, total)

    async def update(
        self, caller: Caller, workflow_id: str, changes: JsonObject, on_version: int | None
    ) -> ChangedWorkflow:
        """Stores an edit: the fields given replace the document's, the others stay.

        `on_version` is the revision the caller has seen; None means whichever is the latest.
        Raises `NotValid`, `DefinitionRefused`, `VersionConflict`, `DefinitionsTooLarge`, and what
        `authorise` raises.
        """
        await self._permissions.authorise(
            caller, workflow_id, "edit", community_id=_claimed_community(changes)
        )
        readable = await self._permissions.may_read(caller, workflow_id)
        row = await self._existing(workflow_id)
        if on_version is not None and on_version != row.version:
            raise _conflict(row)
        report = self._checked({**row.document, **changes}, publish=False)
        with _quota_told():
            updated = await self._workflows.update(workflow_id, row.version, report.document)
        return ChangedWorkflow(await self._changed(workflow_id, updated), readable)

    async def publish(
        self, caller: Caller, workflow_id: str, on_version: int | None = None
    ) -> ChangedWorkflow:
        """Makes the latest edit an immutable version and the workflow active, also one that was
        archived. Raises `DefinitionRefused`, `VersionConflict`, `TooManyWorkflows`,
        `DefinitionsTooLarge`, and what `authorise` raises."""
        await self._permissions.authorise(caller, workflow_id, "edit")
        readable = await self._permissions.may_read(caller, workflow_id)
        row = await self._existing(workflow_id)
        if on_version is not None and on_version != row.version:
            raise _conflict(row)
        self._checked(row.document, publish=True)
        with _quota_told():
            published = await self._workflows.publish(
                workflow_id, row.community_id, row.version, caller.user_id
            )
        return ChangedWorkflow(await self._changed(workflow_id, published), readable)

    async def archive(self, caller: Caller, workflow_id: str) -> ChangedWorkflow:
        """Archives a workflow: nothing starts from it any more, its history stays."""
        await self._permissions.authorise(caller, workflow_id, "delete")
        readable = await self._permissions.may_read(caller, workflow_id)
        archived = await self._workflows.archive(workflow_id)
        return ChangedWorkflow(await self._changed(workflow_id, archived), readable)

    async def versions(
        self, caller: Caller, workflow_id: str
    ) -> tuple[int | None, list[VersionRow]]:
        """The number of the live version, and all published ones, newest first."""
        facts = await self._permissions.authorise(caller, workflow_id, "view")
        rows = await self._workflows.versions(workflow_id, MAX_VERSIONS_LISTED)
        return facts.published_version, rows

    async def version(
        self, caller: Caller, workflow_id: str, version: int
    ) -> tuple[int | None, VersionRow]:
        """The number of the live version, and one published version. Raises
        `VersionNotFound`."""
        facts = await self._permissions.authorise(caller, workflow_id, "view")
        row = await self._workflows.version(workflow_id, version)
        if row is None:
            raise VersionNotFound
        return facts.published_version, row

    async def validate_next(
        self, caller: Caller, workflow_id: str, changes: JsonObject | None
    ) -> Report:
        """The report on a workflow's latest edit; with `changes`, on the one that `update` would
        make of it. Raises what `authorise` raises."""
        claimed = _claimed_community(changes or {})
        await self._permissions.authorise(caller, workflow_id, "view", community_id=claimed)
        row = await self._existing(workflow_id)
        return self.validate({**row.document, **(changes or {})})

    def validate(self, raw: Json) -> Report:
        """The report on any document."""
        return validate(raw, self._limits)

    def runnable(self, raw: JsonObject) -> JsonObject:
        """The canonical form of a document that is to run. Raises `NotValid`,
        `DefinitionRefused`."""
        document: JsonObject = self._checked(raw, publish=True).document
        return document

    def _checked(self, raw: JsonObject, *, publish: bool) -> Report:
        report = self.validate(raw)
        if report.shape_errors:
            raise NotValid(problems_of(report))
        wrong = report.refusals(publish=publish)
        if wrong:
            raise DefinitionRefused(_why(wrong[0].message, len(wrong)), report.as_json())
        return report

    async def _existing(self, workflow_id: str) -> WorkflowRow:
        row = await self._workflows.get(workflow_id)
        if row is None:
            raise WorkflowNotFound
        return row

    async def _changed(self, workflow_id: str, row: WorkflowRow | None) -> WorkflowRow:
        self._permissions.forget(workflow_id)
        if row is None:
            raise _conflict(await self._existing(workflow_id))
        return row


def _claimed_community(changes: JsonObject) -> int | None:
    """The community that a request takes a workflow to be in. What is no id is for the reader to
    refuse."""
    claimed = changes.get("community_id")
    return claimed if isinstance(claimed, int) else None


@contextmanager
def _quota_told() -> Iterator[None]:
    """Says what a community has too much of in the words of its caller."""
    try:
        yield
    except OverQuota as over:
        kind = TooManyWorkflows if over.what == "workflows" else DefinitionsTooLarge
        raise kind(details={"limit": over.limit, "used": over.kept}) from None


def problems_of(report: Report) -> list[Problem]:
    """The errors of a report as a request's problems."""
    problems: list[Problem] = []
    for issue in report.errors:
        problem = Problem(path=issue.path, message=issue.message)
        if issue.hint:
            problem["hint"] = issue.hint
        problems.append(problem)
    return problems


def _conflict(row: WorkflowRow) -> VersionConflict:
    return VersionConflict(
        f"The workflow has been changed since you read it; it is now at version {row.version}.",
        {"current_version": row.version},
    )


def _why(first: str, count: int) -> str:
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"The workflow definition is not valid: {first}{more}"
