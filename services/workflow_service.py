"""Workflow definitions: created, edited, published, archived.

Its one rule: what is stored is canonical. A draft may be unfinished but not wrong; a published
version has no errors at all and is never changed. What a community keeps stays within its quota.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

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
    in all."""

    rows: list[WorkflowRow]
    cursor: str | None
    total: int


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
        offset: int = 0,
        cursor: str | None = None,
    ) -> WorkflowPage:
        """A page of the workflows that the caller may view, newest first. Raises
        `InvalidCursor`."""

        async def read(most: int, after: After | None) -> list[WorkflowRow]:
            return await self._permissions.list_workflows_for_user(
                caller, narrow, limit=most, offset=offset, after=after
            )

        page = await self._cursors.newest_first(
            bound("workflows", caller, asdict(narrow)),
            limit,
            cursor,
            read,
            lambda row: After(row.created_at, row.workflow_id),
        )
        total = await self._permissions.count_workflows_for_user(caller, narrow)
        return WorkflowPage(page.rows, page.cursor, total)

    async def update(
        self, caller: Caller, workflow_id: str, changes: JsonObject, on_version: int | None
    ) -> WorkflowRow:
        """Stores an edit: the fields given replace the document's, the others stay.

        `on_version` is the revision the caller has seen; None means whichever is the latest.
        Raises `NotValid`, `DefinitionRefused`, `VersionConflict`, `DefinitionsTooLarge`, and what
        `authorise` raises.
        """
        claimed = changes.get("community_id")
        await self._permissions.authorise(
            caller, workflow_id, "edit", community_id=claimed if isinstance(claimed, int) else None
        )
        row = await self._existing(workflow_id)
        if on_version is not None and on_version != row.version:
            raise _conflict(row)
        report = self._checked({**row.document, **changes}, publish=False)
        with _quota_told():
            updated = await self._workflows.update(workflow_id, row.version, report.document)
        return await self._changed(workflow_id, updated)

    async def publish(
        self, caller: Caller, workflow_id: str, on_version: int | None = None
    ) -> WorkflowRow:
        """Makes the latest edit an immutable version and the workflow active, also one that was
        archived. Raises `DefinitionRefused`, `VersionConflict`, `TooManyWorkflows`,
        `DefinitionsTooLarge`, and what `authorise` raises."""
        await self._permissions.authorise(caller, workflow_id, "edit")
        row = await self._existing(workflow_id)
        if on_version is not None and on_version != row.version:
            raise _conflict(row)
        self._checked(row.document, publish=True)
        with _quota_told():
            published = await self._workflows.publish(
                workflow_id, row.community_id, row.version, caller.user_id
            )
        return await self._changed(workflow_id, published)

    async def archive(self, caller: Caller, workflow_id: str) -> WorkflowRow:
        """Archives a workflow: nothing starts from it any more, its history stays."""
        await self._permissions.authorise(caller, workflow_id, "delete")
        return await self._changed(workflow_id, await self._workflows.archive(workflow_id))

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

    async def validate_stored(self, caller: Caller, workflow_id: str) -> Report:
        """The report on a workflow's latest edit."""
        row = await self.get(caller, workflow_id)
        return self.validate(row.document)

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
