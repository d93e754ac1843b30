"""Cursors that a list did not give out: whatever is sent in their place, the answer names the
field, and nobody sees a row by it.

How they are sealed is tested in `tests/services/test_cursors.py`, the lists of executions in
`tests/controllers/test_workflow_management.py`.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, OWNER, Api
from tests.security.callers import Kind, World, Worlds

LISTS = (
    "/workflows?limit=1",
    "/workflows/<workflow_id>/executions?per_page=1",
    "/workflows/executions/<execution_id>/steps?limit=1",
    "/workflow-management/executions?limit=1",
    "/workflow-management/executions/<execution_id>/steps?limit=1",
    "/workflow-management/webhooks?limit=1",
    "/workflow-management/webhooks/<webhook_id>/deliveries?limit=1",
    "/workflow-management/alerts?limit=1",
    "/workflow-management/alerts/<alert_id>/history?limit=1",
    f"/communities/{COMMUNITY}/members?limit=1",
    "/api-keys?limit=1",
    "/audit?limit=1",
)
EVERYTHING = "executions webhooks deliveries alerts members"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
async def world(api: Api, dal: AsyncDAL) -> World:
    """An admin's, with one thing of each kind."""
    return await Worlds(api, dal).make(Kind("adm"), EVERYTHING)


async def asked(api: Api, world: World, path: str, cursor: str) -> Any:
    separator = "&" if "?" in path else "?"
    url = f"{world.filled(path)}{separator}cursor={quote(cursor, safe='')}"
    return await api.call("GET", url, key=world.headers["X-API-Key"])


def refused(answer: Any) -> bool:
    """Whether the answer is the one to a cursor that is none, and names the field."""
    return (answer.status, answer.code, answer.body["details"][0]["path"]) == (
        400,
        "INVALID_CURSOR",
        "/cursor",
    )


def written_by_hand(*content: Any) -> str:
    """What somebody sends who has read how a cursor looks and has no key to seal it."""
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_made_up_from_what_it_should_say_opens_no_list(
    api: Api, world: World, path: str
) -> None:
    now = datetime.now(UTC).isoformat()
    some_id = world.ids["workflow_id"]
    for cursor in (
        written_by_hand(now, some_id),
        written_by_hand("0" * 16, now, some_id),
        "A" * 22 + written_by_hand(now, some_id),
        written_by_hand(0, 1, 10_000),
        written_by_hand(None),
        "bnVsbA",
        "A" * 3_000,
        "../../etc/passwd",
        "' OR 1=1 --",
        "é",
    ):
        assert refused(await asked(api, world, path, cursor)), cursor


@pytest.mark.parametrize("path", LISTS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
async def test_no_text_at_all_is_a_cursor(api: Api, world: World, path: str, text: str) -> None:
    assert refused(await asked(api, world, path, text))


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(change=st.data())
async def test_no_change_of_a_cursor_is_one(api: Api, change: st.DataObject) -> None:
    """The list of workflows stands for those whose cursors name a row; they share their code."""
    cursor = await a_cursor(api)
    place = change.draw(st.integers(0, len(cursor) - 1))
    new = change.draw(st.sampled_from(ALPHABET))
    how = change.draw(st.sampled_from(("replace", "insert", "remove", "cut", "repeat", "pad")))
    changed = {
        "replace": cursor[:place] + new + cursor[place + 1 :],
        "insert": cursor[:place] + new + cursor[place:],
        "remove": cursor[:place] + cursor[place + 1 :],
        "cut": cursor[:place],
        "repeat": cursor + cursor,
        "pad": cursor + "=" * (1 + place % 3),
    }[how]
    answer = await api.call("GET", f"/workflows?limit=1&cursor={quote(changed, safe='')}")
    assert answer.status == 200 if changed == cursor else refused(answer)


async def test_a_cursor_of_somebody_else_opens_nothing(api: Api) -> None:
    cursor = await a_cursor(api)
    others = {
        "another user of the community": await api.new_key(OWNER + 1),
        "the same user elsewhere": await api.new_key(OWNER, COMMUNITY + 1),
        "an admin": await api.new_key(OWNER + 2, scopes=["admin"]),
    }
    assert (await api.call("GET", f"/workflows?limit=1&cursor={cursor}")).status == 200
    for who, key in others.items():
        answer = await api.call("GET", f"/workflows?limit=1&cursor={cursor}", key=key)
        assert refused(answer), who


async def test_a_cursor_of_another_list_or_filter_opens_nothing(api: Api) -> None:
    cursor = await a_cursor(api)
    admin = await api.new_key(scopes=["admin"])
    for path, key in (
        ("/workflows?limit=1&status=active", api.key),
        ("/workflows?limit=1&search=Greet", api.key),
        ("/workflow-management/webhooks?limit=1", api.key),
        ("/workflow-management/alerts?limit=1", api.key),
        ("/workflow-management/executions?limit=1", api.key),
        ("/api-keys?limit=1", admin),
        ("/audit?limit=1", admin),
    ):
        assert refused(await api.call("GET", f"{path}&cursor={cursor}", key=key)), path


async def a_cursor(api: Api) -> str:
    """One that leads from the first of two workflows to the second."""
    while True:
        listed = await api.call("GET", "/workflows?limit=1")
        cursor = listed.body["meta"]["pagination"]["next_cursor"]
        if cursor is not None:
            return str(cursor)
        await api.stored()
