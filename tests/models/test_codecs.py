"""UUIDs on their way to PostgreSQL."""

from __future__ import annotations

from uuid import UUID

import pytest

from models.codecs import decode_uuid, encode_uuid

TEXT = "0190a000-0000-7000-8000-00000000abcd"


@pytest.mark.parametrize("value", [TEXT, TEXT.upper(), UUID(TEXT), TEXT.replace("-", "")])
def test_a_uuid_travels_as_its_bytes_however_it_is_given(value: str | UUID) -> None:
    assert encode_uuid(value) == UUID(TEXT).bytes
    assert decode_uuid(encode_uuid(value)) == TEXT


@pytest.mark.parametrize(
    "value",
    [
        "",
        "7",
        TEXT[:-1],
        TEXT[:-1] + "x",
        " " * 36,
        TEXT[:-2] + "  ",
        TEXT.replace("-", " "),
        "\0" * 36,
    ],
)
def test_what_is_no_uuid_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"hex|UUID"):
        encode_uuid(value)
