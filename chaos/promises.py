"""What the callers were told, and what they asked for: the side of the story that is theirs.

Its one rule: only a clear answer is a promise. A 503 or a cut connection promises nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Promises:
    """Everything that was promised to anybody."""

    acknowledged: set[str] = field(default_factory=set)
    """The executions that a 202 has named."""
    keyed: dict[str, set[str]] = field(default_factory=dict)
    """What was started by an Idempotency-Key, and the executions that its answers have named: by
    the key, or by the key and the number of an item of a batch, which is the name of the execution
    as well."""
    cancels_asked: set[str] = field(default_factory=set)
    cancelled: dict[str, float] = field(default_factory=dict)
    """Acknowledged cancellations, and when (`loop.time()`)."""
    signals: int = 0
    """Signals that were acknowledged."""
    paused: set[str] = field(default_factory=set)
    """Executions that were told to pause, and then to go on."""
    answers: Counter[str] = field(default_factory=Counter)
    """The answers by status and code, and connections that were cut."""
    complaints: list[str] = field(default_factory=list)
    """Answers that nobody should ever get, and requests that nobody ever answered."""

    def answered(self, status: int, code: str | None) -> None:
        """Counts an answer; 0 is a connection that was cut."""
        shown = "cut" if status == 0 else f"{status} {code}" if code else str(status)
        self.answers[shown] += 1

    def named(self, key: str, execution_id: str) -> None:
        """A 202 to a request with this key has named an execution."""
        self.acknowledged.add(execution_id)
        self.keyed[key].add(execution_id)
