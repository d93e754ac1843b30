"""What a user may do with a workflow, read in one query.

Its one rule: this module only tells facts (grants, memberships, ownership); deciding is the
permission service's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.dal import AsyncDAL
from models.executions import ExecutionOwner
from models.query import Query, select

_FACTS = """
SELECT w.workflow_id, w.community_id, w.entity_id, w.name, w.status, w.version,
       w.published_version, w.created_by,
       (w.created_by = $2
        OR EXISTS (SELECT 1 FROM community_members m
                    WHERE m.community_id = w.community_id AND m.user_id = $2)
        OR EXISTS (SELECT 1 FROM workflows o
                    WHERE o.community_id = w.community_id AND o.created_by = $2)
        OR EXISTS (SELECT 1 FROM workflow_permissions p JOIN workflows o USING (workflow_id)
                    WHERE p.permission_type = 'user' AND p.target_id = $2::bigint::text
                      AND o.community_id = w.community_id)) AS member,
       coalesce(g.can_view, false) AS can_view,
       coalesce(g.can_edit, false) AS can_edit,
       coalesce(g.can_execute, false) AS can_execute,
       coalesce(g.can_delete, false) AS can_delete,
       coalesce(g.can_manage_permissions, false) AS can_manage_permissions
  FROM workflows w
  LEFT JOIN LATERAL (
       SELECT bool_or(p.can_view) AS can_view, bool_or(p.can_edit) AS can_edit,
              bool_or(p.can_execute) AS can_execute, bool_or(p.can_delete) AS can_delete,
              bool_or(p.can_manage_permissions) AS can_manage_permissions
         FROM workflow_permissions p
        WHERE p.workflow_id = w.workflow_id
          AND CASE p.permission_type
              WHEN 'user' THEN p.target_id = $2::bigint::text
              WHEN 'community' THEN p.target_id = w.community_id::text
              WHEN 'role' THEN p.target_id = ANY($3::text[])
                   OR EXISTS (SELECT 1 FROM community_members m
                               WHERE m.community_id = w.community_id AND m.user_id = $2
                                 AND m.role = p.target_id)
              END) g ON true
 WHERE w.workflow_id = {workflow}
"""

ACCESS = _FACTS.format(workflow="$1")

# One query whether there is such an execution or not, and whoever's it is: so that how long the
# answer takes tells nothing about it.
EXECUTION_ACCESS = f"""
SELECT e.execution_id AS it_execution_id, e.workflow_id AS it_workflow_id,
       e.community_id AS it_community_id, e.user_id AS it_user_id, e.status AS it_status, f.*
  FROM workflow_executions e
  LEFT JOIN LATERAL ({_FACTS.format(workflow="e.workflow_id")}) f ON true
 WHERE e.execution_id = $1
"""

IN_COMMUNITY = """
SELECT EXISTS (SELECT 1 FROM community_members m WHERE m.community_id = $1 AND m.user_id = $2)
    OR EXISTS (SELECT 1 FROM workflows o WHERE o.community_id = $1 AND o.created_by = $2)
    OR EXISTS (SELECT 1 FROM workflow_permissions p JOIN workflows o USING (workflow_id)
                WHERE p.permission_type = 'user' AND p.target_id = $2::bigint::text
                  AND o.community_id = $1)
"""


# The rule of `viewable`, turned round: from the user and what they hold to the workflows, so that
# what others own is never read. $2 is the only community there is, if there is one, $3 the roles of
# the credential itself, $4 and $5 a community and a workflow asked for.
VIEWABLE = """
WITH held AS (
    SELECT p.workflow_id FROM workflow_permissions p
     WHERE p.permission_type = 'user' AND p.target_id = $1::bigint::text
), belonging AS (
    SELECT community_id FROM community_members WHERE user_id = $1
    UNION SELECT community_id FROM workflows WHERE created_by = $1
    UNION SELECT w.community_id FROM held JOIN workflows w USING (workflow_id)
    UNION SELECT $2::bigint
), granted AS (
    SELECT p.workflow_id, NULL::bigint AS community_id FROM workflow_permissions p
     WHERE p.permission_type = 'user' AND p.target_id = $1::bigint::text AND p.can_view
    UNION ALL
    SELECT p.workflow_id, m.community_id
      FROM community_members m
      JOIN workflow_permissions p ON p.permission_type = 'role' AND p.target_id = m.role
     WHERE m.user_id = $1 AND p.can_view
    UNION ALL
    SELECT p.workflow_id, $2 FROM workflow_permissions p
     WHERE p.permission_type = 'role' AND p.target_id = ANY($3::text[]) AND p.can_view
    UNION ALL
    SELECT p.workflow_id, b.community_id
      FROM belonging b
      JOIN workflow_permissions p
        ON p.permission_type = 'community' AND p.target_id = b.community_id::text
     WHERE p.can_view
)
SELECT w.workflow_id FROM workflows w
 WHERE w.created_by = $1 AND ($2::bigint IS NULL OR w.community_id = $2)
   AND ($4::bigint IS NULL OR w.community_id = $4)
   AND ($5::uuid IS NULL OR w.workflow_id = $5)
UNION
SELECT w.workflow_id
  FROM granted g
  JOIN workflows w ON w.workflow_id = g.workflow_id
   AND (g.community_id IS NULL OR g.community_id = w.community_id)
 WHERE ($2::bigint IS NULL OR w.community_id = $2)
   AND ($4::bigint IS NULL OR w.community_id = $4)
   AND ($5::uuid IS NULL OR w.workflow_id = $5)
