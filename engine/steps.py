"""Evaluating one step: from a ready step and what it can see to its outcome.

Shared by the runner and the dry run, so that both mean the same by every node. Pure: an effect is
rendered and concluded here, but performed by whoever called.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from engine.context import Json, JsonObject, Kind, Outcome, StepError
from engine.environment import StepEnv
from engine.errors import StepFailure
from engine.expressions import Budget, ExpressionError
from engine.frontier import chosen
from engine.graph import ERROR_PORT, Graph, OutEdge
from engine.nodes.base import Park, Result
from engine.retry import delay_before
from engine.scopes import BREAK_PORT, Step


def evaluate(step: Step, env: StepEnv, graph: Graph) -> Outcome:
    """The outcome of a pure step or of a loop's next phase. Never raises for what the workflow's
    author did: that is an outcome with an error."""
    budget = Budget()
    if step.loop is not None:
        env.body = step.loop.last_results()
    try:
        if step.phase == "run":
            return conclude(step, step.node.handler.run(env, budget), env, budget)
        if step.phase == "enter":
            return _enter(step, env, budget, graph)
        if step.phase == "test":
            return _test(step, env, budget, graph)
        return conclude(step, _loop_result(step), env, budget)
    except (StepFailure, ExpressionError) as failure:
        return failed(step, failure, env)


def conclude(step: Step, result: Result, env: StepEnv, budget: Budget) -> Outcome:
    """The outcome for a node's result: its port (`break` for a `loop_break` that broke) and the
    edges whose `conditional` is false. Raises `ExpressionError`."""
    port = BREAK_PORT if result.broke else result.port
    return Outcome(
        step_key=step.key,
        port=port,
        output=result.output,
        variables=result.variables,
        local=result.local,
        usage=result.usage,
        attempt=step.attempt,
        dead_edges=_dead_edges(step, port, result, env, budget) if step.node.guarded else (),
    )


def failed(step: Step, failure: StepFailure | ExpressionError, env: StepEnv) -> Outcome:
    """The outcome of a step that failed for good: on port `error` if an edge from it is live, else
    on its normal port if the node continues on errors, else on none: then the failure is still to
    be handled. The `conditional` of an edge sees the error; one that cannot even be evaluated ends
    the execution with an error that tells of both failures."""
    error = step_error(step, failure)
    if error.fatal:
        return _unhandled(step, error)
    try:
        return _handled(step, error, env) or _unhandled(step, error)
    except ExpressionError as second:
        return _unhandled(step, _both(step, error, second))


def _handled(step: Step, error: StepError, env: StepEnv) -> Outcome | None:
    """How the node takes its own error; None if it does not. Raises `ExpressionError`."""
    node, budget = step.node, Budget()
    if node.catches:
        payload = error.as_json()
        env.own = {"output": payload, "port": ERROR_PORT, "error": payload}
        dead = _dead(node.catches, {"input": payload}, env, budget)
        if len(dead) < len(node.catches):
            return _taken(step, error, ERROR_PORT, payload, dead)
    if not node.continue_on_error:
        return None
    port, output = node.fallback_port, {"error": error.as_json()}
    env.own = {"output": output, "port": port, "error": error.as_json()}
    dead = _dead(_leaving(step, port), {"input": output}, env, budget)
    return _taken(step, error, port, output, dead)


def _taken(
    step: Step, error: StepError, port: str, output: Json, dead_edges: tuple[str, ...]
) -> Outcome:
    return Outcome(
        step_key=step.key,
        port=port,
        output=output,
        attempt=step.attempt,
        error=error,
        dead_edges=dead_edges,
    )


def _unhandled(step: Step, error: StepError) -> Outcome:
    return Outcome(step_key=step.key, port=None, attempt=step.attempt, error=error)


def _both(step: Step, first: StepError, second: ExpressionError) -> StepError:
    """Why an execution ends when a node failed and then a `conditional` of an edge by which it
    would have left could not be evaluated."""
    error = step_error(step, second)
    return replace(
        error,
        message=f"{error.message} (in the conditional of a connection that {first.node_id!r} "
        f"would leave by, having failed: {first.message})",
        fatal=True,
        details={"failure": first.as_json()},
    )


def attempted(step: Step, failure: StepFailure, env: StepEnv) -> Outcome:
    """The outcome of a failed attempt: another one after a delay if the node's policy and the
    failure's kind allow it, else that the step failed."""
    policy = step.node.retry
    once = step.node.at_most_once and failure.uncertain
    if policy is None or once or not failure.retryable or step.attempt >= policy.max_attempts:
        return failed(step, failure, env)
    seconds = delay_before(policy, step.attempt + 1, env.random(), failure.retry_after)
    return Outcome(
        step_key=step.key,
        kind=Kind.RETRYING,
        attempt=step.attempt,
        error=step_error(step, failure),
        wake_at=env.now() + timedelta(seconds=seconds),
    )


def too_large(step: Step, graph: Graph) -> StepError:
    """Why an execution ends that has recorded more than it may."""
    return StepError(
        message=f"The execution's input and its steps take more than "
        f"{graph.limits.max_execution_bytes} bytes of JSON in all (MAX_EXECUTION_BYTES).",
        type="EXECUTION_TOO_LARGE",
        node_id=step.node.node_id,
        step_key=step.key,
        fatal=True,
    )


def step_error(step: Step, failure: StepFailure | ExpressionError) -> StepError:
    """A failure as it is recorded."""
    if isinstance(failure, StepFailure):
        kind, fatal, details = failure.error_type, failure.fatal, failure.details
    else:
        kind, fatal, details = failure.code, False, None
    return StepError(
        message=str(failure),
        type=kind,
        node_id=step.node.node_id,
        step_key=step.key,
        attempts=step.attempt,
        fatal=fatal,
        details=details,
    )


