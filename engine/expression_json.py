"""`parse_json`: text that came from anywhere, read as a JSON value.

One rule: what it gives has passed the limits every other value has: depth 32, 64-bit integers,
finite floats, valid text. Its cost is paid by the length of the text, before reading.
"""

from __future__ import annotations

import json
import math
from typing import Any

from engine.context import Json
from engine.expression_values import (
    MAX_DEPTH,
    MAX_INTEGER,
    MIN_INTEGER,
    Budget,
    ExpressionError,
    kind,
    measure,
)

_LONGEST_INTEGER = 20
_LONGEST_FLOAT = 1_000


def parse_json(budget: Budget, text: Json, /) -> Json:
    """The value of a JSON text. Raises `ExpressionError` for what is malformed or too much."""
    if type(text) is not str:
        raise ExpressionError(f"parse_json() takes text, not {kind(text)}")
    budget.spend(1 + (len(text) >> 5) + (text.count(",") >> 1))
    budget.allocate(len(text))
    _require_shallow(text)
    try:
        value = json.loads(
            text, parse_int=_integer, parse_float=_float, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ExpressionError(f"parse_json() cannot read the text: {error.msg} ({place})") from None
    if "\\u" in text or "\0" in text:
        _require_valid_text(value)
    measure(value, budget)
    return value


def _require_shallow(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    quoted = escaped = False
    for mark in text:
        if quoted:
            quoted = escaped or mark != '"'
            escaped = mark == "\\" and not escaped
        elif mark == '"':
            quoted = True
        elif mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ExpressionError(f"the JSON is nested deeper than {MAX_DEPTH} levels")
        elif mark in "]}":
            depth -= 1


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= _LONGEST_INTEGER else MAX_INTEGER + 1
    if not MIN_INTEGER <= value <= MAX_INTEGER:
        raise ExpressionError("the JSON holds an integer that does not fit 64 bits")
    return value


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= _LONGEST_FLOAT else math.inf
    if not math.isfinite(value):
        raise ExpressionError("the JSON holds a number that is too large")
    return value


def _refuse_constant(name: str) -> float:
    raise ExpressionError(f"{name} is not a JSON number")


def _require_valid_text(value: Any) -> None:
    stack = [value]
    while stack:
        one = stack.pop()
        if type(one) is list:
            stack.extend(one)
        elif type(one) is dict:
            stack.extend(one)
            stack.extend(one.values())
        elif type(one) is str and not valid_text(one):
            raise ExpressionError("the JSON holds text that is not valid Unicode, or U+0000")


def valid_text(text: str) -> bool:
    """Whether a text can be stored: valid Unicode, without U+0000."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
