"""The operators of the expression language, on JSON values, paid for by the budget.

One rule: the answer is Python's, or it is an `ExpressionError`. Integers stay within 64 bits and
floats finite, and what grows with its operands (`text * n`, `list + list`, `a == b` on whole
documents) is paid for before it is done.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable

from engine.context import Json
from engine.expression_values import (
    ITEM_BYTES,
    MAX_INTEGER,
    MIN_INTEGER,
    Budget,
    ExpressionError,
    MissingValue,
    kind,
    shown,
    unlike_whole,
    weigh,
)

Binary = Callable[[Json, Json, Budget], Json]

NUMBERS = frozenset({int, float, bool})
"""Python counts with true and false, and so do we."""
_CONTAINERS = frozenset({list, dict})


def checked(value: Json) -> Json:
    """A number, if it is one JSON can hold. Raises `ExpressionError`."""
    shape = type(value)
    if shape is int:
        if MIN_INTEGER <= value <= MAX_INTEGER:
            return value
        raise ExpressionError("the result does not fit a 64-bit integer")
    if shape is float and not math.isfinite(value):
        raise ExpressionError("the result is not a finite number")
    if shape is complex:
        raise ExpressionError("the result is not a real number")
    return value


def add(left: Json, right: Json, budget: Budget) -> Json:
    """`+` on two numbers, two texts or two lists."""
    shape = type(left)
    if shape in NUMBERS and type(right) in NUMBERS:
        return checked(left + right)
    if shape is type(right):
        if shape is str:
            pay_for_copy(len(left) + len(right), 1, budget)
            return left + right
        if shape is list:
            pay_for_copy(len(left) + len(right), ITEM_BYTES, budget)
            return left + right
    hint = "; write str(...) around the other one to join them" if str in _both(left, right) else ""
    raise ExpressionError(f"cannot add {kind(left)} and {kind(right)}{hint}")


def subtract(left: Json, right: Json, budget: Budget) -> Json:
    """`-` on numbers."""
    _require_numbers(left, right, "-")
    return checked(left - right)


def multiply(left: Json, right: Json, budget: Budget) -> Json:
    """`*` on numbers, or a text or list and a whole number."""
    if type(left) in NUMBERS and type(right) in NUMBERS:
        return checked(left * right)
    sequence, times = (left, right) if type(left) in (str, list) else (right, left)
    if type(sequence) not in (str, list) or type(times) not in (int, bool):
        raise ExpressionError(f"cannot multiply {kind(left)} by {kind(right)}")
    size = 1 if type(sequence) is str else ITEM_BYTES
    pay_for_copy(len(sequence) * max(0, times), size, budget)
    return sequence * times


def divide(left: Json, right: Json, budget: Budget) -> Json:
    """`/` on numbers."""
    _require_numbers(left, right, "/")
    return checked(left / _divisor(right))


def floor_divide(left: Json, right: Json, budget: Budget) -> Json:
    """`//` on numbers."""
    _require_numbers(left, right, "//")
    return checked(left // _divisor(right))


def modulo(left: Json, right: Json, budget: Budget) -> Json:
    """`%` on numbers; it does not format texts."""
    if type(left) is str:
        raise ExpressionError("% works on numbers only; join texts with + or use a template")
    _require_numbers(left, right, "%")
    return checked(left % _divisor(right))


def power(left: Json, right: Json, budget: Budget) -> Json:
    """`**` on numbers."""
    _require_numbers(left, right, "**")
    if type(left) is not float and type(right) is not float and abs(left) > 1 and right >= 64:
        raise ExpressionError("the result does not fit a 64-bit integer")
    if right < 0 and not left:
        raise ExpressionError("division by zero")
    return checked(left**right)


def equal(left: Json, right: Json, budget: Budget) -> bool:
    """`==`."""
    shape = type(left)
    if shape is str:
        if len(left) > 1024:
            budget.spend(len(left) >> 10)
    elif shape in _CONTAINERS and shape is type(right):
        if len(left) != len(right):
            return False
        budget.spend(weigh(left, budget))
    return bool(left == right)


def not_equal(left: Json, right: Json, budget: Budget) -> bool:
    """`!=`."""
    return not equal(left, right, budget)


def less(left: Json, right: Json, budget: Budget) -> bool:
    """`<` on two numbers, two texts or two lists."""
    _pay_for_order(left, right, "<", budget)
    return bool(left < right)


def less_equal(left: Json, right: Json, budget: Budget) -> bool:
    """`<=`, likewise."""
    _pay_for_order(left, right, "<=", budget)
    return bool(left <= right)


def greater(left: Json, right: Json, budget: Budget) -> bool:
    """`>`, likewise."""
    _pay_for_order(left, right, ">", budget)
    return bool(left > right)


def greater_equal(left: Json, right: Json, budget: Budget) -> bool:
    """`>=`, likewise."""
    _pay_for_order(left, right, ">=", budget)
    return bool(left >= right)


def contains(left: Json, right: Json, budget: Budget) -> bool:
    """`left in right`: a part of a text, an item of a list, a key of an object."""
    shape = type(right)
    if shape is str:
        if type(left) is not str:
            raise ExpressionError(f"`in` a text needs text on its left, not {kind(left)}")
        pay_for_search(len(right), len(left), budget)
        return left in right
    if shape is list:
        pay_for_scan(left, right, budget)
        return left in right
    if shape is dict:
        if type(left) in _CONTAINERS:
            raise ExpressionError(f"the key of an object is text, not {kind(left)}")
        return left in right
    raise ExpressionError(f"`in` needs a text, list or object on its right, not {kind(right)}")


def not_contains(left: Json, right: Json, budget: Budget) -> bool:
    """`left not in right`."""
    return not contains(left, right, budget)


def negate(value: Json) -> Json:
    """Unary `-`."""
    if type(value) not in NUMBERS:
        raise ExpressionError(f"- needs a number, not {kind(value)}")
    return checked(-value)


def affirm(value: Json) -> Json:
    """Unary `+`."""
    if type(value) not in NUMBERS:
        raise ExpressionError(f"+ needs a number, not {kind(value)}")
    return +value


def item(value: Json, key: Json) -> Json:
    """`value[key]`."""
    shape = type(value)
    if shape is dict:
        if type(key) is str and key in value:
            return value[key]
        if type(key) in _CONTAINERS:
            raise ExpressionError(f"the key of an object is text, not {kind(key)}")
        raise no_such_key(value, key)
    if shape is not list and shape is not str:
        raise MissingValue(f"cannot look up [{shown(key)}] in {kind(value)}")
    if type(key) not in (int, bool):
        wrong = unlike_whole(key)
        raise ExpressionError(f"the index of {kind(value)} is a whole number, not {wrong}")
    if -len(value) <= key < len(value):
        return value[key]
    raise MissingValue(f"there is no index {key} in {kind(value)} of length {len(value)}")


def cut(value: Json, low: Json, high: Json, step: Json, budget: Budget) -> Json:
    """`value[low:high:step]` of a text or a list."""
    if type(value) not in (str, list):
        raise ExpressionError(f"cannot take a slice of {kind(value)}")
    for bound in (low, high, step):
        if bound is not None and type(bound) not in (int, bool):
            wrong = unlike_whole(bound)
            raise ExpressionError(f"the bounds of a slice are whole numbers, not {wrong}")
    if step == 0 and step is not None:
        raise ExpressionError("the step of a slice cannot be zero")
    taken = slice(low, high, step)
    length = len(range(*taken.indices(len(value))))
    pay_for_copy(length, 1 if type(value) is str else ITEM_BYTES, budget)
    return value[taken]


def no_such_key(value: dict[str, Json], key: Json) -> MissingValue:
    """The error for a key an object does not have, naming the closest one."""
    wanted = key if type(key) is str else ""
    return MissingValue(f"there is no key {shown(key)}", wanted, value.keys)


def pay_for_search(length: int, needle: int, budget: Budget, *, backwards: bool = False) -> None:
    """Pays for looking for a text in a text. CPython's search is linear, except on short texts,
    with needles of a certain length, and backwards: there it can take length times needle."""
    budget.spend(length >> 6)
    linear = length >= 30_000 or (length >= 2_500 and needle < 100)
    if 1 < needle < length and (backwards or not linear):
        budget.spend((length - needle + 1) * needle >> 11)


def pay_for_scan(wanted: Json, values: list[Json], budget: Budget) -> None:
    """Pays for comparing a value with every item of a list."""
    if type(wanted) in _CONTAINERS:
        budget.spend(weigh(values, budget))
    else:
        size = len(wanted) >> 10 if type(wanted) is str else 0
        budget.spend((len(values) >> 4) + len(values) * size)


def _both(left: Json, right: Json) -> tuple[type, type]:
    return type(left), type(right)


def _require_numbers(left: Json, right: Json, operator: str) -> None:
    if type(left) not in NUMBERS or type(right) not in NUMBERS:
        raise ExpressionError(f"{operator} needs numbers, not {kind(left)} and {kind(right)}")


def _divisor(value: Json) -> Json:
    if not value:
        raise ExpressionError("division by zero")
    return value


def pay_for_copy(length: int, size: int, budget: Budget) -> None:
    """Pays for making a text (`size` 1) or a list of that length."""
    budget.allocate(length * size)
    budget.spend(length >> 10 if size == 1 else length >> 6)


def _pay_for_order(left: Json, right: Json, operator: str, budget: Budget) -> None:
    shape = type(left)
    if shape in NUMBERS and type(right) in NUMBERS:
        return
    if shape is not type(right) or shape not in (str, list):
        raise ExpressionError(f"cannot compare {kind(left)} {operator} {kind(right)}")
    if shape is str:
        budget.spend(min(len(left), len(right)) >> 10)
    else:
        budget.spend(weigh(left, budget))


BINARY: dict[type[ast.operator], Binary] = {
    ast.Add: add,
    ast.Sub: subtract,
    ast.Mult: multiply,
    ast.Div: divide,
    ast.FloorDiv: floor_divide,
    ast.Mod: modulo,
    ast.Pow: power,
}

COMPARISON: dict[type[ast.cmpop], Binary] = {
    ast.Eq: equal,
    ast.NotEq: not_equal,
    ast.Lt: less,
    ast.LtE: less_equal,
    ast.Gt: greater,
    ast.GtE: greater_equal,
    ast.In: contains,
    ast.NotIn: not_contains,
}
