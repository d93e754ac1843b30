"""Reads of `workflow_steps` for pages of steps.

Its one rule: a page reads the records of its own steps, however many others there are. Values that
are too large for a page stay where they are: what comes is their size and how they begin.
"""

from __future__ import annotations

from datetime import datetime

from engine.records import StepRow
from models.dal import AsyncDAL
from models.execution_rows import step

LARGEST_BYTES = 8_192
"""The largest value that a page of steps shows whole."""

PREVIEW_LENGTH = 1_000

_VALUES = ("input_data", "output_data")

_PLAIN = """
execution_id, seq, step_key, node_id, node_type, kind, status, attempt, started_at, completed_at,
port, NULL::json AS variables, details, error, error_type, logs, wake_at, recorded_at
"""

_CUT = ", ".join(
    f"CASE WHEN octet_length({name}::text) > {LARGEST_BYTES}"
    " THEN json_build_object('truncated', true,"
    f" 'bytes', octet_length({name}::text), 'preview', left({name}::text, {PREVIEW_LENGTH}))"
    f" ELSE {name} END AS {name}"
    for name in _VALUES
)

# The record that finishes a step is its last, so steps are paged by it.
FINISHED = f"""
SELECT {_PLAIN}, {_CUT} FROM workflow_steps
 WHERE execution_id = $1 AND seq > $2 AND kind = 'finished' ORDER BY seq LIMIT $3
"""

EARLIER = f"""
SELECT {_PLAIN}, {_CUT} FROM workflow_steps
 WHERE execution_id = $1 AND step_key = ANY($2::text[]) AND kind <> 'finished' ORDER BY seq
"""

OWN_BEGINNING = """
SELECT started_at FROM workflow_steps
 WHERE execution_id = $1 AND (details IS NULL OR details -> 'reused' IS NULL)
 ORDER BY seq LIMIT 1
"""

OF_STEP = "SELECT * FROM workflow_steps WHERE execution_id = $1 AND step_key = $2 ORDER BY seq"


class Steps:
    """Reads of `workflow_steps`."""

    def __init__(self, dal: AsyncDAL) -> None:
        self._dal = dal

    async def finished(self, execution_id: str, after: int, limit: int) -> list[list[StepRow]]:
        """The records of the next `limit` finished steps, each step's together, in the order in
        which they finished after the record number `after`. Large values are cut."""
        last = [step(row) for row in await self._dal.fetch(FINISHED, execution_id, after, limit)]
        keys = [row.step_key for row in last]
        earlier: dict[str, list[StepRow]] = {key: [] for key in keys}
        for row in await self._dal.fetch(EARLIER, execution_id, keys) if keys else ():
            earlier[row["step_key"]].append(step(row))
        return [[*earlier[row.step_key], row] for row in last]

    async def own_beginning(self, execution_id: str) -> datetime | None:
        """When the first record was begun that is no copy of another execution's."""
        moment: datetime | None = await self._dal.fetchval(OWN_BEGINNING, execution_id)
        return moment

    async def of(self, execution_id: str, step_key: str) -> list[StepRow]:
        """All records of one step, whole."""
        rows = await self._dal.fetch(OF_STEP, execution_id, step_key)
        return [step(row) for row in rows]
