"""Several engines on one store, and what befalls them.

Its one rule: everything is drawn from the dice it is given, in the order in which it happens.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.context import ExecutionContext, Limits
from engine.engine import WorkflowEngine
from engine.environment import Impure
from engine.errors import StepFailure, WorkflowEngineException
from engine.graph import Graph, compile_graph
from engine.ports import Callee
from engine.settings import EngineSettings
from engine.validation import validate
from simulation.authors import Draft
from simulation.faulty_store import Database, FaultyStore, Tables
from simulation.outside import Door, Outside
from simulation.processes import Life, Process, ProcessLoop
from simulation.virtual_time import VirtualClock
from simulation.witness import Witness

VERSION = 1


@dataclass(slots=True)
class Server:
    """One process with its engine."""

    process: Process
    store: FaultyStore
    engine: WorkflowEngine
    leaving: bool = False


UNEXPECTED = frozenset(
    {
        *("run_execution", "run_node", "store_execution", "fail_execution", "claim_execution"),
        *("start_error_workflow", "journal-writer", "claims", "sweeper"),
    }
)
"""What an engine only says of a bug, its own or a workflow's; no workflow here has one."""


class Log:
    """What the engines say about themselves: for the story, and to hear of what they forgave."""

    def __init__(
        self, name: str, story: Callable[[str], None], charge: Callable[[str, str], None]
    ) -> None:
        self.lost = 0
        """How many leases were lost."""
        self._name = name
        self._story = story
        self._charge = charge

    def system(self, action: str, result: str, **fields: Any) -> None:
        self._story(f"{self._name} says {action} {result} {fields}")

    def error(self, action: str, result: str, **fields: Any) -> None:
        self.lost += action == "lease"
        if action in UNEXPECTED:
            self._charge("no bug", f"{self._name}: {action} {fields}")
        self._story(f"{self._name} says {action} {result} {fields}")

    def trouble(self, action: str, **fields: Any) -> None:
        self.error(action, "FAILURE", **fields)

    def over(self, action: str) -> None:
        return None


