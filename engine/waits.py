"""How one execution waits: for time, for a signal, for a child.

The half of the runner (`runner.py`) that knows timers and letters. What is waited for is in the
journal before anything depends on it; timers and letters only say when to look.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from engine import steps
from engine.context import ExecutionContext, Json, Kind, Outcome, StepError
from engine.effects import Effects, child_too_late
from engine.environment import Impure, StepEnv
from engine.errors import StepFailure
from engine.expressions import ExpressionError
from engine.family import Family
from engine.graph import Graph
from engine.journal import Journal
from engine.mailbox import Mailbox
from engine.messages import Exit, Inbox, Wake
from engine.nodes.base import Park
from engine.pace import Pace
from engine.ports import Clock
from engine.recording import Recorder
from engine.records import Letter, Progress, StepRow
from engine.scopes import Step, Transition
from engine.state import ExecutionState

PARK_SECONDS = 1.0
"""A wait of at least this long is recorded and may leave memory; a shorter one is a timer."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every execution of a session works with."""

    journal: Journal
    effects: Effects
    family: Family
    clock: Clock
    impure: Impure
    pace: Pace


def child_of(step: Step) -> str | None:
    """The execution that a sub-workflow's step waits for; None for any other step."""
    child: str | None = step.parked.get("child") if step.waiting and step.parked else None
    return child


