"""Roll-ups of what has ended: reading them for those who may see it, and counting them anew.

Its one rule: what a viewer may not see is not in any sum. A roll-up is of a workflow, so exactly
the workflows that the viewer may view are counted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

import asyncpg

from models import rollup_sql as sql
from models import rollup_upkeep_sql as upkeep
from models.dal import AsyncDAL
from models.histograms import Histogram
from models.patient import HOURS_LONG, patient, run
from models.permissions import Viewer, viewable
from models.query import Query, select


@dataclass(frozen=True, slots=True)
class Span:
    """Which roll-ups are asked for: whole buckets of a `width`, of one workflow or community or of
    all that the viewer may see."""

    start: datetime
    end: datetime
    width: timedelta
    workflow_id: str | None = None
    community_id: int | None = None


@dataclass(slots=True)
class Ends:
    """What ended with one status in one bucket, and the durations of it."""

    start: datetime
    status: str
    executions: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    tokens: float = 0.0
    durations: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class NodeRuns:
    """How a node did in one bucket, or (`start` None) in all of them. `slow` or `failing` is its
    place, from 1, among the slowest or among the most-failing: one of them, for one that is among
    both comes twice."""

    start: datetime | None
    workflow_id: str
    node_id: str
    node_type: str
    runs: int
    failures: int
    seconds: float
    longest_seconds: float
    slow: int | None
    failing: int | None


class Rollups:
    """The tables `execution_rollups` and `node_rollups`, and what is gathered of them."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal
        # Compiling takes a fifth of a report, and dashboards ask the same again and again. What
        # they may see is looked up by the statement, each time.
        self._visible = lru_cache(maxsize=1_000)(self._compiled)

    async def read(
        self, viewer: Viewer, span: Span, most: int
    ) -> tuple[list[Ends], list[NodeRuns]]:
        """What ended, bucket by bucket, and the `most` slowest and the `most` most-failing nodes of
        each bucket and of all."""
        visible = self._visible(viewer, span.workflow_id, span.community_id)
        asked, first = (*visible.args, span.width, span.start, span.end), len(visible.args) + 1
        async with self._dal.transaction() as tx:
            await tx.execute(sql.READ)
            ended = await tx.fetch(sql.executions(visible.sql, first), *asked)
            nodes = await tx.fetch(sql.nodes(visible.sql, first), *asked, most)
        return _merged(ended), [NodeRuns(*row) for row in nodes]

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


def _merged(rows: list[asyncpg.Record]) -> list[Ends]:
    """One for each bucket and status, in order."""
    ends: dict[tuple[datetime, str], Ends] = {}
    for start, status, executions, seconds, cost, tokens, lowest_bin, sent, bins, times in rows:
        key = start, status
        known = ends.get(key)
        if known is None:
            known = ends[key] = Ends(start, status)
        known.executions += executions
        known.seconds += seconds
        known.cost += cost
        known.tokens += tokens
        if sent is not None:
            known.durations.add_sent(lowest_bin, sent)
        else:
            for bin_number, count in zip(bins, times, strict=True):
                known.durations.add(bin_number, count)
    return [ends[key] for key in sorted(ends)]
