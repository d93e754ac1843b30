"""The functions of the expression language.

One rule: a function is in these tables or it does not exist. Each takes the budget first (the
impure ones the environment before it), pays before it works, and its signature is what an author
may write. Functions that give several values give lists.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote_from_bytes

from engine.context import Json
from engine.expression_json import parse_json
from engine.expression_methods import items_of, keys_of, replaced, values_of
from engine.expression_operators import NUMBERS, checked, item, pay_for_copy
from engine.expression_patterns import search
from engine.expression_times import date_format
from engine.expression_values import (
    ITEM_BYTES,
    Budget,
    Env,
    ExpressionError,
    kind,
    to_json,
    to_text,
    unlike_whole,
    weigh,
)
from engine.moments import rfc3339

Function = Callable[..., Json]

_LONGEST_NUMBER = 400
_MOST_DIGITS = 400
_PAIR_BYTES = 6 * ITEM_BYTES


class _Absent:
    """The type of the one value that stands for an argument not given."""


_ABSENT = _Absent()


def listed(value: Json, budget: Budget) -> Sequence[Json]:
    """What iterating over a value gives: items of a list, characters of a text, keys of an
    object. The list itself is not copied."""
    shape = type(value)
    if shape is list:
        items: list[Json] = value
        return items
    if shape is str or shape is dict:
        pay_for_copy(len(value), ITEM_BYTES, budget)
        return list(value)
    raise ExpressionError(f"cannot iterate over {kind(value)}")


def _number(value: Json, function: str) -> Json:
    if type(value) not in NUMBERS:
        raise ExpressionError(f"{function}() takes a number, not {kind(value)}")
    return value


def _whole(value: Json, function: str) -> int:
    if type(value) is not int and type(value) is not bool:
        raise ExpressionError(f"{function}() takes whole numbers, not {unlike_whole(value)}")
    return int(value)


def _len(budget: Budget, value: Json, /) -> int:
    if type(value) not in (str, list, dict):
        raise ExpressionError(f"len() takes a text, list or object, not {kind(value)}")
    return len(value)


def _str(budget: Budget, value: Json = "", /) -> str:
    return to_text(value, budget)


def _int(budget: Budget, value: Json = 0, base: Json = _ABSENT, /) -> int:
    if type(value) in NUMBERS and base is _ABSENT:
        return int(checked(int(value)))
    if type(value) is not str:
        wanted = "a number or text" if base is _ABSENT else "text before a base"
        raise ExpressionError(f"int() takes {wanted}, not {kind(value)}")
    if len(value) > _LONGEST_NUMBER:
        raise ExpressionError("int() cannot read a text that long as a number")
    try:
        return int(checked(int(value, 10 if base is _ABSENT else _whole(base, "int"))))
    except ValueError:
        raise ExpressionError(f"int() cannot read {value[:40]!r} as a whole number") from None


def _float(budget: Budget, value: Json = 0.0, /) -> float:
    if type(value) not in NUMBERS and type(value) is not str:
        raise ExpressionError(f"float() takes a number or text, not {kind(value)}")
    if type(value) is str and len(value) > _LONGEST_NUMBER:
        raise ExpressionError("float() cannot read a text that long as a number")
    try:
        return float(checked(float(value)))
    except ValueError:
        raise ExpressionError(f"float() cannot read {value[:40]!r} as a number") from None


def _bool(budget: Budget, value: Json = False, /) -> bool:
    return bool(value)


def _abs(budget: Budget, number: Json, /) -> Json:
    return checked(abs(_number(number, "abs")))


def _round(budget: Budget, number: Json, ndigits: Json = None) -> Json:
    _number(number, "round")
    if ndigits is None:
        return checked(round(number))
    digits = _whole(ndigits, "round")
    if abs(digits) > _MOST_DIGITS:
        raise ExpressionError(f"round() takes at most {_MOST_DIGITS} digits")
    return checked(round(number, digits))


def _floor(budget: Budget, number: Json, /) -> Json:
    return checked(math.floor(_number(number, "floor")))


def _ceil(budget: Budget, number: Json, /) -> Json:
    return checked(math.ceil(_number(number, "ceil")))


def _sum(budget: Budget, values: Json, start: Json = 0) -> Json:
    numbers = listed(values, budget)
    budget.spend(len(numbers) >> 3)
    _number(start, "sum")
    for position, one in enumerate(numbers):
        if type(one) not in NUMBERS:
            raise ExpressionError(f"sum() needs numbers; item {position} is {kind(one)}")
    return checked(sum(numbers, start))


def _any(budget: Budget, values: Json, /) -> bool:
    items = listed(values, budget)
    budget.spend(len(items) >> 6)
    return any(items)


def _all(budget: Budget, values: Json, /) -> bool:
    items = listed(values, budget)
    budget.spend(len(items) >> 6)
    return all(items)


def _sort_keys(values: Sequence[Json], key: Json, budget: Budget) -> Sequence[Json]:
    """What to compare: the values, or their fields of that (dotted) name."""
    if key is None:
        return values
    if type(key) is not str:
        raise ExpressionError(f"key= is the name of a field, as text, not {kind(key)}")
    fields = key.split(".")
    budget.spend(len(values) * len(fields) + len(key))
    keys = list(values)
    for field in fields:
        keys = [item(one, field) for one in keys]
    return keys


def _incomparable(function: str, keys: Sequence[Json]) -> ExpressionError:
    kinds = " and ".join(sorted({kind(one) for one in keys}))
    return ExpressionError(f"{function}() cannot put {kinds} in order")


def _sorted(budget: Budget, values: Json, /, *, key: Json = None, reverse: Json = False) -> Json:
    items = listed(values, budget)
    keys = _sort_keys(items, key, budget)
    size = weigh(keys, budget) + len(keys)
    budget.spend(size * max(1, len(keys).bit_length()) >> 4)
    budget.allocate(ITEM_BYTES * len(items))
    try:
        if key is None:
            return sorted(items, reverse=bool(reverse))
        order = sorted(range(len(items)), key=keys.__getitem__, reverse=bool(reverse))
    except TypeError:
        raise _incomparable("sorted", keys) from None
    return [items[position] for position in order]


def _extreme(name: str, choose: Callable[..., Json]) -> Function:
    def function(
        budget: Budget, value: Json, /, *values: Json, key: Json = None, default: Json = _ABSENT
    ) -> Json:
        items = (value, *values) if values else listed(value, budget)
        if values and default is not _ABSENT:
            raise ExpressionError(f"{name}() takes default=… only for a list")
        if not items:
            if default is _ABSENT:
                raise ExpressionError(f"{name}() of nothing; give default=… for an empty list")
            return default
        keys = _sort_keys(items, key, budget)
        budget.spend(weigh(list(keys), budget))
        try:
            return items[choose(range(len(items)), key=keys.__getitem__)]
        except TypeError:
            raise _incomparable(name, keys) from None

    return function


def _reversed(budget: Budget, values: Json, /) -> list[Json]:
    items = listed(values, budget)
    pay_for_copy(len(items), ITEM_BYTES, budget)
    return list(reversed(items))


def _range(budget: Budget, start: Json, stop: Json = _ABSENT, step: Json = 1, /) -> list[int]:
    first, last = (0, start) if stop is _ABSENT else (start, stop)
    stride = _whole(step, "range")
    if stride == 0:
        raise ExpressionError("the step of range() cannot be zero")
    numbers = range(_whole(first, "range"), _whole(last, "range"), stride)
    # Not len(numbers): that fails on a range of more than 2**63.
    count = max(0, (numbers.stop - numbers.start + stride - (1 if stride > 0 else -1)) // stride)
    pay_for_copy(count, ITEM_BYTES, budget)
    return list(numbers)


def _zip(budget: Budget, /, *lists: Json) -> list[list[Json]]:
    columns = [listed(one, budget) for one in lists]
    rows = min(map(len, columns), default=0)
    budget.spend(rows >> 3)
    budget.allocate(rows * (_PAIR_BYTES + ITEM_BYTES * len(columns)))
    return [list(row) for row in zip(*columns, strict=False)]


def _enumerate(budget: Budget, values: Json, start: Json = 0) -> list[list[Json]]:
    items = listed(values, budget)
    budget.spend(len(items) >> 3)
    budget.allocate(len(items) * _PAIR_BYTES)
    first = _whole(start, "enumerate")
    checked(first + max(0, len(items) - 1))
    return [[position, one] for position, one in enumerate(items, first)]


def _members(value: Json, function: str) -> dict[str, Json]:
    if type(value) is not dict:
        raise ExpressionError(f"{function}() takes an object, not {kind(value)}")
    return value


def _keys(budget: Budget, members: Json, /) -> list[Json]:
    return keys_of(budget, _members(members, "keys"))


def _values(budget: Budget, members: Json, /) -> list[Json]:
    return values_of(budget, _members(members, "values"))


def _items(budget: Budget, members: Json, /) -> list[Json]:
    return items_of(budget, _members(members, "items"))


def _json(budget: Budget, value: Json, /) -> str:
    return to_json(value, budget)


def _matches(budget: Budget, text: Json, pattern: Json, /) -> bool:
    return search(text, pattern, budget)


def _replace(budget: Budget, text: Json, old: Json, new: Json, /) -> str:
    if type(text) is not str:
        raise ExpressionError(f"replace() takes text, not {kind(text)}")
    return replaced(budget, text, old, new)


def _hash_sha256(budget: Budget, text: Json, /) -> str:
    if type(text) is not str:
        raise ExpressionError(f"hash_sha256() takes text, not {kind(text)}")
    budget.spend(1 + (len(text) >> 6))
    return hashlib.sha256(text.encode()).hexdigest()


def _quote(budget: Budget, text: Json, /) -> str:
    """Percent-encoding (RFC 3986): all but the unreserved characters, so `/` and `&` too."""
    if type(text) is not str:
        if type(text) not in NUMBERS:
            raise ExpressionError(f"quote() takes text or a number, not {kind(text)}")
        text = str(text)
    plain = text.encode()
    budget.spend(1 + (len(plain) >> 4))
    quoted = quote_from_bytes(plain, safe="")
    budget.allocate(len(quoted))
    return quoted


def _now(env: Env, budget: Budget, /) -> str:
    return rfc3339(env.now())


def _now_unix(env: Env, budget: Budget, /) -> int:
    return int(env.now().timestamp())


def _uuid(env: Env, budget: Budget, /) -> str:
    return env.uuid()


def _random(env: Env, budget: Budget, low: Json = _ABSENT, high: Json = _ABSENT, /) -> Json:
    """`random()` in [0, 1), `random(a, b)` whole, both included, `random(list)` one of them."""
    if low is _ABSENT:
        return env.random()
    if high is _ABSENT:
        if type(low) is not list or not low:
            raise ExpressionError("random() takes nothing, two whole numbers, or a filled list")
        return low[min(int(env.random() * len(low)), len(low) - 1)]
    first, last = _whole(low, "random"), _whole(high, "random")
    if first > last:
        raise ExpressionError(f"random({first}, {last}): the first is greater than the second")
    return min(first + int(env.random() * (last - first + 1)), last)


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "len": _len,
        "str": _str,
        "int": _int,
        "float": _float,
        "bool": _bool,
        "abs": _abs,
        "round": _round,
        "floor": _floor,
        "ceil": _ceil,
        "min": _extreme("min", min),
        "max": _extreme("max", max),
        "sum": _sum,
        "sorted": _sorted,
        "reversed": _reversed,
        "range": _range,
        "any": _any,
        "all": _all,
        "zip": _zip,
        "enumerate": _enumerate,
        "keys": _keys,
        "values": _values,
        "items": _items,
        "json": _json,
        "parse_json": parse_json,
        "date_format": date_format,
        "matches": _matches,
        "replace": _replace,
        "hash_sha256": _hash_sha256,
        "quote": _quote,
    }
)
"""Name -> function, called with the budget first."""

IMPURE: Mapping[str, Function] = MappingProxyType(
    {"now": _now, "now_unix": _now_unix, "random": _random, "uuid": _uuid}
)
"""Name -> function, called with the environment and the budget first."""

LAZY = frozenset({"default", "has"})
"""Functions that the compiler itself writes, because their first argument may be missing."""

FUNCTION_NAMES = frozenset({*FUNCTIONS, *IMPURE, *LAZY})
