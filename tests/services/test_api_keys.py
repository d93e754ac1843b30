"""API keys: shown once, recognised, expired, revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from models.api_keys import ApiKeys
from models.dal import AsyncDAL
from services.api_keys import LONGEST_GRACE_SECONDS, ApiKeyService, NewKey
from services.clock import new_id
from services.errors import KeyNotActive, KeyUnknown
from tests.waiting import until


class Wall:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC)

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def make(dal: AsyncDAL, wall: Wall) -> Callable[..., ApiKeyService]:
    def service(ttl_seconds: float = 0.0) -> ApiKeyService:
        return ApiKeyService(ApiKeys(dal), now=wall.now, new_id=new_id, ttl_seconds=ttl_seconds)

    return service


def key(**changes: object) -> NewKey:
    values = {"user_id": 7, "name": "n", "scopes": ["executions:read"], **changes}
    return NewKey(**values)  # type: ignore[arg-type]  # a test's shorthand


async def test_a_key_is_recognised_by_its_secret_alone(make: Callable[..., ApiKeyService]) -> None:
    keys = make()
    made = await keys.create(key(community_id=5, kind="service"))
    found = await keys.resolve(made.secret)
    assert found is not None
    assert (found.user_id, found.community_id, found.kind) == (7, 5, "service")
    assert found.scopes == ("executions:read",)
    assert await keys.resolve("wa-" + "0" * 64) is None
    assert await keys.resolve(made.secret.upper()) is None


async def test_only_hash_and_prefix_are_stored(
    make: Callable[..., ApiKeyService], dal: AsyncDAL
) -> None:
    made = await make().create(key())
    row = await dal.fetchrow("SELECT api_keys::text AS everything, prefix FROM api_keys")
    assert row is not None
    assert made.secret not in row["everything"]
    assert row["prefix"] == made.secret[:11]


async def test_an_expired_key_is_not_found_even_while_it_is_cached(
    make: Callable[..., ApiKeyService], wall: Wall
) -> None:
    keys = make(ttl_seconds=3600)
    made = await keys.create(key(expires_days=1))
    assert await keys.resolve(made.secret) is not None
    wall.moment += timedelta(days=1)
    assert await keys.resolve(made.secret) is None


async def test_a_revoked_key_is_not_found_from_then_on(
    make: Callable[..., ApiKeyService],
) -> None:
    keys = make(ttl_seconds=3600)
    made = await keys.create(key())
    assert await keys.resolve(made.secret) is not None
    await keys.revoke(made.key_id)
    assert await keys.resolve(made.secret) is None
    with pytest.raises(KeyUnknown):
        await keys.revoke(made.key_id)


async def test_use_is_noted_at_most_once_a_minute(
    make: Callable[..., ApiKeyService], dal: AsyncDAL
) -> None:
    keys = make()
    made = await keys.create(key())
    used = "SELECT last_used_at FROM api_keys"
    await keys.resolve(made.secret)
    first = await dal.fetchval(used)
    await keys.resolve(made.secret)
    assert first is not None
    assert await dal.fetchval(used) == first


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"scopes": ["executions:everything"]}, "executions:everything"),
        ({"scopes": []}, "needs a scope"),
        ({"kind": "robot"}, "robot"),
        ({"expires_days": 0}, "expires_days"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused_by_name(
    make: Callable[..., ApiKeyService], changes: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        await make().create(key(**changes))


async def test_a_revocation_is_heard_in_every_process(
    make: Callable[..., ApiKeyService],
) -> None:
    here, there = make(), make(ttl_seconds=3600)
    await there.start()
    for end in (here.revoke, lambda key_id: here.rotate(key_id, grace_seconds=0)):
        made = await here.create(key())
        assert await there.resolve(made.secret) is not None
        await end(made.key_id)

        async def heard(secret: str = made.secret) -> bool:
            return await there.resolve(secret) is None

        await until(heard)


async def test_of_two_rotations_at_once_one_succeeds(make: Callable[..., ApiKeyService]) -> None:
    keys = make()
    made = await keys.create(key())
    done = await asyncio.gather(
        *[keys.rotate(made.key_id) for _ in range(4)], return_exceptions=True
    )
    assert sum(isinstance(each, KeyNotActive) for each in done) == 3
    assert len(await keys.list()) == 2


async def test_a_rotated_key_never_outlives_its_own_end(
    make: Callable[..., ApiKeyService],
) -> None:
    keys = make()
    made = await keys.create(key(expires_days=1))
    before = await keys.get(made.key_id)
    done = await keys.rotate(made.key_id, grace_seconds=LONGEST_GRACE_SECONDS)
    assert before is not None
    assert done.old.expires_at == before.expires_at
    with pytest.raises(ValueError, match="grace_seconds"):
        await keys.rotate(made.key_id, grace_seconds=LONGEST_GRACE_SECONDS + 1)
    with pytest.raises(KeyUnknown):
        await keys.rotate(new_id())
