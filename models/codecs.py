"""How PostgreSQL's values travel: JSON as Python values, UUIDs as text.

Both are binary codecs, so they also hold inside arrays (`$1::json[]`, `$1::uuid[]`).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import orjson

_CANONICAL = 36
"""Characters of a UUID as everybody writes it."""


def encode_json(value: Any) -> bytes:
    """Gives the wire form of a JSON value; `bytes` are taken as JSON already serialised."""
    return value if isinstance(value, bytes) else orjson.dumps(value)


def encode_uuid(value: str | UUID) -> bytes:
    """Gives the sixteen bytes of a UUID. Raises `ValueError` for what is not one."""
    if isinstance(value, UUID):
        return value.bytes
    if len(value) == _CANONICAL:
        wire = bytes.fromhex(value.replace("-", ""))  # a fifth of the time that UUID() takes
        if len(wire) != 16 or value.count("-") != 4:  # fromhex() passes over blanks
            raise ValueError(f"not a UUID: {value!r}")
        return wire
    return UUID(value).bytes


def decode_uuid(wire: bytes) -> str:
    """Writes a UUID as its canonical text."""
    digits = wire.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


async def register(connection: asyncpg.Connection) -> None:
    """Makes one connection speak these codecs."""
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=encode_json, decoder=orjson.loads, format="binary"
    )
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=encode_uuid, decoder=decode_uuid, format="binary"
    )
