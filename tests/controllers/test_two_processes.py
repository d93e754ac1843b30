"""Two processes on one database: what one changes counts at once there, and soon in the other."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app import create_app
from composition import running
from config import Config
from models.audit_chain import AuditChain
from models.dal import AsyncDAL
from services.permission_service import CACHE_SECONDS
from tests.controllers.conftest import COMMUNITY, Api
from tests.controllers.test_permissions import grant
from tests.waiting import until

OTHER = 789


@pytest.fixture
async def second(api: Api, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A second process of the same service."""
    config = Config(database_url=database_url, data_dir=tmp_path, shutdown_grace_seconds=1)
    log = io.StringIO()
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running(config, log))
        yield Api(create_app(config, service=service), api.keys, log, api.key)


async def answers(there: Api, url: str, key: str, status: int) -> None:
    """Returns once the answer has this status."""

    async def it_has() -> bool:
        return (await there.call("GET", url, key=key)).status == status

    await until(it_has)


async def test_a_grant_and_its_end_count_at_once_here_and_soon_there(api: Api, second: Api) -> None:
    workflow_id = await api.stored()
    url = f"/workflows/{workflow_id}"
    key = await api.new_key(OTHER)
    for kind, target in (("user", OTHER), ("community", COMMUNITY)):
        assert (await second.call("GET", url, key=key)).status == 403
        await grant(api, workflow_id, permission_type=kind, target_id=target, can_view=True)
        assert (await api.call("GET", url, key=key)).status == 200
        await answers(second, url, key, 200)
        gone = f"{url}/permissions?permission_type={kind}&target_id={target}"
        assert (await api.call("DELETE", gone)).status == 200
        assert (await api.call("GET", url, key=key)).status == 403
        await answers(second, url, key, 403)


async def test_a_role_and_its_end_count_at_once_here_and_soon_there(api: Api, second: Api) -> None:
    workflow_id = await api.stored()
    url = f"/workflows/{workflow_id}"
    key, admin = await api.new_key(OTHER), await api.new_key(1, COMMUNITY, scopes=["admin"])
    await grant(api, workflow_id, permission_type="role", target_id="mod", can_view=True)
    member = f"/communities/{COMMUNITY}/members/{OTHER}"
    assert (await second.call("GET", url, key=key)).status == 403
    await api.call("PUT", member, {"roles": ["mod"]}, key=admin)
    assert (await api.call("GET", url, key=key)).status == 200
    await answers(second, url, key, 200)
    await api.call("DELETE", member, key=admin)
    assert (await api.call("GET", url, key=key)).status == 403
    await answers(second, url, key, 403)


def test_soon_is_within_a_second() -> None:
    assert CACHE_SECONDS <= 1


async def test_both_write_one_chain(api: Api, second: Api, dal: AsyncDAL) -> None:
    for _ in range(20):
        await asyncio.gather(api.call("GET", "/workflows"), second.call("GET", "/workflows"))
    chain = AuditChain(dal)

    async def all_written() -> bool:
        return (await chain.verify()).rows >= 40

    await until(all_written)
    assert (await chain.verify()).broken is None
