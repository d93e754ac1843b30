"""What expressions work on and with: JSON values, the budget, the errors, the environment.

One rule: whatever costs time or memory in proportion to a value is paid for here first, so an
evaluation ends by its budget and never by a time-out. One unit of fuel is at most a few
microseconds of work; the prices below were measured on the slowest input of each kind.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Literal, Protocol

import orjson

from engine.context import Json

MAX_FUEL = 20_000
MAX_BYTES = 1_048_576
MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
MIN_INTEGER = -(2**63)

ITEM_BYTES = 16
"""What one more item of a list counts as allocated; a member of an object counts four times."""
MEMBER_BYTES = 64
_NUMBER_BYTES = 8
_SHOWN_SOURCE = 120
_HINT_CANDIDATES = 200
_HINT_LENGTH = 64


class ExpressionError(Exception):
    """An expression could not be evaluated.

    `code` is `EXPRESSION_ERROR` or `BUDGET_EXCEEDED`; `source` is the expression, shortened, and
    empty until the expression that was being evaluated has put its name to it.
    """

    def __init__(
        self,
        message: str,
        source: str = "",
        code: Literal["EXPRESSION_ERROR", "BUDGET_EXCEEDED"] = "EXPRESSION_ERROR",
    ) -> None:
        super().__init__(message)
        self._message = message
        self.source = source
        self.code = code

    @property
    def message(self) -> str:
        """What is wrong, as an author reads it."""
        return self._message

    def __str__(self) -> str:
        return f"{self.message} (in {{{{ {self.source} }}}})" if self.source else self.message


class MissingValue(ExpressionError):
    """A variable, key, index or node that an expression names does not exist.

    `default()` and `has()` answer to this one and to no other error. The closest of the `known`
    names is looked for only when the message is read: it takes longer than everything else, and
    those two read none.
    """

    def __init__(
        self, message: str, wanted: str = "", known: Callable[[], Iterable[str]] = tuple
    ) -> None:
        super().__init__(message)
        self._wanted = wanted
        self._known = known
        self._hint: str | None = None

    @property
    def message(self) -> str:
        """What is missing, and what was probably meant."""
        if self._hint is None:
            close = nearest(self._wanted, self._known())
            self._hint = f"; did you mean {shown(close)}?" if close else ""
        return self._message + self._hint


class ExpressionSyntaxError(ValueError):
    """A text is not an expression, or not one of this language.

    `line` and `column` count from 1 within the whole template string; `path` is the JSON pointer
    of that string within the template, `hint` says what would be right, where that is known.

    `also` are the further mistakes of the template, in its order, and `paths` those that its
    sound expressions read.
    """

    def __init__(
        self, message: str, line: int = 1, column: int = 1, hint: str | None = None, path: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.hint = hint
        self.path = path
        self.also: tuple[ExpressionSyntaxError, ...] = ()
        self.paths: tuple[tuple[str, ...], ...] = ()

    def __str__(self) -> str:
        place = f"{self.message} (line {self.line}, column {self.column})"
        return f"{place}. {self.hint}" if self.hint else place


@dataclass(slots=True)
class Budget:
    """What all expressions of one step may spend together: `fuel` is work, `bytes` are the
    allocations. Both only shrink."""

    fuel: int = MAX_FUEL
    bytes: int = MAX_BYTES

    def spend(self, units: int) -> None:
        """Takes fuel. Raises `ExpressionError` when there is not enough."""
        self.fuel -= units
        if self.fuel < 0:
            raise ExpressionError(
                f"the step's expressions do too much work (limit: {MAX_FUEL} units); "
                "split the work over several nodes or make the lists shorter",
                code="BUDGET_EXCEEDED",
            )

    def allocate(self, size: int) -> None:
        """Takes memory, in bytes. Raises `ExpressionError` when there is not enough."""
        self.bytes -= size
        if self.bytes < 0:
            raise ExpressionError(
                f"the step's expressions make too much data (limit: {MAX_BYTES} bytes)",
                code="BUDGET_EXCEEDED",
            )


class Env(Protocol):
    """What an expression can see."""

    def lookup(self, name: str) -> Json:
        """The value of a root name. Raises `KeyError`."""
        ...

    def names(self) -> Iterable[str]:
        """Every root name; asked only to word an error."""
        ...

    def node(self, node_id: str) -> Json:
        """`{"output", "port", "error"}` of a node that ran. Raises `KeyError`."""
        ...

    def node_ids(self) -> Iterable[str]:
        """The nodes that ran; asked only to word an error."""
        ...

    def now(self) -> datetime:
        """The present moment, aware, UTC."""
        ...

    def random(self) -> float:
        """A random number in [0, 1)."""
        ...

    def uuid(self) -> str:
        """A new UUID."""
        ...


class MapEnv:
    """An `Env` over a mapping, for tests and for conditions over given values.

    It has no clock and no randomness unless they are given: `now` is a moment, `random` a number,
    `uuid` a text; without them asking is an `ExpressionError`.
    """

    __slots__ = ("_now", "_random", "_uuid", "_values")

    def __init__(
        self,
        values: Mapping[str, Json],
        *,
        now: datetime | None = None,
        random: float | None = None,
        uuid: str | None = None,
    ) -> None:
        self._values = values
        self._now = now
        self._random = random
        self._uuid = uuid

    def lookup(self, name: str) -> Json:
        return self._values[name]

    def names(self) -> Iterable[str]:
        return self._values

    def node(self, node_id: str) -> Json:
        return self._values["nodes"][node_id]

    def node_ids(self) -> Iterable[str]:
        nodes: Iterable[str] = self._values.get("nodes") or ()
        return nodes

    def now(self) -> datetime:
        if self._now is None:
            raise ExpressionError("now() is not available here")
        return self._now

    def random(self) -> float:
        if self._random is None:
            raise ExpressionError("random() is not available here")
        return self._random

    def uuid(self) -> str:
        if self._uuid is None:
            raise ExpressionError("uuid() is not available here")
        return self._uuid


class Overlay:
    """Another `Env` with some more names, which win."""

    __slots__ = ("_env", "_lookup", "_values", "node", "node_ids", "now", "random", "uuid")

    def __init__(self, env: Env, values: Mapping[str, Json]) -> None:
        self._env = env
        self._values = values
        self._lookup = env.lookup
        self.node = env.node
        self.node_ids = env.node_ids
        self.now = env.now
        self.random = env.random
        self.uuid = env.uuid

    def lookup(self, name: str) -> Json:
        if name in self._values:
            return self._values[name]
        return self._lookup(name)

    def names(self) -> Iterable[str]:
        yield from self._values
        yield from self._env.names()


_KINDS = {
    type(None): "null",
    bool: "true/false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


def kind(value: Json) -> str:
    """What a value is, in an author's words."""
    return _KINDS.get(type(value), "not a JSON value")


