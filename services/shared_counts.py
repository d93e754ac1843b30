"""Requests, and credentials that were refused, are counted for several processes together, in Redis
or Valkey (`REDIS_URL`).

Its one rule: counting costs a request no more than two calls of `CALL_SECONDS`, and never its
answer. What the server does not count in time, this process counts alone. An answer that is there,
while this process was too busy to look, is in time.

One call at a time is on its way; what arrives meanwhile goes into the next one, as in the journal.
A call is one script, which takes its requests one after the other, each for all of its claims or
for none. So however many requests wait, there is one connection, and a server that hangs holds one
task.

Once a call fails nobody asks any more: a background loop connects anew until the server answers as
fast as a call must, and only then is it asked again. Meanwhile each process goes by its own counts,
in which it keeps all that it has let pass, so nobody begins anew when the server goes. What was
counted alone does not count for the others afterwards.

The server keeps what a name owes (`Rate`) and when that was so, by its own clock: one that is set
back neither forgives nor charges anything. A key ends by itself when nothing is owed any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from services.allowances import SLIVER, WINDOW_SECONDS
from services.rate_limits import Claim, OwnCounts, Taken
from services.redis_server import RedisServer

CALL_SECONDS = 0.1
CONNECT_SECONDS = 2.0
"""How long connecting may take, which no request waits for."""

RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0
CALM_SECONDS = 60.0
"""A server that fails again within this time is left alone for twice as long as before."""

ACTION = "share_rates"
PREFIX = "{workflow_core:rate}"
"""Of every key. The braces keep them together where keys are spread over several servers."""

_MICRO = 1_000_000

SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window = tonumber(ARGV[1])
local answers, used, read = {}, 0, 1
while read < #ARGV do
    local claims = tonumber(ARGV[read + 1])
    local answer, each, owed = {0}, {}, {}
    for i = 1, claims do
        local kept = redis.call('GET', KEYS[used + i]) or ''
        local at, was = string.match(kept, '^(%d+) (%S+)$')
        each[i] = tonumber(ARGV[read + 1 + i])
        owed[i] = at and math.max(tonumber(was) - math.max(now - tonumber(at), 0), 0) or 0
        if owed[i] - window + each[i] > each[i] * SLIVER then
            answer[1] = 1
        end
        answer[1 + i] = string.format('%.17g', owed[i])
    end
    for i = 1, answer[1] == 0 and claims or 0 do
        local owes = owed[i] + each[i]
        redis.call('SET', KEYS[used + i], string.format('%.0f %.17g', now, owes),
                   'PX', math.ceil(owes / 1000) + 1)
    end
    answers[#answers + 1] = answer
    used, read = used + claims, read + 1 + claims
end
return answers
""".replace("SLIVER", f"{SLIVER:f}")
"""Takes the window, and for each request how many claims it has and what a use costs under each;
answers for each whether it was refused, and what was owed before. Times are in microseconds."""


