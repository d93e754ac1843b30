"""What requests that start executions have in common."""

from __future__ import annotations

from engine.context import RESERVED_NAMES, ExecutionStatus, JsonObject
from engine.engine import Started
from services.errors import NotValid, Problem


def refuse_reserved(variables: JsonObject) -> None:
    """Passes unless a variable has a reserved name. Raises `NotValid`."""
    taken = sorted(RESERVED_NAMES.intersection(variables))
    if taken:
        message = f"{taken[0]!r} is reserved: expressions read it, no request may set it"
        raise NotValid([Problem(path=f"/variables/{taken[0]}", message=message)])


def pending(execution_id: str, workflow_id: str) -> Started:
    """What a request with a key is answered, the first time and every other."""
    return Started(execution_id, workflow_id, str(ExecutionStatus.PENDING), None, [])