def unlike_whole(value: Json) -> str:
    """What a value is, where a whole number is wanted: `2.5`, since "a number" would not tell."""
    return str(value) if type(value) is float else kind(value)


def shown(value: Json) -> str:
    """A key or an argument as an error shows it."""
    if type(value) is str:
        return repr(value if len(value) <= 40 else value[:39] + "…")
    return kind(value) if type(value) in (list, dict) else str(value)


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `name` was probably meant to be; looks at a bounded number of them."""
    known = [
        candidate
        for candidate in islice(candidates, _HINT_CANDIDATES)
        if len(candidate) <= _HINT_LENGTH
    ]
    close = difflib.get_close_matches(name[:_HINT_LENGTH], known, n=1, cutoff=0.6)
    if close:
        return close[0]
    folded = name.lower().replace("_", "")
    return next((one for one in known if one.lower().replace("_", "") == folded), None)


def shortened(source: str) -> str:
    """An expression as it is shown in an error."""
    flat = " ".join(source[: 2 * _SHOWN_SOURCE].split())
    return flat if len(flat) <= _SHOWN_SOURCE else flat[: _SHOWN_SOURCE - 1] + "…"


def weigh(value: Json, budget: Budget) -> int:
    """Pays for walking through a value and returns its size in units of work, so that the caller
    can pay for what it does with it. A list that holds one list twice counts it twice."""
    units = 0
    stack = [value]
    while stack:
        item = stack.pop()
        shape = type(item)
        if shape is str:
            units += len(item) >> 10
        elif shape is list or shape is dict:
            units += 1 + (len(item) >> 2)
            budget.spend(1 + (len(item) >> 2))
            stack.extend(item if shape is list else item.values())
            if shape is dict:
                stack.extend(item)
    return units


def measure(value: Json, budget: Budget, depth: int = 0) -> None:
    """Pays for a value as it will be written: every list and object in it counts wherever it
    occurs, whether or not it is shared. Raises `ExpressionError` for what is too deep."""
    shape = type(value)
    if shape is list:
        _require_depth(depth)
        budget.spend(2 + (len(value) >> 2))
        budget.allocate(ITEM_BYTES * len(value))
        for item in value:
            _measure_item(item, budget, depth)
    elif shape is dict:
        _require_depth(depth)
        budget.spend(2 + (len(value) >> 2))
        budget.allocate(ITEM_BYTES * len(value) + sum(map(len, value)))
        for item in value.values():
            _measure_item(item, budget, depth)
    else:
        budget.allocate(len(value) if shape is str else _NUMBER_BYTES)


def _measure_item(item: Json, budget: Budget, depth: int) -> None:
    shape = type(item)
    if shape is str:
        budget.allocate(len(item))
    elif shape is list or shape is dict:
        measure(item, budget, depth + 1)


def _require_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise ExpressionError(f"the value is nested deeper than {MAX_DEPTH} levels")


def to_text(value: Json, budget: Budget) -> str:
    """A value as text: texts as they are, numbers, `True`, `False` and `None` as Python writes
    them, lists and objects as compact JSON."""
    shape = type(value)
    if shape is str:
        return str(value)
    if shape is list or shape is dict:
        return to_json(value, budget)
    return str(value)


def to_json(value: Json, budget: Budget) -> str:
    """A value as compact JSON."""
    measure(value, budget)
    if type(value) is str:
        budget.spend(len(value) >> 6)
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise ExpressionError(f"not a JSON value: {error}") from None
    budget.allocate(len(text))
    return text
