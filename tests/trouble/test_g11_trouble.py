"""G11: without the database requests are refused before any work, in bounded time, nothing that
was accepted is forgotten, and the service is well again by itself."""

from __future__ import annotations

import asyncio

import asyncpg

from models.execution_store import lock_key
from tests.trouble.world import DOCUMENT, Trouble
from tests.waiting import until

LOCK_CONNECTION = "application_name = 'workflow_core worker'"
FEW_LINES = 4
"""Per trouble and loop: its beginning, its end, and room for one more of each."""

LOOPS = ("heartbeat", "sweep", "claim", "flush", "audit_write", "open_session", "models.listener")


def assert_no_flood(world: Trouble, *, troubles: int = 1) -> None:
    """The loops said little, and nothing that nobody had foreseen."""
    for loop in LOOPS:
        assert len(world.lines(loop)) <= FEW_LINES * troubles, world.lines(loop)
    assert "Traceback" not in world.printed.getvalue()
    assert "never retrieved" not in world.printed.getvalue()


GRABBERS, GRABS = 12, 8


async def test_g11_a_database_that_is_down_is_refused_and_comes_back(world: Trouble) -> None:
    await world.execute()
    await world.stop_database()
    await world.refused()
    await world.not_ready()
    for _ in range(30):
        await world.refused()
    await until(lambda: world.said("heartbeat", "FAILURE"))
    await world.start_database()
    await world.well_again()
    await until(lambda: world.said("heartbeat", "SUCCESS"))
    assert_no_flood(world)


async def test_g11_one_that_was_accepted_is_no_refusal_while_its_end_is_waited_for(
    world: Trouble,
) -> None:
    """Who asked for the end as well would otherwise start it once more."""
    waiting = asyncio.create_task(
        world.call(
            "POST",
            f"/api/v1/workflows/{await world.published(LONG)}/execute?wait=4",
            {"community_id": 1},
        )
    )

    async def parked() -> bool:
        rows = await world.database.fetch("SELECT FROM workflow_executions WHERE wake_at > now()")
        return len(rows) == 1

    await until(parked)
    await world.stop_database()
    answer = await waiting
    await world.start_database()
    assert (answer.status, answer.code) == (202, None)
    world.accepted.append(answer.data["execution_id"])
    await world.well_again()


LONG = {
    **DOCUMENT,
    "nodes": {
        "start": {"node_type": "trigger_command", "command": "!go"},
        "wait": {"node_type": "action_delay", "config": {"delay_seconds": 10}},
    },
}


async def test_g11_connections_that_are_all_ended_cost_no_lease(world: Trouble) -> None:
    for _ in range(5):
        await world.execute()
        await world.end_backends()
    await world.well_again()
    assert not world.lines("lease")
    assert_no_flood(world, troubles=5)


async def test_g11_a_frozen_server_hangs_no_request(world: Trouble) -> None:
    await world.execute()
    with world.frozen(await world.backends()):
        await world.refused()
        await world.not_ready()
        # More than there are connections: none waits for the others' time to run out.
        await asyncio.gather(*(world.refused() for _ in range(100)))
        await until(lambda: world.said("heartbeat", "FAILURE"))
    await world.well_again()
    assert_no_flood(world)


async def test_g11_a_full_table_of_connections_costs_no_lease(world: Trouble) -> None:
    held: list[asyncpg.Connection] = []
    try:
        await fill(world, held)
        await take_the_place_of_the_lock(world, held)
        await until(lambda: lives_by_its_lease(held[0]))
        assert (await world.execute()).status == 202
    finally:
        for connection in held:
            connection.terminate()
    await world.well_again()
    await until(lambda: holds_its_lock(world))
    assert not world.lines("lease")
    assert_no_flood(world)


async def test_g11_a_read_only_database_is_refused_until_it_is_not(world: Trouble) -> None:
    await world.execute()
    await world.database.fetch("ALTER DATABASE postgres SET default_transaction_read_only = on")
    await world.end_backends("application_name = 'workflow_core'")
    await world.refused()
    await world.not_ready()
    async with world.connection() as outsider:
        await outsider.execute("SET default_transaction_read_only = off")
        await outsider.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
    await world.well_again()
    assert_no_flood(world)


