"""How an execution that was started is answered.

Its one rule: every way of starting one is answered alike.
"""

from __future__ import annotations

from engine.context import JsonObject
from engine.engine import Started


def started_view(started: Started) -> JsonObject:
    """The data of the answer."""
    return {
        "execution_id": started.execution_id,
        "workflow_id": started.workflow_id,
        "status": started.status,
        "start_time": started.start_time,
        "execution_path": started.execution_path,
    }


def location_of(execution_id: str) -> str:
    """Where the execution can be seen."""
    return f"/api/v1/workflows/executions/{execution_id}"
