"""The faults: a plan made from the seed, and its execution.

Its one rule: the plan is complete before anything is broken, so the same seed breaks the same
things in the same order. At least one process is left alone at any time.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chaos.cluster import GRACE_SECONDS, LEASE_SECONDS, Member
from chaos.database import Database

KINDS = {
    "kill": 10,
    "freeze": 5,
    "drain": 2,
    "backends": 2,
    "database": 3,
    "stall": 1,
    "connections": 1,
}
"""Each kind of fault, and how often it comes compared with the others."""

_PATIENCE_SECONDS = 15.0
_DRAIN_SECONDS = GRACE_SECONDS + 15.0
"""How long a process may take to end when it is asked to, also among other faults."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens `after` so many seconds of quiet, with a random state of its own."""

    kind: str
    after: float
    seed: int


@dataclass(frozen=True, slots=True)
class Blow:
    """A process was stopped at a moment, while it held these executions. `settled`: every other
    process was up, and serving."""

    kind: str
    at: datetime
    held: list[str]
    settled: bool


APART = (1.0, 4.0)
"""How far apart faults are at least and at most, in seconds."""


def plan(rng: random.Random, seconds: float, apart: tuple[float, float] = APART) -> list[Fault]:
    """Faults for so many seconds, so far `apart`, every kind at least once if there is room for
    that."""
    kinds = rng.sample(list(KINDS), len(KINDS))
    faults: list[Fault] = []
    left = seconds
    while True:
        after = rng.uniform(*apart)
        left -= after
        if left < 0:
            return faults
        kind = kinds.pop() if kinds else rng.choices(list(KINDS), list(KINDS.values()))[0]
        faults.append(Fault(kind, after, rng.getrandbits(32)))


@dataclass(slots=True)
class Breaker:
    """Carries a plan out. `moments` holds when each fault began, `blows` which processes were
    stopped and what they held; `zombies` counts those that held something, were declared dead, and
    woke up afterwards."""

    members: list[Member]
    database: Database
    done: Counter[str] = field(default_factory=Counter)
    moments: list[datetime] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    zombies: int = 0
    _mending: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, faults: list[Fault]) -> None:
        """Breaks one thing after the other; what is broken mends in the background."""
        kinds: dict[str, Callable[[random.Random], Awaitable[bool]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "drain": self._drain,
            "backends": self._end_backends,
            "database": self._restart_database,
            "stall": self._stall_database,
            "connections": self._use_up_connections,
        }
        for fault in faults:
            await asyncio.sleep(fault.after)
            self.revive()
            self.moments.append(datetime.now(UTC))
            if await kinds[fault.kind](random.Random(fault.seed)):
                self.done[fault.kind] += 1

    async def mend(self) -> None:
        """Returns once every process serves again."""
        self.revive()
        await asyncio.gather(*self._mending)

    async def close(self) -> None:
        """Stops mending."""
        for task in self._mending:
            task.cancel()
        await asyncio.gather(*self._mending, return_exceptions=True)

    def revive(self) -> None:
        """Starts what has ended by itself."""
        for member in self.members:
            if member.note_exit():
                self._mend(member.start())

    async def _victim(self, rng: random.Random) -> Member | None:
        """A process to break, once another one would be left; None if that takes too long."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while True:
            standing = [member for member in self.members if member.up]
            if len(standing) > 1:
                return rng.choice(standing)
            if asyncio.get_running_loop().time() > deadline:
                return None
            await asyncio.sleep(0.05)

    def _mend(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    async def _kill(self, rng: random.Random) -> bool:
        member = await self._victim(rng)
        if member is None:
            return False
        at, settled = datetime.now(UTC), self._settled()
        await member.kill()
        held = await self.database.held_by(member.port)
        self.blows.append(Blow("kill", at, held, settled))
        self._mend(member.start())
        return True

    async def _freeze(self, rng: random.Random) -> bool:
        member = await self._victim(rng)
        if member is None:
            return False
        at, settled = datetime.now(UTC), self._settled()
        member.up = False
        member.signal(signal.SIGSTOP)
        self._mend(self._thaw(member, at, LEASE_SECONDS + rng.uniform(1.0, 4.0), settled))
        return True

    def _settled(self) -> bool:
        return all(member.up for member in self.members)

    async def _thaw(self, member: Member, at: datetime, seconds: float, settled: bool) -> None:
        try:
            workers = await self.database.workers_of(member.port)
            held = await self.database.held_by(member.port)
            self.blows.append(Blow("freeze", at, held, settled))
            await asyncio.sleep(seconds)
            self.zombies += bool(held) and await self.database.any_dead(workers)
        finally:
            member.signal(signal.SIGCONT)
            member.up = True

    async def _drain(self, rng: random.Random) -> bool:
        member = await self._victim(rng)
        if member is None:
            return False
        member.up = False
        self._mend(_restart(member))
        return True

    async def _end_backends(self, rng: random.Random) -> bool:
        await self.database.terminate_backends(rng)
        return True

    async def _restart_database(self, rng: random.Random) -> bool:
        await self.database.restart()
        return True

    async def _stall_database(self, rng: random.Random) -> bool:
        await self.database.stall(rng.uniform(1.0, 2 * LEASE_SECONDS))
        return True

    async def _use_up_connections(self, rng: random.Random) -> bool:
        await self.database.use_up(rng.uniform(1.0, 3.0))
        return True


async def _restart(member: Member) -> None:
    await member.drain(_DRAIN_SECONDS)
    await member.start()