async def test_g11_sessions_that_turned_read_only_are_not_kept(world: Trouble) -> None:
    await world.database.fetch("ALTER SYSTEM SET default_transaction_read_only = on")
    await world.database.fetch("SELECT pg_reload_conf()")
    await world.refused()
    await world.not_ready()
    async with world.connection() as outsider:
        await outsider.execute("SET default_transaction_read_only = off")
        await outsider.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await outsider.execute("SELECT pg_reload_conf()")
    await world.well_again()
    assert_no_flood(world)


async def test_g11_a_locked_table_hangs_no_request_and_costs_no_lease(world: Trouble) -> None:
    await world.execute()
    async with world.connection() as outsider, outsider.transaction():
        await outsider.execute("LOCK TABLE workflow_executions")
        await asyncio.gather(*(world.refused() for _ in range(40)))
        await until(lambda: world.said("flush", "FAILURE"))
        await asyncio.gather(*(world.refused() for _ in range(40)))
    await world.well_again()
    assert not world.lines("lease")
    assert_no_flood(world)


async def test_g11_a_locked_execution_costs_no_lease(world: Trouble) -> None:
    await world.execute()
    (parked,) = world.accepted
    async with world.connection() as outsider, outsider.transaction():
        await outsider.execute(
            "SELECT FROM workflow_executions WHERE execution_id = $1 FOR UPDATE", parked
        )
        await world.several_leases()
    await world.well_again()
    assert not world.lines("lease")
    assert_no_flood(world)


async def test_g11_a_locked_row_of_the_worker_is_refused_until_it_is_free(world: Trouble) -> None:
    await world.execute()
    async with world.connection() as outsider, outsider.transaction():
        await outsider.execute("SELECT FROM engine_workers FOR UPDATE")
        await world.refused()
        await until(lambda: world.said("heartbeat", "FAILURE"))
    await world.well_again()
    assert_no_flood(world)


async def test_g11_a_start_of_unknown_outcome_is_one_start_when_repeated(world: Trouble) -> None:
    key = {"Idempotency-Key": "once"}
    with world.frozen(await world.backends()):
        first = await world.execute(**key)
        assert (first.status, first.retry_after) == (503, "1")
    await until(lambda: accepted(world, key))
    again = await world.execute(**key)
    assert again.data == (await world.execute(**key)).data
    await world.well_again()
    rows = await world.database.fetch(
        "SELECT count(*) AS n FROM workflow_executions e JOIN idempotency_keys k"
        " USING (execution_id) WHERE k.key = 'once'"
    )
    assert [row["n"] for row in rows] == [1]
    assert len(set(world.accepted)) == 2


async def accepted(world: Trouble, key: dict[str, str]) -> bool:
    """Whether the start is accepted at last."""
    return (await world.execute(**key)).status == 202


async def fill(world: Trouble, held: list[asyncpg.Connection]) -> None:
    """Takes every connection that the server has left."""
    while True:
        try:
            held.append(await asyncpg.connect(world.database.server.dsn, timeout=5))
        except asyncpg.TooManyConnectionsError:
            return


async def grab(world: Trouble, held: list[asyncpg.Connection]) -> None:
    """Asks for a connection again and again, so that somebody is there when one becomes free."""
    for _ in range(GRABS):
        await fill(world, held)


async def take_the_place_of_the_lock(world: Trouble, held: list[asyncpg.Connection]) -> None:
    """Ends the connection that holds the worker's lock and takes its place in the table, again
    until the worker was not faster."""

    async def took() -> bool:
        grabbing = [asyncio.create_task(grab(world, held)) for _ in range(GRABBERS)]
        await asyncio.sleep(0)
        ended = await held[0].fetchval(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE "
            + LOCK_CONNECTION
        )
        await asyncio.gather(*grabbing)
        return int(ended) == 0

    await until(took)


async def lives_by_its_lease(connection: asyncpg.Connection) -> bool:
    """Whether the worker has written that it holds no lock."""
    alone: bool = await connection.fetchval(
        "SELECT bool_or(locked_at = '-infinity') FROM engine_workers WHERE state = 'alive'"
    )
    return alone


async def holds_its_lock(world: Trouble) -> bool:
    """Whether the living worker has its lock, and says so."""
    (row,) = await world.database.fetch(
        "SELECT worker_id::text AS id, locked_at > '-infinity' AS says FROM engine_workers"
        " WHERE state = 'alive'"
    )
    (taken,) = await world.database.fetch(
        "SELECT pg_try_advisory_lock($1) AS free", lock_key(row["id"])
    )
    return bool(row["says"]) and not taken["free"]
