"""The least that the same hardware must spend: single commits, and the bare journal.

The bare journal writes the very rows of a run, in the very tables with their indexes, by the very
`unnest` statement, in groups, with no engine in front of it.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import uuid_utils

from bench.world import PAYLOAD, World
from engine.context import ExecutionContext, ExecutionStatus, Kind
from engine.records import Batch, Progress, StepRow
from models.execution_store import PostgresExecutionStore


class BareJournal:
    """Writes executions' rows straight to the store."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = PostgresExecutionStore(world.dal)
        self._worker = str(uuid_utils.uuid7())

    async def open(self) -> None:
        """Registers a worker of its own, so that the fence is paid for as well."""
        await self._store.register(self._worker, "floor", 86_400)

    async def close(self) -> None:
        """Ends that worker."""
        await self._store.release(self._worker)

    async def one_commit(self, template: ExecutionContext) -> float:
        """Seconds for creating one execution: one row, one commit."""
        context = replace(template, execution_id=str(uuid_utils.uuid7()))
        batch = Batch(created={context.execution_id: (context, self._ended(context))})
        began = perf_counter()
        await self._store.flush(self._worker, batch)
        return perf_counter() - began

    async def one_step_commit(self) -> float:
        """Seconds for recording one step: one row, one commit."""
        row = self._row(str(uuid_utils.uuid7()), 2)
        began = perf_counter()
        await self._store.flush(self._worker, Batch(steps=[row]))
        return perf_counter() - began

    async def one_flush(self, template: ExecutionContext, steps: int) -> float:
        """Seconds for one execution with all its steps: one flush, one commit."""
        context = replace(template, execution_id=str(uuid_utils.uuid7()))
        rows = [self._row(context.execution_id, seq) for seq in range(2, steps + 2)]
        created = {context.execution_id: (context, self._ended(context))}
        began = perf_counter()
        await self._store.flush(self._worker, Batch(created=created, steps=rows))
        return perf_counter() - began

    async def run(
        self, template: ExecutionContext, executions: int, steps: int, group: int
    ) -> float:
        """Seconds for the rows of `executions` with `steps` steps each, `group` executions to a
        flush: the steps and the end of a group go out with the creation of the next one."""
        began = perf_counter()
        carried = Batch()
        for first in range(0, executions, group):
            batch, carried = carried, Batch()
            for _ in range(min(group, executions - first)):
                context = replace(template, execution_id=str(uuid_utils.uuid7()))
                running = replace(
                    self._ended(context), status=ExecutionStatus.RUNNING, held=True, end_time=None
                )
                batch.created[context.execution_id] = (context, running)
                carried.steps.extend(
                    self._row(context.execution_id, seq) for seq in range(2, steps + 2)
                )
                carried.updates[context.execution_id] = self._ended(context)
            await self._store.flush(self._worker, batch)
        await self._store.flush(self._worker, carried)
        return perf_counter() - began

    async def run_strict(
        self, template: ExecutionContext, executions: int, steps: int, group: int
    ) -> float:
        """As `run`, with every step committed before the next one: each flush carries one step of
        every execution of the group. The end goes out with the last step, and the creation of the
        next group with that."""
        began = perf_counter()
        batch = Batch()
        for first in range(0, executions, group):
            contexts = [
                replace(template, execution_id=str(uuid_utils.uuid7()))
                for _ in range(min(group, executions - first))
            ]
            for context in contexts:
                running = replace(
                    self._ended(context), status=ExecutionStatus.RUNNING, held=True, end_time=None
                )
                batch.created[context.execution_id] = (context, running)
            for seq in range(2, steps + 2):
                await self._store.flush(self._worker, batch)
                batch = Batch(steps=[self._row(c.execution_id, seq) for c in contexts])
            batch.updates = {c.execution_id: self._ended(c) for c in contexts}
        await self._store.flush(self._worker, batch)
        return perf_counter() - began

    def _ended(self, context: ExecutionContext) -> Progress:
        now = self._world.clock.now()
        return Progress(
            execution_id=context.execution_id,
            status=ExecutionStatus.COMPLETED,
            start_time=now,
            end_time=now,
            final_variables=PAYLOAD,
            final_output=PAYLOAD,
        )

    def _row(self, execution_id: str, seq: int) -> StepRow:
        now = self._world.clock.now()
        return StepRow(
            execution_id=execution_id,
            seq=seq,
            step_key=f"step{seq}",
            node_id=f"step{seq}",
            node_type="data_variable_set",
            kind=Kind.FINISHED,
            status="completed",
            attempt=1,
            started_at=now,
            completed_at=now,
            port="output",
            input=PAYLOAD,
            output=PAYLOAD,
            variables=PAYLOAD,
        )
