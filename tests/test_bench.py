"""What the benchmark measures is what the service does."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench import (
    footprint,
    memory,
    servers,
    soak,
    w2_http,
    w4_fan_out,
    w5_lists,
    w6_parked,
    w7_live,
    w8_scale,
    w9_idle,
)
from bench.relay import relay
from bench.service import service
from bench.w2_throughput import STEPS, run_all
from bench.world import World, chain, engine_on
from models.dal import AsyncDAL

EXECUTION = "SELECT * FROM workflow_executions WHERE execution_id = $1"
RECORDS = "SELECT * FROM workflow_steps WHERE execution_id = $1 ORDER BY seq"


async def stored(dal: AsyncDAL, execution_id: str) -> list[dict[str, Any]]:
    """An execution's row and its records, without the id."""
    rows = [*await dal.fetch(EXECUTION, execution_id), *await dal.fetch(RECORDS, execution_id)]
    return [{k: v for k, v in row.items() if k != "execution_id"} for row in rows]


async def test_w6_sleepers_are_stored_as_the_engine_parks_them(
    dal: AsyncDAL, database_url: str
) -> None:
    template = await w6_parked.park_one(dal, database_url)
    first, second = await w6_parked.copies_of(dal, template, 2)
    parked = await stored(dal, template)
    assert (parked[0]["status"], parked[-1]["kind"]) == ("waiting", "waiting")
    assert await stored(dal, first) == await stored(dal, second) == parked


async def test_w6_sleepers_that_are_due_differ_in_the_moment_alone(
    dal: AsyncDAL, database_url: str
) -> None:
    template = await w6_parked.park_one(dal, database_url)
    moment: datetime = await dal.fetchval("SELECT clock_timestamp() + interval '1 hour'")
    [due] = await w6_parked.copies_of(dal, template, 1, moment)
    parked = await stored(dal, template)
    expected = [row | {"wake_at": moment} if row["wake_at"] else row for row in parked]
    assert await stored(dal, due) == expected


async def test_w6_a_real_service_wakes_all_that_are_due_and_no_other(
    dal: AsyncDAL, database_url: str
) -> None:
    template = await w6_parked.park_one(dal, database_url)
    await w6_parked.copies_of(dal, template, 20)
    async with service(database_url) as measured:
        cost = await measured.cost(0, 0.01)
        woken, ended = await w6_parked.wake(dal, template, 30)
    assert cost.resident > 0
    assert ended > 0
    assert woken > 0
    count = "SELECT status, count(*) FROM workflow_executions GROUP BY status"
    assert dict(await dal.fetch(count)) == {"waiting": 21, "completed": 30}
    output = "SELECT DISTINCT final_variables ->> 'awake' FROM workflow_executions"
    assert "true" in {row[0] for row in await dal.fetch(output)}


@pytest.mark.parametrize(
    "spoiled",
    [
        "DELETE FROM workflow_steps WHERE seq = 4",
        "INSERT INTO workflow_steps (execution_id, seq, step_key, node_id, node_type, kind, status,"
        " started_at) SELECT execution_id, 99, step_key, node_id, node_type, kind, status,"
        " started_at FROM workflow_steps WHERE seq = 4",
        "DELETE FROM workflow_executions",
        "UPDATE workflow_executions SET claims = 1",
    ],
    ids=["a step is missing", "a step ran twice", "executions are missing", "one was taken over"],
)
async def test_w8_finds_what_did_not_run_exactly_once(
    dal: AsyncDAL, database_url: str, spoiled: str
) -> None:
    async with engine_on(dal) as (engine, clock):
        world = World(dal, database_url, engine, clock)
        template = await world.publish(chain(STEPS, "data_variable_set"))
        await run_all(world, template, 3, in_flight=2)
    await w8_scale.check_each_ran_once(dal, template.workflow_id, 3)
    await dal.execute(spoiled)
    with pytest.raises(AssertionError, match="amiss"):
        await w8_scale.check_each_ran_once(dal, template.workflow_id, 3)


async def test_w7_clients_read_every_event_of_what_they_watch(
    dal: AsyncDAL, database_url: str
) -> None:
    async with engine_on(dal) as (engine, clock):
        world = World(dal, database_url, engine, clock)
        figures = await w7_live.run(world, 1, 40, clients=20)
    assert [len(figure.values) for figure in figures] == [1] * 4
    assert all(value > 0 for value in figures[0].values + figures[1].values + figures[3].values)


async def test_w8_processes_share_the_executions(dal: AsyncDAL, database_url: str) -> None:
    async with engine_on(dal) as (engine, clock):
        figures = await w8_scale.run(World(dal, database_url, engine, clock), 1, 8)
    assert [len(figure.values) for figure in figures] == [1] * 5
    workers = "SELECT count(*) FROM engine_workers"
    assert await dal.fetchval(workers) == 1 + 2 * (1 + 2 + 4)


async def test_w5_reads_a_history_through_the_services(dal: AsyncDAL, database_url: str) -> None:
    async with engine_on(dal) as (engine, clock):
        world = World(dal, database_url, engine, clock)
        figures = await w5_lists.run(world, 1, (3_000, 4_000))
    assert all(len(figure.values) == 1 for figure in figures)
    names = [figure.what for figure in figures]
    assert sum("page far down (page" in name for name in names) == 4
    assert "first page, 4,000 over 3,000" in names
    databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'w5%'"
    assert await dal.fetchval(databases) == 0