class Waits(ABC):
    """An execution in memory, as far as waiting goes."""

    def __init__(
        self,
        context: ExecutionContext,
        graph: Graph,
        progress: Progress,
        tools: Tools,
        replayed: list[StepRow],
        letters: list[Letter],
    ) -> None:
        started = progress.start_time or tools.clock.now()
        self.context = context
        self.graph = graph
        self.recorder = Recorder(context, graph, tools.journal, progress, started, replayed)
        self._tools = tools
        self._state = ExecutionState(graph, context.variables, context.trigger_node_id)
        # Lists, here and in the inbox: they are short, and an empty deque takes 760 bytes.
        self._ready: list[Step] = []
        self._queue: list[Step] = []
        self._running: dict[Step, asyncio.Task[None]] = {}
        self._leaving = False
        self._pausing = False
        allowed = context.max_execution_seconds + progress.paused_seconds
        self._deadline = started + timedelta(seconds=allowed)
        self._timers: dict[Step, asyncio.TimerHandle] = {}
        self._inbox = Inbox()
        self._abandoning: list[asyncio.Task[None]] = []
        details = [row.details for row in replayed if row.details]
        self._mail = Mailbox(letters, [each["letter"] for each in details if "letter" in each])

    @property
    def letters_read(self) -> int:
        """How many letters this execution has been handed."""
        return self._mail.received

    @abstractmethod
    def _env(self, step: Step) -> StepEnv: ...

    @abstractmethod
    def _settle(self, step: Step, outcome: Outcome, given: Json, started: datetime) -> None: ...

    def _absorb(self, transition: Transition) -> None:
        for step in transition.cancelled:
            self._forget(step)
            if self._state.ended is None:  # else the store cancels every child
                self._abandon_child_of(step)
        self._ready.extend(transition.ready)

    def _abandon_child_of(self, step: Step) -> None:
        child = child_of(step)
        if child is not None:
            self._abandon(child)

    def _abandon(self, child: str) -> None:
        self._abandoning.append(self._tools.family.abandon(child))

    def _forget(self, step: Step) -> None:
        timer = self._timers.pop(step, None)
        if timer is not None:
            timer.cancel()
        if step in self._ready:
            self._ready.remove(step)

    def _start_waiting(self, step: Step) -> None:
        now = self._tools.clock.now()
        try:
            waited = steps.park(step, self._env(step))
        except (StepFailure, ExpressionError) as failure:
            self._settle(
                step, steps.failed(step, failure, self._env(step)), self._state.input_of(step), now
            )
            return
        wake_at = None if waited.seconds is None else now + timedelta(seconds=waited.seconds)
        outcome = Outcome(
            step_key=step.key,
            kind=Kind.WAITING,
            output={"seconds": waited.seconds, "signal": waited.signal},
            wake_at=wake_at,
            signal=waited.signal,
        )
        if _is_short(waited):
            self._absorb(self._state.apply(outcome))
        else:
            self._settle(step, outcome, self._state.input_of(step), now)
        self._set_timer(step)
        if waited.signal is not None:
            self._read(step)

    def _set_timer(self, step: Step) -> None:
        if step.wake_at is None:
            return
        left = (step.wake_at - self._tools.clock.now()).total_seconds()
        self._timers[step] = asyncio.get_running_loop().call_later(
            max(left, 0.0), self._inbox.post, Wake(step)
        )

    def _woken(self, step: Step) -> None:
        """The time of a waiting step has come."""
        self._timers.pop(step, None)
        if self._state.active.get(step.key) is not step or not step.waiting:
            return
        if step.wake_at is not None and step.wake_at > self._tools.clock.now():
            self._set_timer(step)  # the loop's clock is ahead of the one that timers go by
            return
        if child_of(step) is not None:
            self._child_is_late(step)
            return
        step.waiting = False
        if step.node.family != "park":
            self._ready.append(step)
            return
        outcome = steps.woken(step, _parked(step), None, self._env(step), timed_out=True)
        self._settle(step, outcome, self._state.input_of(step), self._begun(step))

    def _begun(self, step: Step) -> datetime:
        """When the wait began that is over now, where no record of its own says so."""
        waited = _parked(step)
        if waited.seconds is None or step.wake_at is None or not _is_short(waited):
            return self._tools.clock.now()
        return step.wake_at - timedelta(seconds=waited.seconds)

    def _child_is_late(self, step: Step) -> None:
        child = child_of(step)
        failure = child_too_late(step, step.node.timeout_seconds or 0.0)
        self._conclude(step, steps.attempted(step, failure, self._env(step)))
        if child is not None and self._state.ended is None:
            self._abandon(child)  # once the time-out is durable, not before

    # Leaving memory

    def _may_park(self) -> bool:
        """Whether nothing but waits of some length are left. What is queued then waits for a lane
        that a child holds."""
        if self._running or self._ready or self._inbox:
            return False
        left = (self._next_wake() - self._tools.clock.now()).total_seconds()
        return left >= PARK_SECONDS and bool(self._state.waiting_steps())

    def _may_leave(self) -> bool:
        """Whether it was asked to leave and nothing runs. What only waits parks instead: it is
        not due yet, anywhere."""
        busy = self._running or self._inbox
        return self._leaving and not busy and (bool(self._queue) or not self._may_park())

    def _next_wake(self) -> datetime:
        """When there is something to do again: a wait is over, or the execution's time is up."""
        times = [s.wake_at for s in self._state.waiting_steps() if s.wake_at is not None]
        return min([*times, self._deadline])

    async def _park(self) -> Exit:
        await asyncio.gather(*self._abandoning)
        self.recorder.parked(self._state, self._next_wake(), self._mail.received)
        await self._tools.journal.committed(self.recorder.position)
        return Exit.PARKED

    def _naps(self) -> bool:
        """Whether a wait is under way that is a timer alone. It counts as running: nothing is
        recorded of it, so that whoever goes on with the execution would begin it anew."""
        return any(_is_short(_parked(step)) for step in self._state.waiting_steps())

    async def _pause(self) -> Exit:
        await asyncio.gather(*self._abandoning)
        self.recorder.paused(self._state, self._mail.received)
        await self._tools.journal.committed(self.recorder.position)
        return Exit.PARKED

    async def _leave(self) -> Exit:
        await asyncio.gather(*self._abandoning)
        await self._tools.journal.committed(self.recorder.position)
        return Exit.LEFT

    # Letters

    def _read_mail(self) -> None:
        """Lets every waiting step go on that a letter has come for."""
        for step in self._state.waiting_steps():
            if self._state.active.get(step.key) is step:
                self._read(step)

    def _read(self, step: Step) -> None:
        if not step.waiting:
            return
        env, child = self._env(step), child_of(step)
        if child is not None:
            letter = self._mail.take_child(child)
            if letter is not None:
                outcome = steps.child_ended(step, child, letter.payload, env)
                self._conclude(step, replace(outcome, letter=letter.letter_id))
        elif step.signal is not None:
            handler = step.node.handler
            letter = self._mail.take_signal(step.signal, handler.fits)
            if letter is not None:
                outcome = steps.woken(step, _parked(step), letter.payload, env, timed_out=False)
                self._conclude(step, replace(outcome, letter=letter.letter_id))

    def _conclude(self, step: Step, outcome: Outcome) -> None:
        """Ends a wait, or begins the back-off before the next attempt."""
        timer = self._timers.pop(step, None)
        if timer is not None:
            timer.cancel()
        step.waiting = False
        self._settle(step, outcome, None, self._tools.clock.now())
        if outcome.kind is Kind.RETRYING:
            self._set_timer(step)


def _parked(step: Step) -> Park:
    parked = step.parked or {}
    return Park(parked.get("seconds"), parked.get("signal"))


def _is_short(waited: Park) -> bool:
    """Whether the wait is a timer alone: nothing is recorded before it is over."""
    return waited.signal is None and waited.seconds is not None and waited.seconds < PARK_SECONDS


def timed_out(step: Step | None, seconds: int) -> StepError:
    """Why an execution ends whose time is up; `step` was busy then."""
    return StepError(
        message=f"The execution took longer than {seconds} s, the most it may.",
        type="EXECUTION_TIMEOUT",
        node_id=step.node.node_id if step else "",
        step_key=step.key if step else "",
        fatal=True,
    )
