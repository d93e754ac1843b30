"""Reading the audit log.

Its one rule: an admin sees what happened in their community, and one who is bound to none sees
everything. Reading it is an event of the audit log itself.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from engine.context import Json
from models.audit import AuditEntry, AuditFilter, AuditLog
from services.caller import ADMIN, Caller
from services.cursors import Cursors, Page, bound
from services.errors import Denied, NotValid, Problem

__all__ = ["AuditEntry", "AuditFilter", "AuditReader"]


class AuditReader:
    """The use case."""

    def __init__(self, log: AuditLog, cursors: Cursors) -> None:
        self._log = log
        self._cursors = cursors

    async def page(
        self, caller: Caller, narrow: AuditFilter, *, limit: int, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """A page of the entries within the caller's reach, newest first. Raises `Denied`,
        `NotValid`, `InvalidCursor`."""
        if not caller.is_admin:
            raise Denied(f"This needs the scope {ADMIN}.", {"scope": ADMIN})
        if narrow.since is not None and narrow.until is not None and narrow.since >= narrow.until:
            raise NotValid([Problem(path="/to", message="must be later than from")])
        binding = bound("audit", caller, _described(narrow))
        reached = _within(caller, narrow)

        async def read(most: int, before: Json) -> list[AuditEntry]:
            if reached is None:
                return []
            return await self._log.page(reached, limit=most, before=before)

        return await self._cursors.page(binding, limit, cursor, read, lambda row: row.audit_id)


def _within(caller: Caller, narrow: AuditFilter) -> AuditFilter | None:
    """The filter, of what the caller may see; None if that is nothing."""
    if caller.community_id is None:
        return narrow
    if narrow.community_id not in (None, caller.community_id):
        return None
    return replace(narrow, community_id=caller.community_id)


def _described(narrow: AuditFilter) -> Json:
    return {name: None if value is None else str(value) for name, value in asdict(narrow).items()}
