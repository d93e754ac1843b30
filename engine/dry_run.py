"""The dry run: the same graph, fold and expressions, with no effect leaving the process.

Theory of operation
-------------------
*Time is virtual.* A stage (`rehearsal_stage.py`) heaps whatever will happen by its time; when no
execution has anything left to do the clock jumps to the next of it, so a workflow that sleeps a
week is tried in milliseconds. What a sub-workflow starts plays on the same stage, beside its
parent, unless it is mocked.

*The world is told.* A trial (`trial.py`) says what effects are answered and which signals come. An
effect goes as far as the door through which it would leave (`rehearsal_effects.py`).

*Nothing is recorded* anywhere but in the trace that is returned, and that is bounded as a real
run's journal is: `MAX_TOTAL_OPERATIONS` and `MAX_EXECUTION_BYTES`.
"""

from __future__ import annotations

from engine.context import ExecutionContext, Json, JsonObject
from engine.environment import Impure
from engine.errors import WorkflowTimeoutException
from engine.expressions import Budget, ExpressionError, MapEnv
from engine.graph import Graph
from engine.pace import Pace
from engine.ports import Clock
from engine.rehearsal import Rehearsal
from engine.rehearsal_stage import Call, Stage
from engine.trial import Assertion, Trial


class DryRun:
    """One trial of a graph. `call` finds what sub-workflows start."""

    def __init__(
        self,
        graph: Graph,
        context: ExecutionContext,
        trial: Trial,
        impure: Impure,
        clock: Clock,
        pace: Pace,
        call: Call,
    ) -> None:
        self._trial = trial
        self._stage = Stage(impure, clock, pace, call, graph.limits)
        self._root = Rehearsal(context, graph, self._stage, trial.mocks)

    async def run(self) -> JsonObject:
        """Runs to the end and returns the report of `POST /workflows/:id/test`.

        Raises `WorkflowTimeoutException` when the workflow, in virtual time, would take longer
        than it may, or when trying it takes too long in real time; `StoreUnavailable` when it
        cannot be found out what a sub-workflow starts.
        """
        stage, root = self._stage, self._root
        root.begin(self._trial.signals)
        while not stage.empty:
            await stage.play()
            if stage.overdrawn is not None:
                self._stop(*stage.overdrawn)
                break
            if not stage.empty:
                stage.jump()
            if root.timed_out:
                raise WorkflowTimeoutException(root.outcome()["error_message"])
        return await self._report()

    def _stop(self, kind: str, message: str) -> None:
        """Ends everything: there is too much of it."""
        self._root.end_with(kind, message)
        self._stage.clear()

    async def _report(self) -> JsonObject:
        root = self._root
        coverage = root.coverage.as_json()
        seconds = root.seconds()
        summary = {
            "nodes_executed": len(root.state.path),
            "nodes_failed": root.state.failed,
            "nodes_skipped": root.nodes_skipped(),
            "nodes_covered": coverage["nodes_covered"],
            "total_duration": seconds,
        }
        seen = {
            **root.outcome(),
            **root.reserved,
            "final_variables": root.state.variables,
            "variables": root.state.variables,
            "nodes": {**root.trace.results, **root.state.root.results},
            "summary": summary,
            "coverage": coverage,
        }
        assertions = [await self._held(each, seen) for each in self._trial.assertions]
        as_expected = root.status == self._trial.expected_status
        summary["passed"] = as_expected and all(each["passed"] for each in assertions)
        return {
            "execution_id": root.context.execution_id,
            "workflow_id": root.context.workflow_id,
            "test_mode": True,
            "status": root.status,
            "execution_time_seconds": seconds,
            "trace": root.trace.as_json(),
            "final_variables": root.state.variables,
            **root.outcome(),
            "assertions": assertions,
            "coverage": coverage,
            "summary": summary,
        }

    async def _held(self, assertion: Assertion, seen: JsonObject) -> JsonObject:
        """Whether an assertion holds; one that cannot be evaluated does not."""
        await self._stage.breathe()
        impure = self._stage.impure
        env = MapEnv(seen, now=self._stage.now, random=impure.random(), uuid=impure.uuid())
        result: JsonObject = {
            "expression": assertion.expression.source,
            "message": assertion.message,
            "passed": False,
        }
        try:
            held: Json = assertion.expression.evaluate(env, Budget())
        except ExpressionError as error:
            return {**result, "error": str(error)}
        return {**result, "passed": bool(held)}
