"""The keys of secrets, and where a ciphertext opens."""

from __future__ import annotations

import pytest

from services.key_ring import KEY_BYTES, KeyRing, Unreadable, key_id

OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES
HERE = ["community_secrets", 1, "token", ["api.example.com"]]


def test_what_was_sealed_opens_where_it_was_put() -> None:
    ring = KeyRing([NEW])
    name, sealed = ring.seal("the token é", HERE)

    assert ring.open(name, sealed, HERE) == "the token é"
    assert b"the token" not in sealed


@pytest.mark.parametrize(
    "elsewhere",
    [
        ["community_secrets", 2, "token", ["api.example.com"]],
        ["community_secrets", 1, "other", ["api.example.com"]],
        ["community_secrets", 1, "token", ["api.example.com", "evil.example"]],
    ],
)
def test_it_opens_nowhere_else(elsewhere: list[object]) -> None:
    ring = KeyRing([NEW])
    with pytest.raises(Unreadable):
        ring.open(*ring.seal("the token", HERE), elsewhere)


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    under_old = KeyRing([OLD]).seal("the token", HERE)
    both = KeyRing([NEW, OLD])

    assert both.open(*under_old, HERE) == "the token"
    assert both.seal("the token", HERE)[0] == key_id(NEW)


def test_without_its_key_it_does_not_open() -> None:
    with pytest.raises(Unreadable):
        KeyRing([NEW]).open(*KeyRing([OLD]).seal("the token", HERE), HERE)


@pytest.mark.parametrize("place", [0, 11, 12, -1])
def test_a_changed_byte_is_noticed(place: int) -> None:
    ring = KeyRing([NEW])
    name, sealed = ring.seal("the token", HERE)
    changed = bytearray(sealed)
    changed[place] ^= 1
    with pytest.raises(Unreadable):
        ring.open(name, bytes(changed), HERE)


@pytest.mark.parametrize("sealed", [b"", b"x" * 12, b"x" * 13])
def test_what_is_too_short_is_no_ciphertext(sealed: bytes) -> None:
    with pytest.raises(Unreadable):
        KeyRing([NEW]).open(key_id(NEW), sealed, HERE)


def test_the_same_text_is_sealed_differently_each_time() -> None:
    ring = KeyRing([NEW])

    assert ring.seal("the token", HERE) != ring.seal("the token", HERE)


def test_without_a_key_nothing_can_be_sealed() -> None:
    ring = KeyRing([])

    assert ring.first is None
    with pytest.raises(LookupError):
        ring.seal("the token", HERE)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        KeyRing([b"short"])
