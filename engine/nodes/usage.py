"""What an effect cost: `usage: {cost, tokens}` of its answer, beside that of its configuration.

The rule: an amount is a number from 0 to `MOST`, so that the sums of an execution can be stored.
Amount by amount the answer's word counts, and the configuration fills in what the answer does not
say. An answer comes from outside, so what is no amount in it (a negative number, a text, a
boolean) is as if it were not there. Tokens may be told as the APIs of language models tell them:
as `total_tokens`, as `prompt_tokens` and `completion_tokens` or `input_tokens` and
`output_tokens`, which are added up, or as an object `tokens` of such counts; the cost also as
`total_cost`. Only an attempt that succeeded reports: what a failed one cost, nobody says.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.context import Json, JsonObject
from engine.issues import pointer, shown
from engine.nodes.base import Field, Finding

USAGE = Field("usage", ("object",))
"""Configuration of every effect that may cost something: what its answer does not say."""

MOST = 10**12
"""A million steps of this much still sum to less than 64 bits hold."""

_AMOUNTS = ("cost", "tokens")


def reported_usage(answer: Json, configured: JsonObject | None) -> JsonObject | None:
    """The usage an answer reports in its `usage`, completed by the configured one; None when
    neither says anything."""
    reported = answer.get("usage") if isinstance(answer, dict) else None
    return (_amounts(configured) | _amounts(reported)) or None


def check_usage(config: JsonObject) -> list[Finding]:
    """Judges the configured amounts: numbers as they stand, for nothing is rendered here."""
    usage = config.get("usage")
    if not isinstance(usage, dict):
        return []
    hint = 'Write fixed numbers, like {"cost": 0.002, "tokens": 150}; the rest the answer tells'
    found: list[Finding] = []
    for name, value in usage.items():
        path = pointer("/usage", name)
        if name not in _AMOUNTS:
            message = f"`usage` has no amount {name!r}; it does nothing"
            found.append(Finding("VALIDATION", message, path, hint, warning=True))
        elif value is not None and _amount(value) is None:
            message = f"`usage.{name}` must be a number from 0 to {MOST}, not {shown(value)}"
            found.append(Finding("VALIDATION", message, path, hint))
    return found


def _amounts(usage: Json) -> JsonObject:
    if not isinstance(usage, dict):
        return {}
    amounts: JsonObject = {}
    cost = _first(usage, ("cost", "total_cost"))
    if cost is not None:
        amounts["cost"] = cost
    tokens = _tokens(usage)
    if tokens is not None:
        amounts["tokens"] = int(tokens)
    return amounts


def _tokens(usage: JsonObject) -> float | None:
    told = usage.get("tokens")
    if isinstance(told, dict):
        count = _count(told, "")
        return _count(told, "_tokens") if count is None else count
    amount = _amount(told)
    return _count(usage, "_tokens") if amount is None else amount


def _count(counts: JsonObject, suffix: str) -> float | None:
    """The total, or else the sum of what went in and what came out."""
    total = _amount(counts.get(f"total{suffix}"))
    if total is not None:
        return total
    parts = (
        _first(counts, (f"prompt{suffix}", f"input{suffix}")),
        _first(counts, (f"completion{suffix}", f"output{suffix}")),
    )
    given = [part for part in parts if part is not None]
    return _amount(sum(given)) if given else None


def _first(amounts: JsonObject, names: Sequence[str]) -> float | None:
    given = (_amount(amounts.get(name)) for name in names)
    return next((amount for amount in given if amount is not None), None)


def _amount(value: Json) -> float | None:
    """The value if it is an amount; NaN is within no bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= MOST else None
