"""Reading the audit log.

Its one rule: an admin sees what happened in their community, and one who is bound to none sees
everything. Reading it is an event of the audit log itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from engine.context import Json
from models.audit import AuditEntry, AuditFilter, AuditLog
from services.caller import ADMIN, Caller
from services.cursors import Cursors
from services.errors import Denied, NotValid, Problem

__all__ = ["AuditEntry", "AuditFilter", "AuditPage", "AuditReader"]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of entries, newest first, and the cursor of the next; None after the last."""

    entries: list[AuditEntry]
    cursor: str | None


class AuditReader:
    """The use case."""

    def __init__(self, log: AuditLog, cursors: Cursors) -> None:
        self._log = log
        self._cursors = cursors

    async def page(
        self, caller: Caller, narrow: AuditFilter, *, limit: int, cursor: str | None = None
    ) -> AuditPage:
        """A page of the entries within the caller's reach. Raises `Denied`, `NotValid`,
        `InvalidCursor`."""
        if not caller.is_admin:
            raise Denied(f"This needs the scope {ADMIN}.", {"scope": ADMIN})
        if narrow.since is not None and narrow.until is not None and narrow.since >= narrow.until:
            raise NotValid([Problem(path="/to", message="must be later than from")])
        binding = _binding(caller, narrow)
        before = None if cursor is None else await self._cursors.open(cursor, binding)
        if caller.community_id is not None:
            if narrow.community_id not in (None, caller.community_id):
                return AuditPage([], None)
            narrow = replace(narrow, community_id=caller.community_id)
        found = await self._log.page(narrow, limit=limit + 1, before=before)
        shown = found[:limit]
        if len(found) <= limit:
            return AuditPage(shown, None)
        return AuditPage(shown, await self._cursors.seal(shown[-1].audit_id, binding))


def _binding(caller: Caller, narrow: AuditFilter) -> Json:
    described = {
        name: None if value is None else str(value) for name, value in asdict(narrow).items()
    }
    return ["audit", caller.user_id, caller.community_id, described]
