"""What an effect cost: `usage: {cost, tokens}` of an answer, else of the configuration."""

from __future__ import annotations

import math

from engine.context import Json, JsonObject
from engine.nodes.base import Field

USAGE = Field("usage", ("object",))
"""Configuration of every effect that may cost something: its price when the answer names none."""


def reported_usage(answer: Json, configured: JsonObject | None) -> JsonObject | None:
    """The usage an answer reports in its `usage`, else the configured one; None for neither.

    An answer comes from outside: what is no amount in it is left out.
    """
    reported = answer.get("usage") if isinstance(answer, dict) else None
    return _amounts(reported) or _amounts(configured)


def _amounts(usage: Json) -> JsonObject | None:
    if not isinstance(usage, dict):
        return None
    amounts: JsonObject = {
        name: usage[name] for name in ("cost", "tokens") if _is_amount(usage.get(name))
    }
    if "tokens" in amounts:
        amounts["tokens"] = int(amounts["tokens"])
    return amounts or None


def _is_amount(value: Json) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0
