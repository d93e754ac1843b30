"""What an execution leaves in PostgreSQL: rows, bytes of tables and indexes, WAL and commits.

Ten recorded steps with about 200 bytes of JSON in and out of each, pure and effectful, on a
database of their own. Files are compared before and after, so a page that is half full counts
whole, as it does on a disk. Commits are the journal's flushes.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    return Used(rows, sizes["tables"], sizes["indexes"], sizes["wal"], store.flushes)


def _figures(kind: str, before: Used, after: Used, executions: int) -> list[Figure]:
    def each(total: int) -> list[float]:
        return [total / executions]

    what = f"{kind}, {IN_FLIGHT} in flight"
    return [
        Figure("size", f"{what}: rows", "", each(after.rows - before.rows)),
        Figure("size", f"{what}: bytes of tables", "", each(after.tables - before.tables)),
        Figure("size", f"{what}: bytes of indexes", "", each(after.indexes - before.indexes)),
        Figure("size", f"{what}: bytes of WAL", "", each(after.wal - before.wal)),
        Figure("size", f"{what}: commits", "", each(after.commits - before.commits)),
    ]
