"""G15: a run uses the version committed at its start."""

from __future__ import annotations

from uuid import uuid4

from models.dal import AsyncDAL
from models.execution_store import PostgresExecutionStore

WORKFLOW = """
INSERT INTO workflows (workflow_id, community_id, name, document, created_by)
VALUES ($1, 1, 'w', '{}', 1)
"""
VERSION = """
INSERT INTO workflow_versions (workflow_id, version, document, published_by)
VALUES ($1, $2, $3, 1)
"""


async def test_g15_whoever_claims_an_execution_gets_the_version_it_was_born_with(
    dal: AsyncDAL,
) -> None:
    workflow_id = str(uuid4())
    await dal.execute(WORKFLOW, workflow_id)
    for version in (1, 2):
        await dal.execute(VERSION, workflow_id, version, {"number": version})

    store = PostgresExecutionStore(dal)

    assert await store.definition(workflow_id, 1) == {"number": 1}
    assert await store.definition(workflow_id, 2) == {"number": 2}
