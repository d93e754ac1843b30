"""What an execution costs: rows, bytes of tables and indexes, WAL, commits, and CPU time.

Ten recorded steps with about 200 bytes of JSON in and out of each, pure and effectful, on a
database of their own. Files are compared before and after, so a page that is half full counts
whole, as it does on a disk. Commits are the journal's flushes. The CPU time is that of this
process, in which the engine runs, and that of all processes of the server.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import uuid_utils

from bench.measure import Figure
from bench.w2_throughput import IN_FLIGHT, STEPS, run_all
from bench.w4_fan_out import CountedStore
from bench.w6_parked import database
from bench.world import World, chain, engine_on
from models.dal import AsyncDAL

KINDS = {"pure": "data_variable_set", "effectful": "action_module"}
EXECUTIONS = 10_000
WARM = 200

SIZES = """
SELECT sum(pg_table_size(oid))::bigint AS tables, sum(pg_indexes_size(oid))::bigint AS indexes,
       (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal
  FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
ROWS = """
SELECT (SELECT count(*) FROM workflow_executions) + (SELECT count(*) FROM workflow_steps)
"""


@dataclass(frozen=True, slots=True)
class Used:
    """What a database holds and has done."""

    rows: int
    tables: int
    indexes: int
    wal: int
    commits: int
    engine_cpu: float
    server_cpu: float


async def run(world: World, executions: int = EXECUTIONS) -> list[Figure]:
    """Rows, bytes and commits an execution of each kind."""
    figures: list[Figure] = []
    for kind, node_type in KINDS.items():
        name = f"footprint_{uuid_utils.uuid7().hex}"
        dsn = await database(world, name)
        async with AsyncDAL(dsn) as dal:
            before, after = await _measured(dal, dsn, node_type, executions)
        await world.dal.execute(f"DROP DATABASE {name} WITH (FORCE)")
        figures += _figures(kind, before, after, executions)
    return figures


async def _measured(dal: AsyncDAL, dsn: str, node_type: str, executions: int) -> tuple[Used, Used]:
    """What is used before and after so many executions."""
    store = CountedStore(dal)
    async with engine_on(dal, store) as (engine, clock):
        world = World(dal, dsn, engine, clock)
        template = await world.publish(chain(STEPS, node_type))
        await run_all(world, template, WARM)
        before = await _used(dal, store)
        await run_all(world, template, executions)
        return before, await _used(dal, store)


async def _used(dal: AsyncDAL, store: CountedStore) -> Used:
    sizes = await dal.fetchrow(SIZES)
    assert sizes is not None
    rows: int = await dal.fetchval(ROWS)
    directory: str = await dal.fetchval("SHOW data_directory")
    return Used(
        rows=rows,
        tables=sizes["tables"],
        indexes=sizes["indexes"],
        wal=sizes["wal"],
        commits=store.flushes,
        engine_cpu=process_time(),
        server_cpu=_server_cpu(Path(directory)),
    )


def _server_cpu(directory: Path) -> float:
    """Seconds of CPU time of a server's processes, those that have ended among them. See proc(5):
    after the name come the state, the parent, and as 12th to 15th the process's own time and that
    of its children, in the user's and the system's mode."""
    postmaster = (directory / "postmaster.pid").read_text().splitlines()[0]
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It has ended since.
        if stat.parent.name == postmaster:
            ticks += sum(map(int, fields[11:15]))
        elif fields[1] == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _figures(kind: str, before: Used, after: Used, executions: int) -> list[Figure]:
    def each(total: float) -> list[float]:
        return [total / executions]

    what = f"{kind}, {IN_FLIGHT} in flight"
    return [
        Figure("size", f"{what}: rows", "", each(after.rows - before.rows)),
        Figure("size", f"{what}: bytes of tables", "", each(after.tables - before.tables)),
        Figure("size", f"{what}: bytes of indexes", "", each(after.indexes - before.indexes)),
        Figure("size", f"{what}: bytes of WAL", "", each(after.wal - before.wal)),
        Figure("size", f"{what}: commits", "", each(after.commits - before.commits)),
        Figure(
            "size",
            f"{what}: CPU of the engine",
            " µs",
            each(1e6 * (after.engine_cpu - before.engine_cpu)),
        ),
        Figure(
            "size",
            f"{what}: CPU of PostgreSQL",
            " µs",
            each(1e6 * (after.server_cpu - before.server_cpu)),
        ),
    ]
