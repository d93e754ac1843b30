"""One execution: fold, run what is ready, append, until it ends or is parked.

Pure steps run inline, one after the other, without a task or a flush. An effect runs in a task of
its own, which first waits until everything it depends on is durable. What tasks, timers and
callers have to say arrives in one inbox, so the fold is only ever touched from `run`.

The runner never talks to the store: it appends to the journal and reads what it was given.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime, timedelta

from engine import steps
from engine.context import (
    ExecutionContext,
    ExecutionStatus,
    Json,
    JsonObject,
    Kind,
    Outcome,
    StepError,
)
from engine.effects import Effects, Finished
from engine.environment import Impure, StepEnv, execution_object, trigger_object
from engine.errors import LeaseLost, StepFailure
from engine.expressions import ExpressionError
from engine.graph import Graph
from engine.journal import Journal
from engine.messages import Exit, Message, Request, Wake
from engine.nodes.base import Park
from engine.pace import Pace
from engine.ports import Clock
from engine.recording import Recorder
from engine.records import Progress, StepRow, outcome_of
from engine.scopes import Step, Transition
from engine.state import ExecutionState

PARK_SECONDS = 1.0
"""A wait of at least this long is recorded and may leave memory; a shorter one is a timer."""


class Runner:
    """Runs one execution in this process. The rows in `replayed` are folded first, silently."""

    def __init__(
        self,
        context: ExecutionContext,
        graph: Graph,
        progress: Progress,
        journal: Journal,
        effects: Effects,
        clock: Clock,
        impure: Impure,
        pace: Pace,
        replayed: list[StepRow],
    ) -> None:
        started = progress.start_time or clock.now()
        self.context = context
        self.graph = graph
        recorded = replayed[-1].seq if replayed else 0
        self.recorder = Recorder(context, graph, journal, progress, started, recorded)
        self._journal = journal
        self._effects = effects
        self._clock = clock
        self._impure = impure
        self._pace = pace
        self._execution = execution_object(context, started)
        self._reserved = {"execution": self._execution, "trigger": trigger_object(context)}
        self._deadline = started + timedelta(seconds=context.max_execution_seconds)
        self._replayed = replayed
        self._state = ExecutionState(graph, context.variables, context.trigger_node_id)
        self._ready: deque[Step] = deque()
        self._queue: deque[Step] = deque()
        self._running: dict[Step, asyncio.Task[None]] = {}
        self._timers: dict[Step, asyncio.TimerHandle] = {}
        self._inbox: deque[Message] = deque()
        self._awake: asyncio.Future[None] | None = None

    def ask(self, request: Request) -> None:
        """Asks the execution to stop; it obeys before it does anything else."""
        self._post(request)

    async def run(self) -> Exit:
        """Runs until the execution ends, is parked or dropped. An end and a park are durable on
        return."""
        left = (self._deadline - self._clock.now()).total_seconds()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(left, 0.0), self._post, Request.TIME_OUT)
        try:
            return await self._go()
        except LeaseLost:
            return Exit.DROPPED
        finally:
            timer.cancel()
            for step in (*self._running, *self._timers):
                self._forget(step)

    async def _go(self) -> Exit:
        self._begin()
        while True:
            await self._advance()
            if self._state.ended is not None:
                return await self._end()
            leaving = await self._obey()
            if leaving is not None:
                return leaving
            self._start_effects()
            if self._state.ended is not None or self._ready:
                continue
            if self._clock.now() >= self._deadline:
                self._time_out()
            elif self._may_park():
                return await self._park()
            else:
                await self._message()

    async def _obey(self) -> Exit | None:
        """Does what the inbox says. Why the execution leaves, if it does."""
        while self._inbox:
            message = self._inbox.popleft()
            if message is Request.CANCEL:
                return await self._cancelled()
            if message is Request.DROP:
                return Exit.DROPPED
            if isinstance(message, Finished):
                self._effect_finished(message)
            elif isinstance(message, Wake):
                self._woken(message.step)
            else:
                self._time_out()
        return None

    def _begin(self) -> None:
        """Starts the fold, or rebuilds it from the recorded outcomes and picks up what is open."""
        self._ready.extend(self._state.start().ready)
        if not self._replayed:
            return
        for row in self._replayed:
            self._state.apply(outcome_of(row))
        self._replayed = []
        self._ready.clear()
        for step in self._state.open_steps():
            if step.waiting:
                self._set_timer(step)
            elif step.intended:
                self._interrupted(step)
            else:
                self._ready.append(step)

    # Pure steps

    async def _advance(self) -> None:
        """Runs every pure step that is ready and those that thereby become so; queues effects.
        Comes back early when there is something in the inbox."""
        began = self._clock.monotonic()
        while self._ready and self._state.ended is None:
            if self._pace.used_up():
                self.recorder.worked(self._clock.monotonic() - began)
                await self._pace.turn()
                began = self._clock.monotonic()
                if self._inbox:
                    return
            step = self._ready.popleft()
            family = step.node.spec.family
            if family in ("effect", "subworkflow"):
                self._queue.append(step)
            elif family == "park":
                self._start_waiting(step)
            else:
                self._evaluate(step)
        self.recorder.worked(self._clock.monotonic() - began)

    def _evaluate(self, step: Step) -> None:
        started = self._clock.now()
        given = self._state.input_of(step)
        self._settle(step, steps.evaluate(step, self._env(step), self.graph), given, started)

    def _settle(self, step: Step, outcome: Outcome, given: Json, started: datetime) -> None:
        """Records an outcome and folds it in."""
        self.recorder.outcome(step, outcome, given, started, self._clock.now())
        self._absorb(self._state.apply(outcome))
        if self.recorder.size > self.graph.limits.max_execution_bytes:
            self._end_with(steps.too_large(step, self.graph))

    def _absorb(self, transition: Transition) -> None:
        for step in transition.cancelled:
            self._forget(step)
        self._ready.extend(transition.ready)

    def _env(self, step: Step) -> StepEnv:
        return StepEnv(self._state, step, self._reserved, self._impure)

    # Effects

    def _start_effects(self) -> None:
        """Starts queued effects as far as `MAX_PARALLEL_NODES` and the lanes of limited
        parallels let them."""
        room = self.graph.limits.max_parallel_nodes - len(self._running)
        postponed: list[Step] = []
        while self._queue and room > 0:
            step = self._queue.popleft()
            if self._lane_is_full(step):
                postponed.append(step)
            elif self._start_effect(step):
                room -= 1
        # One that failed to render may have cancelled some of those put aside before it.
        active = self._state.active
        self._queue.extendleft(s for s in reversed(postponed) if active.get(s.key) is s)

    def _lane_is_full(self, step: Step) -> bool:
        return any(
            sum(1 for other in self._running if (name, limit) in other.node.lanes) >= limit
            for name, limit in step.node.lanes
        )

    def _start_effect(self, step: Step) -> bool:
        started = self._clock.now()
        try:
            given = steps.render(step, self._env(step))
        except (StepFailure, ExpressionError) as failure:
            given = self._state.input_of(step)
            self._settle(step, steps.failed(step, failure), given, started)
            return False
        if step.node.at_most_once:
            intent = Outcome(step.key, Kind.INTENT, attempt=step.attempt)
            self._settle(step, intent, given, started)
        attempt = self._attempt(step, given, self.recorder.position)
        self._running[step] = asyncio.get_running_loop().create_task(attempt)
        return True

    async def _attempt(self, step: Step, given: JsonObject, depends_on: int) -> None:
        """One attempt of an effect, once what it depends on is durable (output commit)."""
        try:
            await self._journal.committed(depends_on)
            self._post(await self._effects.perform(step, given, self._execution))
        except LeaseLost:
            self._post(Request.DROP)

    def _effect_finished(self, finished: Finished) -> None:
        step = finished.step
        self._running.pop(step, None)
        if self._state.active.get(step.key) is not step:
            return
        failure = finished.failure
        if failure is None:
            outcome = steps.concluded_effect(step, finished.given, finished.output, self._env(step))
        else:
            outcome = steps.attempted(step, failure, self._impure)
        self._settle(step, outcome, finished.given, finished.started)
        if outcome.kind is Kind.RETRYING:
            self._set_timer(step)

    def _interrupted(self, step: Step) -> None:
        """An `at_most_once` effect whose attempt a crash cut off: nobody knows what it did."""
        failure = StepFailure(
            "OUTCOME_UNKNOWN",
            "The attempt was interrupted and may or may not have taken effect; "
            "the node is at_most_once, so it is not repeated.",
        )
        now = self._clock.now()
        self._settle(step, steps.failed(step, failure), None, now)

    # Waiting

    def _start_waiting(self, step: Step) -> None:
        now = self._clock.now()
        try:
            waited = steps.park(step, self._env(step))
        except (StepFailure, ExpressionError) as failure:
            self._settle(step, steps.failed(step, failure), self._state.input_of(step), now)
            return
        wake_at = None if waited.seconds is None else now + timedelta(seconds=waited.seconds)
        outcome = Outcome(
            step_key=step.key,
            kind=Kind.WAITING,
            output={"seconds": waited.seconds, "signal": waited.signal, "schema": waited.schema},
            wake_at=wake_at,
            signal=waited.signal,
        )
        short = waited.seconds is not None and waited.seconds < PARK_SECONDS
        if short and waited.signal is None:
            self._absorb(self._state.apply(outcome))
        else:
            self._settle(step, outcome, self._state.input_of(step), now)
        self._set_timer(step)

    def _set_timer(self, step: Step) -> None:
        if step.wake_at is None:
            return
        left = (step.wake_at - self._clock.now()).total_seconds()
        self._timers[step] = asyncio.get_running_loop().call_later(
            max(left, 0.0), self._post, Wake(step)
        )

    def _woken(self, step: Step) -> None:
        self._timers.pop(step, None)
        if self._state.active.get(step.key) is not step or not step.waiting:
            return
        step.waiting = False
        if step.node.spec.family != "park":
            self._ready.append(step)
            return
        parked = step.parked or {}
        waited = Park(parked.get("seconds"), parked.get("signal"), parked.get("schema"))
        env = self._env(step)
        outcome = steps.woken(step, waited, None, env, timed_out=True)
        self._settle(step, outcome, self._state.input_of(step), self._clock.now())

    def _may_park(self) -> bool:
        """Whether nothing but waits of some length are left."""
        if self._running or self._queue or self._ready or self._inbox:
            return False
        left = (self._next_wake() - self._clock.now()).total_seconds()
        return left >= PARK_SECONDS and bool(self._state.waiting_steps())

    def _next_wake(self) -> datetime:
        """When there is something to do again: a wait is over, or the execution's time is up."""
        times = [s.wake_at for s in self._state.waiting_steps() if s.wake_at is not None]
        return min([*times, self._deadline])

    # Ending

    async def _park(self) -> Exit:
        self.recorder.parked(self._state, self._next_wake())
        await self._journal.committed(self.recorder.position)
        return Exit.PARKED

    async def _end(self) -> Exit:
        ended = self._state.ended
        assert ended is not None
        self.recorder.ended(
            self._state,
            ExecutionStatus(ended.status),
            self._clock.now(),
            output=ended.output,
            error=ended.error,
        )
        await self._journal.committed(self.recorder.position)
        return Exit.ENDED

    async def _cancelled(self) -> Exit:
        for step in list(self._running):
            self._forget(step)
        self.recorder.ended(self._state, ExecutionStatus.CANCELLED, self._clock.now())
        await self._journal.committed(self.recorder.position)
        return Exit.ENDED

    def _time_out(self) -> None:
        busy = next(iter(self._running), None) or next(iter(self._state.active.values()), None)
        seconds = self.context.max_execution_seconds
        error = StepError(
            message=f"The execution took longer than {seconds} s, the most it may.",
            type="EXECUTION_TIMEOUT",
            node_id=busy.node.node_id if busy else "",
            step_key=busy.key if busy else "",
            fatal=True,
        )
        self._end_with(error)

    def _end_with(self, error: StepError) -> None:
        transition = Transition()
        self._state.end_now(error, transition)
        self._absorb(transition)

    # The inbox

    def _post(self, message: Message) -> None:
        self._inbox.append(message)
        self._rouse()

    def _rouse(self) -> None:
        if self._awake is not None and not self._awake.done():
            self._awake.set_result(None)

    async def _message(self) -> None:
        """Returns when there is something in the inbox."""
        if not self._inbox:
            self._awake = asyncio.get_running_loop().create_future()
            await self._awake
            self._awake = None

    def _forget(self, step: Step) -> None:
        task = self._running.pop(step, None)
        if task is not None:
            task.cancel()
        timer = self._timers.pop(step, None)
        if timer is not None:
            timer.cancel()
        if step in self._queue:
            self._queue.remove(step)
        if step in self._ready:
            self._ready.remove(step)
