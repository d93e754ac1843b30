"""Who is faster must not matter where it need not, and a fold must be nothing but a fold.

Its one rule: what is compared here does not come from the model, but from the engine itself, run
or folded in another order.
"""

from __future__ import annotations

import random
from collections import deque
from copy import deepcopy

from engine.context import JsonObject, Outcome
from engine.graph import Graph
from engine.records import outcome_of
from engine.state import ExecutionState
from tests.engine.model import Model
from tests.engine.model_harness import Case, Run, agree, check, run_through
from tests.engine.model_values import Disagreement


def is_calm(case: Case, model: Model) -> bool:
    """Whether this execution would have meant the same in every order: nothing races, and no
    loop had to bear an error."""
    ended = model.ended
    return not case.wild and not model.escalated and ended is not None


def check_other_orders(run: Run, model: Model, orders: range) -> None:
    """Holds the executions of other orders against the model, and against the first if who is
    faster must make no difference."""
    case = run.case
    for order in orders:
        other = run_through(case, order)
        theirs = check(other)
        if not is_calm(case, model):
            continue
        agree("status in another order", other.state["status"], run.state["status"])
        if run.state["status"] == "completed":
            agree("steps in another order", _outputs(theirs), _outputs(model))
            agree("output in another order", other.state["final_output"], run.state["final_output"])
            agree("variables in another order", _certain(other), _certain(run))


def _outputs(model: Model) -> JsonObject:
    return {key: model.gave[key].output for key in model.gave}


def _certain(run: Run) -> JsonObject:
    """The variables that are written by one step after the other."""
    written: dict[str, set[str]] = {}
    for row in run.rows:
        for name in row.variables or ():
            written.setdefault(name, set()).add(row.step_key)
    return {n: v for n, v in run.state["final_variables"].items() if len(written.get(n, ())) < 2}


# Folding -------------------------------------------------------------------------------------


def fold(graph: Graph, case: Case, outcomes: list[Outcome]) -> ExecutionState:
    """A fresh state, and these outcomes folded into it."""
    variables = dict(case.start()["variables"])
    state = ExecutionState(graph, variables, case.trigger)
    state.start()
    for outcome in outcomes:
        state.apply(outcome)
    return state


def snapshot(state: ExecutionState) -> JsonObject:
    """All that an execution's state says, in an order of its own."""
    return {
        "ended": repr(state.ended),
        "variables": state.variables,
        "ends": state.ends,
        "path": sorted(state.path),
        "runs": state.runs,
        "skipped": state.skipped - state.runs.keys() - state.cancelled_nodes,
        "cancelled": state.cancelled_nodes,
        "operations": state.operations,
        "sums": (state.completed, state.failed, state.cost, state.tokens),
        "results": state.root.results,
        "tails": state.root.tails,
        "active": sorted((s.key, s.phase, s.attempt, s.waiting) for s in state.active.values()),
    }


def check_fold(run: Run, model: Model) -> None:
    """Folding the journal again gives the same, half-way and at the end, and changes nothing that
    went in; where who is faster makes no difference, neither does the order of the fold."""
    case = run.case
    outcomes = [outcome_of(row) for row in run.rows]
    graph = case.graph
    before = deepcopy((outcomes, case.document))
    whole = fold(graph, case, outcomes)
    half = fold(graph, case, outcomes[: len(outcomes) // 2])
    for outcome in outcomes[len(outcomes) // 2 :]:
        half.apply(outcome)
    agree("folded in two halves", snapshot(half), snapshot(whole))
    agree("what was folded", (outcomes, case.document), before)
    agree("steps", whole.path, model.path)
    agree("folded variables", whole.variables, run.state["final_variables"])
    if is_calm(case, model) and run.state["status"] == "completed":
        shuffled = _in_another_order(graph, case, outcomes)
        for name, value in snapshot(whole).items():
            if name not in ("variables", "ended"):
                agree(f"{name} folded in another order", snapshot(shuffled)[name], value)
        ended = shuffled.ended.output if shuffled.ended is not None else None
        agree("output folded in another order", ended, run.state["final_output"])


def _in_another_order(graph: Graph, case: Case, outcomes: list[Outcome]) -> ExecutionState:
    """Folds the same outcomes in a random order that cause and effect allow."""
    dice = random.Random(case.seed)
    waiting: dict[str, deque[Outcome]] = {}
    for outcome in outcomes:
        waiting.setdefault(outcome.step_key, deque()).append(outcome)
    state = fold(graph, case, [])
    for _ in outcomes:
        possible = [step.key for step in state.open_steps() if waiting.get(step.key)]
        if not possible:
            raise Disagreement(f"nothing to fold, but {[k for k, o in waiting.items() if o]}")
        state.apply(waiting[dice.choice(possible)].popleft())
    return state
