"""pyDAL as a compiler: what it compiles means the same on a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any
from uuid import UUID

import pytest

from models import query as q
from models.dal import AsyncDAL

DAY = datetime(2026, 1, 1, tzinfo=UTC)

WORKFLOWS: list[dict[str, Any]] = [
    {"name": "Greeting", "community_id": 1, "tags": ["hello", "chat"], "document": {"n": 1}},
    {"name": "100% fun_ride", "community_id": 1, "tags": ["a%b"], "document": {"n": 2}},
    {"name": "back\\slash", "community_id": 1, "description": "x", "document": [1, "two"]},
    {"name": "o'clock", "community_id": 2, "tags": ["hello"], "document": "text"},
    {"name": "$1 per raid", "community_id": 2, "document": {"n": {"deep": [None]}}},
]


def workflow_id(number: int) -> str:
    return str(UUID(int=number))


@pytest.fixture
async def filled(dal: AsyncDAL) -> AsyncDAL:
    """Five workflows, numbered from 0, one per day."""
    for number, values in enumerate(WORKFLOWS):
        row = {
            "workflow_id": workflow_id(number),
            "created_by": 456,
            "created_at": DAY + timedelta(days=number),
            **values,
        }
        await dal.execute(q.insert(dal.db, dal.db.workflows, row))
    return dal


async def numbers(dal: AsyncDAL, condition: Any, **options: Any) -> list[int]:
    table = dal.db.workflows
    options.setdefault("orderby", table.workflow_id)
    rows = await dal.fetch(q.select(dal.db, condition, table.workflow_id, **options))
    return [UUID(row["workflow_id"]).int for row in rows]


class TestFilters:
    async def test_comparisons(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await numbers(filled, table.community_id == 2) == [3, 4]
        assert await numbers(filled, table.community_id != 2) == [0, 1, 2]
        assert await numbers(filled, table.created_at >= DAY + timedelta(days=3)) == [3, 4]
        assert await numbers(filled, (table.community_id > 1) & ~(table.name == "o'clock")) == [4]

    async def test_null(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await numbers(filled, table.description == None) == [0, 1, 3, 4]  # noqa: E711  # pyDAL's IS NULL
        assert await numbers(filled, table.description != None) == [2]  # noqa: E711  # pyDAL's IS NOT NULL

    async def test_belongs(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await numbers(filled, table.name.belongs(["Greeting", "o'clock"])) == [0, 3]
        assert await numbers(filled, table.name.belongs([])) == []

    async def test_belongs_to_a_sub_select(self, filled: AsyncDAL) -> None:
        workflows, versions = filled.db.workflows, filled.db.workflow_versions
        for number in (1, 3):
            row = {"workflow_id": workflow_id(number), "version": 7, "document": {}}
            await filled.execute(q.insert(filled.db, versions, {**row, "published_by": 1}))
        published = filled.db(versions.version == 7).nested_select(versions.workflow_id)
        condition = (workflows.community_id == 1) & workflows.workflow_id.belongs(published)
        assert await numbers(filled, condition) == [1]

    async def test_an_element_of_a_list(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await numbers(filled, table.tags.contains("hello")) == [0, 3]
        assert await numbers(filled, table.tags.contains("a%b")) == [1]
        assert await numbers(filled, table.tags.contains("%")) == []


class TestText:
    async def test_like_with_wildcards(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await numbers(filled, table.name.like("%ree%")) == [0]
        assert await numbers(filled, table.name.like("GREE%")) == []
        assert await numbers(filled, table.name.ilike("GREE%")) == [0]

    async def test_a_backslash_in_a_pattern_means_itself(self, filled: AsyncDAL) -> None:
        assert await numbers(filled, filled.db.workflows.name.like("back\\%")) == [2]
        assert await numbers(filled, filled.db.workflows.name.ilike("BACK\\%")) == [2]

    async def test_contains_takes_wildcards_literally(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await numbers(filled, table.name.contains("%")) == [1]
        assert await numbers(filled, table.name.contains("FUN_")) == [1]
        assert await numbers(filled, table.name.contains("_slash")) == []
        assert await numbers(filled, table.name.contains("k\\s")) == [2]

    async def test_startswith_takes_wildcards_literally(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await numbers(filled, table.name.startswith("100%")) == [1]
        assert await numbers(filled, table.name.startswith("%")) == []

    async def test_a_computed_column_compares_by_value(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await numbers(filled, table.name.lower() == "o'clock") == [3]


class TestPages:
    async def test_pages_by_number(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        everything = table.community_id > 0
        newest_first = {"orderby": [~table.created_at, table.workflow_id]}
        assert await numbers(filled, everything, limitby=(0, 2), **newest_first) == [4, 3]
        assert await numbers(filled, everything, limitby=(2, 4), **newest_first) == [2, 1]
        assert await numbers(filled, everything, limitby=(4, 6), **newest_first) == [0]

    async def test_pages_by_key(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        seen: list[int] = []
        condition = table.community_id > 0
        order = [table.community_id, ~table.created_at]
        while page := await numbers(filled, condition, limitby=(0, 2), orderby=order):
            seen += page
            last = WORKFLOWS[page[-1]]["community_id"], DAY + timedelta(days=page[-1])
            condition = (table.community_id > last[0]) | (
                (table.community_id == last[0]) & (table.created_at < last[1])
            )
        assert seen == [2, 1, 0, 4, 3]

    def test_every_page_of_a_list_is_one_statement(self, dal: AsyncDAL) -> None:
        table = dal.db.workflows
        pages = [q.select(dal.db, table.community_id == n, limitby=(n, n + 20)) for n in range(3)]
        assert len({page.sql for page in pages}) == 1


class TestShapes:
    async def test_count(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await filled.fetchval(q.count(filled.db, table.community_id == 1)) == 3

    async def test_group_by(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        rows = await filled.fetch(
            q.select(
                filled.db,
                table.workflow_id != workflow_id(0),
                table.community_id,
                table.workflow_id.count().with_alias("number"),
                groupby=table.community_id,
                orderby=table.community_id,
            )
        )
        assert [tuple(row) for row in rows] == [(1, 2), (2, 2)]

    async def test_left_join(self, filled: AsyncDAL) -> None:
        workflows, grants = filled.db.workflows, filled.db.workflow_permissions
        grant = {"permission_id": workflow_id(9), "workflow_id": workflow_id(3), "granted_by": 1}
        target = {"permission_type": "user", "target_id": "77", "can_view": True}
        await filled.execute(q.insert(filled.db, grants, {**grant, **target}))
        rows = await filled.fetch(
            q.select(
                filled.db,
                workflows.community_id == 2,
                workflows.name,
                grants.target_id,
                left=grants.on((grants.workflow_id == workflows.workflow_id) & grants.can_view),
                orderby=workflows.workflow_id,
            )
        )
        assert [tuple(row) for row in rows] == [("o'clock", "77"), ("$1 per raid", None)]

    async def test_a_value_in_the_column_list(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        name = table.description.coalesce("none").with_alias("shown")
        query = q.select(filled.db, table.community_id == 1, name, orderby=table.workflow_id)
        assert [row["shown"] for row in await filled.fetch(query)] == ["none", "none", "x"]

    async def test_insert_returning(self, dal: AsyncDAL) -> None:
        table = dal.db.audit_log
        row = {"category": "AUDIT", "action": "test", "result": "SUCCESS", "details": {"a": [1]}}
        stored = await dal.fetchrow(q.insert(dal.db, table, row, [table.audit_id, table.details]))
        assert stored["audit_id"] > 0
        assert stored["details"] == {"a": [1]}

    async def test_update_with_an_expression(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        stale = (table.workflow_id == workflow_id(0)) & (table.version == 1)
        change = {"version": table.version + 1, "name": "Renamed", "description": None}
        query = q.update(filled.db, stale, change, returning=[table.version])
        assert await filled.fetchval(query) == 2
        assert await filled.fetchval(query) is None

    async def test_delete(self, filled: AsyncDAL) -> None:
        table = filled.db.workflows
        assert await filled.execute(q.delete(filled.db, table.community_id == 1)) == 3
        assert await filled.fetchval(q.count(filled.db, table.community_id > 0)) == 2


class TestSafety:
    @pytest.mark.parametrize("hostile", ["'; DROP TABLE workflows; --", '"', "$1", "\\'", "%s"])
    async def test_a_value_is_never_part_of_the_text(self, dal: AsyncDAL, hostile: str) -> None:
        table = dal.db.workflows
        row = {"workflow_id": workflow_id(1), "community_id": 1, "created_by": 1, "document": {}}
        await dal.execute(q.insert(dal.db, table, {**row, "name": hostile}))
        conditions = (
            lambda value: table.name == value,
            lambda value: table.name.lower() == value.lower(),
            lambda value: table.name.belongs([value]),
            lambda value: table.name.contains(value),
            lambda value: table.name.startswith(value),
            lambda value: table.name.coalesce("") == value,
        )
        for condition in conditions:
            query = q.select(dal.db, condition(hostile), table.name)
            assert query.sql == q.select(dal.db, condition("benign"), table.name).sql
            assert await dal.fetchval(query) == hostile

    def test_a_misspelt_column_is_refused(self, dal: AsyncDAL) -> None:
        table = dal.db.workflows
        with pytest.raises(KeyError, match="workflows has no column 'nmae'"):
            q.insert(dal.db, table, {"nmae": "x"})
        with pytest.raises(KeyError, match="workflows has no column 'nmae'"):
            q.update(dal.db, table.version == 1, {"nmae": "x"})

    def test_a_statement_built_by_pydal_itself_is_refused(self, dal: AsyncDAL) -> None:
        table = dal.db.workflows
        with pytest.raises(RuntimeError, match="nested_select"):
            dal.db(table.version == 1)._select(table.name)

    def test_compiling_again_after_a_failure_starts_afresh(self, dal: AsyncDAL) -> None:
        table = dal.db.workflows
        with pytest.raises(RuntimeError):
            q.select(dal.db, (table.version == 1) & (table.name < None))
        query = q.select(dal.db, table.version == 2, table.name)
        assert query.args == (2,)

    def test_queries_compile_in_any_thread(self, dal: AsyncDAL) -> None:
        table = dal.db.workflows
        compiled: list[q.Query] = []
        thread = Thread(
            target=lambda: compiled.append(q.select(dal.db, table.version == 5, table.name))
        )
        thread.start()
        thread.join()
        assert compiled == [q.select(dal.db, table.version == 5, table.name)]
