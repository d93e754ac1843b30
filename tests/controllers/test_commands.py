"""The command line: `quart --app app keys …`, `members`, `audit`, `db` and `metrics`.

Secrets are in `test_secret_commands.py`.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

from click.testing import CliRunner, Result

from app import create_app
from config import Config
from models.api_keys import ApiKeys
from models.audit import AuditLog, AuditRow
from models.dal import AsyncDAL
from services.api_keys import ApiKeyService
from services.clock import SystemClock, new_id
from tests.models.aged import aged
from tests.waiting import until


async def invoke(
    database_url: str, *arguments: str, stdin: str = "", keys: tuple[bytes, ...] = ()
) -> Result:
    """Runs a command in a thread of its own: it brings its own event loop. `keys` are those of
    secrets."""
    app = create_app(Config(database_url=database_url, secrets_key=keys))
    return await asyncio.to_thread(CliRunner().invoke, app.cli, arguments, input=stdin)


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
    assert (result.exit_code, result.output) == (
        0,
        "Workflows: 1. Roll-ups corrected: 1. Executions measured: 3. Communities recounted: 0.\n",
    )
    assert await dal.fetchval("SELECT sum(executions)::int FROM execution_rollups") == 3

    again = await invoke(database_url, "metrics", "rebuild")
    assert again.output == (
        "Workflows: 1. Roll-ups corrected: 0. Executions measured: 0. Communities recounted: 0.\n"
    )
    noted = await dal.fetch("SELECT action, details FROM audit_log ORDER BY audit_id")
    assert [row["action"] for row in noted] == ["rebuild_metrics"] * 2
    assert [row["details"]["corrected"] for row in noted] == [1, 0]


async def test_no_database_is_a_message_and_no_traceback() -> None:
    result = await invoke("postgresql://nobody@127.0.0.1:1/none", "keys", "list")
    assert result.exit_code == 1
    assert "DATABASE_URL" in result.output
    assert "Traceback" not in result.output


async def test_members_are_added_listed_and_removed(database_url: str, dal: AsyncDAL) -> None:
    of = ("--community", "123")
    for arguments in (("--role", "mod", "--role", "vip"), ("--role", "vip"), ()):
        result = await invoke(database_url, "members", "add", *of, "--user", "456", *arguments)
        assert result.exit_code == 0, result.output
    await invoke(database_url, "members", "add", *of, "--user", "457")
    listed = await invoke(database_url, "members", "list", *of)
    assert listed.stdout.splitlines() == [
        "community=123  user=456  member,mod,vip",
        "community=123  user=457  member",
    ]
    narrow = await invoke(database_url, "members", "list", *of, "--role", "mod")
    assert narrow.stdout.splitlines() == ["community=123  user=456  member,mod,vip"]
    remove = ("members", "remove", *of, "--user", "456")
    assert (await invoke(database_url, *remove, "--role", "vip")).exit_code == 0
    assert (await invoke(database_url, *remove)).exit_code == 0
    again = await invoke(database_url, *remove)
    assert again.exit_code == 1
    assert "no such role" in again.output
    rows = await dal.fetch("SELECT action, community_id, details FROM audit_log ORDER BY audit_id")
    assert [row["action"] for row in rows] == ["add_member"] * 4 + ["remove_member"] * 2
    assert {row["community_id"] for row in rows} == {123}
    assert rows[0]["details"]["target"] == "user:456"
    assert rows[0]["details"]["roles"] == "mod,vip"
    assert rows[0]["details"]["by"].startswith("command line, ")


async def test_a_role_that_no_grant_could_name_is_refused(database_url: str) -> None:
    add = ("members", "add", "--community", "1", "--user", "2", "--role")
    result = await invoke(database_url, *add, "x" * 65)
    assert result.exit_code != 0
    assert "1 to 64 characters" in result.output


async def test_making_and_revoking_a_key_are_in_the_audit_log(
    database_url: str, dal: AsyncDAL
) -> None:
    await invoke(database_url, *CREATE)
    key_id = (await invoke(database_url, "keys", "list")).stdout.split()[0]
    await invoke(database_url, "keys", "revoke", key_id)
    rows = await dal.fetch("SELECT action, details FROM audit_log ORDER BY audit_id")
    assert [row["action"] for row in rows] == ["create_api_key", "revoke_api_key"]
    assert {row["details"]["target"] for row in rows} == {key_id}


async def filled(dal: AsyncDAL) -> list[int]:
    log = AuditLog(dal)
    row = AuditRow(datetime.now(UTC), "AUDIT", "do", "SUCCESS")
    for _ in range(3):
        await log.append([row])
    return [row["audit_id"] for row in await dal.fetch("SELECT audit_id FROM audit_log ORDER BY 1")]


async def tamper(dal: AsyncDAL, change: str) -> None:
    async with dal.transaction() as tx:
        await tx.execute("SET LOCAL session_replication_role = replica")
        await tx.execute(change)


async def test_an_audit_log_as_written_is_praised_and_its_tip_printed(
    database_url: str, dal: AsyncDAL
) -> None:
    ids = await filled(dal)
    result = await invoke(database_url, "audit", "verify")
    assert result.exit_code == 0, result.output
    assert "3 rows, all as written" in result.output
    tip = result.stdout.strip()
    assert re.fullmatch(rf"{ids[-1]}:[0-9a-f]{{64}}", tip)
    assert (await invoke(database_url, "audit", "verify", "--noted", tip)).exit_code == 0
    other = f"{ids[-1]}:{'0' * 64}"
    rewritten = await invoke(database_url, "audit", "verify", "--noted", other)
    assert rewritten.exit_code == 1
    assert "rewritten" in rewritten.output
    assert (await invoke(database_url, "audit", "verify", "--noted", "x")).exit_code == 2


async def test_the_first_broken_row_of_an_audit_log_is_named(
    database_url: str, dal: AsyncDAL
) -> None:
    ids = await filled(dal)
    await tamper(dal, f"UPDATE audit_log SET user_id = 7 WHERE audit_id = {ids[1]}")
    result = await invoke(database_url, "audit", "verify")
    assert result.exit_code == 1
    assert f"Row {ids[1]} is broken, after row {ids[0]}" in result.output
    pruned = await invoke(database_url, "audit", "prune", "--before", "2021-01-02")
    assert pruned.exit_code == 1
    assert "Nothing was removed." in pruned.output
    await tamper(dal, f"DELETE FROM audit_log WHERE audit_id >= {ids[1]}")
    result = await invoke(database_url, "audit", "verify")
    assert f"Rows are missing, after row {ids[0]}" in result.output
    assert f"should end with row {ids[2]}" in result.output


async def test_a_pruned_audit_log_says_so_itself(database_url: str, dal: AsyncDAL) -> None:
    ids = await filled(dal)
    prune = ("audit", "prune", "--before")
    assert "0 rows removed." in (await invoke(database_url, *prune, "2020-01-01")).output

    last = await dal.fetchval("SELECT max(recorded_at) FROM audit_log")

    async def a_second_has_passed() -> bool:
        return datetime.now(UTC).replace(microsecond=0) > last

    await until(a_second_has_passed)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert "3 rows removed." in (await invoke(database_url, *prune, now)).output
    rows = await dal.fetch("SELECT action, details FROM audit_log")
    assert [(row["action"], row["details"]["rows"]) for row in rows] == [("prune_audit", 3)]
    verified = await invoke(database_url, "audit", "verify")
    assert f"1 row, all as written; those up to {ids[-1]} were pruned" in verified.output


async def test_an_audit_log_is_not_pruned_up_to_a_date_in_the_future(
    database_url: str, dal: AsyncDAL
) -> None:
    ids = await filled(dal)
    result = await invoke(database_url, "audit", "prune", "--before", "2999-01-01")
    assert result.exit_code == 2
    assert "'--before'" in result.output
    assert "is in the future" in result.output
    rows = await dal.fetch("SELECT audit_id FROM audit_log ORDER BY 1")
    assert [row["audit_id"] for row in rows] == ids


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
