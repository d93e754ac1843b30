"""The store behind a network and a database that misbehave by seed.

A call is a request that travels, is performed by the database on its own, and an answer that
travels back: the process that asked may be frozen, dead or no longer interested by then, and what
it asked for happens all the same. Concurrent calls overtake one another by their delays.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from engine.context import ExecutionStatus, Json, JsonObject
from engine.errors import LeaseLost, OutcomeUnknown, StoreUnavailable
from engine.memory_store import MemoryStore
from engine.ports import Cancellation, Clock, Outlook, Posted, Room
from engine.records import Batch, Letter, StatusChange, StepRow, StoredExecution
from simulation.processes import Life, Process

PATIENCE = 4.0
"""How long a process waits for the database: its `command_timeout`."""

WRITES = frozenset(
    {
        *("flush", "claim", "let_go", "post", "answered", "request_cancel"),
        *("request_pause", "request_resume"),
        *("register", "heartbeat", "reap", "release"),
    }
)
_STUCK_SECONDS = (PATIENCE, 14.0)


@dataclass(frozen=True, slots=True)
class Odds:
    """How likely each fault of a call is."""

    fails_before: float = 0.0
    fails_after: float = 0.0
    slow: float = 0.0
    stuck: float = 0.0
    """So slow that the process has given up before the database begins."""
    deaf: float = 0.0
    """A notification is lost."""


class Tables(MemoryStore):
    """The database itself, with a look behind the scenes for whoever keeps watch."""

    @property
    def clock(self) -> Clock:
        """The database's clock."""
        return self._clock

    def holder(self, execution_id: str) -> str | None:
        """The worker that holds an execution."""
        row = self._rows.get(execution_id)
        return None if row is None else row.worker_id

    def lives(self, worker_id: str) -> bool:
        """Whether a worker has not been declared dead."""
        return self._alive(worker_id)

    def row(self, execution_id: str) -> StoredExecution | None:
        """An execution with its steps."""
        found = self._rows.get(execution_id)
        return None if found is None else self._give(found)

    def rows(self) -> list[tuple[StoredExecution, str | None]]:
        """Every execution, without its steps, and who holds it."""
        return [
            (StoredExecution(row.context, row.progress, row.recoveries), row.worker_id)
            for row in self._rows.values()
        ]

    def record(self, execution_id: str, seq: int) -> StepRow | None:
        """One record of the journal, as it stands."""
        return self._steps.get(execution_id, {}).get(seq)

    def changes(self, execution_id: str) -> list[StatusChange]:
        """The pauses of an execution, and their ends."""
        return self._rows[execution_id].changes


