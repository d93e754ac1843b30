"""Roll-ups of what has ended: reading them for those who may see it, and counting them anew.

Its one rule: what a viewer may not see is not in any sum. A roll-up is of a workflow, so exactly
the workflows that the viewer may view are counted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import asyncpg

from models import rollup_sql as sql
from models import rollup_upkeep_sql as upkeep
from models.dal import AsyncDAL
from models.patient import HOURS_LONG, patient, run
from models.permissions import Viewer, viewable
from models.query import Query, select
from models.tallies import Remembered, Tallies, tallied


@dataclass(frozen=True, slots=True)
class Span:
    """Which roll-ups are asked for: whole buckets of a `width`, of one workflow or community or of
    all that the viewer may see."""

    start: datetime
    end: datetime
    width: timedelta
    workflow_id: str | None = None
    community_id: int | None = None


class Rollups:
    """The tables `execution_rollups` and `node_rollups`, and what is gathered of them."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal
        self._remembered = Remembered()
        # Compiling takes a fifth of a report, and dashboards ask the same again and again. What
        # they may see is looked up by the statement, each time.
        self._visible = lru_cache(maxsize=1_000)(self._compiled)

    async def read(self, viewer: Viewer, span: Span) -> Tallies:
        """What ended and how nodes did, bucket by bucket and in all.

        What is gathered is read again only once it has changed, or the viewer may see others."""
        visible = self._visible(viewer, span.workflow_id, span.community_id)
        asked, first = (*visible.args, span.width, span.start, span.end), len(visible.args) + 1
        async with self._dal.transaction() as tx:
            await tx.execute(sql.READ)
            known = await tx.fetchrow(sql.known(visible.sql), *visible.args)
            assert known is not None
            state, key = known["state"], (known["workflows"], span.width, span.start, span.end)
            gathered = None if state is None else self._remembered.get(key, state)
            if gathered is None:
                ended, nodes = [
                    await tx.fetch(each(visible.sql, first), *asked) for each in sql.GATHERED
                ]
                gathered = tallied(ended, nodes)
                if state is not None:
                    self._remembered.put(key, state, gathered)
            ended, nodes = [await tx.fetch(each(visible.sql, first), *asked) for each in sql.LIVE]
        return gathered.plus(tallied(ended, nodes))

    def _compiled(self, viewer: Viewer, workflow_id: str | None, community_id: int | None) -> Query:
        db = self._dal.db
        where = viewable(db, viewer)
        if workflow_id is not None:
            where &= db.workflows.workflow_id == workflow_id
        if community_id is not None:
            where &= db.workflows.community_id == community_id
        return select(db, where, db.workflows.workflow_id)

    async def rebuild(self) -> AsyncGenerator[int, None]:
        """Corrects the roll-ups of one workflow after the other from the rows that there are, and
        gives how many were wrong. Anything may go on meanwhile. Raises `RuntimeError` if another
        rebuild is under way, `StoreUnavailable`."""
        async with patient(self._dal) as connection:
            if not await run(connection, sql.LOCK):
                raise RuntimeError("the roll-ups are being rebuilt already")
            try:
                for row in await connection.fetch(sql.WORKFLOWS, timeout=HOURS_LONG):
                    yield await _corrected(connection, row["workflow_id"])
            finally:
                # Its connection's end would do it too, but not before the next may ask.
                await run(connection, sql.UNLOCK)


async def _corrected(connection: asyncpg.Connection, workflow_id: str) -> int:
    async with connection.transaction():
        await run(connection, upkeep.TAKE_TURN)
        days = [await run(connection, each, workflow_id) for each in upkeep.DAYS_OF_HOURS]
    return int(sum(days) + await run(connection, sql.REBUILD, workflow_id))
