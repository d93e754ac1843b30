"""Cutting what is too large for lists and details.

Its one rule: what was cut says so, how large it is, and how it begins; nothing is ever left out
without a word. The whole of it is at `…/steps/:step_key`, or in the execution's own state.
"""

from __future__ import annotations

import orjson

from engine.context import Json, JsonObject
from models.steps import LARGEST_BYTES, PREVIEW_LENGTH

LONGEST_TEXT = 1_000
MOST_LINES = 100


def cut_value(value: Json, most_bytes: int = LARGEST_BYTES) -> Json:
    """A JSON value, or `{truncated, bytes, preview}` if it is longer than `most_bytes`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    written = orjson.dumps(value)
    if len(written) <= most_bytes:
        return value
    preview = written.decode()[:PREVIEW_LENGTH]
    return {"truncated": True, "bytes": len(written), "preview": preview}


def cut_text(text: str | None) -> str | None:
    """A text; beyond `LONGEST_TEXT` characters its beginning, and how long it is."""
    if text is None or len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}… ({len(text)} characters)"


def cut_step(step: JsonObject) -> JsonObject:
    """A step with its large values cut."""
    attempts = [{**each, "error": cut_text(each["error"])} for each in step["attempts"]]
    return {
        **step,
        "input_data": cut_value(step["input_data"]),
        "output_data": cut_value(step["output_data"]),
        "error": cut_text(step["error"]),
        "logs": _newest(step["logs"]),
        "attempts": attempts[-MOST_LINES:],
    }


def _newest(lines: list[JsonObject]) -> list[JsonObject]:
    if len(lines) <= MOST_LINES:
        return lines
    kept = lines[-MOST_LINES:]
    left_out = f"{len(lines) - MOST_LINES} earlier lines are left out here."
    return [{"timestamp": kept[0]["timestamp"], "level": "info", "message": left_out}, *kept]
