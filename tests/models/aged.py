"""Executions of any age, in the tables at once."""

from __future__ import annotations

import json

from engine.context import JsonObject
from models.dal import AsyncDAL
from services.clock import new_id

WORKFLOW = "0190a000-0000-7000-8000-000000000001"

EXECUTIONS = """
INSERT INTO workflow_executions (execution_id, workflow_id, workflow_version, workflow_name,
    community_id, user_id, trigger_source, trigger_node_id, status, max_execution_seconds,
    parent_execution_id, parent_step_key, error_workflow_id, error_answered, worker_id,
    start_time, created, end_time, paused_at)
SELECT u.id, $2, 1, 'w', 1, 2, 'api', 'start', $3, 300, $4, $5, $6, $7, $8,
       CASE WHEN $3 <> 'pending' THEN now() - make_interval(hours => $9) END,
       now() - make_interval(hours => $9),
       CASE WHEN $3 IN ('completed', 'failed', 'cancelled')
            THEN now() - make_interval(hours => $10) END,
       CASE WHEN $3 = 'paused' THEN now() END
  FROM unnest($1::uuid[]) AS u(id)
"""
STEPS = """
INSERT INTO workflow_steps
       (execution_id, seq, step_key, node_id, node_type, kind, status, started_at)
SELECT u.id, i + 1, 'n' || i, 'n' || i, 'x', 'finished', 'completed', now()
  FROM unnest($1::uuid[]) AS u(id), generate_series(1, $2::int) i
"""
LETTERS = """
INSERT INTO workflow_letters (execution_id, number, letter_id, kind, name)
SELECT u.id, 100 + i, gen_random_uuid(), 'signal', 'x'
  FROM unnest($1::uuid[]) AS u(id), generate_series(1, $2::int) i
"""
EVENTS = """
INSERT INTO workflow_events (execution_id, seq, status, at)
SELECT u.id, 1000 + i, 'paused', now()
  FROM unnest($1::uuid[]) AS u(id), generate_series(1, $2::int) i
"""
WORKFLOWS = """
INSERT INTO workflows (workflow_id, community_id, name, document, created_by, status,
                       published_version, published_at)
VALUES ($1, 1, 'w', '{}', 2, 'active', $2, now())
"""
VERSIONS = """
INSERT INTO workflow_versions (workflow_id, version, document, published_by)
VALUES ($1, $2, $3::text::json, 2)
"""


async def aged(
    dal: AsyncDAL,
    *,
    count: int = 1,
    workflow_id: str = WORKFLOW,
    status: str = "completed",
    created: int | None = None,
    ended: int = 0,
    parent: str | None = None,
    step_key: str | None = None,
    error_workflow: str | None = None,
    answered: bool = False,
    worker: str | None = None,
    steps: int = 2,
    letters: int = 1,
    events: int = 1,
) -> list[str]:
    """Makes executions that were `created` and `ended` so many hours ago; returns their ids."""
    ids = [new_id() for _ in range(count)]
    hours = ended + 1 if created is None else created
    await dal.execute(
        EXECUTIONS, ids, workflow_id, status, parent, step_key, error_workflow, answered, worker,
        hours, ended,
    )  # fmt: skip
    await dal.execute(STEPS, ids, steps)
    await dal.execute(LETTERS, ids, letters)
    await dal.execute(EVENTS, ids, events)
    return ids


async def published(
    dal: AsyncDAL, *documents: JsonObject, workflow_id: str = WORKFLOW, live: int | None = None
) -> None:
    """Makes a workflow with these published versions, of which the last, or `live`, is live."""
    await dal.execute(WORKFLOWS, workflow_id, live or len(documents))
    for version, document in enumerate(documents, 1):
        await dal.execute(VERSIONS, workflow_id, version, json.dumps(document))


async def left(dal: AsyncDAL) -> set[str]:
    """The executions that there are."""
    rows = await dal.fetch("SELECT execution_id FROM workflow_executions")
    return {row["execution_id"] for row in rows}


async def rows(dal: AsyncDAL, table: str) -> int:
    """How many rows a table has."""
    return int(await dal.fetchval(f"SELECT count(*) FROM {table}"))
