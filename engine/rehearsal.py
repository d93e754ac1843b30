"""One execution of a dry run: the same fold, steps and expressions as a real one, on a stage.

What the runner does with tasks, timers and the journal happens here at moments of virtual time.
Its one rule: whatever decides what comes next (`state.py`, `steps.py`, `mailbox.py`) is asked, not
imitated; only performing, waiting and recording are played.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial

from engine import steps
from engine.children import sent_off
from engine.context import ExecutionContext, JsonObject
from engine.effects import DEFAULT_TIMEOUT_SECONDS, child_too_late, too_late
from engine.errors import StepFailure
from engine.expressions import ExpressionError
from engine.graph import Graph
from engine.moments import rfc3339
from engine.rehearsal_act import Act
from engine.rehearsal_effects import would_send
from engine.rehearsal_stage import Stage
from engine.rehearsal_trace import Scene
from engine.scopes import Step, Transition, lane_is_full
from engine.trial import Answer, Signal

SIMULATED = {"simulated": True}
"""What an action gives that nobody has mocked."""

_MOST_SHOWN = 5

Over = Callable[["Rehearsal"], None]


class Rehearsal(Act):
    """One execution in virtual time. `over` is called once, when it has ended by itself; None if
    nobody waits for that."""

    def __init__(
        self,
        context: ExecutionContext,
        graph: Graph,
        stage: Stage,
        mocks: Mapping[str, Sequence[Answer]],
        over: Over | None = None,
    ) -> None:
        super().__init__(context, graph, stage)
        self._mocks = mocks
        self._over = over
        self._calls: dict[str, int] = {}

    def begin(self, signals: Sequence[Signal] = ()) -> None:
        """Enters the stage."""
        stage = self._stage
        stage.enter(self)
        for number, signal in enumerate(signals):
            moment = self.began + timedelta(seconds=signal.after_seconds)
            stage.at(moment, partial(self._arrives, str(number), signal))
        deadline = self.began + timedelta(seconds=self.context.max_execution_seconds)
        stage.at(deadline, self._time_out, last=True)
        self._absorb(self.state.start())

    async def advance(self) -> None:
        """Runs every pure step that is ready, then starts effects, until nothing can begin."""
        while self.status == "running" and self._stage.overdrawn is None:
            await self._stage.breathe()
            if self._ready:
                self._run(self._ready.popleft())
            elif (step := self._next_effect()) is not None:
                await self._start_effect(step)
            else:
                return

    def cancel(self) -> None:
        """Ends the execution as cancelled, and with it the children it waits for."""
        if self.status == "running":
            transition = Transition()
            self.state.cancel_everything(transition)
            self._leave("cancelled")
            self._absorb(transition)

    # Steps

    def _run(self, step: Step) -> None:
        self.trace.begins(step, self._stage.now)
        if step.node.family in ("effect", "subworkflow"):
            self._queue.append(step)
        elif step.node.family == "park":
            self._wait(step)
        else:
            given = self.state.input_of(step)
            self._settle(step, steps.evaluate(step, self._env(step), self.graph), given)

    # Effects

    def _next_effect(self) -> Step | None:
        """The first queued effect that `MAX_PARALLEL_NODES` and the lanes of limited parallels
        let start."""
        running = sum(1 for step in self._busy if step.node.family == "effect")
        if running >= self.graph.limits.max_parallel_nodes:
            return None
        for place, step in enumerate(self._queue):
            if not lane_is_full(step, self._busy):
                del self._queue[place]
                return step
        return None

    async def _start_effect(self, step: Step) -> None:
        scene = self.trace.scene(step)
        try:
            given = scene.given or steps.render(step, self._env(step))
        except (StepFailure, ExpressionError) as failure:
            self._settle(
                step, steps.failed(step, failure, self._env(step)), self.state.input_of(step)
            )
            return
        scene.given = given
        try:
            await self._send(step, given, scene)
        except StepFailure as refused:
            outcome = steps.attempted(step, refused, self._env(step))
            self._settle(step, outcome, given)

    async def _send(self, step: Step, given: JsonObject, scene: Scene) -> None:
        """Sends nothing: what would be sent is noted, and an answer is on its way. Raises
        `StepFailure` if the step may not send it."""
        if step.node.family == "effect":
            scene.would_send = await would_send(step, given, self._execution)
        else:
            scene.would_send = given
        answer = self._answer(step)
        if answer is None:
            await self._call(step, given, scene)
            return
        self._busy[step] = None
        seconds, allowed = answer.seconds, step.node.timeout_seconds
        if allowed is None and step.node.family == "effect":
            allowed = DEFAULT_TIMEOUT_SECONDS
        if allowed is not None and seconds > allowed:
            answer, seconds = Answer(failure=too_late(step.node.node_id, allowed)), allowed
        moment = self._stage.now + timedelta(seconds=seconds)
        self._stage.at(moment, partial(self._answered, step, given, answer))

    def _answer(self, step: Step) -> Answer | None:
        """What the world answers; None if that is for a child to say."""
        mocks = self._mocks.get(step.node.node_id)
        if mocks is not None:
            call = self._calls.get(step.node.node_id, 0)
            self._calls[step.node.node_id] = call + 1
            return mocks[min(call, len(mocks) - 1)]
        if step.node.family == "effect" or "test_output" in step.node.config:
            return Answer(step.node.config.get("test_output", SIMULATED))
        return None

    def _answered(self, step: Step, given: JsonObject, answer: Answer) -> None:
        if self.state.active.get(step.key) is not step:
            return
        if answer.failure is not None:
            outcome = steps.attempted(step, answer.failure, self._env(step))
        else:
            outcome = steps.concluded_effect(step, given, answer.output, self._env(step))
        self._settle(step, outcome, given)

    # Children

    async def _call(self, step: Step, given: JsonObject, scene: Scene) -> None:
        """Lets the child of a sub-workflow's step enter the stage. Raises `StepFailure`."""
        context, graph = await self._stage.call(self.context, step.key, given)
        over = partial(self._child_over, step) if given["wait"] else None
        child = Rehearsal(context, graph, self._stage, {}, over)
        scene.child = child
        scene.attached = given["wait"]
        if not given["wait"]:
            child.begin()
            outcome = steps.concluded_effect(step, given, sent_off(context), self._env(step))
            self._settle(step, outcome, given)
            return
        self._busy[step] = None
        child.begin()
        seconds = step.node.timeout_seconds
        if seconds is not None:
            late = self._stage.now + timedelta(seconds=seconds)
            self._stage.at(late, partial(self._child_is_late, step, child, seconds))

    def _child_over(self, step: Step, child: Rehearsal) -> None:
        """A child has ended that a step waits for."""
        told = {**child.outcome(), "workflow_name": child.context.workflow_name}
        told["output"] = told.pop("final_output")
        outcome = steps.child_ended(step, child.context.execution_id, told, self._env(step))
        self._settle(step, outcome, self.trace.scene(step).given)

    def _child_is_late(self, step: Step, child: Rehearsal, seconds: float) -> None:
        if child.status != "running":
            return
        child.cancel()
        outcome = steps.attempted(step, child_too_late(step, seconds), self._env(step))
        self._settle(step, outcome, self.trace.scene(step).given)

    # Ending

    def _ended(self) -> None:
        if self._over is not None:
            self._over(self)

    def _time_out(self) -> None:
        if self.status != "running":
            return
        self.timed_out = True
        most = self.context.max_execution_seconds
        why = "; ".join(self.held_up()) or "its steps take too long"
        message = f"The workflow would take longer than {most} s, the most it may: {why}."
        self.end_with("EXECUTION_TIMEOUT", message)

    def held_up(self) -> list[str]:
        """What the execution waits for, step by step."""
        held = [_waits_for_what(step) for step in self.state.waiting_steps()]
        for step in self._busy:
            child = self.trace.scene(step).child
            inside = child.held_up() if isinstance(child, Rehearsal) else []
            more = f" ({'; '.join(inside)})" if inside else ""
            held.append(f"{step.key!r} is still under way{more}")
        return held[:_MOST_SHOWN]


def _waits_for_what(step: Step) -> str:
    until = f"until {rfc3339(step.wake_at)}" if step.wake_at else "for ever"
    if step.signal is None:
        return f"{step.key!r} waits {until}"
    return f"{step.key!r} waits {until} for the signal {step.signal!r}, which does not come"
