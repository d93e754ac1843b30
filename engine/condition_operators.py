"""The operators of conditions, and what they call equal.

One rule: values come from chat and from forms, where everything is text, so a number written as
text counts as that number, and `"true"` as true. Expressions know nothing of this: they are
Python's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from engine.context import Json
from engine.expression_operators import contains as part_of
from engine.expression_operators import equal
from engine.expression_patterns import search
from engine.expression_values import Budget, ExpressionError, kind, to_text

Test = Callable[[Json, Json, Budget], bool]

_NUMERAL = re.compile(r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]{1,300})?|\.[0-9]{1,300})")
_TRUTHS = {"true": True, "false": False}
_LONGEST_NUMERAL = 602


def number(value: Json) -> int | float | None:
    """The number that a value is or spells in plain decimals, None if it is none."""
    shape = type(value)
    if shape is int or shape is float:
        number_itself: int | float = value
        return number_itself
    if shape is not str or len(value) > _LONGEST_NUMERAL:
        return None
    text = value.strip()
    if not _NUMERAL.fullmatch(text):
        return None
    return float(text) if "." in text else int(text)


def equals(left: Json, right: Json, budget: Budget) -> bool:
    """Whether two values are the same: as numbers if both are or spell one, true and false also
    as text, everything else exactly."""
    if type(left) is bool or type(right) is bool:
        return _truth(left) is _truth(right) and _truth(left) is not None
    first = number(left)
    if first is not None:
        second = number(right)
        if second is not None:
            return first == second
    return equal(left, right, budget)


def contains(left: Json, right: Json, budget: Budget) -> bool:
    """Whether a text has a part, a list an item, or an object a key."""
    if type(left) is list:
        return _holds(left, right, budget)
    if type(left) is dict:
        return part_of(to_text(right, budget), left, budget)
    if type(left) is str:
        return part_of(to_text(right, budget), left, budget)
    raise ExpressionError(f"contains needs a text, list or object on its left, not {kind(left)}")


def in_list(left: Json, right: Json, budget: Budget) -> bool:
    """Whether a value is in a list; a text is the list of what stands between its commas."""
    if type(right) is list:
        return _holds(right, left, budget)
    if type(right) is str:
        budget.spend(len(right) >> 5)
        budget.allocate(len(right))
        return _holds([part.strip() for part in right.split(",")], left, budget)
    raise ExpressionError(f"in_list needs a list on its right, not {kind(right)}")


def matches_regex(left: Json, right: Json, budget: Budget) -> bool:
    """Whether a regular expression known only at run time occurs in a text."""
    return search(left, right, budget)


def is_nothing(value: Json) -> bool:
    """Whether a value is null or has nothing in it. Zero and false are something."""
    return value is None or (type(value) in (str, list, dict) and not value)


def _truth(value: Json) -> bool | None:
    if type(value) is bool:
        return value
    if type(value) is str and len(value) <= len("false"):
        return _TRUTHS.get(value.lower())
    return None


def _holds(values: list[Json], wanted: Json, budget: Budget) -> bool:
    for value in values:
        budget.spend(1)
        if equals(value, wanted, budget):
            return True
    return False


def _ordering(compare: Callable[[Json, Json], bool], name: str) -> Test:
    def test(left: Json, right: Json, budget: Budget) -> bool:
        first, second = number(left), number(right)
        if first is not None and second is not None:
            return compare(first, second)
        if type(left) is str and type(right) is str:
            budget.spend(min(len(left), len(right)) >> 10)
            return compare(left, right)
        raise ExpressionError(f"{name} cannot compare {kind(left)} with {kind(right)}")

    return test


def _affix(test: Callable[[str, str], bool], name: str) -> Test:
    def affixed(left: Json, right: Json, budget: Budget) -> bool:
        if type(left) not in (str, int, float) or type(right) not in (str, int, float):
            raise ExpressionError(f"{name} needs texts, not {kind(left)} and {kind(right)}")
        budget.spend(1)
        return test(str(left), str(right))

    return affixed


def _opposite(test: Test) -> Test:
    return lambda left, right, budget: not test(left, right, budget)


BINARY: Mapping[str, Test] = MappingProxyType(
    {
        "equals": equals,
        "not_equals": _opposite(equals),
        "greater_than": _ordering(lambda left, right: bool(left > right), "greater_than"),
        "less_than": _ordering(lambda left, right: bool(left < right), "less_than"),
        "greater_equal": _ordering(lambda left, right: bool(left >= right), "greater_equal"),
        "less_equal": _ordering(lambda left, right: bool(left <= right), "less_equal"),
        "contains": contains,
        "not_contains": _opposite(contains),
        "matches_regex": matches_regex,
        "in_list": in_list,
        "not_in_list": _opposite(in_list),
        "starts_with": _affix(str.startswith, "starts_with"),
        "ends_with": _affix(str.endswith, "ends_with"),
    }
)
"""Operators on two values; those that need only one are `UNARY`."""

UNARY: Mapping[str, Callable[[Json], bool]] = MappingProxyType(
    {
        "exists": lambda value: value is not None,
        "not_exists": lambda value: value is None,
        "is_empty": is_nothing,
    }
)
"""Operators on one value, which count what is missing as null."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "==": "equals",
        "=": "equals",
        "eq": "equals",
        "!=": "not_equals",
        "ne": "not_equals",
        ">": "greater_than",
        "gt": "greater_than",
        "<": "less_than",
        "lt": "less_than",
        ">=": "greater_equal",
        "gte": "greater_equal",
        "<=": "less_equal",
        "lte": "less_equal",
        "more_than": "greater_than",
        "at_least": "greater_equal",
        "at_most": "less_equal",
        "in": "in_list",
        "not_in": "not_in_list",
    }
)
"""What people write for them."""