async def test_w5_builds_the_indexes_that_the_schema_has(dal: AsyncDAL) -> None:
    before = {tuple(row) for row in await dal.fetch(w5_lists.INDEXES)}
    await w5_lists.filled(dal, 100)
    assert {tuple(row) for row in await dal.fetch(w5_lists.INDEXES)} == before
    assert len(before) > 10
    ended = "SELECT count(*) FROM workflow_executions WHERE end_time IS NOT NULL"
    assert await dal.fetchval(ended) == 0


async def test_w4_counts_the_flushes_of_what_stands_side_by_side(
    dal: AsyncDAL, database_url: str
) -> None:
    async with engine_on(dal) as (engine, clock):
        figures = await w4_fan_out.run(World(dal, database_url, engine, clock), 1, (20, 40))
    flushes = {figure.what: figure.values for figure in figures if "flushes" in figure.what}
    assert flushes["20 pure steps, flushes"] == [1]
    assert flushes["40 effectful steps, flushes"] >= [3]
    steps = "SELECT count(*) FROM workflow_steps WHERE node_type = 'action_module'"
    assert await dal.fetchval(steps) == 2 * (20 + 40)


async def test_w9_counts_every_statement_of_a_service(dal: AsyncDAL, database_url: str) -> None:
    async with relay(database_url) as between:
        name = urlsplit(database_url).path[1:]
        async with AsyncDAL(between.dsn(name), min_size=1) as through:
            before = between.statements
            assert await through.fetchval("SELECT $1::int", 7) == 7
            assert await through.execute("SELECT generate_series(1, 10000)") == 10_000
            assert between.statements == before + 2


async def test_w9_watches_a_service_that_is_left_alone(dal: AsyncDAL, database_url: str) -> None:
    async with engine_on(dal) as (engine, clock):
        world = World(dal, database_url, engine, clock)
        figures = await w9_idle.run(world, w6_parked.Size(0, 0, 1, 0, 1.5))
    share, memory_used, statements = [figure.middle for figure in figures]
    assert share >= 0
    assert memory_used > 10
    assert statements > 0
    await dal.execute("DROP DATABASE w9_idle")


async def test_memory_holds_as_many_as_it_divides_by(dal: AsyncDAL, database_url: str) -> None:
    async with engine_on(dal) as (engine, clock):
        figures = await memory.run(World(dal, database_url, engine, clock), 1, 60)
    assert [len(figure.values) for figure in figures] == [1, 1]
    assert figures[0].middle > 0


async def test_size_divides_what_is_there_by_what_has_run(dal: AsyncDAL, database_url: str) -> None:
    async with engine_on(dal) as (engine, clock):
        figures = await footprint.run(World(dal, database_url, engine, clock), 50)
    found = {figure.what: figure.middle for figure in figures}
    assert found["pure, 64 in flight: rows"] == STEPS + 2
    assert 0 < found["effectful, 64 in flight: commits"] < 2 * STEPS
    assert found["pure, 64 in flight: bytes of WAL"] > 1_000
    assert found["pure, 64 in flight: CPU of the engine"] > 0
    assert found["pure, 64 in flight: CPU of PostgreSQL"] >= 0


async def test_a_soak_watches_a_service_that_works(dal: AsyncDAL, database_url: str) -> None:
    async with engine_on(dal) as (engine, clock):
        samples = await soak.soak(World(dal, database_url, engine, clock), 2, 0.5)
    await dal.execute("DROP DATABASE soak")
    assert samples[-1].executions > samples[0].executions
    assert all(each.memory_mib > 10 for each in samples)
    assert all(each.connections > 0 for each in samples)
    assert all(each.descriptors > each.connections for each in samples)
    assert set(soak.growth(samples)) == {"memory_mib", "connections", "descriptors"}


def test_what_grows_in_the_last_third_is_told() -> None:
    samples = [soak.Sample(n, 100 + max(n - 5, 0), 4, 20 + n // 6, n) for n in range(9)]
    grown = soak.growth(samples)
    assert grown == pytest.approx({"memory_mib": 2, "connections": 0, "descriptors": 1})


async def test_the_app_is_measured_unchanged_under_each_server() -> None:
    figures, versions = await servers.run(1, 64)
    assert list(versions) == ["hypercorn", "uvicorn", "granian"]
    assert all(figure.middle > 0 for figure in figures)
    beside = {figure.what for figure in figures if figure.beside_the_default}
    assert beside == {
        f"{server} over hypercorn, {what}"
        for server in ("uvicorn", "granian")
        for what in ("to 202", "to completed (?wait)", "accepted one by one")
    }


def test_a_server_that_is_not_installed_is_named() -> None:
    assert servers.missing(["hypercorn", "no_such_server"]) == ["no_such_server"]


async def test_w2_over_http_takes_in_what_a_service_completes() -> None:
    figures = await w2_http.run(1, 200)
    assert [len(figure.values) for figure in figures] == [1] * 4
    assert all(figure.middle > 0 for figure in figures)
