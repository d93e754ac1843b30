"""The secrets of a community, as its admins keep them.

Its one rule: a value goes in and never comes out. Who may keep secrets are those who may keep the
community's members; authors of workflows use them by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from engine.context import Json
from engine.secret_names import LONGEST_NAME, is_secret_name
from models.community_secrets import CommunitySecrets, SecretRow
from services.caller import Caller
from services.cursors import Cursors, Page, bound
from services.errors import NotValid, Problem, SecretUnknown, TooManySecrets
from services.members import within_reach
from services.secret_hosts import MOST_HOSTS, canonical
from services.vault import Rotation, Vault

__all__ = [
    "LEAST_CHARACTERS",
    "MOST_HOSTS",
    "MOST_SECRETS",
    "MOST_VALUE_BYTES",
    "Rotation",
    "Secret",
    "SecretService",
]

MOST_SECRETS = 100
"""How many a community may have."""
LEAST_CHARACTERS = 8
"""What is shorter would be taken out of every other answer (`redaction.py`), and be guessed."""
MOST_VALUE_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class Secret:
    """What may be seen of a secret. `usable` says whether the service has the key it is under."""

    community_id: int
    name: str
    allowed_hosts: tuple[str, ...]
    created_at: datetime
    created_by: int
    updated_at: datetime
    updated_by: int
    usable: bool


class SecretService:
    """The use cases. Each raises `CommunityUnknown` and `Denied`."""

    def __init__(self, secrets: CommunitySecrets, vault: Vault, cursors: Cursors) -> None:
        self._secrets = secrets
        self._vault = vault
        self._cursors = cursors

    async def page(
        self, caller: Caller, community_id: int | None, *, limit: int, cursor: str | None = None
    ) -> Page[Secret]:
        """A page of a community's secrets by name. Raises `InvalidCursor`."""
        community = within_reach(caller, community_id)
        binding = bound("secrets", caller, community)

        async def read(most: int, after: Json) -> list[Secret]:
            rows = await self._secrets.page(community, limit=most, after=after or "")
            return [self._shown(row) for row in rows]

        return await self._cursors.page(binding, limit, cursor, read, lambda row: row.name)

    async def get(self, caller: Caller, community_id: int | None, name: str) -> Secret:
        """One secret. Raises `SecretUnknown`."""
        community = within_reach(caller, community_id)
        row = await self._secrets.get(community, name) if is_secret_name(name) else None
        if row is None:
            raise SecretUnknown
        return self._shown(row)

    async def set(
        self,
        caller: Caller,
        community_id: int | None,
        name: str,
        *,
        value: str,
        allowed_hosts: list[str],
    ) -> Secret:
        """Makes a secret, or gives one another value and other hosts. Raises `NotValid`,
        `TooManySecrets`, `SecretsUnavailable`."""
        community = within_reach(caller, community_id)
        problems = [*_name_problems(name), *_value_problems(value)]
        hosts, wrong = _canonical_hosts(allowed_hosts)
        if problems or wrong:
            raise NotValid([*problems, *wrong])
        sealed = self._vault.sealed(community, name, hosts, value)
        row = await self._secrets.set(sealed, caller.user_id, most=MOST_SECRETS)
        if row is None:
            raise TooManySecrets
        return self._shown(row)

    async def remove(self, caller: Caller, community_id: int | None, name: str) -> Secret:
        """Removes a secret; what could be seen of it. Raises `SecretUnknown`."""
        community = within_reach(caller, community_id)
        row = await self._secrets.remove(community, name) if is_secret_name(name) else None
        if row is None:
            raise SecretUnknown
        return self._shown(row)

    async def rotate(self) -> Rotation:
        """Puts every secret of the service under the first key. Raises `SecretsUnavailable`."""
        return await self._vault.rotate()

    def _shown(self, row: SecretRow) -> Secret:
        return Secret(
            community_id=row.community_id,
            name=row.name,
            allowed_hosts=row.allowed_hosts,
            created_at=row.created_at,
            created_by=row.created_by,
            updated_at=row.updated_at,
            updated_by=row.updated_by,
            usable=self._vault.opens(row.key_id),
        )


def _name_problems(name: str) -> list[Problem]:
    if is_secret_name(name):
        return []
    message = (
        "must be a name such as api_token: a letter, then letters, digits and _, at most "
        f"{LONGEST_NAME}, and no keyword such as `class`"
    )
    return [Problem(path="/name", message=message)]


def _value_problems(value: str) -> list[Problem]:
    wrong = None
    if len(value.encode()) > MOST_VALUE_BYTES:
        wrong = f"must have at most {MOST_VALUE_BYTES} bytes"
    elif len(value) < LEAST_CHARACTERS:
        wrong = f"must have at least {LEAST_CHARACTERS} characters"
    elif value != value.strip():
        wrong = "must not begin or end with white space"
    return [] if wrong is None else [Problem(path="/value", message=wrong)]


def _canonical_hosts(given: list[str]) -> tuple[tuple[str, ...], list[Problem]]:
    hosts: list[str] = []
    problems: list[Problem] = []
    for index, entry in enumerate(given):
        try:
            hosts.append(canonical(entry))
        except ValueError as error:
            problems.append(Problem(path=f"/allowed_hosts/{index}", message=str(error)))
    return tuple(dict.fromkeys(hosts)), problems
