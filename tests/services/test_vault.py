"""The vault: rotation, keys that are lost, and what it says without opening anything."""

from __future__ import annotations

import pytest

from engine.errors import StepFailure
from models.community_secrets import CommunitySecrets
from models.dal import AsyncDAL
from services.errors import SecretsUnavailable
from services.key_ring import KEY_BYTES, KeyRing, key_id
from services.vault import Vault

OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES
URL = "https://api.example.com/"
HOSTS = ("api.example.com",)


def vault(dal: AsyncDAL, *keys: bytes) -> Vault:
    return Vault(CommunitySecrets(dal), KeyRing(keys))


async def keep(dal: AsyncDAL, key: bytes, name: str, value: str, community: int = 1) -> None:
    sealed = vault(dal, key).sealed(community, name, HOSTS, value)
    assert await CommunitySecrets(dal).set(sealed, 1, most=1000) is not None


async def test_rotation_puts_everything_under_the_first_key(dal: AsyncDAL) -> None:
    for number in range(205):  # more than it takes at once
        await keep(dal, OLD, f"s{number}", f"the value {number}", community=number % 3)
    await keep(dal, NEW, "fresh", "the fresh value")

    done = await vault(dal, NEW, OLD).rotate()

    assert (done.moved, done.unreadable) == (205, [])
    keys = await dal.fetch("SELECT DISTINCT key_id FROM community_secrets")
    assert [row["key_id"] for row in keys] == [key_id(NEW)]
    only_new = vault(dal, NEW)
    assert await only_new.opened(2, ["s5", "s8"], URL) == {"s5": "the value 5", "s8": "the value 8"}
    assert (await vault(dal, NEW, OLD).rotate()).moved == 0


async def test_rotation_names_what_it_cannot_open_and_goes_on(dal: AsyncDAL) -> None:
    await keep(dal, b"l" * KEY_BYTES, "lost", "the lost value")
    await keep(dal, OLD, "moved", "the moved value")
    await keep(dal, OLD, "kept", "the kept value")
    await dal.execute("UPDATE community_secrets SET community_id = 2 WHERE name = 'moved'")

    done = await vault(dal, NEW, OLD).rotate()

    assert (done.moved, done.unreadable) == (1, [(1, "lost"), (2, "moved")])


async def test_a_secret_that_is_set_anew_meanwhile_is_left_as_it_is(dal: AsyncDAL) -> None:
    secrets = CommunitySecrets(dal)
    await keep(dal, OLD, "token", "the old value")
    (was,) = await secrets.under_other_keys(key_id(NEW), (-1, ""), limit=10)
    await keep(dal, NEW, "token", "the new value")

    now = vault(dal, NEW).sealed(1, "token", HOSTS, "the old value")
    assert not await secrets.replace(was, now)
    assert await vault(dal, NEW).opened(1, ["token"], URL) == {"token": "the new value"}


async def test_without_a_key_there_is_no_rotation(dal: AsyncDAL) -> None:
    with pytest.raises(SecretsUnavailable):
        await vault(dal).rotate()


@pytest.mark.parametrize(
    ("keys", "name", "url", "code"),
    [
        ((NEW,), "absent", URL, "SECRET_NOT_FOUND"),
        ((NEW,), "token", "https://other.example.com/", "SECRET_NOT_ALLOWED"),
        ((NEW,), "token", "http://api.example.com/", "SECRET_NOT_ALLOWED"),
        ((OLD,), "token", URL, "SECRET_UNREADABLE"),
        ((), "token", URL, "SECRET_UNREADABLE"),
    ],
)
async def test_why_a_secret_cannot_be_sent_is_said_with_and_without_opening_it(
    dal: AsyncDAL, keys: tuple[bytes, ...], name: str, url: str, code: str
) -> None:
    await keep(dal, NEW, "token", "the value of it")
    asked = vault(dal, *keys)

    with pytest.raises(StepFailure) as refused:
        await asked.opened(1, [name], url)
    assert refused.value.error_type == code
    assert not refused.value.retryable
    assert f"'{name}'" in refused.value.message
    assert (await asked.judge(1, [name]))(name, url) == refused.value.message


async def test_nothing_is_said_of_what_can_be_sent(dal: AsyncDAL) -> None:
    await keep(dal, NEW, "token", "the value of it")

    assert (await vault(dal, NEW).judge(1, ["token"]))("token", URL) is None
