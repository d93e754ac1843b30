"""What a sabotage is.

The one rule: a change is text that stands in its file exactly once. So it is tried on the code as
it is, and code that moves on takes its sabotage along or says so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sabotage:
    """One change of `file`: `before` becomes `after`. `tests` are pytest's arguments."""

    name: str
    promise: str
    guarantee: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
