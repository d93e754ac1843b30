"""The lines that tell what a step did: one wording for executions, live events and dry runs.

They are made from the journal when somebody reads, so that telling costs a step nothing. Their one
rule: bounded, by line, step and execution, and where something was cut the last line says so.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum, auto

import orjson

from engine.context import Json, JsonObject, Kind
from engine.moments import rfc3339
from engine.records import StepRow

LONGEST_MESSAGE = 1_000
MOST_OF_A_STEP = 100
MOST_OF_AN_EXECUTION = 2_000
"""Lines. A step writes a few for every attempt; a loop's own step one for every iteration."""


def line(at: datetime, level: str, message: str) -> JsonObject:
    """One line of a step's log. A message that is too long is cut, and says so itself."""
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]}… (cut; {len(message)} characters)"
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


def finished(port: str | None) -> str:
    """That a step is over, and where it went on from there."""
    return f"Finished; left by port '{port}'." if port else "Finished."


def lines_of(row: StepRow) -> list[JsonObject]:
    """What one record of the journal has to tell."""
    at = row.completed_at or row.started_at
    reused = (row.details or {}).get("reused")
    if reused:
        return [line(at, "info", f"Reused from execution {reused}.")]
    if row.kind is Kind.RETRYING and row.wake_at is not None:
        return [line(at, "warning", retrying(row.attempt, row.error["message"], row.wake_at))]
    if row.kind is Kind.WAITING:
        return [line(at, "info", waiting(_read(row.output), row.wake_at))]
    if row.error:
        return [line(at, "error", row.error["message"])]
    if row.kind is Kind.ENTERED:
        return [line(at, "info", f"Entered the loop with {item_count(row.output)} items.")]
    if row.kind is Kind.ITERATE:
        return [line(at, "info", "Begins another iteration.")]
    if row.kind is Kind.INTENT:
        message = f"Attempt {row.attempt} begins; if it is cut off, it is not repeated."
        return [line(at, "info", message)]
    return [line(at, "info", finished(row.port))]


def item_count(output: Json) -> int:
    """How many items a loop was entered with: from its record, or already counted."""
    output = _read(output)
    if isinstance(output, int):
        return output
    return len(output) if isinstance(output, list) else 0


class Room(Enum):
    """Whether there is room for the lines of a record."""

    ENOUGH = auto()
    STEP_FULL = auto()
    EXECUTION_FULL = auto()
    NONE = auto()
    """As `STEP_FULL` and `EXECUTION_FULL`, and it has been said."""


class Budget:
    """How many lines one execution has left. Its records are to be taken in their order."""

    def __init__(self) -> None:
        self._left = MOST_OF_AN_EXECUTION
        self._by_step: dict[str, int] = {}

    def take(self, row: StepRow) -> list[JsonObject]:
        """The lines of a record, as far as there is room."""
        return fitted(row, self.spend(row.step_key))

    def spend(self, step_key: str) -> Room:
        """Whether there is room for the next record, which is of this step."""
        if self._left < 0:
            return Room.NONE
        taken = self._by_step.get(step_key, 0)
        self._by_step[step_key] = taken + 1
        if taken > MOST_OF_A_STEP:
            return Room.NONE
        self._left -= 1
        if self._left < 0:
            return Room.EXECUTION_FULL
        return Room.ENOUGH if taken < MOST_OF_A_STEP else Room.STEP_FULL


def fitted(row: StepRow, room: Room) -> list[JsonObject]:
    """The lines of a record: the first that has no room is replaced by one that says so
    (`"cut": true`), and those after it are left out."""
    if room is Room.ENOUGH:
        return lines_of(row)
    if room is Room.NONE:
        return []
    whose = "execution" if room is Room.EXECUTION_FULL else "step"
    marker = line(
        row.completed_at or row.started_at, "warning", f"The {whose}'s further lines are cut."
    )
    return [{**marker, "cut": True}]


def _read(value: Json) -> Json:
    return orjson.loads(value) if isinstance(value, bytes) else value
