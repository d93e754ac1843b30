"""Secrets, put together: the keys, the vault, and those who use it.

Its one rule: without a configured key there is none, except beside an embedded database, which has
one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.community_secrets import CommunitySecrets
from models.dal import AsyncDAL
from services.community_secrets import SecretService
from services.cursors import Cursors
from services.key_ring import KeyRing
from services.local_key import KEY_FILE, local_key
from services.vault import Vault


@dataclass(frozen=True, slots=True)
class SecretKeeping:
    """The use cases, and the vault that requests are filled from."""

    service: SecretService
    vault: Vault


def keep_secrets(
    dal: AsyncDAL, keys: Sequence[bytes], home: Path | None, cursors: Cursors
) -> SecretKeeping:
    """The secrets of this database. `home` is where an embedded one is, None for any other.
    Raises `RuntimeError`, `OSError`."""
    ring = KeyRing(keys_of(keys, home))
    secrets = CommunitySecrets(dal)
    vault = Vault(secrets, ring)
    return SecretKeeping(SecretService(secrets, vault, cursors), vault)


def keys_of(configured: Sequence[bytes], home: Path | None) -> list[bytes]:
    """The configured keys, and after them the one in `home`: it is made if there is no other, and
    decrypts what is under it still when another one is configured later."""
    if home is None or (configured and not (home / KEY_FILE).exists()):
        return list(configured)
    return [*configured, local_key(home)]
