"""What the hub of live streams makes of what it hears, in whatever order it hears it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from engine.context import ExecutionStatus, Limits
from engine.graph import Graph, compile_graph
from engine.records import Batch, StepRow
from engine.telling import LiveEvent, subject_of
from models.live import Head, Hint
from services.caller import EVERYDAY_SCOPES, Caller
from services.live_filters import LiveFilter
from services.live_hub import Hub
from services.live_streams import Stream
from tests.engine.world import Log, canonical, document
from tests.store_contract import WORKFLOW, a_context, a_step, created, progress_of

RAW = document(
    {"node2": {"node_type": "data_variable_set", "config": {"variables": {"x": "1"}}}},
    "start -> node2",
)
CALLER = Caller(user_id=456, community_id=1, scopes=EVERYDAY_SCOPES)


class Table:
    """The tables, with what another process has written."""

    def __init__(self) -> None:
        self.heads_of: dict[str, Head] = {}
        self.rows: dict[str, list[StepRow]] = {}

    async def heads(self, execution_ids: list[str]) -> dict[str, Head]:
        return {key: self.heads_of[key] for key in execution_ids if key in self.heads_of}

    async def records(self, after: Mapping[str, int], most: int) -> dict[str, list[StepRow]]:
        return {
            key: [row for row in self.rows.get(key, ()) if row.seq > seq][:most]
            for key, seq in after.items()
        }


class Graphs:
    async def get(self, workflow_id: str, version: int) -> Graph:
        return compile_graph(canonical(RAW), Limits(), workflow_id=workflow_id, version=version)


class Everybody:
    async def authorise_execution(self, *_: Any) -> None:
        return None


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def hub(table: Table) -> Hub:
    return Hub(table, Graphs(), Everybody(), Log())  # type: ignore[arg-type]


@pytest.mark.parametrize("meanwhile", [0.0, 0.2], ids=["at once", "told before"])
async def test_what_another_process_runs_before_we_know_that_it_is_created_is_told_whole(
    hub: Hub, table: Table, meanwhile: float
) -> None:
    """Its notification may be read before the answer to our own commit."""

    async def proven() -> None:
        return None

    stream = Stream(CALLER, proven, LiveFilter(workflow_id=WORKFLOW), 100)  # type: ignore[arg-type]
    hub.add(stream)
    context = a_context()
    ours = created((context, progress_of(context, ExecutionStatus.PENDING)))
    table.heads_of[context.execution_id] = Head(subject_of(context), None)
    table.rows[context.execution_id] = [a_step(context, 2, step_key="start", node_id="start")]
    running = asyncio.create_task(hub.run())

    hub.flushing(ours)
    hub.heard(Hint({context.execution_id: 2}))
    await asyncio.sleep(meanwhile)
    hub.left_off(ours)
    hub.flushed(ours)
    later = Batch(steps=[a_step(context, 3)])
    hub.flushed(later)

    told: list[int] = []
    async with asyncio.timeout(10):
        while len(told) < 3:
            told += [each.seq for each in await stream.take() if isinstance(each, LiveEvent)]
    running.cancel()
    assert told == [1, 2, 3]

    hub.heard(Hint({a_context().execution_id: 2}))  # nobody's here: from there on
    assert [moved.first for moved in hub._moved.values()] == [2]
