"""One identity of the engine: its worker, its journal, and the executions it holds.

Everything here belongs to one lease and dies with it. A session that lost its lease writes
nothing, not even an apology: whoever took its executions over goes on from the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace

from engine.admission import Admission
from engine.children import Callees
from engine.claims import Claims
from engine.context import ExecutionContext, ExecutionStatus
from engine.departure import Departure, end
from engine.effects import Effects
from engine.environment import Impure
from engine.errors import LeaseLost, WorkflowEngineException
from engine.family import Family
from engine.graph import Graph
from engine.journal import Journal
from engine.messages import Exit, Request
from engine.pace import Pace
from engine.ports import Clock, EngineLog, ExecutionStore
from engine.post_office import PostOffice
from engine.recording import counts_at_birth
from engine.records import Letter, Progress, StepRow
from engine.runner import Runner
from engine.scopes import Step
from engine.settings import EngineSettings
from engine.waits import Tools
from engine.worker import Worker

_CLAIM_AT_ONCE = 100
_MOST_REFUSALS = 1_000
_CALLS_APART_SECONDS = 0.25
"""How far apart a process that has no room calls the others, who may have none either."""
_PATIENCE_SECONDS = 2.0
"""How long what was told to stop may take: a commit that is on its way, but not a frozen store."""

MakeEffects = Callable[[Callable[[], bool], Callable[[Step, Exception], None]], Effects]


class Session(Claims):
    """Runs executions under one lease. `over` is set once the lease is lost."""

    def __init__(
        self,
        store: ExecutionStore,
        callees: Callees,
        admission: Admission,
        clock: Clock,
        impure: Impure,
        pace: Pace,
        log: EngineLog,
        settings: EngineSettings,
        departure: Departure,
        make_effects: MakeEffects,
        left: Callable[[str, bool], None],
    ) -> None:
        self.over = asyncio.Event()
        self._store = store
        self._graphs = callees.graphs
        self._admission = admission
        self._clock = clock
        self._log = log
        self._settings = settings
        self._departure = departure
        self._worker = Worker(impure.uuid(), store, clock, log, settings, self._lose)
        self.journal = Journal(store, self._worker.worker_id, self._refused, self._lose, log)
        self._family = Family(
            store, self.journal, callees, log, self.submit, self.ask, self.nudge, self._admit
        )
        effects = make_effects(self._may_act, self._crashed)
        self._tools = Tools(self.journal, effects, self._family, clock, impure, pace)
        self._runners: dict[str, tuple[Runner, asyncio.Task[None]]] = {}
        self._refusals: dict[str, Exception] = {}
        self._post = PostOffice(store, self._recipient)
        self._left = left
        self._wanted = asyncio.Event()
        self._called_at = float("-inf")
        self._loops: list[asyncio.Task[None]] = []
        self._writer: asyncio.Task[None] | None = None
        self.crowded = False
        """Whether the last look saw more to claim than there was room for."""

    @property
    def alive(self) -> bool:
        """Whether executions may still be handed to this session."""
        return self._writer is not None and not self.over.is_set()

    async def open(self) -> None:
        """Registers the worker and starts the background loops. Raises `StoreUnavailable`."""
        await self._worker.register()
        self._writer = asyncio.create_task(self.journal.run(), name="journal-writer")
        loops: dict[str, Coroutine[None, None, None]] = {
            "lease": self._worker.keep_lease(),
            "sweeper": self._worker.sweep(),
            "claims": self._claim_loop(),
        }
        self._loops = [asyncio.create_task(loop, name=name) for name, loop in loops.items()]
        for task in (self._writer, *self._loops):
            task.add_done_callback(self._loop_ended)
        self._log.system("start_worker", "SUCCESS", worker=self._worker.worker_id)

    def leave(self) -> None:
        """Starts nothing more here: every execution goes once the steps it runs are done, and
        the claim loop hands it over."""
        for runner, _ in self._runners.values():
            runner.ask(Request.LEAVE)
        self.nudge()

    async def drain(self) -> None:
        """Ends in good order, `leave` being said: steps that run may finish within the grace
        time, the rest is released."""
        await self._departure.settle(*(task for _, task in self._runners.values()))
        await self._stop_loops(keep_lease=True)
        await self._drop_runners()
        await self._family.stop()
        self.journal.close()
        if self._writer is not None:
            await end([self._writer], _PATIENCE_SECONDS)
        await self._stop_loops(keep_lease=False)
        await self._release()

    async def abandon(self) -> None:
        """Ends at once, recording nothing: the lease is lost. What nobody has taken over yet is
        released, so that it need not wait for the lease to run out in the table as well."""
        await self._stop_loops(keep_lease=False)
        await self._drop_runners()
        await self._family.stop()
        await self._release()

    async def _drop_runners(self) -> None:
        for runner, _ in self._runners.values():
            runner.ask(Request.DROP)
        await end([task for _, task in self._runners.values()], _PATIENCE_SECONDS)

    async def _release(self) -> None:
        try:
            released = await self._store.release(self._worker.worker_id)
            self._log.system("stop_worker", "SUCCESS", released=released)
        except WorkflowEngineException as unreachable:
            self._log.error("stop_worker", "FAILURE", reason=str(unreachable))

    # Executions

    def room(self) -> int:
        """How many more executions may run here."""
        if not self._settings.runs or self._departure.begun:
            return 0
        return self._settings.max_concurrent_executions - len(self._runners)

    @property
    def running(self) -> int:
        """How many executions run here."""
        return len(self._runners)

    def backlog(self) -> int:
        """How many records wait to be written."""
        return self.journal.backlog

    def holds(self, execution_id: str) -> bool:
        """Whether the execution runs here."""
        return execution_id in self._runners

    def has_room(self, community_id: int, count: int = 1) -> bool:
        """Whether so many more executions of a community may start here at once."""
        if self._settings.max_concurrent_per_community is not None:
            return False  # That is for a claim to find out, which counts them everywhere.
        running, each = len(self._runners), self._settings.most_of_one_community
        if self.room() < count:
            return False
        # One community's can only be too many when all together are.
        return running + count <= each or self._running(community_id) + count <= each

    def _running(self, community_id: int) -> int:
        return sum(r.context.community_id == community_id for r, _ in self._runners.values())

    async def _admit(self, community_id: int) -> None:
        await self._admission.admit(self, community_id, 1)

    def ask(self, execution_id: str, request: Request) -> bool:
        """Passes a request on to an execution; False if it does not run here."""
        held = self._runners.get(execution_id)
        if held is not None:
            held[0].ask(request)
        return held is not None

    async def ended(self, execution_id: str, seconds: float) -> None:
        """Returns when the execution has left this process, when that is to stop, or after
        `seconds`."""
        held = self._runners.get(execution_id)
        if held is not None and not self._departure.begun:
            await self._departure.wait(held[1], seconds=seconds)

    def submit(
        self,
        context: ExecutionContext,
        graph: Graph,
        here: bool = True,
        rows: Sequence[StepRow] = (),
    ) -> Progress:
        """Creates an execution, with the journal `rows` it begins with. With `here` it starts at
        once if there is room; otherwise it waits to be claimed. Raises `LeaseLost`."""
        limited = context.max_parallel_executions is not None
        local = here and not limited and self.has_room(context.community_id)
        now = self._clock.now()
        progress = Progress(
            execution_id=context.execution_id,
            status=ExecutionStatus.RUNNING if local else ExecutionStatus.PENDING,
            start_time=now if local else None,
            held=local,
            last_seq=rows[-1].seq if rows else 1,
            total_steps=graph.enabled_count,
            **counts_at_birth(context, graph, rows),
        )
        self.journal.create(context, progress)
        for row in rows:
            self.journal.step(row)
        if local:
            self._launch(context, graph, replace(progress), list(rows), [])
        elif self.room() <= 0:
            self._call_others()
        return progress

    def _call_others(self) -> None:
        """What cannot start here may start elsewhere, sooner than others look by themselves. One
        that runs nothing itself calls with every flush."""
        now = self._clock.monotonic()
        apart = _CALLS_APART_SECONDS if self._settings.runs else 0.0
        if now - self._called_at >= apart:
            self._called_at = now
            self.journal.wake_others()

    def _launch(
        self,
        context: ExecutionContext,
        graph: Graph,
        progress: Progress,
        rows: list[StepRow],
        letters: list[Letter],
    ) -> None:
        """Runs an execution that this worker holds."""
        runner = Runner(context, graph, progress, self._tools, rows, letters)
        task = asyncio.create_task(self._supervised(runner))
        self._runners[context.execution_id] = (runner, task)
        if self._departure.begun:
            runner.ask(Request.LEAVE)

    def withdraw(self, execution_id: str) -> bool:
        """Takes back an execution that was submitted and is not on its way to the store."""
        withdrawn = self.journal.withdraw(execution_id)
        if withdrawn:
            self.ask(execution_id, Request.DROP)
        return withdrawn

    def refusal(self, execution_id: str) -> Exception | None:
        """Why the store refused this execution's records, if it did. Asked once."""
        return self._refusals.pop(execution_id, None)

    async def _supervised(self, runner: Runner) -> None:
        """The edge around one execution: its own bug ends it, and nothing else."""
        execution_id = runner.context.execution_id
        leaving = Exit.DROPPED
        try:
            leaving = await runner.run()
        except Exception as bug:  # the edge of an execution: a bug of ours fails it visibly
            self._log.error("run_execution", "FAILURE", execution=execution_id, reason=repr(bug))
            self._fail(runner, bug)
        finally:
            self._runners.pop(execution_id, None)
            context = runner.context
            limited = context.max_parallel_executions is not None
            answerable = runner.failed and context.error_workflow_id is not None
            going = leaving in (Exit.PARKED, Exit.LEFT)
            if self.crowded or limited or answerable or going:
                self.nudge()
            self._left(execution_id, leaving is Exit.ENDED)

    def _fail(self, runner: Runner, bug: Exception) -> None:
        try:
            runner.recorder.broke(self._clock.now(), f"The engine failed: {type(bug).__name__}.")
        except LeaseLost as lost:
            self._log.error("fail_execution", "FAILURE", reason=str(lost))

    def _refused(self, execution_id: str, reason: Exception) -> None:
        """The store will not take this execution's records: end it with what it will take."""
        self._log.error("store_execution", "FAILURE", execution=execution_id, reason=str(reason))
        self._refusals[execution_id] = reason
        while len(self._refusals) > _MOST_REFUSALS:  # Nobody asks for those of later records.
            del self._refusals[next(iter(self._refusals))]
        held = self._runners.get(execution_id)
        if held is not None:
            held[0].ask(Request.DROP)
            held[0].recorder.broke(self._clock.now(), "A value of this execution cannot be stored.")

    def _crashed(self, step: Step, bug: Exception) -> None:
        self._log.error("run_node", "FAILURE", node_type=step.node.node_type, reason=repr(bug))

    def hurry(self) -> None:
        """Renews the lease at once."""
        self._worker.hurry()

    def _may_act(self) -> bool:
        """Whether an effect may start. A lease that was late once is lost: what this refuses is
        dropped, and would be held by a worker that lives on without running it."""
        if not self._worker.may_act():
            self._lose(LeaseLost())
        return not self.over.is_set()

    def _lose(self, reason: LeaseLost) -> None:
        if self.over.is_set():
            return
        self._log.error("lease", "FAILURE", worker=self._worker.worker_id, reason=str(reason))
        self.over.set()
        self.journal.lose(reason)
        for runner, _ in self._runners.values():
            runner.ask(Request.DROP)

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        """A background loop that broke on a bug takes its session along: a worker that keeps its
        lease but does not claim, sweep or write would hold its executions for ever."""
        bug = None if task.cancelled() else task.exception()
        if bug is not None:
            self._log.error(task.get_name(), "FAILURE", reason=repr(bug))
            self._lose(LeaseLost())

    async def _stop_loops(self, *, keep_lease: bool) -> None:
        stopping = [t for t in self._loops if not (keep_lease and t.get_name() == "lease")]
        self._loops = [t for t in self._loops if t not in stopping]
        for task in stopping:
            task.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)
