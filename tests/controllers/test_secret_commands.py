"""The command line: `quart --app app secrets …`."""

from __future__ import annotations

from models.community_secrets import CommunitySecrets
from models.dal import AsyncDAL
from services.key_ring import KeyRing
from services.vault import Vault
from tests.controllers.test_commands import invoke

OLD, NEW = b"o" * 32, b"n" * 32
OF = ("--community", "123")
SET = ("secrets", "set", "token", *OF, "--host", "api.example.com", "--host", "*.example.org")
VALUE = "tok-4c1f0a9b7d2e"


async def opened(dal: AsyncDAL, *keys: bytes) -> str:
    vault = Vault(CommunitySecrets(dal), KeyRing(keys))
    return (await vault.opened(123, ["token"], "https://api.example.com/"))["token"]


async def test_a_secret_is_set_from_stdin_listed_and_removed(
    database_url: str, dal: AsyncDAL
) -> None:
    done = await invoke(database_url, *SET, stdin=VALUE + "\n", keys=(NEW,))
    assert done.exit_code == 0, done.output
    assert await opened(dal, NEW) == VALUE
    line = "community=123  token  api.example.com,*.example.org"
    listed = await invoke(database_url, "secrets", "list", *OF, keys=(NEW,))
    assert listed.stdout.splitlines() == [line]
    unusable = await invoke(database_url, "secrets", "list", *OF, keys=(OLD,))
    assert unusable.stdout.splitlines() == [line + "  (under no key of SECRETS_KEY)"]
    removed = await invoke(database_url, "secrets", "remove", "token", *OF)
    assert (removed.exit_code, removed.output) == (
        0,
        f"Removed: {line}  (under no key of SECRETS_KEY)\n",
    )
    again = await invoke(database_url, "secrets", "remove", "token", *OF)
    assert (again.exit_code, "no such secret" in again.output) == (1, True)
    rows = await dal.fetch("SELECT action, community_id, details FROM audit_log ORDER BY audit_id")
    assert [row["action"] for row in rows] == ["set_secret", "remove_secret"]
    assert {row["details"]["target"] for row in rows} == {"secrets.token"}
    printed = done.output + listed.output + str([dict(row) for row in rows])
    assert VALUE not in printed


async def test_a_wrong_secret_is_refused_without_being_shown(database_url: str) -> None:
    for stdin in ("short", "x" * 8193):
        result = await invoke(database_url, *SET, stdin=stdin, keys=(NEW,))
        assert result.exit_code == 1
        assert "/value: must have at" in result.output
        assert stdin not in result.output


async def test_without_a_key_no_secret_can_be_set(database_url: str) -> None:
    result = await invoke(database_url, *SET, stdin=VALUE)
    assert result.exit_code == 1
    assert "SECRETS_KEY" in result.output


async def test_secrets_are_rotated(database_url: str, dal: AsyncDAL) -> None:
    await invoke(database_url, *SET, stdin=VALUE, keys=(OLD,))
    done = await invoke(database_url, "secrets", "rotate", keys=(NEW, OLD))
    assert (done.exit_code, done.output) == (0, "Secrets encrypted anew: 1.\n")
    assert await opened(dal, NEW) == VALUE
    rows = await dal.fetch("SELECT details FROM audit_log WHERE action = 'rotate_secrets'")
    assert [row["details"]["moved"] for row in rows] == [1]


async def test_what_cannot_be_rotated_is_named(database_url: str) -> None:
    await invoke(database_url, *SET, stdin=VALUE, keys=(OLD,))
    done = await invoke(database_url, "secrets", "rotate", keys=(NEW,))
    assert done.exit_code == 1
    assert "Under no key of SECRETS_KEY: community=123  token" in done.output
