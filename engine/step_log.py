"""The lines that tell what a step did: one wording for executions and for dry runs."""

from __future__ import annotations

from datetime import datetime

from engine.context import Json, JsonObject
from engine.environment import rfc3339


def line(at: datetime, level: str, message: str) -> JsonObject:
    """One line of a step's log."""
    return {"timestamp": rfc3339(at), "level": level, "message": message}


def waiting(parked: Json, wake_at: datetime | None) -> str:
    """That a step waits. `parked` is what its WAITING record holds as output."""
    told = parked if isinstance(parked, dict) else {}
    what = ""
    if told.get("child"):
        what = f" for execution {told['child']}"
    elif told.get("signal"):
        what = f" for the signal {told['signal']!r}"
    until = f" until {rfc3339(wake_at)}" if wake_at else ""
    return f"Waiting{what}{until}."


def retrying(attempt: int, message: str, next_at: datetime) -> str:
    """That an attempt failed, and when the next one is."""
    said = message if message.endswith((".", "!", "?")) else f"{message}."
    return f"Attempt {attempt} failed: {said} Next attempt at {rfc3339(next_at)}."