class Watch(Protocol):
    """Who is told of everything that the database does."""

    def before(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Just before a call is performed."""
        ...

    def after(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Just after a call was performed."""
        ...


class Database:
    """One database for all processes. `story` gets a line for each thing that happens."""

    def __init__(self, tables: Tables, dice: random.Random, story: Callable[[str], None]) -> None:
        self.tables = tables
        self.odds = Odds()
        self.closed = False
        self.faults: dict[str, int] = {}
        self.frozen_until = 0.0
        self.dice = dice
        self.story = story
        self.watch: Watch | None = None
        self.unlocked: set[str] = set()
        """Workers whose advisory lock is free: the next reaper may declare them dead."""
        self.ambushes: dict[str, Callable[[], None]] = {}
        """What is to befall a process between its next commit and the answer."""
        self.outside = contextvars.copy_context()
        self.hook: Callable[[str, str, Callable[[], Any]], Any] | None = None
        """Stands between a call and its performance: how the crash-point sweep stops a worker."""

    def count(self, fault: str) -> None:
        """Counts a fault."""
        self.faults[fault] = self.faults.get(fault, 0) + 1

    def perform(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """Does it, at once."""
        if name == "reap":
            self._declare_unlocked(arguments[0])
        if self.watch is not None:
            self.watch.before(name, arguments)
        result = finished(getattr(self.tables, name)(*arguments))
        if self.watch is not None:
            self.watch.after(name, arguments, result)
        return result

    def travel(self, name: str) -> float:
        """How long a request is on its way to the database."""
        now = asyncio.get_running_loop().time()
        delay = self.dice.uniform(0.0005, 0.004)
        if self.dice.random() < self.odds.slow:
            self.count("slow")
            delay = self.dice.uniform(0.02, 2.0)
        elif self.dice.random() < self.odds.stuck:
            self.count("heartbeat_stuck" if name == "heartbeat" else "stuck")
            delay = self.dice.uniform(*_STUCK_SECONDS)
        return delay + max(self.frozen_until - now, 0.0)

    def _declare_unlocked(self, by: str) -> None:
        for worker_id in sorted(self.unlocked):
            if worker_id != by and self.tables.lives(worker_id):
                self.tables.kill(worker_id)
                self.unlocked.discard(worker_id)


class FaultyStore:
    """What one process sees of the database: an `ExecutionStore`."""

    def __init__(self, database: Database, process: Process) -> None:
        self._database = database
        self._process = process
        self.workers: list[str] = []
        """Every identity this process has had."""

    async def _call(self, name: str, *arguments: Any) -> Any:
        database, loop = self._database, asyncio.get_running_loop()
        if database.closed:
            raise StoreUnavailable("the simulation is over")
        dice, odds = database.dice, database.odds
        if dice.random() < odds.fails_before:
            database.count("fails_before")
            database.story(f"{self._process.name} {name} fails before")
            await asyncio.sleep(dice.uniform(0.0, 0.01))
            raise StoreUnavailable("simulated: refused")
        silent = name in WRITES and dice.random() < odds.fails_after
        answer: asyncio.Future[Any] = loop.create_future()
        arrive = partial(self._arrive, name, arguments, answer, silent)
        loop.call_later(database.travel(name), arrive, context=database.outside)
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            raise self._no_answer(name) from None

    def _arrive(
        self, name: str, arguments: tuple[Any, ...], answer: asyncio.Future[Any], silent: bool
    ) -> None:
        """The request has reached the database."""
        database, loop = self._database, asyncio.get_running_loop()
        if self._process.life is Life.DEAD and database.dice.random() < 0.5:
            return  # The connection broke before the database had read it.
        late = " (nobody waits any more)" if answer.done() else ""
        database.story(f"{self._process.name} {name} {_brief(arguments)}{late}")
        result: Any = None
        error: Exception | None = None
        try:
            result = self._performed(name, arguments)
        except (LeaseLost, ValueError, OutcomeUnknown) as refusal:
            error = refusal
            database.story(f"{self._process.name} {name} refused: {refusal!r}")
        if name == "flush" and self._process.name in database.ambushes:
            database.ambushes.pop(self._process.name)()
        if silent and error is None:
            database.count("fails_after")
            database.story(f"{self._process.name} {name} fails after")
            result, error = None, self._no_answer(name)
        back = database.dice.uniform(0.0005, 0.004)
        loop.call_later(back, partial(_give, answer, result, error), context=database.outside)

    def _performed(self, name: str, arguments: tuple[Any, ...]) -> Any:
        database = self._database
        if database.hook is None:
            return database.perform(name, arguments)
        return database.hook(self._process.name, name, lambda: database.perform(name, arguments))

    def _no_answer(self, name: str) -> Exception:
        # Only what must tell "not done" from "maybe done" is told so; a repeated call needs not.
        if name == "flush" and self._database.dice.random() < 0.5:
            return OutcomeUnknown("simulated: the answer was lost")
        return StoreUnavailable("simulated: the answer was lost")

    # ExecutionStore: see there.

    async def flush(self, worker_id: str, batch: Batch) -> None:
        await self._call("flush", worker_id, batch)

    async def load(self, execution_id: str) -> StoredExecution | None:
        found: StoredExecution | None = await self._call("load", execution_id)
        return found

    async def claim(
        self, worker_id: str, room: Room, *, limited: bool = True
    ) -> list[StoredExecution]:
        claimed: list[StoredExecution] = await self._call("claim", worker_id, room)
        return claimed

    async def look(self, worker_id: str) -> Outlook:
        outlook: Outlook = await self._call("look", worker_id)
        return outlook

    async def held(self, worker_id: str) -> dict[str, int]:
        held: dict[str, int] = await self._call("held", worker_id)
        return held

    async def let_go(self, worker_id: str, held: Mapping[str, int]) -> int:
        return int(await self._call("let_go", worker_id, held))

    async def pending(self, most: int, community_id: int | None = None) -> int:
        return int(await self._call("pending", most, community_id))

    async def kept_bytes(self, community_id: int) -> int:
        """See `ExecutionStore.kept_bytes`."""
        return int(await self._call("kept_bytes", community_id))

    async def status(self, execution_id: str) -> ExecutionStatus | None:
        status: ExecutionStatus | None = await self._call("status", execution_id)
        return status

    async def ended(self, execution_ids: list[str]) -> set[str]:
        ended: set[str] = await self._call("ended", execution_ids)
        return ended

    async def post(self, execution_id: str, letter: Letter) -> Posted | None:
        posted: Posted | None = await self._call("post", execution_id, letter)
        return posted

    async def letters(self, execution_id: str, after: int = 0) -> list[Letter]:
        letters: list[Letter] = await self._call("letters", execution_id, after)
        return letters

    async def peek(self, execution_id: str) -> StoredExecution | None:
        found: StoredExecution | None = await self._call("peek", execution_id)
        return found

    async def unanswered(self, most: int) -> list[StoredExecution]:
        failures: list[StoredExecution] = await self._call("unanswered", most)
        return failures

    async def answered(self, execution_ids: list[str]) -> None:
        await self._call("answered", execution_ids)

    async def request_cancel(self, execution_id: str) -> Cancellation | None:
        answer: Cancellation | None = await self._call("request_cancel", execution_id)
        return answer

    async def request_pause(self, execution_id: str) -> ExecutionStatus | None:
        status: ExecutionStatus | None = await self._call("request_pause", execution_id)
        return status

    async def request_resume(self, execution_id: str) -> ExecutionStatus | None:
        status: ExecutionStatus | None = await self._call("request_resume", execution_id)
        return status

    async def register(self, worker_id: str, name: str, lease_seconds: float) -> datetime:
        self.workers.append(worker_id)
        now: datetime = await self._call("register", worker_id, name, lease_seconds)
        return now

    async def heartbeat(self, worker_id: str, lease_seconds: float) -> datetime | None:
        now: datetime | None = await self._call("heartbeat", worker_id, lease_seconds)
        return now

    async def reap(self, worker_id: str, max_recoveries: int) -> int:
        return int(await self._call("reap", worker_id, max_recoveries))

    async def release(self, worker_id: str) -> int:
        return int(await self._call("release", worker_id))

    async def definition(self, workflow_id: str, version: int) -> JsonObject | None:
        document: JsonObject | None = await self._call("definition", workflow_id, version)
        return document

    async def listen(self, wake: Callable[[str], None]) -> None:
        await self._database.tables.listen(lambda topic: self._hear(wake, topic))

    def _hear(self, wake: Callable[[str], None], topic: str) -> None:
        database = self._database
        if database.dice.random() < database.odds.deaf:
            database.count("notification_lost")
            return
        delay = database.dice.uniform(0.0005, 0.01)
        loop = asyncio.get_running_loop()
        loop.call_later(delay, wake, topic, context=self._process.context.copy())


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the tables waited for something")


def _give(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)


def _brief(arguments: tuple[Any, ...]) -> str:
    return " ".join(_short(value) for value in arguments if not isinstance(value, float))


def _short(value: Json) -> str:
    if isinstance(value, Batch):
        steps = [f"{r.execution_id[-4:]}#{r.seq} {r.step_key} {r.kind}" for r in value.steps]
        moved = [f"{key[-4:]} -> {progress.status}" for key, progress in value.updates.items()]
        born = [f"{key[-4:]} born {pair[1].status}" for key, pair in value.created.items()]
        return "; ".join([*born, *steps, *moved])
    if isinstance(value, Letter):
        return f"{value.kind} {value.name} {value.letter_id[-4:]}"
    if isinstance(value, list):
        return ",".join(_short(each) for each in value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)[-6:]