"""


@dataclass(frozen=True, slots=True)
class AccessFacts:
    """A workflow's row as far as permissions and starting need it, and one user's grants on it.

    `member`: the user is in the workflow's community, owns a workflow there, or holds a grant
    there. The five flags are the sum of the user's own grants, their roles' and the community's.
    """

    workflow_id: str
    community_id: int
    entity_id: int | None
    name: str
    status: str
    version: int
    published_version: int | None
    created_by: int
    member: bool
    can_view: bool
    can_edit: bool
    can_execute: bool
    can_delete: bool
    can_manage_permissions: bool


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who reads a list: a user, in one community or in all of theirs. `everything`: no grant is
    needed (the community still binds, if there is one). `roles` are the credential's own."""

    user_id: int
    community_id: int | None = None
    roles: tuple[str, ...] = ()
    everything: bool = False


def viewable(db: Any, viewer: Viewer) -> Any:
    """The pyDAL condition on `workflows` that leaves what the viewer may see: the same rule as
    `ACCESS`, for many rows at once."""
    table = db.workflows
    bound = table.workflow_id != None  # noqa: E711 - pyDAL's IS NOT NULL
    if viewer.community_id is not None:
        bound = table.community_id == viewer.community_id
    if viewer.everything:
        return bound
    granted = table.workflow_id.belongs(_granted(db, viewer))
    return bound & ((table.created_by == viewer.user_id) | granted)


def _granted(db: Any, viewer: Viewer) -> Any:
    """The ids of workflows that grants let the viewer see, correlated with `workflows`."""
    table, grant, member = db.workflows, db.workflow_permissions, db.community_members
    user = str(viewer.user_id)
    stored = db(
        (member.community_id == table.community_id) & (member.user_id == viewer.user_id)
    ).nested_select(member.role, correlated=True)
    of_user = (grant.permission_type == "user") & (grant.target_id == user)
    held = grant.target_id.belongs(stored)
    if viewer.roles:
        held |= grant.target_id.belongs(viewer.roles)
    of_role = (grant.permission_type == "role") & held
    of_community = (grant.permission_type == "community") & (
        grant.target_id == table.community_id.cast("text")
    )
    if viewer.community_id is None:
        of_community &= _belonging(db, viewer.user_id)
    return db(
        (grant.workflow_id == table.workflow_id)
        & (grant.can_view == True)  # noqa: E712 - a pyDAL expression
        & (of_user | of_role | of_community)
    ).nested_select(grant.workflow_id, correlated=True)


def _belonging(db: Any, user_id: int) -> Any:
    """The condition that a workflow's community is one of the user's."""
    table, grant, member = db.workflows, db.workflow_permissions, db.community_members
    of_user = (grant.permission_type == "user") & (grant.target_id == str(user_id))
    members = db(member.user_id == user_id)
    owners = db(table.created_by == user_id)
    grantees = db(of_user & (grant.workflow_id == table.workflow_id))
    # Uncorrelated: the tables in each sub-select are its own, not those of the query around it.
    return (
        table.community_id.belongs(members.nested_select(member.community_id, correlated=False))
        | table.community_id.belongs(owners.nested_select(table.community_id, correlated=False))
        | table.community_id.belongs(grantees.nested_select(table.community_id, correlated=False))
    )


class Permissions:
    """Reads of `workflow_permissions` and `community_members`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def access(
        self, workflow_id: str, user_id: int, roles: tuple[str, ...]
    ) -> AccessFacts | None:
        """The facts about one workflow for one user; None if there is no such workflow.
        `roles` are those of the credential, in addition to the user's stored ones."""
        row = await self._dal.fetchrow(ACCESS, workflow_id, user_id, list(roles))
        if row is None:
            return None
        values: dict[str, Any] = dict(row)
        return AccessFacts(**values)

    async def execution_access(
        self, execution_id: str, user_id: int, roles: tuple[str, ...]
    ) -> tuple[ExecutionOwner, AccessFacts | None] | None:
        """Whose an execution is, and the facts about its workflow, as `access` gives them; None if
        there is no such execution."""
        row = await self._dal.fetchrow(EXECUTION_ACCESS, execution_id, user_id, list(roles))
        if row is None:
            return None
        values: dict[str, Any] = dict(row)
        it = {name[3:]: values.pop(name) for name in [*values] if name.startswith("it_")}
        facts = None if values["workflow_id"] is None else AccessFacts(**values)
        return ExecutionOwner(**it), facts

    async def viewable_ids(
        self, viewer: Viewer, *, community_id: int | None = None, workflow_id: str | None = None
    ) -> tuple[str, ...]:
        """The ids of the workflows that the viewer may see; only those of a community, or the one
        of that id, if asked."""
        if viewer.everything:
            query = self._everything(viewer, community_id, workflow_id)
            rows = await self._dal.fetch(query)
        else:
            roles = list(viewer.roles)
            rows = await self._dal.fetch(
                VIEWABLE, viewer.user_id, viewer.community_id, roles, community_id, workflow_id
            )
        return tuple(row["workflow_id"] for row in rows)

    def _everything(
        self, viewer: Viewer, community_id: int | None, workflow_id: str | None
    ) -> Query:
        table = self._dal.db.workflows
        where = viewable(self._dal.db, viewer)
        if community_id is not None:
            where &= table.community_id == community_id
        if workflow_id is not None:
            where &= table.workflow_id == workflow_id
        return select(self._dal.db, where, table.workflow_id)

    async def in_community(self, community_id: int, user_id: int) -> bool:
        """Whether the user belongs to the community in any of the ways `access` counts."""
        return bool(await self._dal.fetchval(IN_COMMUNITY, community_id, user_id))
