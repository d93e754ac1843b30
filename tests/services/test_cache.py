"""TtlCache: fresh enough, loaded once, forgotten when told."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass, field

import pytest

from services.cache import TtlCache


@dataclass
class World:
    """A clock to turn and a source to count."""

    time: float = 0.0
    loads: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def load(self) -> int:
        self.loads += 1
        return self.loads

    async def slow(self) -> int:
        value = await self.load()
        await self.gate.wait()
        return value


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def cache(world: World) -> TtlCache[str, int]:
    return TtlCache(ttl_seconds=1, capacity=2, clock=lambda: world.time)


async def test_a_value_is_loaded_once_while_it_is_fresh(
    cache: TtlCache[str, int], world: World
) -> None:
    assert [await cache.get("a", world.load) for _ in range(3)] == [1, 1, 1]


async def test_a_value_is_loaded_again_when_its_time_is_over(
    cache: TtlCache[str, int], world: World
) -> None:
    await cache.get("a", world.load)
    world.time = 1.0
    assert await cache.get("a", world.load) == 2


async def test_callers_that_ask_at_once_share_one_load(
    cache: TtlCache[str, int], world: World
) -> None:
    asking = [asyncio.create_task(cache.get("a", world.slow)) for _ in range(5)]
    await asyncio.sleep(0)
    world.gate.set()
    assert await asyncio.gather(*asking) == [1] * 5


async def test_a_caller_that_goes_away_does_not_take_the_others_answer(
    cache: TtlCache[str, int], world: World
) -> None:
    first = asyncio.create_task(cache.get("a", world.slow))
    second = asyncio.create_task(cache.get("a", world.slow))
    await asyncio.sleep(0)
    first.cancel()
    world.gate.set()
    assert await second == 1


async def test_an_entry_dropped_while_it_is_loaded_is_not_kept(
    cache: TtlCache[str, int], world: World
) -> None:
    loading = asyncio.create_task(cache.get("a", world.slow))
    await asyncio.sleep(0)
    cache.drop("a")
    world.gate.set()
    assert await loading == 1
    assert await cache.get("a", world.load) == 2


async def test_a_failure_is_raised_and_not_kept(cache: TtlCache[str, int], world: World) -> None:
    async def fail() -> int:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        await cache.get("a", fail)
    assert await cache.get("a", world.load) == 1


async def test_the_oldest_entry_makes_room(cache: TtlCache[str, int], world: World) -> None:
    for key in ("a", "b", "c"):
        await cache.get(key, world.load)
    assert await cache.get("b", world.load) == 2
    assert await cache.get("a", world.load) == 4


async def test_entries_are_dropped_by_what_their_key_is(
    cache: TtlCache[str, int], world: World
) -> None:
    for key in ("a", "b"):
        await cache.get(key, world.load)
    cache.drop_where(lambda key: key == "a")
    assert await cache.get("b", world.load) == 2
    assert await cache.get("a", world.load) == 3


async def test_a_load_that_fails_when_nobody_waits_any_more_is_no_complaint(
    cache: TtlCache[str, int], world: World
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))

    async def fail() -> int:
        await world.gate.wait()
        raise LookupError

    asking = asyncio.create_task(cache.get("a", fail))
    await asyncio.sleep(0)
    loading = cache._loading["a"]
    asking.cancel()
    await asyncio.wait([asking])
    world.gate.set()
    await asyncio.wait([loading])
    del loading
    gc.collect()
    assert complaints == []
