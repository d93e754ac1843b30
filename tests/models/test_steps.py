"""Pages of steps read their own records and no others."""

from __future__ import annotations

import pytest

from engine.context import Kind
from models.dal import AsyncDAL
from models.steps import EARLIER, FINISHED, LARGEST_BYTES, OWN_BEGINNING, PREVIEW_LENGTH, Steps
from services.clock import new_id
from tests.plans import vacuumed

RECORDS = """
INSERT INTO workflow_steps (execution_id, seq, step_key, node_id, node_type, kind, status, attempt,
                            started_at, completed_at, input_data, output_data)
SELECT $1, 2 * i + t, 'each[' || i || '].n', 'n', 'action_module',
       CASE t WHEN 0 THEN 'retrying' ELSE 'finished' END,
       CASE t WHEN 0 THEN 'waiting' ELSE 'completed' END, 1 + t, now(),
       CASE t WHEN 1 THEN now() END, '1', to_json(repeat('x', CASE WHEN i = 3 THEN $3 ELSE 1 END))
  FROM generate_series(1, $2::int) i, generate_series(0, 1) t
"""


async def recorded(dal: AsyncDAL, steps: int, large: int = 1) -> str:
    """The id of an execution whose steps each took two attempts; the third gave much."""
    execution_id = new_id()
    await dal.execute(RECORDS, execution_id, steps, large)
    return execution_id


async def test_a_step_comes_with_all_of_its_records(dal: AsyncDAL) -> None:
    execution_id = await recorded(dal, 5)
    await recorded(dal, 5)
    steps = Steps(dal)
    first = await steps.finished(execution_id, 0, 2)
    assert [[row.kind for row in rows] for rows in first] == [[Kind.RETRYING, Kind.FINISHED]] * 2
    assert [rows[-1].step_key for rows in first] == ["each[1].n", "each[2].n"]
    rest = await steps.finished(execution_id, first[-1][-1].seq, 10)
    assert [rows[-1].step_key for rows in rest] == ["each[3].n", "each[4].n", "each[5].n"]
    assert await steps.finished(execution_id, rest[-1][-1].seq, 10) == []
    assert await steps.of(execution_id, "each[2].n") == first[-1]


@pytest.mark.parametrize(("length", "is_cut"), [(LARGEST_BYTES - 2, False), (LARGEST_BYTES, True)])
async def test_large_values_stay_where_they_are(
    dal: AsyncDAL, length: int, *, is_cut: bool
) -> None:
    execution_id = await recorded(dal, 3, length)
    output = (await Steps(dal).finished(execution_id, 0, 3))[-1][-1].output
    if is_cut:
        preview = '"' + "x" * (PREVIEW_LENGTH - 1)
        assert output == {"truncated": True, "bytes": length + 2, "preview": preview}
    else:
        assert output == "x" * length
    [_, whole] = await Steps(dal).of(execution_id, "each[3].n")
    assert whole.output == "x" * length


async def test_records_say_when_they_were_written(dal: AsyncDAL) -> None:
    before = await dal.fetchval("SELECT clock_timestamp()")
    [[first, _]] = await Steps(dal).finished(await recorded(dal, 1), 0, 1)
    assert first.recorded_at is not None
    assert before <= first.recorded_at <= await dal.fetchval("SELECT clock_timestamp()")


async def test_a_page_reads_its_own_records_alone(dal: AsyncDAL) -> None:
    execution_id = await recorded(dal, 20_000)
    await vacuumed(dal, "workflow_steps")
    keys = [f"each[{number}].n" for number in range(10_000, 10_100)]
    async with dal.acquire() as connection:
        for statement, args in (
            (FINISHED, (20_000, 100)),
            (EARLIER, (keys,)),
            (OWN_BEGINNING, ()),
        ):
            explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            [plan] = await connection.fetchval(explained, execution_id, *args)
            read = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
            assert read < 500, plan
