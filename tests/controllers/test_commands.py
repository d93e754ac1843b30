"""The command line: `quart --app app keys …`, `db migrate` and `metrics rebuild`."""

from __future__ import annotations

import asyncio
import re

from click.testing import CliRunner, Result

from app import create_app
from config import Config
from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService
from services.clock import SystemClock, new_id
from tests.models.aged import aged


async def invoke(database_url: str, *arguments: str) -> Result:
    """Runs a command in a thread of its own: it brings its own event loop."""
    app = create_app(Config(database_url=database_url))
    return await asyncio.to_thread(CliRunner().invoke, app.cli, arguments)


CREATE = ("keys", "create", "--user", "456", "--community", "123", "--scope", "executions:read")


async def test_a_key_is_made_and_printed_alone_on_stdout(database_url: str, dal: AsyncDAL) -> None:
    result = await invoke(database_url, *CREATE, "--kind", "service", "--name", "bot")
    assert result.exit_code == 0, result.output
    secret = result.stdout.strip()
    assert re.fullmatch(r"wa-[0-9a-f]{64}", secret)
    keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
    key = await keys.resolve(secret)
    assert key is not None
    assert (key.user_id, key.community_id, key.kind, key.name) == (456, 123, "service", "bot")


async def test_keys_are_listed_without_their_secrets_and_revoked(database_url: str) -> None:
    secret = (await invoke(database_url, *CREATE)).stdout.strip()
    listed = await invoke(database_url, "keys", "list")
    assert secret not in listed.stdout
    assert secret[:11] in listed.stdout
    key_id = listed.stdout.split()[0]
    assert (await invoke(database_url, "keys", "revoke", key_id)).exit_code == 0
    assert "revoked" in (await invoke(database_url, "keys", "list")).stdout
    again = await invoke(database_url, "keys", "revoke", key_id)
    assert again.exit_code == 1
    assert "There is no such API key." in again.output


async def test_an_unknown_scope_is_refused_with_the_known_ones(database_url: str) -> None:
    result = await invoke(database_url, "keys", "create", "--user", "1", "--scope", "everything")
    assert result.exit_code == 2
    assert "executions:cancel" in result.output


async def test_migrating_twice_does_nothing(database_url: str) -> None:
    result = await invoke(database_url, "db", "migrate")
    assert (result.exit_code, result.output) == (0, "Nothing to do.\n")


async def test_metrics_are_rebuilt_from_what_there_is(database_url: str, dal: AsyncDAL) -> None:
    await aged(dal, count=3)
    await dal.execute("DELETE FROM execution_rollups")

    result = await invoke(database_url, "metrics", "rebuild")
    assert (result.exit_code, result.output) == (0, "Workflows: 1. Roll-ups corrected: 1.\n")
    assert await dal.fetchval("SELECT sum(executions)::int FROM execution_rollups") == 3

    again = await invoke(database_url, "metrics", "rebuild")
    assert again.output == "Workflows: 1. Roll-ups corrected: 0.\n"


async def test_no_database_is_a_message_and_no_traceback() -> None:
    result = await invoke("postgresql://nobody@127.0.0.1:1/none", "keys", "list")
    assert result.exit_code == 1
    assert "DATABASE_URL" in result.output
    assert "Traceback" not in result.output


async def test_a_key_is_rotated_and_the_new_one_printed_alone(
    database_url: str, dal: AsyncDAL
) -> None:
    secret = (await invoke(database_url, *CREATE)).stdout.strip()
    key_id = (await invoke(database_url, "keys", "list")).stdout.split()[0]
    result = await invoke(database_url, "keys", "rotate", key_id, "--grace-seconds", "0")
    assert result.exit_code == 0, result.output
    keys = ApiKeyService(ApiKeys(dal), now=SystemClock().now, new_id=new_id)
    key = await keys.resolve(result.stdout.strip())
    assert key is not None
    assert (key.user_id, key.community_id, key.scopes) == (456, 123, ("executions:read",))
    assert await keys.resolve(secret) is None
    assert "expired" in (await invoke(database_url, "keys", "list")).stdout
    again = await invoke(database_url, "keys", "rotate", key_id)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "rotated already" in again.output
