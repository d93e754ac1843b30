"""Who calls: the one value that every permission decision starts from.

A `Caller` is made once per request, never changed and never trusted to name its own community
beyond what its credential says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ADMIN = "admin"
READ = "workflows:read"

SCOPES = frozenset(
    {
        READ,
        "workflows:write",
        "executions:read",
        "executions:execute",
        "executions:cancel",
        ADMIN,
    }
)
"""Everything a credential can be allowed to do. `admin` includes the others."""

EVERYDAY_SCOPES = SCOPES - {ADMIN}

CallerKind = Literal["user", "service", "jwt"]


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    `community_id` is the only community the credential is good for; None leaves it to the
    caller's memberships. `roles` come from a JWT and count in that community alone.
    """

    user_id: int
    community_id: int | None
    scopes: frozenset[str]
    roles: frozenset[str] = frozenset()
    kind: CallerKind = "user"
    key_id: str | None = None

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.scopes

    def may(self, scope: str) -> bool:
        """Whether the credential carries this scope."""
        return scope in self.scopes or ADMIN in self.scopes

    @property
    def community_roles(self) -> tuple[str, ...]:
        """The roles of the credential itself, sorted; none without a community to hold them in."""
        return tuple(sorted(self.roles)) if self.community_id is not None else ()
