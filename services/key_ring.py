"""The keys that secrets are stored under: the first encrypts, all of them decrypt.

Its one rule: a ciphertext opens only where it was put. AES-256-GCM authenticates the context (which
community, which name, which hosts) together with the text, so whoever can write to the database but
has no key can neither move a secret to another community nor let it go to more hosts.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.context import Json

KEY_BYTES = 32
_NONCE_BYTES = 12
"""As NIST SP 800-38D has it; random, which is sound for 2^32 secrets under one key."""
_PURPOSE = b"workflow core, id of a key of secrets, version 1"


class Unreadable(Exception):
    """The ciphertext is under no key of this ring, or was put somewhere else."""


class KeyRing:
    """The keys, each of `KEY_BYTES`; there may be none. Raises `ValueError` for one that is
    shorter or longer."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._keys = {key_id(key): AESGCM(key) for key in keys}
        self.first = key_id(keys[0]) if keys else None
        """The id of the key that encrypts; None if there is none."""

    def has(self, key_id: str) -> bool:
        """Whether there is a key of this id."""
        return key_id in self._keys

    def seal(self, text: str, context: Json) -> tuple[str, bytes]:
        """The id of the first key, and the ciphertext under it. Raises `LookupError` if there is
        no key."""
        if self.first is None:
            raise LookupError("there is no key")
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[self.first].encrypt(nonce, text.encode(), _bound(context))
        return self.first, nonce + sealed

    def open(self, key_id: str, ciphertext: bytes, context: Json) -> str:
        """The text. Raises `Unreadable`."""
        key = self._keys.get(key_id)
        if key is None or len(ciphertext) <= _NONCE_BYTES:
            raise Unreadable
        nonce, sealed = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
        try:
            return key.decrypt(nonce, sealed, _bound(context)).decode()
        except InvalidTag:
            raise Unreadable from None


def key_id(key: bytes) -> str:
    """What a key is called in the database; it says nothing about the key."""
    return hmac.digest(key, _PURPOSE, "sha256")[:8].hex()


def _bound(context: Json) -> bytes:
    return orjson.dumps(context)