def render(step: Step, env: StepEnv) -> JsonObject:
    """What an effect is given. Raises `StepFailure` or `ExpressionError`."""
    rendered: JsonObject = step.node.handler.render(env, Budget())
    return rendered


def park(step: Step, env: StepEnv) -> Park:
    """How long, or for what, a parking node waits. Raises `StepFailure` or `ExpressionError`."""
    waited: Park = step.node.handler.park(env, Budget())
    return waited


def concluded_effect(step: Step, rendered: JsonObject, output: Json, env: StepEnv) -> Outcome:
    """The outcome of an effect that gave `output`, real or mocked."""
    try:
        return conclude(step, step.node.handler.conclude(rendered, output), env, Budget())
    except (StepFailure, ExpressionError) as failure:
        return failed(step, failure, env)


def child_ended(step: Step, child: str, told: JsonObject, env: StepEnv) -> Outcome:
    """The outcome of a step whose child has ended: its final output, or its failure as the
    step's own. `told` is the payload of the child's letter (`records.Letter`)."""
    if told["status"] == "completed":
        return concluded_effect(step, {}, told["output"], env)
    cancelled = told["status"] == "cancelled"
    happened = "was cancelled." if cancelled else f"failed: {told['error_message']}"
    failure = StepFailure(
        "SUBWORKFLOW_CANCELLED" if cancelled else "SUBWORKFLOW_FAILED",
        f"The workflow {told['workflow_name']!r} {happened}",
        retryable=not cancelled,
        details={
            "execution_id": child,
            "error_code": told["error_code"],
            "error_node_id": told["error_node_id"],
        },
    )
    return attempted(step, failure, env)


def woken(step: Step, waited: Park, payload: Json, env: StepEnv, *, timed_out: bool) -> Outcome:
    """The outcome of a parked step whose time has come or whose signal arrived."""
    try:
        result = step.node.handler.woken(waited, payload, timed_out=timed_out)
        return conclude(step, result, env, Budget())
    except (StepFailure, ExpressionError) as failure:
        return failed(step, failure, env)


def _enter(step: Step, env: StepEnv, budget: Budget, graph: Graph) -> Outcome:
    handler = step.node.handler
    items = handler.items(env, budget)
    limit = _iteration_limit(step, graph)
    if len(items) > limit:
        raise StepFailure(
            "LOOP_LIMIT_EXCEEDED",
            f"The loop has {len(items)} items, but may run at most {limit} iterations "
            f"({_limit_name(step, graph)}).",
            fatal=True,
        )
    return Outcome(step_key=step.key, kind=Kind.ENTERED, output=items)


def _test(step: Step, env: StepEnv, budget: Budget, graph: Graph) -> Outcome:
    loop, handler = step.loop, step.node.handler
    assert loop is not None
    if loop.broken:  # It was ready to be tested when another iteration broke the loop.
        return Outcome(step_key=step.key, kind=Kind.ITERATE)
    here: JsonObject = {handler.index_variable: loop.started}
    if loop.items is not None:
        here[handler.item_variable] = loop.items[loop.started]
    else:
        env.after = here
        again = handler.test(env, budget)
        env.after = None
        if not again:
            return conclude(step, _loop_result(step), env, budget)
        _refuse_too_many(step, graph)
    dead: tuple[str, ...] = ()
    if step.node.body_guarded:
        entry = {"index": loop.started} if loop.items is None else loop.items[loop.started]
        dead = _dead(step.node.body_out, {**here, "input": entry}, env, budget)
    return Outcome(step_key=step.key, kind=Kind.ITERATE, dead_edges=dead)


def _refuse_too_many(step: Step, graph: Graph) -> None:
    limit = _iteration_limit(step, graph)
    if step.loop is not None and step.loop.started >= limit:
        raise StepFailure(
            "LOOP_LIMIT_EXCEEDED",
            f"The loop's condition still holds after {limit} iterations, the most it may run "
            f"({_limit_name(step, graph)}).",
            fatal=True,
        )


def _loop_result(step: Step) -> Result:
    assert step.loop is not None
    return Result(output=step.loop.result())


def _iteration_limit(step: Step, graph: Graph) -> int:
    own: int | None = step.node.handler.max_iterations
    most = graph.limits.max_loop_iterations
    return most if own is None else min(own, most)


def _limit_name(step: Step, graph: Graph) -> str:
    own: int | None = step.node.handler.max_iterations
    if own is not None and own < graph.limits.max_loop_iterations:
        return "the node's max_iterations"
    return "MAX_LOOP_ITERATIONS"


def _dead_edges(
    step: Step, port: str, result: Result, env: StepEnv, budget: Budget
) -> tuple[str, ...]:
    after = {**(result.local or {}), **(result.variables or {}), "input": result.output}
    env.own = {"output": result.output, "port": port, "error": None}
    return _dead(_leaving(step, port), after, env, budget)


def _leaving(step: Step, port: str) -> list[OutEdge]:
    return [e for e in step.node.all_out if chosen(e, port)]


def _dead(
    edges: Iterable[OutEdge], after: JsonObject, env: StepEnv, budget: Budget
) -> tuple[str, ...]:
    """The connections whose `conditional` is false, seen with what `after` adds."""
    env.after = after
    dead = tuple(
        edge.connection_id
        for edge in edges
        if edge.conditional is not None and not edge.conditional.evaluate(env, budget)
    )
    env.after = None
    return dead
