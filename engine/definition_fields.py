"""Type checks for the plain fields of documents, nodes and connections.

The one rule: null means absent, and a value that does not fit is reported and read as absent, so
that everything downstream sees the right types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from engine.context import Json
from engine.issues import Findings, pointer, shown

Kind = Literal["string", "integer", "number", "boolean", "object", "strings"]

_ARTICLES: dict[Kind, str] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "strings": "an array of strings",
}


_MOST_ENTRIES = 100
"""How many wrong entries of one array are told: a body has room for half a million."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one field may hold; the bounds are of a number, or of a string's length."""

    name: str
    kind: Kind
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


def read_value(
    rule: Rule, source: Mapping[str, Json], base: str, findings: Findings, node: str | None = None
) -> Json:
    """The field's value in `source`, whose pointer is `base`; None if absent or unfit."""
    value = source.get(rule.name)
    if value is None and not rule.required:
        return None
    wrong = "is missing" if value is None else _misfit(rule, value)
    if wrong is None:
        return value
    path = pointer(base, rule.name)
    if rule.kind == "strings" and isinstance(value, list):
        for position, entry in islice(_no_strings(value), _MOST_ENTRIES):
            message = f"An entry of `{rule.name}` must be a string, not {shown(entry)}."
            findings.shape(message, pointer(path, position), node=node)
    else:
        findings.shape(f"`{rule.name}` {wrong}.", path, node=node)
    return None


def _no_strings(entries: list[Json]) -> Iterator[tuple[int, Json]]:
    """The entries of an array of strings that are none, with their positions."""
    return ((at, entry) for at, entry in enumerate(entries) if not isinstance(entry, str))


def has_type(value: Json, kind: Kind) -> bool:
    """Whether a JSON value is of this type; booleans are no numbers, 3.0 is no integer."""
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
        case "strings":
            return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _misfit(rule: Rule, value: Json) -> str | None:
    """What is wrong with the value, as a predicate; None if it fits."""
    wanted = None
    if not has_type(value, rule.kind):
        wanted = _ARTICLES[rule.kind]
    elif rule.choices and value not in rule.choices:
        wanted = "one of " + ", ".join(f"'{choice}'" for choice in rule.choices)
    elif rule.kind in {"string", "integer", "number"} and not _within(rule, value):
        wanted = _bounds(rule)
    return None if wanted is None else f"must be {wanted}, not {shown(value)}"


def _within(rule: Rule, value: Json) -> bool:
    size = len(value) if isinstance(value, str) else value
    low, high = rule.minimum, rule.maximum
    return (low is None or size >= low) and (high is None or size <= high)


def _bounds(rule: Rule) -> str:
    of = "a string of length" if rule.kind == "string" else f"{_ARTICLES[rule.kind]} of"
    low = "" if rule.minimum is None else f" at least {rule.minimum:.15g}"
    high = "" if rule.maximum is None else f" at most {rule.maximum:.15g}"
    return f"{of}{low}{' and' if low and high else ''}{high}"
