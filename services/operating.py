"""What the command line works with, beside a running service or without one.

Its one rule: what is changed here is written into the audit log at once and before the command
says that it is done, with the name of who is logged in to this machine.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from engine.context import JsonObject
from models.api_keys import ApiKeys
from models.audit import AuditLog, AuditRow
from models.audit_chain import AuditChain, Broken, Tip, Verdict
from models.dal import AsyncDAL
from models.members import Members
from models.permissions import Permissions
from models.rollups import Rollups
from models.stored_bytes import StoredBytes
from models.workflows import Workflows
from services.api_keys import ApiKeyService
from services.community_secrets import SecretService
from services.cursors import Cursors
from services.members import MemberService
from services.permission_service import PermissionService
from services.secret_keeping import SecretKeeping

__all__ = ["Broken", "Operating", "Pruned", "Tip", "Verdict", "operating"]


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went; none if the log is `broken`."""

    rows: int
    broken: Broken | None = None


@dataclass(frozen=True, slots=True)
class Operating:
    """The use cases of the command line. `now` is the clock."""

    keys: ApiKeyService
    members: MemberService
    secrets: SecretService
    chain: AuditChain
    rollups: Rollups
    stored_bytes: StoredBytes
    log: AuditLog
    now: Callable[[], datetime]

    async def note(
        self, action: str, *, community_id: int | None = None, **details: str | int
    ) -> None:
        """Writes down what was done. Raises `StoreUnavailable`."""
        await self.log.append([self._row(action, community_id, details)])

    async def prune(self, before: datetime) -> Pruned:
        """Removes from the audit log what was recorded before then, if all of it is as it was
        written: a pruned row proves nothing any more. The log says what goes before it is gone.
        Raises `StoreUnavailable`."""
        verdict = await self.chain.verify()
        if verdict.broken is not None:
            return Pruned(0, verdict.broken)

        def note(rows: int) -> AuditRow:
            return self._row("prune_audit", None, {"rows": rows, "before": before.isoformat()})

        return Pruned(await self.chain.prune(verdict.tip.audit_id, before, note))

    def _row(self, action: str, community_id: int | None, details: JsonObject) -> AuditRow:
        return AuditRow(
            at=self.now(),
            category="AUDIT",
            action=action,
            result="SUCCESS",
            community_id=community_id,
            details={"by": f"command line, {_who()}", **details},
        )


def operating(
    dal: AsyncDAL,
    cursors: Cursors,
    kept: SecretKeeping,
    now: Callable[[], datetime],
    new_id: Callable[[], str],
) -> Operating:
    """The use cases on an open database, of which `kept` has the secrets. `now` and `new_id` are
    the clock and the source of ids."""
    permissions = PermissionService(Permissions(dal), Workflows(dal))
    members = MemberService(Members(dal), permissions, cursors)
    keys = ApiKeyService(ApiKeys(dal), now=now, new_id=new_id)
    return Operating(
        keys,
        members,
        kept.service,
        AuditChain(dal),
        Rollups(dal),
        StoredBytes(dal),
        AuditLog(dal),
        now,
    )


def _who() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        name = "?"
    return f"{name}@{socket.gethostname()}"
