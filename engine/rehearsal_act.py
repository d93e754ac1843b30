"""The fold of one execution of a dry run: what steps give, how they wait, how it all ends.

The half of a rehearsal (`rehearsal.py`) that is about outcomes. Its one rule: every outcome passes
`_settle`, which traces it, counts it and folds it in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from datetime import datetime, timedelta
from functools import partial

from engine import steps
from engine.context import ExecutionContext, Json, JsonObject, Kind, Outcome, StepError
from engine.coverage import Coverage
from engine.environment import StepEnv, execution_object, trigger_object
from engine.errors import StepFailure
from engine.expressions import ExpressionError
from engine.graph import Graph
from engine.mailbox import Mailbox
from engine.nodes.base import Park
from engine.records import Letter, details_of, error_of, json_bytes
from engine.rehearsal_stage import Stage
from engine.rehearsal_trace import Trace
from engine.scopes import Step, Transition
from engine.state import ExecutionState
from engine.trial import Signal


class Act(ABC):
    """One execution in virtual time, as far as outcomes go."""

    def __init__(
        self,
        context: ExecutionContext,
        graph: Graph,
        stage: Stage,
    ) -> None:
        self.context = context
        self.graph = graph
        self.state = ExecutionState(graph, context.variables, context.trigger_node_id)
        self.coverage = Coverage(graph)
        self.began = stage.now
        self.ended_at: datetime | None = None
        self.status = "running"
        self.timed_out = False
        self._stage = stage
        self._execution = execution_object(context, stage.now)
        self._reserved = {"execution": self._execution, "trigger": trigger_object(context)}
        self.trace = Trace(self._execution)
        self._ready: deque[Step] = deque()
        self._queue: deque[Step] = deque()
        self._busy: dict[Step, None] = {}
        """The effects and sub-workflows under way."""
        self._mail = Mailbox()
        self._operations = 0
        self._size = json_bytes(context.variables, context.metadata)

    @property
    def reserved(self) -> JsonObject:
        """`execution` and `trigger`, as expressions see them."""
        return self._reserved

    def end_with(self, kind: str, message: str) -> None:
        """Ends the execution as failed for a reason outside any step."""
        step = next(iter(self._busy), None) or next(iter(self.state.active.values()), None)
        error = StepError(
            message=message,
            type=kind,
            node_id=step.node.node_id if step else "",
            step_key=step.key if step else "",
            fatal=True,
        )
        self._end_now(error)

    @abstractmethod
    async def advance(self) -> None:
        """Does everything that can be done at this moment."""
        ...

    @abstractmethod
    def cancel(self) -> None:
        """Ends the execution as cancelled."""
        ...

    @abstractmethod
    def _ended(self) -> None:
        """Called once, when the execution has come to its end by itself."""
        ...

    # Outcomes

    def _env(self, step: Step) -> StepEnv:
        return StepEnv(self.state, step, self._reserved, self._stage.impure)

    def _settle(self, step: Step, outcome: Outcome, given: Json) -> None:
        """Traces an outcome and folds it in; the next attempt, if there is one, is due."""
        self.coverage.note(step, outcome)
        self._busy.pop(step, None)
        if outcome.kind is Kind.FINISHED:
            self.trace.finished(step, outcome, given, self._stage.now)
        elif outcome.kind is Kind.RETRYING:
            self.trace.retries(step, outcome, self._stage.now)
        elif outcome.kind is Kind.WAITING:
            self.trace.waits(step, outcome, self._stage.now)
        self._absorb(self.state.apply(outcome))
        if outcome.wake_at is not None and self.status == "running":
            self._stage.at(outcome.wake_at, partial(self._wake, step))
        self._weigh(step, outcome, given)

    def _weigh(self, step: Step, outcome: Outcome, given: Json) -> None:
        """Counts what a real run would record."""
        recorded = json_bytes(
            *(given, outcome.output, outcome.variables), details_of(outcome), error_of(outcome)
        )
        self._size += recorded
        self._stage.spend(self.state.operations - self._operations, recorded)
        self._operations = self.state.operations
        if self._size > self.graph.limits.max_execution_bytes:
            self._end_now(steps.too_large(step, self.graph))

    def _absorb(self, transition: Transition) -> None:
        for step in transition.cancelled:
            self._busy.pop(step, None)
            for queue in (self._ready, self._queue):
                if step in queue:
                    queue.remove(step)
            self.trace.cancelled(step, self._stage.now)
        self._ready.extend(transition.ready)
        if self.state.ended is None:
            self._stage.wake(self)
        elif self.status == "running":
            self._leave(self.state.ended.status)
            self._ended()

    # Waiting

    def _wait(self, step: Step) -> None:
        try:
            waited = steps.park(step, self._env(step))
        except (StepFailure, ExpressionError) as failure:
            self._settle(
                step, steps.failed(step, failure, self._env(step)), self.state.input_of(step)
            )
            return
        seconds, signal = waited.seconds, waited.signal
        wake_at = None if seconds is None else self._stage.now + timedelta(seconds=seconds)
        parked = {"seconds": seconds, "signal": signal}
        outcome = Outcome(step.key, Kind.WAITING, output=parked, wake_at=wake_at, signal=signal)
        self._settle(step, outcome, self.state.input_of(step))
        self._take_signal(step)

    def _wake(self, step: Step) -> None:
        """The time of a waiting step has come."""
        if self.state.active.get(step.key) is not step or not step.waiting:
            return
        step.waiting = False
        if step.node.family == "park":
            self._go_on(step, None, timed_out=True)
            return
        self._ready.append(step)
        self._stage.wake(self)

    def _arrives(self, letter_id: str, signal: Signal) -> None:
        letter = Letter(letter_id, "signal", signal.name, signal.payload, self._stage.now)
        self._mail.add([letter])
        for step in self.state.waiting_steps():
            self._take_signal(step)

    def _take_signal(self, step: Step) -> None:
        if self.state.active.get(step.key) is not step or not step.waiting or step.signal is None:
            return
        handler = step.node.handler
        letter = self._mail.take_signal(step.signal, lambda said: not handler.problems(said))
        if letter is not None:
            step.waiting = False
            self._go_on(step, letter.payload, timed_out=False)

    def _go_on(self, step: Step, payload: Json, *, timed_out: bool) -> None:
        parked = step.parked or {}
        waited = Park(parked.get("seconds"), parked.get("signal"))
        outcome = steps.woken(step, waited, payload, self._env(step), timed_out=timed_out)
        self._settle(step, outcome, self.state.input_of(step))

    # Ending

    def outcome(self) -> JsonObject:
        """How it ended: status, output and error."""
        ended = self.state.ended
        error = ended.error if ended else None
        return {
            "status": self.status,
            "final_output": ended.output if ended else None,
            "error_message": error.message if error else None,
            "error_code": error.type if error else None,
            "error_node_id": error.node_id if error else None,
        }

    def as_json(self) -> JsonObject:
        """What became of it, as a trace shows a child."""
        return {
            "execution_id": self.context.execution_id,
            "workflow_id": self.context.workflow_id,
            "workflow_version": self.context.workflow_version,
            "status": self.status,
            "execution_time_seconds": self.seconds(),
            "trace": self.trace.as_json(),
            "final_variables": self.state.variables,
            **self.outcome(),
        }

    def nodes_skipped(self) -> int:
        """How many nodes did not run and will not."""
        return len(self.state.never_ran(over=self.status != "running"))

    def seconds(self) -> float:
        """How long it took, in virtual time; so far, if it has not ended."""
        return ((self.ended_at or self._stage.now) - self.began).total_seconds()

    def _end_now(self, error: StepError) -> None:
        transition = Transition()
        self.state.end_now(error, transition)
        self._absorb(transition)

    def _leave(self, status: str) -> None:
        self.status = status
        self.ended_at = self._stage.now
        self._stage.leave(self)
