"""Ids that follow from something known, so that whoever makes them makes the same ones.

They are UUIDs of version 7 (RFC 9562) like all others: the moment, then a hash for the random bits.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from uuid import UUID


def answer_id(execution_id: str, ended_at: datetime) -> str:
    """The id of the execution that answers the failure of this one."""
    return _uuid7(int(ended_at.timestamp() * 1000), f"answer:{execution_id}")


def item_id(batch_id: str, index: int) -> str:
    """The id of the execution that is this item of a batch. `batch_id` is a UUID of version 7."""
    return _uuid7(UUID(batch_id).int >> 80, f"item:{batch_id}:{index}")


def _uuid7(milliseconds: int, name: str) -> str:
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:10])
    bits = milliseconds << 80 | digest
    bits = bits & ~(0xF << 76) | 7 << 76
    bits = bits & ~(0x3 << 62) | 2 << 62
    return str(UUID(int=bits))
