"""Comprehensions: `[p.name for p in players if p.score > 10]`.

One rule: every turn of every loop is paid for, with what its body costs, before it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engine.context import Json
from engine.expression_functions import listed
from engine.expression_paths import Frame, Run
from engine.expression_values import (
    ITEM_BYTES,
    MEMBER_BYTES,
    Budget,
    Env,
    ExpressionError,
    kind,
)

Rows = Callable[[Env, Budget, Frame], Iterator[Json]]
"""A compiled comprehension, taken turn by turn."""

Bind = Callable[[Frame, Json], None]


@dataclass(frozen=True, slots=True)
class Loop:
    """One `for … in … if …`; `cost` is the fuel of a turn."""

    source: Run
    bind: Bind
    condition: Run | None
    cost: int


def rows_of(loops: Sequence[Loop], element: Run) -> Rows:
    """Compiles nested loops, the outermost first, to the values of their element."""
    rows = _innermost(loops[-1], element)
    for loop in reversed(loops[:-1]):
        rows = _around(loop, rows)
    return rows


def list_of(rows: Rows) -> Run:
    """A comprehension as a list."""

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        made = []
        for value in rows(env, budget, frame):
            budget.allocate(ITEM_BYTES)
            made.append(value)
        return made

    return run


def object_of(rows: Rows) -> Run:
    """A comprehension over `[key, value]` pairs as an object."""

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        made = {}
        for key, value in rows(env, budget, frame):
            budget.allocate(MEMBER_BYTES)
            made[text_key(key)] = value
        return made

    return run


def text_key(key: Json) -> str:
    """A key of an object being made. Raises `ExpressionError` unless it is text."""
    if type(key) is not str:
        raise ExpressionError(f"the keys of an object are text, not {kind(key)}; write str(key)")
    return key


def bind_name(slot: int) -> Bind:
    """`for x in`."""

    def bind(frame: Frame, value: Json) -> None:
        frame[slot] = value

    return bind


def bind_several(binds: Sequence[Bind]) -> Bind:
    """`for a, b in`."""
    wanted = len(binds)

    def bind(frame: Frame, value: Json) -> None:
        if type(value) not in (list, str, dict) or len(value) != wanted:
            got = f" of length {len(value)}" if type(value) in (list, str, dict) else ""
            raise ExpressionError(f"cannot take {kind(value)}{got} apart into {wanted} names")
        for one, part in zip(binds, value, strict=True):
            one(frame, part)

    return bind


def _innermost(loop: Loop, element: Run) -> Rows:
    source, bind, condition, cost = loop.source, loop.bind, loop.condition, loop.cost

    def rows(env: Env, budget: Budget, frame: Frame) -> Iterator[Json]:
        for value in listed(source(env, budget, frame), budget):
            budget.spend(cost)
            bind(frame, value)
            if condition is None or condition(env, budget, frame):
                yield element(env, budget, frame)

    return rows


def _around(loop: Loop, inner: Rows) -> Rows:
    source, bind, condition, cost = loop.source, loop.bind, loop.condition, loop.cost

    def rows(env: Env, budget: Budget, frame: Frame) -> Iterator[Json]:
        for value in listed(source(env, budget, frame), budget):
            budget.spend(cost)
            bind(frame, value)
            if condition is None or condition(env, budget, frame):
                yield from inner(env, budget, frame)

    return rows
