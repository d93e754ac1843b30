"""Regular expressions on RE2: linear in the text, bounded in the pattern.

One rule: no pattern is longer than 256 characters or compiles to more than a bounded program, so
the cost of a match is known before it starts: text times program.
"""

from __future__ import annotations

import re2

from engine.context import Json
from engine.expression_values import Budget, ExpressionError, kind

MAX_PATTERN = 256
_MAX_PROGRAM = 3_000
_MAX_MEMORY = 1 << 20
_COMPILE_FUEL = 20


class Pattern:
    """A compiled regular expression. `search` finds it anywhere in a text."""

    __slots__ = ("_search", "size")

    def __init__(self, source: str) -> None:
        """Raises `ValueError`, with RE2's reason, for what is not a pattern."""
        if len(source) > MAX_PATTERN:
            raise ValueError(f"longer than {MAX_PATTERN} characters")
        options = re2.Options()
        options.max_mem = _MAX_MEMORY
        options.log_errors = False
        options.never_capture = True
        try:
            compiled = re2.compile(source, options)
        except re2.error as error:
            raise ValueError(_reason(error)) from None
        if compiled.programsize > _MAX_PROGRAM:
            raise ValueError("too large; use smaller repetitions")
        self.size: int = compiled.programsize
        """How many instructions the pattern compiles to."""
        self._search = compiled.search

    def search(self, text: str, budget: Budget) -> bool:
        """Whether the pattern occurs in the text."""
        budget.spend(1 + (len(text) * self.size >> 8))
        return self._search(text) is not None


def search(text: Json, pattern: Json, budget: Budget) -> bool:
    """Whether a pattern known only at run time occurs in a text."""
    if type(pattern) is not str:
        raise ExpressionError(f"a regular expression is text, not {kind(pattern)}")
    budget.spend(_COMPILE_FUEL)
    try:
        compiled = Pattern(pattern)
    except ValueError as error:
        raise ExpressionError(f"not a regular expression: {error}") from None
    budget.spend(compiled.size)
    return compiled.search(subject(text), budget)


def subject(value: Json) -> str:
    """What a pattern is looked for in: texts, and numbers as they are written."""
    if type(value) is str:
        return value
    if type(value) in (int, float, bool):
        return str(value)
    raise ExpressionError(f"a regular expression matches text, not {kind(value)}")


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "not a regular expression"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
