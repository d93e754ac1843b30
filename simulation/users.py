"""Users: they start executions, signal and cancel them, and repeat what got no clear answer.

Its one rule: a user believes an answer, and nothing else. What was acknowledged is held against
the engine; what was refused must never have happened.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.children import new_execution
from engine.context import TERMINAL, ExecutionContext, JsonObject
from engine.errors import (
    ExecutionNotFound,
    ExecutionNotRunning,
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
)
from engine.graph import Graph
from simulation.cluster import Cluster, Server
from simulation.processes import Lost

_UNCLEAR = (Lost, OutcomeUnknown)
_REFUSED = (StoreUnavailable, Overloaded)
_PATIENCE = 20.0
_LOOKS = 3
_LATEST_PAUSE = 15.0
"""When a request to pause has arrived, however slow it was."""


@dataclass(slots=True)
class Errand:
    """What one user wants, and what became of it."""

    number: int
    workflow_id: str
    at: float
    keyed: bool
    """Whether it is repeated with an Idempotency-Key: the same execution every time."""
    cancel_after: float | None = None
    pause_after: float | None = None
    """When it is paused; some time later it is resumed."""
    community: int = 1
    twice: bool = False
    """Whether every signal is sent a second time, and another one after it."""
    acknowledged: str | None = None
    unclear: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    asked_to_cancel: bool = False
    cancelled: bool = False
    letters: list[str] = field(default_factory=list)

    def executions(self) -> list[str]:
        """Every execution that may have come of it."""
        known = [] if self.acknowledged is None else [self.acknowledged]
        return [*known, *self.unclear]


class User:
    """Runs one errand."""

    def __init__(self, cluster: Cluster, errand: Errand, graph: Graph) -> None:
        self.errand = errand
        self._cluster = cluster
        self._graph = graph

    async def run(self) -> None:
        """From start to signals or cancellation."""
        await asyncio.sleep(self.errand.at)
        await self._start()
        work = [self._signal_all(), self._look_on()]
        if self.errand.cancel_after is not None:
            work.append(self._cancel(self.errand.cancel_after))
        if self.errand.pause_after is not None:
            work.append(self._pause_a_while(self.errand.pause_after))
        await asyncio.gather(*work)

    async def remind(self) -> None:
        """Once the faults are over: the same signals again, also to what was unclear; and once
        more that it may go on, as a pause that was asked for twice may have come late."""
        if self.errand.pause_after is not None:
            await asyncio.sleep(_LATEST_PAUSE)
            await self._ask_until_clear("resume")
        for execution_id in self.errand.executions():
            await self._signals_to(execution_id)

    async def _start(self) -> None:
        errand, key = self.errand, self._cluster.new_id()
        while errand.acknowledged is None:
            execution_id = key if errand.keyed else self._cluster.new_id()
            try:
                await self._ask_to_start(self._context(execution_id))
            except _UNCLEAR:
                if not errand.keyed:
                    errand.unclear.append(execution_id)
            except _REFUSED:
                if not errand.keyed:
                    errand.refused.append(execution_id)
            else:
                errand.acknowledged = execution_id
                self._cluster.tell(f"user {errand.number}: {execution_id[-4:]} is accepted")
                return
            await self._pause()

    async def _ask_to_start(self, context: ExecutionContext) -> None:
        """Asks one process; with a key sometimes two at once, and either's word is good."""
        keyed = self.errand.keyed
        at_once = 2 if keyed and self._cluster.dice.random() < 0.3 else 1
        asked = []
        for _ in range(at_once):
            server = await self._server()
            work = server.engine.execute_workflow(context, here=not keyed)
            asked.append(server.process.ask(work, _PATIENCE))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(failures) == len(answers):
            raise failures[0]

    def _context(self, execution_id: str) -> ExecutionContext:
        return new_execution(
            self._graph,
            workflow_id=self.errand.workflow_id,
            execution_id=execution_id,
            community_id=self.errand.community,
            user_id=456,
            trigger_node_id="start",
            created_at=self._cluster.clock.now(),
            variables={"n": self.errand.number},
        )

    async def _signal_all(self) -> None:
        assert self.errand.acknowledged is not None
        await asyncio.sleep(self._cluster.dice.uniform(0.0, 3.0))
        await self._signals_to(self.errand.acknowledged)

    async def _signals_to(self, execution_id: str) -> None:
        for number, name in enumerate(self._cluster.draft(self.errand.workflow_id).signals):
            letter = f"{execution_id[:14]}{number:04x}-9000-{execution_id[-12:]}"
            said = {"said": name, "number": number}
            if not await self._signal(execution_id, name, said, letter):
                return
            if self.errand.twice:
                await self._signal(execution_id, name, said, letter)
                other = f"{execution_id[:14]}{number:04x}-9001-{execution_id[-12:]}"
                await self._signal(execution_id, name, {"said": "again"}, other)

    async def _signal(self, execution_id: str, name: str, payload: Any, letter: str) -> bool:
        """Whether the execution took the letter, or had taken it before."""
        while True:
            server = await self._server()
            asked = server.engine.signal_execution(
                execution_id, name, payload, sent_by=1, letter_id=letter
            )
            try:
                await server.process.ask(asked, _PATIENCE)
            except (*_UNCLEAR, *_REFUSED):
                await self._pause()
            except ExecutionNotRunning:
                return False
            except ExecutionNotFound:
                if execution_id == self.errand.acknowledged:
                    self._cluster.witness.charge("G1", f"{execution_id} was accepted and is gone")
                return False
            else:
                self.errand.letters.append(letter)
                return True

    async def _look_on(self) -> None:
        """Reads the execution now and then: what was there once stays, and an end is an end."""
        execution_id, witness = self.errand.acknowledged, self._cluster.witness
        assert execution_id is not None
        path: list[str] = []
        status = ""
        for _ in range(_LOOKS):
            await asyncio.sleep(self._cluster.dice.uniform(0.1, 4.0))
            server = await self._server()
            try:
                asked = self._read(server, execution_id)
                state = await server.process.ask(asked, _PATIENCE)
            except (*_UNCLEAR, *_REFUSED):
                continue
            if state is None:
                witness.charge("G1", f"{execution_id} was accepted and is not there")
                return
            now: list[str] = state["execution_path"]
            if now[: len(path)] != path:
                witness.charge("G3", f"{execution_id} had run {path} and has now run {now}")
            if status in TERMINAL and state["status"] != status:
                witness.charge("G3", f"{execution_id} was {status} and is {state['status']}")
            path, status = now, state["status"]

    async def _read(self, server: Server, execution_id: str) -> JsonObject | None:
        """The state, having waited for the end for a moment."""
        ended = await server.engine.wait(execution_id, self._cluster.dice.choice([0.0, 1.0]))
        state = await server.engine.get_execution_status(execution_id)
        if ended and state is not None and state["status"] not in TERMINAL:
            self._cluster.witness.charge("G3", f"{execution_id} was said to have ended")
        return state

    async def _cancel(self, after: float) -> None:
        await asyncio.sleep(after)
        execution_id = self.errand.acknowledged
        assert execution_id is not None
        while not self.errand.cancelled:
            server = await self._server()
            self.errand.asked_to_cancel = True
            try:
                await server.process.ask(self._cancelled(server, execution_id), _PATIENCE)
            except (*_UNCLEAR, *_REFUSED):
                await self._pause()
            except ExecutionNotRunning:
                return
            except ExecutionNotFound:
                self._cluster.witness.charge("G1", f"{execution_id} was accepted and is gone")
                return
            else:
                self.errand.cancelled = True

    async def _cancelled(self, server: Server, execution_id: str) -> datetime:
        at = await server.engine.cancel_execution(execution_id)
        self._cluster.tell(f"user {self.errand.number}: {execution_id[-4:]} is cancelled")
        self._cluster.witness.cancelled[execution_id] = self._cluster.loop.time()
        return at

    async def _pause_a_while(self, after: float) -> None:
        await asyncio.sleep(after)
        if await self._ask_until_clear("pause"):
            await asyncio.sleep(self._cluster.dice.uniform(0.0, 8.0))
            await self._ask_until_clear("resume")

    async def _ask_until_clear(self, what: str) -> bool:
        """Pauses or resumes the execution; False if it has ended."""
        execution_id = self.errand.acknowledged
        assert execution_id is not None
        while True:
            server = await self._server()
            engine = server.engine
            ask = engine.pause_execution if what == "pause" else engine.resume_execution
            try:
                await server.process.ask(ask(execution_id), _PATIENCE)
            except (*_UNCLEAR, *_REFUSED):
                await self._pause()
            except ExecutionNotRunning:
                return False
            except ExecutionNotFound:
                self._cluster.witness.charge("G1", f"{execution_id} was accepted and is gone")
                return False
            else:
                self._cluster.tell(f"user {self.errand.number}: {execution_id[-4:]} {what}")
                return True

    async def _server(self) -> Server:
        while True:
            living = self._cluster.living()
            if living:
                return self._cluster.dice.choice(living)
            await asyncio.sleep(0.2)

    async def _pause(self) -> None:
        await asyncio.sleep(self._cluster.dice.uniform(0.05, 0.6))
