"""The methods of texts, lists and objects: our own table, by type.

One rule: a method is here or it does not exist. None changes its receiver, each pays before it
works, and its signature is what an author may write (`/` ends what has no keyword).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from engine.context import Json
from engine.expression_operators import (
    pay_for_copy,
    pay_for_scan,
    pay_for_search,
)
from engine.expression_values import ITEM_BYTES, Budget, ExpressionError, kind, unlike_whole

Method = Callable[..., Json]

_PIECE_BYTES = 48


def _require_text(value: Json, what: str) -> str:
    if type(value) is not str:
        raise ExpressionError(f"{what} is text, not {kind(value)}")
    return value


def _require_whole(value: Json, what: str) -> int:
    if type(value) is not int and type(value) is not bool:
        raise ExpressionError(f"{what} is a whole number, not {unlike_whole(value)}")
    return int(value)


def _simple(change: Callable[[str], str]) -> Method:
    def method(budget: Budget, text: str, /) -> str:
        budget.spend(len(text) >> 6)
        # No case mapping gives fewer characters than it takes, but Python needs 12 bytes for each.
        budget.allocate(len(text))
        changed = change(text)
        budget.allocate(len(changed) - len(text))
        return changed

    return method


def _trait(test: Callable[[str], bool]) -> Method:
    def method(budget: Budget, text: str, /) -> bool:
        budget.spend(len(text) >> 6)
        return test(text)

    return method


def _strip(change: Callable[[str, str | None], str]) -> Method:
    def method(budget: Budget, text: str, chars: Json = None, /) -> str:
        budget.spend(len(text) >> 8)
        if chars is not None:
            _require_text(chars, "what to strip")
            budget.spend((len(chars) >> 6) + (len(text) >> 8))
            budget.spend(len(text) * min(len(chars), len(text)) >> 11)
        stripped = change(text, chars)
        pay_for_copy(len(stripped), 1, budget)
        return stripped

    return method


def _affix(test: Callable[[str, str | tuple[str, ...]], bool]) -> Method:
    def method(budget: Budget, text: str, affix: Json, /) -> bool:
        affixes = affix if type(affix) is list else [affix]
        for one in affixes:
            budget.spend(1 + (len(_require_text(one, "what to look for")) >> 10))
        return test(text, tuple(affixes))

    return method


def _without(change: Callable[[str, str], str]) -> Method:
    def method(budget: Budget, text: str, affix: Json, /) -> str:
        changed = change(text, _require_text(affix, "what to remove"))
        pay_for_copy(len(text), 1, budget)
        return changed

    return method


def _padding(change: Callable[[str, int, str], str]) -> Method:
    def method(budget: Budget, text: str, width: Json, fill: Json = " ", /) -> str:
        width = _require_whole(width, "the width")
        if len(_require_text(fill, "the fill")) != 1:
            raise ExpressionError("the fill is one character")
        pay_for_copy(max(width, len(text)), 1, budget)
        return change(text, width, fill)

    return method


def _zfill(budget: Budget, text: str, width: Json, /) -> str:
    width = _require_whole(width, "the width")
    pay_for_copy(max(width, len(text)), 1, budget)
    return text.zfill(width)


def _searching(search: Callable[[str, str, int | None, int | None], int], back: bool) -> Method:
    def method(
        budget: Budget, text: str, wanted: Json, start: Json = None, end: Json = None, /
    ) -> int:
        _require_text(wanted, "what to look for")
        low = None if start is None else _require_whole(start, "the start")
        high = None if end is None else _require_whole(end, "the end")
        pay_for_search(len(text), len(wanted), budget, backwards=back)
        return search(text, wanted, low, high)

    return method


def _text_index(budget: Budget, text: str, wanted: Json, /) -> int:
    pay_for_search(len(text), len(_require_text(wanted, "what to look for")), budget)
    place = text.find(wanted)
    if place < 0:
        raise ExpressionError("index() did not find the text; find() gives -1 instead")
    return place


def _join(budget: Budget, text: str, items: Json, /) -> str:
    if type(items) is dict or type(items) is str:
        items = list(items) if type(items) is dict else items
    elif type(items) is not list:
        raise ExpressionError(f"join() takes a list of texts, not {kind(items)}")
    budget.spend(len(items) >> 4)
    for position, one in enumerate(items):
        if type(one) is not str:
            hint = "write [str(x) for x in …]"
            raise ExpressionError(f"join() needs texts; item {position} is {kind(one)}; {hint}")
    size = sum(map(len, items)) + len(text) * max(0, len(items) - 1)
    pay_for_copy(size, 1, budget)
    return text.join(items)


def replaced(budget: Budget, text: str, old: Json, new: Json, count: Json = -1) -> str:
    """`text.replace(old, new, count)`."""
    _require_text(old, "what to replace")
    _require_text(new, "the replacement")
    count = _require_whole(count, "the count")
    pay_for_search(2 * len(text), len(old), budget)
    found = text.count(old) if count < 0 else min(count, text.count(old))
    budget.spend(found >> 5)
    pay_for_copy(len(text) + max(0, found * (len(new) - len(old))), 1, budget)
    return text.replace(old, new, count)


def _replace(budget: Budget, text: str, old: Json, new: Json, count: Json = -1, /) -> str:
    return replaced(budget, text, old, new, count)


def _splitting(split: Callable[[str, str | None, int], list[str]], backwards: bool) -> Method:
    def method(budget: Budget, text: str, sep: Json = None, maxsplit: Json = -1) -> list[str]:
        maxsplit = _require_whole(maxsplit, "maxsplit")
        if sep is None:
            budget.spend(len(text) >> 6)
            most = (len(text) + 1) // 2
        else:
            if not _require_text(sep, "the separator"):
                raise ExpressionError("the separator is empty")
            pay_for_search(2 * len(text), len(sep), budget, backwards=backwards)
            most = text.count(sep) + 1
        most = most if maxsplit < 0 else min(most, maxsplit + 1)
        budget.spend(most >> 5)
        pieces = split(text, sep, maxsplit)
        budget.allocate(len(text) + _PIECE_BYTES * len(pieces))
        return pieces

    return method


def _splitlines(budget: Budget, text: str, keepends: Json = False) -> list[str]:
    budget.spend(len(text) >> 5)
    lines = text.splitlines(bool(keepends))
    budget.allocate(len(text) + _PIECE_BYTES * len(lines))
    return lines


def _parting(part: Callable[[str, str], tuple[str, str, str]], backwards: bool) -> Method:
    def method(budget: Budget, text: str, sep: Json, /) -> list[str]:
        if not _require_text(sep, "the separator"):
            raise ExpressionError("the separator is empty")
        pay_for_search(len(text), len(sep), budget, backwards=backwards)
        budget.allocate(len(text) + 3 * _PIECE_BYTES)
        return list(part(text, sep))

    return method


def _list_index(budget: Budget, values: list[Json], wanted: Json, /) -> int:
    pay_for_scan(wanted, values, budget)
    for position, one in enumerate(values):
        if one == wanted:
            return position
    raise ExpressionError("index() did not find the value in the list")


def _list_count(budget: Budget, values: list[Json], wanted: Json, /) -> int:
    pay_for_scan(wanted, values, budget)
    return values.count(wanted)


def _get(budget: Budget, members: dict[str, Json], key: Json, default: Json = None, /) -> Json:
    if type(key) is list or type(key) is dict:
        raise ExpressionError(f"the key of an object is text, not {kind(key)}")
    return members.get(key, default)


def keys_of(budget: Budget, members: Json) -> list[Json]:
    """The keys of an object, as a list."""
    pay_for_copy(len(members), ITEM_BYTES, budget)
    return list(members)


def values_of(budget: Budget, members: Json) -> list[Json]:
    """The values of an object, as a list."""
    pay_for_copy(len(members), ITEM_BYTES, budget)
    return list(members.values())


def items_of(budget: Budget, members: Json) -> list[Json]:
    """The members of an object, as a list of `[key, value]`."""
    pay_for_copy(len(members), 6 * ITEM_BYTES, budget)
    budget.spend(len(members) >> 4)
    return [[key, value] for key, value in members.items()]


def _keys(budget: Budget, members: Json, /) -> list[Json]:
    return keys_of(budget, members)


def _values(budget: Budget, members: Json, /) -> list[Json]:
    return values_of(budget, members)


def _items(budget: Budget, members: Json, /) -> list[Json]:
    return items_of(budget, members)


_TEXT: dict[str, Method] = {
    **{
        change.__name__: _simple(change)
        for change in (
            str.upper,
            str.lower,
            str.title,
            str.capitalize,
            str.casefold,
            str.swapcase,
        )
    },
    **{
        test.__name__: _trait(test)
        for test in (
            str.isdigit,
            str.isalpha,
            str.isalnum,
            str.isspace,
            str.isnumeric,
            str.isupper,
            str.islower,
            str.isdecimal,
        )
    },
    "strip": _strip(str.strip),
    "lstrip": _strip(str.lstrip),
    "rstrip": _strip(str.rstrip),
    "startswith": _affix(str.startswith),
    "endswith": _affix(str.endswith),
    "removeprefix": _without(str.removeprefix),
    "removesuffix": _without(str.removesuffix),
    "ljust": _padding(str.ljust),
    "rjust": _padding(str.rjust),
    "center": _padding(str.center),
    "zfill": _zfill,
    "find": _searching(str.find, back=False),
    "rfind": _searching(str.rfind, back=True),
    "count": _searching(str.count, back=False),
    "index": _text_index,
    "join": _join,
    "replace": _replace,
    "split": _splitting(str.split, backwards=False),
    "rsplit": _splitting(str.rsplit, backwards=True),
    "splitlines": _splitlines,
    "partition": _parting(str.partition, backwards=False),
    "rpartition": _parting(str.rpartition, backwards=True),
}

METHODS: Mapping[type, Mapping[str, Method]] = MappingProxyType(
    {
        str: _TEXT,
        list: {"index": _list_index, "count": _list_count},
        dict: {"get": _get, "keys": _keys, "values": _values, "items": _items},
    }
)
"""Type of the receiver -> name -> the method, called with the budget and the receiver first."""

METHOD_NAMES = frozenset(name for table in METHODS.values() for name in table)


def no_such_method(receiver: Json, name: str) -> ExpressionError:
    """The error for a method that the receiver's type does not have."""
    known = METHODS.get(type(receiver))
    if not known:
        return ExpressionError(f"{kind(receiver)} has no methods, so no {name}()")
    return ExpressionError(f"{kind(receiver)} has no method {name}(); it has {', '.join(known)}")
