"""One execution: fold, run what is ready, append, until it ends or is parked.

Pure steps run inline, one after the other, without a task or a flush. An effect runs in a task of
its own, which first waits until everything it depends on is durable. What tasks, timers and
callers have to say arrives in one inbox, so the fold is only ever touched from `run`.

The runner never talks to the store: it appends to the journal and reads what it was given.
Waiting (timers, letters, children) is the other half of it, in `waits.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta

from engine import steps
from engine.children import sent_off
from engine.context import (
    ExecutionContext,
    ExecutionStatus,
    Json,
    JsonObject,
    Kind,
    Outcome,
    StepError,
)
from engine.effects import Finished
from engine.environment import StepEnv, execution_object, trigger_object
from engine.errors import LeaseLost, StepFailure
from engine.expressions import ExpressionError
from engine.graph import Graph
from engine.messages import Called, Delivery, Exit, Request, Wake
from engine.records import Letter, Progress, StepRow, outcome_of
from engine.scopes import Step, Transition, lane_is_full
from engine.trace_context import passed_on
from engine.waits import Tools, Waits, child_of, timed_out


class Runner(Waits):
    """Runs one execution in this process. The rows in `replayed` are folded first, silently."""

    def __init__(
        self,
        context: ExecutionContext,
        graph: Graph,
        progress: Progress,
        tools: Tools,
        replayed: list[StepRow],
        letters: list[Letter],
    ) -> None:
        super().__init__(context, graph, progress, tools, replayed, letters)
        started = self.recorder.started
        self._execution = execution_object(context, started)
        self._reserved = {"execution": self._execution, "trigger": trigger_object(context)}
        self._replayed = replayed
        self._tried: dict[str, JsonObject] = {}
        """What steps that are to be tried again were given: every attempt sends the same."""

    @property
    def failed(self) -> bool:
        """Whether the execution has ended as failed here."""
        ended = self._state.ended
        return ended is not None and ended.status == "failed"

    def ask(self, request: Request) -> None:
        """Asks something of the execution; it obeys before it does anything else."""
        self._inbox.post(request)

    @property
    def pausing(self) -> bool:
        """Whether it is about to be paused, as far as it has heard."""
        return self._pausing

    def deliver(self, letters: list[Letter]) -> None:
        """Hands over the execution's letters, those it knows among them."""
        self._inbox.post(Delivery(letters))

    async def run(self) -> Exit:
        """Runs until the execution ends, is parked or dropped. An end and a park are durable on
        return."""
        left = (self._deadline - self._tools.clock.now()).total_seconds()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(left, 0.0), self._inbox.post, Request.TIME_OUT)
        try:
            return await self._go()
        except LeaseLost:
            return Exit.DROPPED
        finally:
            timer.cancel()
            for step in (*self._running, *self._timers):
                self._forget(step)

    async def _go(self) -> Exit:
        leaving: Exit | None = None
        self._begin()
        while leaving is None:
            leaving = await self._obey()
            if leaving is None:
                leaving = await self._turn()
        return leaving

    async def _turn(self) -> Exit | None:
        """Does what can be done until there is a message or nothing is left to do."""
        if not self._pausing:
            await self._advance()
            if not (self._inbox or self._leaving or self._state.ended is not None):
                self._start_effects()
        if self._state.ended is not None:
            return await self._end()
        if self._inbox or (self._ready and not self._pausing):
            return None
        return await self._rest()

    async def _rest(self) -> Exit | None:
        """Nothing can be done at the moment: leaves memory, or waits for a message."""
        if self._tools.clock.now() >= self._deadline:
            self._time_out()
        elif self._pausing and not self._running and not self._naps():
            return await self._pause()
        elif self._may_leave():
            return await self._leave()
        elif self._may_park():
            return await self._park()
        else:
            await self._inbox.filled()
        return None

    async def _obey(self) -> Exit | None:
        """Does what the inbox says. Why the execution leaves, if it does."""
        while self._inbox:
            message = self._inbox.take()
            if message is Request.CANCEL:
                return await self._cancelled()
            if message is Request.DROP:
                return Exit.DROPPED
            if message is Request.PAUSE or message is Request.RESUME:
                self._pausing = message is Request.PAUSE
            elif message is Request.LEAVE:
                self._leaving = True
            elif isinstance(message, Finished):
                self._effect_finished(message)
            elif isinstance(message, Wake):
                self._woken(message.step)
            elif isinstance(message, Called):
                self._called(message)
            elif isinstance(message, Delivery):
                self._mail.add(message.letters)
                self._read_mail()
            else:
                self._time_out()
        return None

    def _begin(self) -> None:
        """Starts the fold, or rebuilds it from the recorded outcomes and picks up what is open."""
        self._ready.extend(self._state.start().ready)
        if not self._replayed:
            return
        called: set[str] = set()
        for row in self._replayed:
            if row.kind in (Kind.RETRYING, Kind.WAITING) and isinstance(row.input, dict):
                self._tried[row.step_key] = row.input
            if row.node_type == "flow_subworkflow" and row.kind is Kind.WAITING:
                called.add(row.output["child"])
            self._state.apply(outcome_of(row))
        self._replayed = []
        awaited = {child_of(step) for step in self._state.waiting_steps()}
        for child in called - awaited - self._mail.letter_ids:
            self._abandon(child)
        self._ready.clear()
        for step in self._state.open_steps():
            if self._state.active.get(step.key) is not step:
                continue  # One before it was interrupted, and took it along.
            if step.waiting:
                self._set_timer(step)
            elif step.intended:
                self._interrupted(step)
            else:
                self._ready.append(step)
        self._read_mail()

    # Pure steps

    async def _advance(self) -> None:
        """Runs every pure step that is ready and those that thereby become so; queues effects.
        Comes back early when there is something in the inbox."""
        began = self._tools.clock.monotonic()
        while self._ready and self._state.ended is None:
            if self._tools.pace.used_up():
                self.recorder.worked(self._tools.clock.monotonic() - began)
                await self._tools.pace.turn()
                began = self._tools.clock.monotonic()
                if self._inbox:
                    return
            step = self._ready.pop(0)
            family = step.node.spec.family
            if family in ("effect", "subworkflow"):
                self._queue.append(step)
            elif family == "park":
                self._start_waiting(step)
            else:
                self._evaluate(step)
        self.recorder.worked(self._tools.clock.monotonic() - began)

    def _evaluate(self, step: Step) -> None:
        started = self._tools.clock.now()
        given = self._state.input_of(step)
        self._settle(step, steps.evaluate(step, self._env(step), self.graph), given, started)

    def _settle(self, step: Step, outcome: Outcome, given: Json, started: datetime) -> None:
        """Records an outcome and folds it in."""
        self.recorder.outcome(step, outcome, given, started, self._tools.clock.now())
        self._absorb(self._state.apply(outcome))
        if self.recorder.size > self.graph.limits.max_execution_bytes:
            self._end_with(steps.too_large(step, self.graph))

    def _env(self, step: Step) -> StepEnv:
        return StepEnv(self._state, step, self._reserved, self._tools.impure)

    # Effects

    def _start_effects(self) -> None:
        """Starts queued effects as far as `MAX_PARALLEL_NODES` and the lanes of limited
        parallels let them."""
        room = self.graph.limits.max_parallel_nodes - len(self._running)
        postponed: list[Step] = []
        while self._queue and room > 0:
            step = self._queue.pop(0)
            if lane_is_full(step, self._busy()):
                postponed.append(step)
            elif self._start_effect(step):
                room -= 1
        # One that failed to render may have cancelled some of those put aside before it.
        active = self._state.active
        self._queue[:0] = [step for step in postponed if active.get(step.key) is step]

    def _busy(self) -> Iterator[Step]:
        """The steps that hold a place in their lanes: effects that run, children awaited."""
        yield from self._running
        yield from (step for step in self._state.waiting_steps() if child_of(step))

    def _start_effect(self, step: Step) -> bool:
        started = self._tools.clock.now()
        try:
            given = self._tried.pop(step.key, None) or steps.render(step, self._env(step))
        except (StepFailure, ExpressionError) as failure:
            given = self._state.input_of(step)
            self._settle(step, steps.failed(step, failure, self._env(step)), given, started)
            return False
        if step.node.family == "subworkflow":
            self._running[step] = asyncio.create_task(self._call(step, given, started))
            return True
        if step.node.at_most_once:
            intent = Outcome(step.key, Kind.INTENT, attempt=step.attempt)
            self._settle(step, intent, given, started)
        attempt = self._attempt(step, given, self.recorder.position)
        self._running[step] = asyncio.create_task(attempt)
        return True

    async def _attempt(self, step: Step, given: JsonObject, depends_on: int) -> None:
        """One attempt of an effect, once what it depends on is durable (output commit)."""
        try:
            await self._tools.journal.committed(depends_on)
            trace = passed_on(self.context, step.key)
            self._inbox.post(await self._tools.effects.perform(step, given, self._execution, trace))
        except LeaseLost:
            self._inbox.post(Request.DROP)

    async def _call(self, step: Step, given: JsonObject, started: datetime) -> None:
        """Asks which execution a sub-workflow's step may start. That needs no durable input: the
        child is created in the flush that carries what it depends on, or in a later one."""
        try:
            context, graph = await self._tools.family.call(self.context, step.key, given)
        except StepFailure as refused:
            failure = refused
        except LeaseLost:
            self._inbox.post(Request.DROP)
            return
        except Exception as unexpected:  # the edge of a step: a version that cannot be compiled
            self._tools.effects.crashed(step, unexpected)
            failure = StepFailure("NODE_CRASHED", "The node failed unexpectedly.")
        else:
            self._inbox.post(Called(step, given, context, graph))
            return
        self._inbox.post(Finished(step, given, started, failure=failure))

    def _effect_finished(self, finished: Finished) -> None:
        step = finished.step
        self._running.pop(step, None)
        if self._state.active.get(step.key) is not step:
            return
        failure = finished.failure
        if failure is None:
            outcome = steps.concluded_effect(step, finished.given, finished.output, self._env(step))
        else:
            outcome = steps.attempted(step, failure, self._env(step))
        self._settle(step, outcome, finished.given, finished.started)
        if outcome.kind is Kind.RETRYING:
            self._tried[step.key] = finished.given
            self._set_timer(step)

    def _interrupted(self, step: Step) -> None:
        """An `at_most_once` effect whose attempt a crash cut off: nobody knows what it did."""
        failure = StepFailure(
            "OUTCOME_UNKNOWN",
            "The attempt was interrupted and may or may not have taken effect; "
            "the node is at_most_once, so it is not repeated.",
        )
        now = self._tools.clock.now()
        self._settle(step, steps.failed(step, failure, self._env(step)), None, now)

    def _called(self, call: Called) -> None:
        """Starts the child: its creation and the record that waits for it share a flush."""
        step = call.step
        self._running.pop(step, None)
        if self._state.active.get(step.key) is not step:
            return
        if self._pausing:
            self._tried[step.key] = call.given
            self._queue.append(step)
            return
        now = self._tools.clock.now()
        self._tools.family.start(call.context, call.graph)
        self._settle(step, self._waiting_for(call, now), call.given, now)
        if step.waiting:
            self._tried[step.key] = call.given
            self._set_timer(step)

    def _waiting_for(self, call: Called, now: datetime) -> Outcome:
        step, child = call.step, call.context
        if not call.given["wait"]:
            return steps.concluded_effect(step, call.given, sent_off(child), self._env(step))
        seconds = step.node.timeout_seconds
        return Outcome(
            step_key=step.key,
            kind=Kind.WAITING,
            attempt=step.attempt,
            output={"child": child.execution_id, "workflow_id": child.workflow_id},
            wake_at=None if seconds is None else now + timedelta(seconds=seconds),
        )

    # Ending

    async def _end(self) -> Exit:
        ended = self._state.ended
        assert ended is not None
        self.recorder.ended(
            self._state,
            ExecutionStatus(ended.status),
            self._tools.clock.now(),
            output=ended.output,
            error=ended.error,
        )
        return await self._durably_ended()

    async def _cancelled(self) -> Exit:
        for step in list(self._running):
            self._forget(step)
        self.recorder.ended(self._state, ExecutionStatus.CANCELLED, self._tools.clock.now())
        return await self._durably_ended()

    async def _durably_ended(self) -> Exit:
        """Returns once the end is durable; where the store refuses it, the one that replaced it."""
        position = -1
        while position != self.recorder.position:
            position = self.recorder.position
            await self._tools.journal.committed(position)
        return Exit.ENDED

    def _time_out(self) -> None:
        busy = next(iter(self._running), None) or next(iter(self._state.active.values()), None)
        self._end_with(timed_out(busy, self.context.max_execution_seconds))

    def _end_with(self, error: StepError) -> None:
        transition = Transition()
        self._state.end_now(error, transition)
        self._absorb(transition)

    def _forget(self, step: Step) -> None:
        task = self._running.pop(step, None)
        if task is not None:
            task.cancel()
        if step in self._queue:
            self._queue.remove(step)
        super()._forget(step)
