"""Every route, asked by every kind of caller, against the table in `matrix.py`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest

from controllers.auth import PUBLIC
from models.dal import AsyncDAL, Session
from services.caller import EVERYDAY_SCOPES, READ
from services.clock import new_id
from tests.controllers.conftest import Api
from tests.security.asking import Got, ask
from tests.security.callers import Kind, World, Worlds, kinds
from tests.security.matrix import Row, public, rows

ROWS = rows()
THING = {
    "workflow": "workflow_id",
    "execution": "execution_id",
    "webhook": "webhook_id",
    "alert": "alert_id",
    "member": "user_id",
    "key": "key_id",
    "secret": "secret_name",
}
"""By which of the world's ids a list's thing is found in it."""

HIDDEN = [row for row in ROWS if "x" in row.gets.values()]
NO_CREDENTIALS: tuple[dict[str, str], ...] = ({}, {"X-API-Key": "wa-" + "0" * 64})

by_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


def has(row: Row, got: Got, world: World) -> bool:
    """Whether the thing is in the list."""
    return ("marked" if row.lists == "event" else world.ids[THING[row.lists]]) in got.text


def is_blind(got: Got) -> bool:
    """Whether an answer tells only what became of a workflow."""
    return set(json.loads(got.text)["data"]) == {
        "workflow_id", "community_id", "status", "version", "published_version", "updated_at",
        "published_at",
    }  # fmt: skip


def letter(row: Row, got: Got, world: World) -> str:
    """What the answer is, in the table's letters."""
    if got.status == row.status and row.shows:
        return "b" if is_blind(got) else "+"
    if got.status == row.status:
        return "o" if row.lists and not has(row, got, world) else "+"
    if got.status == 403 and got.code == "PERMISSION_DENIED":
        return "-"
    return "x" if got.status == 404 and got.code != "NOT_FOUND" else f"{got.status} {got.code}"


def test_every_route_has_a_row_and_every_row_a_route(api: Api) -> None:
    routes = Counter(
        f"{method} {rule.rule}"
        for rule in api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    )
    table = Counter(f"{row.method} /api/v1{row.path}" for row in ROWS)
    assert routes == table + Counter(public())
    assert {name.partition(" ")[2] for name in public()} == PUBLIC


@by_row
async def test_g14_each_kind_of_caller_gets_what_the_table_says(
    api: Api, dal: AsyncDAL, row: Row
) -> None:
    worlds = Worlds(api, dal)
    wrong = {}
    for kind in kinds():
        world = await worlds.make(kind, row.name)
        got = await ask(api, row, world)
        if letter(row, got, world) != row.gets[kind.column]:
            wrong[str(kind)] = f"{letter(row, got, world)}: {got.text[:200]}"
    assert wrong == {}


@by_row
async def test_g14_a_key_that_lacks_a_scope_opens_nothing_that_takes_it(
    api: Api, dal: AsyncDAL, row: Row
) -> None:
    worlds = Worlds(api, dal)
    wrong = {}
    for scope in sorted(EVERYDAY_SCOPES):
        world = await worlds.make(Kind("owner", without=scope), row.name)
        got = await ask(api, row, world)
        expected = "-" if scope in row.scopes else row.gets["owner"]
        if row.shows and scope == READ:
            expected = "b"
        if letter(row, got, world) != expected:
            wrong[scope] = f"{letter(row, got, world)}: {got.text[:200]}"
    assert wrong == {}


@by_row
async def test_g14_without_a_credential_there_is_nothing(api: Api, dal: AsyncDAL, row: Row) -> None:
    world = await Worlds(api, dal).make(Kind("owner"), row.name)
    for headers in NO_CREDENTIALS:
        got = await ask(api, row, replace(world, headers=headers))
        assert (got.status, got.code) == (401, "UNAUTHORIZED")


# Nothing tells another community's from what is not there


@pytest.mark.parametrize("row", HIDDEN, ids=[row.name for row in HIDDEN])
async def test_g14_another_communitys_is_in_every_way_as_what_does_not_exist(
    api: Api, dal: AsyncDAL, monkeypatch: pytest.MonkeyPatch, row: Row
) -> None:
    asked = counted(monkeypatch)
    worlds = Worlds(api, dal)
    for column in [column for column in row.gets if row.gets[column] == "x"]:
        theirs = await worlds.make(Kind(column), row.name)
        nobodys = unknown_to(await worlds.make(Kind(column), row.name))
        seen = []
        for world in (theirs, nobodys):
            await api.client.get("/api/v1/status", headers=world.headers)  # the key is known now
            with asked() as queries:
                got = await ask(api, row, world)
            seen.append((got.status, got.code, got.text, got.headers, queries))
        assert seen[0] == seen[1], column
        assert seen[0][0] == 404


CHANGES = [row for row in HIDDEN if row.method != "GET"]
BESIDE = {
    "audit_log", "audit_chain", "engine_workers", "live_watchers", "alert_samples",
    "execution_rollups", "gathered_rollups", "gathered_nodes", "gathered_state", "node_rollups",
    "rollup_horizons", "schema_migrations",
}  # fmt: skip
"""Tables that the service writes by itself, or because something was refused."""
BY_ITSELF = ["last_used_at", "last_success_at", "evaluated_at", "due_at", "value", "executions"]
"""Columns of the others that it writes by itself."""


@pytest.mark.parametrize("row", CHANGES, ids=[row.name for row in CHANGES])
async def test_g14_what_another_tries_to_change_stays_as_it_was(
    api: Api, dal: AsyncDAL, row: Row
) -> None:
    worlds = Worlds(api, dal)
    for column in [column for column in row.gets if row.gets[column] in "x-"]:
        world = await worlds.make(Kind(column), row.name)
        before = await everything(dal)
        got = await ask(api, row, world)
        assert got.status in (403, 404), column
        assert await everything(dal) == before, column


async def everything(dal: AsyncDAL) -> dict[str, Any]:
    """A digest of every table that holds what belongs to somebody."""
    tables = await dal.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = 'public'::regnamespace ORDER BY relname"
    )
    names = [row["relname"] for row in tables if row["relname"] not in BESIDE]
    assert {"workflows", "workflow_executions", "webhooks", "api_keys"} <= set(names)
    digest = (
        "SELECT md5(coalesce(string_agg(row, '|' ORDER BY row), '')) "
        "FROM (SELECT (to_jsonb(t) - $1::text[])::text AS row FROM {} AS t) AS rows"
    )
    return {name: await dal.fetchval(digest.format(name), BY_ITSELF) for name in names}


def unknown_to(world: World) -> World:
    """The same world, with ids that nothing has."""
    ids = world.ids | {
        name: new_id() for name in world.ids if name.endswith("_id") and "-" in world.ids[name]
    }
    ids["community_id"] = "999"
    return replace(world, ids=ids)


_queries: ContextVar[list[str] | None] = ContextVar("queries", default=None)


def counted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives what counts the statements that a request runs, wherever it does."""
    run = Session._run

    async def noting(self: Session, method: Any, query: Any, args: Any) -> Any:
        queries = _queries.get()
        if queries is not None:
            queries.append(str(getattr(query, "sql", query)))
        return await run(self, method, query, args)

    monkeypatch.setattr(Session, "_run", noting)

    @contextmanager
    def asked() -> Iterator[list[str]]:
        queries: list[str] = []
        token = _queries.set(queries)
        try:
            yield queries
        finally:
            _queries.reset(token)

    return asked