class Log(Protocol):
    """Where trouble is written: `AaaLog`."""

    def trouble(self, action: str, *, cause: BaseException, **fields: object) -> None: ...

    def over(self, action: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Request:
    """One that waits to be counted. The answer is None where the server did not count it."""

    claims: Sequence[Claim]
    answer: asyncio.Future[Taken | None]

    def settle(self, taken: Taken | None) -> None:
        if not self.answer.done():  # whoever asked may have gone away
            self.answer.set_result(taken)


class SharedCounts:
    """The counts on one server. `own` are those of this process."""

    def __init__(self, server: RedisServer, own: OwnCounts, log: Log) -> None:
        self._server = server
        self._own = own
        self._log = log
        self._well = False
        self._well_since = float("-inf")
        self._pause = RETRY_SECONDS
        self._waiting: list[_Request] = []
        self._calling: asyncio.Task[None] | None = None
        self._returning: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connects. A server that is not there is looked for from now on."""
        if not await self._connected():
            self._returning = asyncio.create_task(self._return(), name=ACTION)

    async def take(self, claims: Sequence[Claim]) -> Taken:
        """Counts a request: there, or here."""
        taken = await self._take_there(claims) if self._well else None
        if taken is None:
            return await self._own.take(claims)
        if not taken.refused:
            self._own.spend(claims)
        return taken

    async def close(self) -> None:
        """Leaves the server."""
        self._well = False
        for task in (self._calling, self._returning):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        with suppress(Exception):  # whatever hinders it, nobody needs the connection any more
            async with asyncio.timeout(CALL_SECONDS):
                await self._server.close()

    async def _take_there(self, claims: Sequence[Claim]) -> Taken | None:
        request = _Request(claims, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._calling is None:
            self._calling = asyncio.create_task(self._call(), name="count_requests")
        return await request.answer

    async def _call(self) -> None:
        """Counts what waits, until nothing does."""
        batch: list[_Request] = []
        try:
            while self._waiting and self._well:
                batch, self._waiting = self._waiting, []
                await self._count(batch)
        finally:
            self._calling = None
            left, self._waiting = [*batch, *self._waiting], []
            for request in left:
                request.settle(None)

    async def _count(self, batch: Sequence[_Request]) -> None:
        keys, arguments = _written(batch)
        try:
            async with _in_time():
                answers = await self._server.run(keys, arguments)
            for request, (refused, *owed) in zip(batch, answers, strict=True):
                request.settle(Taken([float(each) / _MICRO for each in owed], refused == 1))
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        well_for = asyncio.get_running_loop().time() - self._well_since
        self._pause, self._well = next_pause(self._pause, well_for), False
        self._tell(error)
        self._returning = asyncio.create_task(self._return(), name=ACTION)

    async def _return(self) -> None:
        """Background loop while the server is away: ends once it is back."""
        while True:
            await asyncio.sleep(self._pause)
            if await self._connected():
                return

    async def _connected(self) -> bool:
        """Whether there is a new connection on which a call is answered in time."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._server.connect()
            async with _in_time():
                await self._server.run(*_written([]))
        except Exception as error:
            self._tell(error)
            return False
        self._well, self._well_since = True, asyncio.get_running_loop().time()
        self._log.over(ACTION)
        return True

    def _tell(self, error: Exception) -> None:
        cause = error if str(error) else TimeoutError("no answer in time")
        self._log.trouble(ACTION, cause=cause, server=self._server.name)


def next_pause(last: float, well_for: float) -> float:
    """How many seconds lie between two tries to connect, of a server that was well for so long."""
    return RETRY_SECONDS if well_for >= CALM_SECONDS else min(last * 2, LONGEST_RETRY_SECONDS)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Ends a call after `CALL_SECONDS`. The second half begins when this process looks at the
    clock for the first: what came while it did something else is read before it is given up."""
    loop, half = asyncio.get_running_loop(), CALL_SECONDS / 2
    async with asyncio.timeout(None) as limit:
        halfway = loop.call_later(half, lambda: limit.reschedule(loop.time() + half))
        try:
            yield
        finally:
            halfway.cancel()


def _written(batch: Sequence[_Request]) -> tuple[list[str], list[int | float]]:
    """A batch as the keys and the arguments of the script."""
    keys: list[str] = []
    arguments: list[int | float] = [int(WINDOW_SECONDS * _MICRO)]
    for request in batch:
        arguments.append(len(request.claims))
        for claim in request.claims:
            keys.append(f"{PREFIX}:{claim.kind}:{claim.name}")
            arguments.append(claim.rate.each * _MICRO)
    return keys, arguments


@asynccontextmanager
async def open_counts(redis_url: str | None, log: Log) -> AsyncIterator[SharedCounts | None]:
    """The counts on the server that is named; None if there is none, and each process counts by
    itself."""
    if redis_url is None:
        yield None
        return
    counts = SharedCounts(RedisServer(redis_url, SCRIPT, CONNECT_SECONDS), OwnCounts(), log)
    await counts.start()
    try:
        yield counts
    finally:
        await counts.close()