class Cluster:
    """The store, the outside, the witness and the processes of one run."""

    def __init__(self, dice: random.Random, settings: EngineSettings) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ProcessLoop)
        self.loop = loop
        self.dice = dice
        self.clock = VirtualClock()
        self.tables = Tables(self.clock)
        self.lines: list[str] = []
        self.database = Database(self.tables, dice, self.tell)
        self.witness = Witness(self.tables)
        self.database.watch = self.witness
        self.outside = Outside(dice, self._began)
        self.servers: list[Server] = []
        self.logs: list[Log] = []
        self.strikes: dict[str, int] = {}
        self._settings = settings
        self._drafts: dict[str, Draft] = {}
        self._ids = itertools.count(1)
        self._names = itertools.count(1)

    def tell(self, line: str) -> None:
        """Adds to the story."""
        self.lines.append(f"{self.loop.time():9.4f} {line}")

    def new_id(self) -> str:
        """A new UUID, the same in every run of the seed."""
        return f"0190b000-0000-7000-8000-{next(self._ids):012d}"

    def publish(self, drafts: dict[str, Draft]) -> None:
        """Stores the workflows, each as its first version."""
        for workflow_id, draft in drafts.items():
            report = validate(draft.document, Limits())
            assert report.is_valid, report.as_json()["errors"]
            assert report.document is not None
            self.tables.definitions[workflow_id, VERSION] = report.document
            self._drafts[workflow_id] = draft

    def draft(self, workflow_id: str) -> Draft:
        """What was published."""
        return self._drafts[workflow_id]

    def graph(self, workflow_id: str) -> Graph:
        """A workflow's graph."""
        return compile_graph(
            self.tables.definitions[workflow_id, VERSION],
            Limits(),
            workflow_id=workflow_id,
            version=VERSION,
        )

    async def callee(self, workflow_id: str, caller: ExecutionContext) -> Callee:
        """The engines' directory: every published workflow may be started."""
        if workflow_id not in self._drafts:
            raise StepFailure("SUBWORKFLOW_NOT_FOUND", "There is no such workflow.")
        return Callee(workflow_id, VERSION)

    # Processes

    def start(self) -> Server:
        """Starts one more process, with an engine of its own."""
        process = Process(f"p{next(self._names)}", self.loop)
        store, door = FaultyStore(self.database, process), Door(self.outside, process)
        log = Log(process.name, self.tell, self.witness.charge)
        self.logs.append(log)
        engine = WorkflowEngine(
            *(store, door, door, self, self.clock),
            Impure(self.clock.now, lambda: 0.5, self.new_id),
            *(log, Limits(), self._settings),
        )
        server = Server(process, store, engine)
        self.servers.append(server)
        self.witness.meet(process, store)
        process.spawn(self._boot(engine))
        self.tell(f"{process.name} starts")
        return server

    async def _boot(self, engine: WorkflowEngine) -> None:
        while True:
            try:
                await engine.start()
            except WorkflowEngineException:
                await asyncio.sleep(0.3)
            else:
                return

    def living(self) -> list[Server]:
        """The processes that were not killed and are not leaving."""
        return [s for s in self.servers if s.process.life is not Life.DEAD and not s.leaving]

    def kill(self, server: Server, *, back_after: float | None) -> None:
        """SIGKILL; another process starts `back_after` seconds later."""
        if server.process.life is Life.DEAD:
            return
        self._count("kill", server)
        server.process.kill()
        self.witness.struck("kill", server.store.workers)
        self.database.unlocked.update(server.store.workers)
        if back_after is not None:
            self.loop.call_later(back_after, self.start, context=self.database.outside)

    def freeze(self, server: Server, seconds: float) -> None:
        """SIGSTOP, and SIGCONT `seconds` later."""
        if server.process.life is not Life.RUNNING:
            return
        self._count("freeze" if seconds > self._settings.lease_seconds else "hiccup", server)
        server.process.freeze()
        if seconds > self._settings.lease_seconds:
            self.witness.struck("freeze", server.store.workers)
        self.loop.call_later(seconds, self._thaw, server, context=self.database.outside)

    def _thaw(self, server: Server) -> None:
        self.tell(f"{server.process.name} thaws")
        server.process.thaw()

    def unlock(self, server: Server) -> None:
        """The connection with the worker's advisory lock breaks; the process lives on."""
        if server.process.life is Life.DEAD or not server.store.workers:
            return
        self._count("unlock", server)
        worker_id = server.store.workers[-1]
        self.witness.excuse(worker_id)
        self.database.unlocked.add(worker_id)

    def drain(self, server: Server) -> None:
        """SIGTERM, with a new process started at the same moment."""
        if server.process.life is not Life.RUNNING or server.leaving:
            return
        self._count("drain", server)
        server.leaving = True
        server.process.spawn(server.engine.shutdown())
        self.start()

    def freeze_database(self, seconds: float) -> None:
        """Nothing is answered for a while; then everything that was asked is done."""
        self.strikes["database_freeze"] = self.strikes.get("database_freeze", 0) + 1
        self.tell(f"the database freezes for {seconds:.2f}")
        self.database.frozen_until = self.loop.time() + seconds

    def _count(self, fault: str, server: Server) -> None:
        self.strikes[fault] = self.strikes.get(fault, 0) + 1
        self.tell(f"{server.process.name} {fault}")

    def _began(self, process: Process, key: str, seen: Any) -> None:
        self.tell(f"{process.name} effect {key[-20:]}")
        self.witness.began(process, key, seen)

    async def quiet(self, until: float) -> list[str]:
        """Waits until every execution has ended and every failure is answered. What is left."""
        while True:
            rows = self.tables.rows()
            left = [s.context.execution_id for s, _ in rows if not s.progress.status.terminal]
            if not left and not await self.tables.unanswered(1):
                return []
            if self.loop.time() > until:
                return left or ["an error workflow"]
            await asyncio.sleep(0.25)

    async def close(self) -> None:
        """Ends every task there is, those of the dead as well."""
        self.database.closed = True
        self.loop.set_exception_handler(lambda loop, context: None)  # the dead cannot complain
        for server in self.servers:
            server.process.release()
        for _ in range(5):  # What was never begun must begin, or Python misses it.
            await asyncio.sleep(0)
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
