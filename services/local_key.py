"""The key of secrets on a development machine: made when it is first needed, kept in a file.

Its one rule: only beside an embedded database, whose files lie in the same directory. In production
the key must not lie where the database does, so there it is configured (`SECRETS_KEY`).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from services.key_ring import KEY_BYTES

KEY_FILE = "secrets-key"


def local_key(data_dir: Path) -> bytes:
    """The key in `data_dir`, readable by its owner only; made if there is none. Of two processes
    that make one at the same time both get the one that was there first. Raises `RuntimeError` if
    the file holds no key, `OSError`."""
    path = data_dir / KEY_FILE
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        _make(path)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise RuntimeError(f"{path} holds no key of {KEY_BYTES} bytes in hex; restore or remove it")
    return key


def _make(path: Path) -> None:
    """Puts a whole file in its place, or none."""
    draft = path.with_name(f"{KEY_FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
