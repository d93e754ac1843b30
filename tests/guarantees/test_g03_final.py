"""G3: a recorded outcome is final, whoever writes."""

from __future__ import annotations

import asyncpg
import pytest

from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore
from tests.store_contract import FIRST, a_context, a_step, created, progress_of


async def test_g03_a_recorded_step_cannot_be_changed_by_anybody(dal: AsyncDAL) -> None:
    store = PostgresExecutionStore(dal)
    context = a_context()
    batch = created((context, progress_of(context)))
    batch.steps.append(a_step(context))
    await store.register(FIRST, "first", 60)
    await store.flush(FIRST, batch)
    await store.close()

    with pytest.raises(asyncpg.CheckViolationError, match="append-only"):
        await dal.execute("UPDATE workflow_steps SET output_data = '1'")
