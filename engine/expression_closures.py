"""The closures that expressions are made of, one maker for each kind of syntax.

One rule: parts are evaluated as Python evaluates them: left to right, and only those needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.context import Json
from engine.expression_loops import text_key
from engine.expression_operators import Binary, cut, item
from engine.expression_paths import Frame, Run, explain_keys, explain_node
from engine.expression_values import (
    ITEM_BYTES,
    MEMBER_BYTES,
    Budget,
    Env,
    ExpressionError,
    kind,
)


def give(value: Json) -> Run:
    """A constant."""
    return lambda env, budget, frame: value


def read_slot(slot: int) -> Run:
    """A variable of a comprehension."""
    return lambda env, budget, frame: frame[slot]


def read_key(value: Run, name: str, key: str) -> Run:
    """`value.key`, where `value` is no path; `name` shows it in errors."""
    keys = (key,)

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        found = value(env, budget, frame)
        if type(found) is dict and key in found:
            return found[key]
        explain_keys(found, name, keys)

    return run


def read_any_node(key: Run) -> Run:
    """`nodes[key]`."""

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        node_id = key(env, budget, frame)
        if type(node_id) is not str:
            raise ExpressionError(f"the id of a node is text, not {kind(node_id)}")
        try:
            return env.node(node_id)
        except KeyError:
            explain_node(env, node_id)

    return run


def look_up(value: Run, key: Run) -> Run:
    """`value[key]`."""

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        return item(value(env, budget, frame), key(env, budget, frame))

    return run


def take_slice(whole: Run, low: Run, high: Run, step: Run) -> Run:
    """`whole[low:high:step]`."""

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        return cut(
            whole(env, budget, frame),
            low(env, budget, frame),
            high(env, budget, frame),
            step(env, budget, frame),
            budget,
        )

    return run


def chain(first: Run, steps: Sequence[tuple[Binary, Run]]) -> Run:
    """`first + b - c …`."""
    if len(steps) == 1:
        return _binary(first, *steps[0])

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        value = first(env, budget, frame)
        for calculate, right in steps:
            value = calculate(value, right(env, budget, frame), budget)
        return value

    return run


def compare_all(first: Run, steps: Sequence[tuple[Binary, Run]]) -> Run:
    """`first < b <= c …`."""
    if len(steps) == 1:
        return _binary(first, *steps[0])

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        value = first(env, budget, frame)
        for compare, right in steps:
            other = right(env, budget, frame)
            if not compare(value, other, budget):
                return False
            value = other
        return True

    return run


def apply_unary(change: Callable[[Json], Json], value: Run) -> Run:
    """`-value`, `+value`, `not value`."""
    return lambda env, budget, frame: change(value(env, budget, frame))


def logic(values: Sequence[Run], *, ends_on: bool) -> Run:
    """`a or b …` (ends on the first that is true), `a and b …` (on the first that is not)."""
    *others, last = values

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        for one in others:
            value = one(env, budget, frame)
            if bool(value) is ends_on:
                return value
        return last(env, budget, frame)

    return run


def choose(test: Run, yes: Run, no: Run) -> Run:
    """`yes if test else no`."""

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        return (yes if test(env, budget, frame) else no)(env, budget, frame)

    return run


def make_list(parts: Sequence[Run]) -> Run:
    """`[a, b, …]`, and `(a, b, …)`."""
    size = ITEM_BYTES * (1 + len(parts))

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        budget.allocate(size)
        return [part(env, budget, frame) for part in parts]

    return run


def make_object(members: Sequence[tuple[Run | None, Run]]) -> Run:
    """`{key: value, **members, …}`; a key of None spreads its value."""
    size = MEMBER_BYTES * (1 + len(members))

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        made: dict[str, Json] = {}
        budget.allocate(size)
        for key, value in members:
            if key is None:
                _spread(made, value(env, budget, frame), budget)
            else:
                name = text_key(key(env, budget, frame))
                made[name] = value(env, budget, frame)
        return made

    return run


def is_same(left: Json, right: Json, budget: Budget) -> bool:
    """`left is right`, where `right` is None, True or False."""
    return left is right


def is_other(left: Json, right: Json, budget: Budget) -> bool:
    """`left is not right`, likewise."""
    return left is not right


def _binary(left: Run, operate: Binary, right: Run) -> Run:
    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        return operate(left(env, budget, frame), right(env, budget, frame), budget)

    return run


def _spread(made: dict[str, Json], members: Json, budget: Budget) -> None:
    if type(members) is not dict:
        raise ExpressionError(f"`**` needs an object, not {kind(members)}")
    budget.allocate(MEMBER_BYTES * len(members))
    budget.spend(len(members) >> 4)
    made.update(members)
