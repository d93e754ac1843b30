"""The dry run: the same graph, fold and expressions, with no effect leaving the process.

Time is virtual: whatever waits is heaped by its due time, and when nothing is ready the clock
jumps to the next one, so a workflow that sleeps a week is tried in milliseconds. An effect is
rendered exactly as it would leave and answered by a mock. Nothing is recorded anywhere but in the
trace that is returned.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from datetime import datetime, timedelta

from engine import steps
from engine.context import ExecutionContext, Json, JsonObject, Kind, Outcome
from engine.environment import Impure, StepEnv, execution_object, trigger_object
from engine.errors import StepFailure, WorkflowTimeoutException
from engine.expressions import ExpressionError
from engine.graph import Graph
from engine.nodes.base import Park
from engine.pace import Pace
from engine.ports import Clock
from engine.retry import delay_before
from engine.scopes import Step, Transition
from engine.state import ExecutionState

_REAL_SECONDS = 20.0


class DryRun:
    """One trial. `mocks` maps a node id to `{"output": …}`, `{"error": "…"}`, or a list of
    those, one per call (the last one answers further calls)."""

    def __init__(
        self,
        graph: Graph,
        context: ExecutionContext,
        mocks: JsonObject,
        impure: Impure,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self._graph = graph
        self._context = context
        self._mocks = _checked(mocks, graph)
        self._clock = clock
        self._pace = pace
        self._began = impure.now()
        self._now = self._began
        self._impure = Impure(lambda: self._now, impure.random, impure.uuid)
        self._reserved = {
            "execution": execution_object(context, self._began),
            "trigger": trigger_object(context),
        }
        self._state = ExecutionState(graph, context.variables, context.trigger_node_id)
        self._ready: deque[Step] = deque()
        self._due: list[tuple[datetime, int, Step]] = []
        self._order = itertools.count()
        self._calls: dict[str, int] = {}
        self._trace: list[JsonObject] = []
        self._first_seen: dict[str, datetime] = {}
        self._logs: dict[str, list[JsonObject]] = {}

    async def run(self) -> JsonObject:
        """Runs to the end and returns the report of `POST /workflows/:id/test`.

        Raises `WorkflowTimeoutException` when the workflow, in virtual time, would take longer
        than it may, or when trying it takes too long in real time.
        """
        real_deadline = self._clock.monotonic() + _REAL_SECONDS
        self._ready.extend(self._state.start().ready)
        while True:
            if self._state.ended is not None:
                return self._report()
            if not self._ready:
                self._jump()
                continue
            self._run_step(self._ready.popleft())
            if self._pace.used_up():
                await self._pace.turn()
                if self._clock.monotonic() > real_deadline:
                    raise WorkflowTimeoutException("The dry run took too long.")

    def _run_step(self, step: Step) -> None:
        self._first_seen.setdefault(step.key, self._now)
        family = step.node.spec.family
        if family in ("effect", "subworkflow"):
            self._try_effect(step)
        elif family == "park":
            self._wait(step)
        else:
            given = self._state.input_of(step)
            self._settle(step, steps.evaluate(step, self._env(step), self._graph), given)

    def _try_effect(self, step: Step) -> None:
        env = self._env(step)
        try:
            given = steps.render(step, env)
        except (StepFailure, ExpressionError) as failure:
            self._settle(step, steps.failed(step, failure), self._state.input_of(step))
            return
        answer = self._answer(step)
        if "error" not in answer:
            outcome = steps.concluded_effect(step, given, answer.get("output"), env)
            self._settle(step, outcome, given, would_send=given)
            return
        mocked = StepFailure("MOCKED_ERROR", str(answer["error"]), retryable=True)
        policy = step.node.retry
        if policy is None or step.attempt >= policy.max_attempts:
            self._settle(step, steps.failed(step, mocked), given, would_send=given)
            return
        seconds = delay_before(policy, step.attempt + 1, self._impure.random(), None)
        self._log(
            step, "warning", f"Attempt {step.attempt} failed: {mocked} Next one in {seconds:g} s."
        )
        self._suspend(step, Kind.RETRYING, seconds, None)

    def _answer(self, step: Step) -> JsonObject:
        mock = self._mocks.get(step.node.node_id)
        if mock is None:
            return {"output": step.node.config.get("test_output", {"simulated": True})}
        if isinstance(mock, list):
            call = self._calls.get(step.node.node_id, 0)
            self._calls[step.node.node_id] = call + 1
            mock = mock[min(call, len(mock) - 1)] if mock else {"output": None}
        answer: JsonObject = mock
        return answer

    def _wait(self, step: Step) -> None:
        try:
            waited = steps.park(step, self._env(step))
        except (StepFailure, ExpressionError) as failure:
            self._settle(step, steps.failed(step, failure), self._state.input_of(step))
            return
        self._suspend(step, Kind.WAITING, waited.seconds, waited)

    def _suspend(self, step: Step, kind: Kind, seconds: float | None, waited: Park | None) -> None:
        wake_at = None if seconds is None else self._now + timedelta(seconds=seconds)
        parked: Json = None
        if waited is not None:
            parked = {"seconds": seconds, "signal": waited.signal, "schema": waited.schema}
        self._state.apply(
            Outcome(
                step_key=step.key, kind=kind, attempt=step.attempt, output=parked, wake_at=wake_at
            )
        )
        if wake_at is not None:
            heapq.heappush(self._due, (wake_at, next(self._order), step))

    def _jump(self) -> None:
        """Moves the clock to the next thing that is due."""
        deadline = self._began + timedelta(seconds=self._context.max_execution_seconds)
        if not self._due or self._due[0][0] > deadline:
            raise WorkflowTimeoutException(
                f"The workflow would take longer than {self._context.max_execution_seconds} s, "
                "the most it may."
            )
        self._now, _, step = heapq.heappop(self._due)
        if self._state.active.get(step.key) is not step:
            return
        step.waiting = False
        if step.node.spec.family != "park":
            self._ready.append(step)
            return
        parked = step.parked or {}
        waited = Park(parked.get("seconds"), parked.get("signal"), parked.get("schema"))
        outcome = steps.woken(step, waited, None, self._env(step), timed_out=True)
        self._settle(step, outcome, self._state.input_of(step))

    def _settle(
        self, step: Step, outcome: Outcome, given: Json, *, would_send: Json = None
    ) -> None:
        if outcome.kind is Kind.FINISHED:
            self._trace.append(self._entry(step, outcome, given, would_send))
        transition: Transition = self._state.apply(outcome)
        for step_lost in transition.cancelled:
            if step_lost in self._ready:
                self._ready.remove(step_lost)
        self._ready.extend(transition.ready)

    def _entry(self, step: Step, outcome: Outcome, given: Json, would_send: Json) -> JsonObject:
        if outcome.error is not None:
            self._log(step, "error", outcome.error.message)
        entry: JsonObject = {
            "step_key": step.key,
            "node_id": step.node.node_id,
            "node_type": step.node.node_type,
            "status": "failed" if outcome.error else "completed",
            "duration_seconds": (self._now - self._first_seen[step.key]).total_seconds(),
            "attempt": outcome.attempt,
            "input": given,
            "output": outcome.output,
            "port": outcome.port,
            "logs": self._logs.pop(step.key, []),
            "error": outcome.error.message if outcome.error else None,
            "error_type": outcome.error.type if outcome.error else None,
        }
        if would_send is not None:
            entry["would_send"] = would_send
        return entry

    def _log(self, step: Step, level: str, message: str) -> None:
        stamp = self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._logs.setdefault(step.key, []).append(
            {"timestamp": stamp, "level": level, "message": message}
        )

    def _env(self, step: Step) -> StepEnv:
        return StepEnv(self._state, step, self._reserved, self._impure)

    def _report(self) -> JsonObject:
        state, ended = self._state, self._state.ended
        assert ended is not None
        duration = (self._now - self._began).total_seconds()
        ran = set(state.runs) | state.cancelled_nodes
        skipped = (
            len(self._graph.nodes) - len(ran)
            if ended.status == "completed"
            else len(state.skipped - ran)
        )
        return {
            "execution_id": self._context.execution_id,
            "workflow_id": self._context.workflow_id,
            "test_mode": True,
            "status": ended.status,
            "execution_time_seconds": duration,
            "trace": self._trace,
            "final_variables": state.variables,
            "final_output": ended.output,
            "error_message": ended.error.message if ended.error else None,
            "error_code": ended.error.type if ended.error else None,
            "error_node_id": ended.error.node_id if ended.error else None,
            "summary": {
                "nodes_executed": len(state.path),
                "nodes_failed": state.failed,
                "nodes_skipped": skipped,
                "total_duration": duration,
                "passed": ended.status == "completed",
            },
        }


def _checked(mocks: JsonObject, graph: Graph) -> JsonObject:
    """The mocks, if they can be what their sender means. Raises `ValueError`."""
    for node_id, mock in mocks.items():
        node = graph.by_id.get(node_id)
        effects = [n.node_id for n in graph.nodes if n.family in ("effect", "subworkflow")]
        if node is None or node.node_id not in effects:
            raise ValueError(
                f"mocks: {node_id!r} is not an action of this workflow; "
                f"its actions are {', '.join(effects) or 'none'}"
            )
        for answer in mock if isinstance(mock, list) else [mock]:
            if not isinstance(answer, dict) or set(answer) not in ({"output"}, {"error"}):
                raise ValueError(
                    f'mocks: what {node_id!r} answers must be {{"output": …}}, '
                    '{"error": "…"}, or a list of those'
                )
    return mocks
