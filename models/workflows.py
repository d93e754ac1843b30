"""The tables `workflows` and `workflow_versions`.

Its one rule: an edit names the revision it was made on, and a published version is never changed.
Whatever adds to what a community keeps stays within its quota (`quotas.py`).
Lists are built by pyDAL; every change is one literal statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.context import JsonObject
from models.dal import AsyncDAL
from models.permissions import Viewer, viewable
from models.query import count, select
from models.quotas import Quota, within

COLUMNS = (
    "workflow_id, community_id, entity_id, name, description, status, document, version, "
    "published_version, tags, created_by, created_at, updated_at, published_at"
)

INSERT = f"""
INSERT INTO workflows (workflow_id, community_id, entity_id, name, description, document, tags,
                       created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING {COLUMNS}
"""

GET = f"SELECT {COLUMNS} FROM workflows WHERE workflow_id = $1"

UPDATE = f"""
UPDATE workflows
   SET entity_id = $3, name = $4, description = $5, document = $6, tags = $7,
       version = version + 1, updated_at = now()
 WHERE workflow_id = $1 AND version = $2
RETURNING {COLUMNS}
"""

ARCHIVE = f"""
UPDATE workflows SET status = 'archived', updated_at = now()
 WHERE workflow_id = $1
RETURNING {COLUMNS}
"""

# The row is locked by a statement of its own: the next one then sees every version that a
# concurrent publisher committed while this one waited.
LOCK = "SELECT workflow_id FROM workflows WHERE workflow_id = $1 AND version = $2 FOR UPDATE"

ADD_VERSION = """
INSERT INTO workflow_versions (workflow_id, version, document, published_by)
SELECT workflow_id,
       1 + coalesce((SELECT max(v.version) FROM workflow_versions v WHERE v.workflow_id = $1), 0),
       document, $2
  FROM workflows WHERE workflow_id = $1
RETURNING version
"""

PUBLISH = f"""
UPDATE workflows
   SET status = 'active', published_version = $2, published_at = now(), updated_at = now()
 WHERE workflow_id = $1
RETURNING {COLUMNS}
"""

VERSIONS = """
SELECT version, published_by, published_at FROM workflow_versions
 WHERE workflow_id = $1 ORDER BY version DESC LIMIT $2
"""

VERSION = """
SELECT version, published_by, published_at, document FROM workflow_versions
 WHERE workflow_id = $1 AND version = $2
"""


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """A workflow with its latest edit. `version` counts edits, `published_version` is live."""

    workflow_id: str
    community_id: int
    entity_id: int | None
    name: str
    description: str | None
    status: str
    document: JsonObject
    version: int
    published_version: int | None
    tags: tuple[str, ...]
    created_by: int
    created_at: datetime
    updated_at: datetime
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A published version; `document` is None in lists."""

    version: int
    published_by: int
    published_at: datetime
    document: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class WorkflowFilter:
    """What a list is narrowed to; None does not narrow. Without `status`: all but archived."""

    community_id: int | None = None
    status: tuple[str, ...] = ()
    search: str | None = None
    tag: str | None = None
    entity_id: int | None = None


@dataclass(frozen=True, slots=True)
class After:
    """The last row of the page before: where a keyset page goes on."""

    created_at: datetime
    row_id: str


class Workflows:
    """Reads and writes of workflows and their versions."""

    def __init__(self, dal: AsyncDAL, quota: Quota | None = None) -> None:
        self._dal = dal
        self._quota = quota or Quota()

    async def insert(
        self, workflow_id: str, document: JsonObject, created_by: int, *, publish: bool
    ) -> WorkflowRow:
        """Stores a new workflow, published at once if asked, in one transaction. Raises
        `OverQuota`."""
        values, community_id = _document_columns(document), document["community_id"]
        async with self._dal.transaction() as tx, within(self._quota, tx, community_id):
            row = await tx.fetchrow(INSERT, workflow_id, community_id, *values, created_by)
            if publish:
                row = await _publish(tx, workflow_id, created_by)
        return _workflow(row)

    async def get(self, workflow_id: str) -> WorkflowRow | None:
        """One workflow."""
        row = await self._dal.fetchrow(GET, workflow_id)
        return None if row is None else _workflow(row)

    async def update(
        self, workflow_id: str, on_version: int, document: JsonObject
    ) -> WorkflowRow | None:
        """Stores an edit made on revision `on_version`; None if that is no longer the latest.
        Raises `OverQuota`."""
        values, community_id = _document_columns(document), document["community_id"]
        async with self._dal.transaction() as tx, within(self._quota, tx, community_id):
            row = await tx.fetchrow(UPDATE, workflow_id, on_version, *values)
        return None if row is None else _workflow(row)

    async def publish(
        self, workflow_id: str, community_id: int, on_version: int, published_by: int
    ) -> WorkflowRow | None:
        """Makes revision `on_version` the next immutable version and the workflow active; None
        if that revision is no longer the latest. Raises `OverQuota`."""
        async with self._dal.transaction() as tx, within(self._quota, tx, community_id):
            if await tx.fetchrow(LOCK, workflow_id, on_version) is None:
                return None
            return _workflow(await _publish(tx, workflow_id, published_by))

    async def archive(self, workflow_id: str) -> WorkflowRow | None:
        """Archives a workflow; nothing starts from it any more."""
        row = await self._dal.fetchrow(ARCHIVE, workflow_id)
        return None if row is None else _workflow(row)

    async def versions(self, workflow_id: str, limit: int) -> list[VersionRow]:
        """The published versions, newest first, without their documents."""
        rows = await self._dal.fetch(VERSIONS, workflow_id, limit)
        return [VersionRow(**dict(row)) for row in rows]

    async def version(self, workflow_id: str, version: int) -> VersionRow | None:
        """One published version with its document."""
        row = await self._dal.fetchrow(VERSION, workflow_id, version)
        return None if row is None else VersionRow(**dict(row))

    async def list(
        self,
        viewer: Viewer,
        narrow: WorkflowFilter,
        *,
        limit: int,
        offset: int = 0,
        after: After | None = None,
    ) -> list[WorkflowRow]:
        """A page of what the viewer may see, newest first."""
        table = self._dal.db.workflows
        where = self._where(viewer, narrow)
        if after is not None:
            older = table.created_at < after.created_at
            same = (table.created_at == after.created_at) & (table.workflow_id > after.row_id)
            where &= older | same
        query = select(
            self._dal.db,
            where,
            *[table[name] for name in COLUMNS.split(", ")],
            orderby=[~table.created_at, table.workflow_id],
            limitby=(offset, offset + limit),
        )
        return [_workflow(row) for row in await self._dal.fetch(query)]

    async def count(self, viewer: Viewer, narrow: WorkflowFilter) -> int:
        """How many workflows the whole list has."""
        query = count(self._dal.db, self._where(viewer, narrow))
        return int(await self._dal.fetchval(query))

    def _where(self, viewer: Viewer, narrow: WorkflowFilter) -> Any:
        db = self._dal.db
        table = db.workflows
        where = viewable(db, viewer)
        if narrow.status:
            where &= table.status.belongs(narrow.status)
        else:
            where &= table.status != "archived"
        if narrow.community_id is not None:
            where &= table.community_id == narrow.community_id
        if narrow.entity_id is not None:
            where &= table.entity_id == narrow.entity_id
        if narrow.tag is not None:
            where &= table.tags.contains(narrow.tag)
        if narrow.search:
            in_name = table.name.contains(narrow.search, case_sensitive=False)
            in_text = table.description.contains(narrow.search, case_sensitive=False)
            where &= in_name | in_text
        return where


async def _publish(tx: Any, workflow_id: str, published_by: int) -> Any:
    version = await tx.fetchval(ADD_VERSION, workflow_id, published_by)
    return await tx.fetchrow(PUBLISH, workflow_id, version)


def _document_columns(document: JsonObject) -> tuple[Any, ...]:
    """The columns taken out of a document, in the order of INSERT and UPDATE."""
    return (
        document.get("entity_id"),
        document["name"],
        document.get("description"),
        document,
        list(document.get("tags") or ()),
    )


def _workflow(row: Any) -> WorkflowRow:
    values = dict(row)
    return WorkflowRow(**{**values, "tags": tuple(values["tags"])})
