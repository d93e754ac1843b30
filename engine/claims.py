"""How a session comes by executions: it looks at the table, claims what there is room for, and
tells those it holds what somebody wants of them.

The half of a session (`session.py`) that reads the table. Its one rule: whatever a hint may have
said, the next look finds out; a look that fails is repeated.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter

from engine.context import ExecutionContext, ExecutionStatus
from engine.errors import OutcomeUnknown, StoreUnavailable, WorkflowEngineException
from engine.family import Family
from engine.graph import Graph
from engine.graph_cache import GraphCache
from engine.journal import Journal
from engine.messages import Request
from engine.ports import Clock, EngineLog, ExecutionStore, Outlook, Room
from engine.post_office import PostOffice
from engine.records import Letter, Progress, StepRow, StoredExecution
from engine.runner import Runner
from engine.settings import EngineSettings
from engine.worker import Worker, woken

_CLAIM_AT_ONCE = 100


class Claims(ABC):
    """A session, as far as claiming goes."""

    _store: ExecutionStore
    _graphs: GraphCache
    _clock: Clock
    _log: EngineLog
    _settings: EngineSettings
    _worker: Worker
    _family: Family
    _post: PostOffice
    _runners: dict[str, tuple[Runner, asyncio.Task[None]]]
    _wanted: asyncio.Event
    journal: Journal
    crowded: bool

    @abstractmethod
    def room(self) -> int: ...

    @abstractmethod
    def holds(self, execution_id: str) -> bool: ...

    @abstractmethod
    def ask(self, execution_id: str, request: Request) -> bool: ...

    @abstractmethod
    def _launch(
        self,
        context: ExecutionContext,
        graph: Graph,
        progress: Progress,
        rows: list[StepRow],
        letters: list[Letter],
    ) -> None: ...

    def nudge(self) -> None:
        """There may be something to claim."""
        self._wanted.set()

    async def _claim_loop(self) -> None:
        """Background loop: claims what may run while there is room, and obeys cancellations."""
        sleep = 0.0
        while True:
            await woken(self._wanted, sleep)
            try:
                sleep = await self._look()
                self._log.over("claim")
            except WorkflowEngineException as unreachable:
                self._log.trouble("claim", reason=str(unreachable))
                sleep = self._settings.poll_seconds

    async def _look(self) -> float:
        """One look at the table. Returns how long to sleep before the next."""
        pausing = [key for key, (runner, _) in self._runners.items() if runner.pausing]
        outlook = await self._store.look(self._worker.worker_id)
        self._worker.company = outlook.company
        for execution_id in outlook.cancel:
            self.ask(execution_id, Request.CANCEL)
        self._see_to_pauses(pausing, outlook)
        await self._see_to_family(outlook)
        if outlook.held > len(self._runners):
            await self._let_strays_go()
        room = min(self.room(), _CLAIM_AT_ONCE)
        claimed: list[StoredExecution] = []
        if outlook.claimable and room > 0 and self._worker.may_act():
            claimed = await self._store.claim(
                self._worker.worker_id, self._room(room), limited=outlook.limited
            )
        for stored in claimed:
            await self._take_over(stored)
        self.crowded = outlook.claimable and (len(claimed) >= room or not claimed)
        if claimed and self.room() > 0:
            return 0.0  # There may be more: a claim does not look into every corner.
        poll = self._settings.poll_seconds
        if outlook.next_wake is None or self.room() <= 0:
            return poll  # Without room what is due must wait for a runner that leaves and nudges.
        return min(max(outlook.next_wake, 0.01), poll)

    def _room(self, free: int) -> Room:
        running = Counter(runner.context.community_id for runner, _ in self._runners.values())
        return Room(
            free,
            each=self._settings.most_of_one_community,
            running=running,
            everywhere=self._settings.max_concurrent_per_community,
        )

    def _see_to_pauses(self, pausing: list[str], outlook: Outlook) -> None:
        for execution_id in outlook.pause:
            self.ask(execution_id, Request.PAUSE)
        for execution_id in set(pausing).difference(outlook.pause):
            self.ask(execution_id, Request.RESUME)

    async def _see_to_family(self, outlook: Outlook) -> None:
        for execution_id, count in outlook.letters.items():
            held = self._runners.get(execution_id)
            if held is not None and held[0].letters_read < count:
                await self._post.deliver(execution_id)
        if outlook.unanswered and self._worker.may_act():
            await self._family.answer_failures()

    def _recipient(self, execution_id: str) -> Runner | None:
        held = self._runners.get(execution_id)
        return None if held is None else held[0]

    def letter_arrived(self, execution_id: str) -> None:
        """There is a letter for an execution, here or parked."""
        if self.holds(execution_id):
            self._family.later(lambda: self._post.deliver(execution_id))
        else:
            self.nudge()

    async def _let_strays_go(self) -> None:
        """Frees what this worker holds in the table but does not run: the answer to a claim was
        lost on its way, or it has left a process that is to stop. Nobody else would ever take it
        over, for this worker is alive."""
        held = await self._store.held(self._worker.worker_id)
        strays = {key: held[key] for key in sorted(held.keys() - self._runners.keys())}
        # A runner leaves once its end is durable, but one that broke leaves before.
        await self.journal.committed(self.journal.position)
        freed = await self._store.let_go(self._worker.worker_id, strays)
        if freed:
            self._log.system("free_strays", "SUCCESS", executions=freed)
            self.nudge()

    async def _take_over(self, stored: StoredExecution) -> None:
        context = stored.context
        if context.execution_id in self._runners:
            return  # It is just leaving; the next look finds it a stray and frees it.
        stored.progress.status = ExecutionStatus.RUNNING
        try:
            graph = await self._graphs.get(context.workflow_id, context.workflow_version)
        except (StoreUnavailable, OutcomeUnknown):
            raise  # What was claimed and is not run is found a stray when the store is back.
        except Exception as bug:  # the edge of an execution: its version cannot be run at all
            self._reject(stored, bug)
            return
        self._launch(context, graph, stored.progress, stored.steps, stored.letters)
        if stored.cancel_requested:
            self.ask(context.execution_id, Request.CANCEL)
        elif stored.pause_requested:
            self.ask(context.execution_id, Request.PAUSE)

    def _reject(self, stored: StoredExecution, bug: Exception) -> None:
        """Fails a claimed execution whose version cannot be compiled: trying again cannot help,
        and must not take the claims of others along."""
        execution_id = stored.context.execution_id
        self._log.error("claim_execution", "FAILURE", execution=execution_id, reason=repr(bug))
        message = f"The workflow's version cannot be run: {type(bug).__name__}."
        self.journal.progress(stored.rejected(self._clock.now(), message))
