"""Triggers: where an execution starts. They give the trigger's payload and do nothing else.

Deciding *that* something starts (a command was typed, a schedule is due) belongs to whoever calls
the engine; `command`, `platforms`, cooldowns and the like are kept for that caller.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from engine.context import Json, JsonObject
from engine.expressions import Budget, Env
from engine.issues import shown
from engine.nodes.base import Field, Finding, NodeSpec, Result

_EXAMPLES = {"aliases": "!so", "platforms": "twitch"}

Shape = Literal["payload", "webhook", "schedule"]


@dataclass(frozen=True, slots=True)
class Trigger:
    """Gives the trigger's payload in the shape of its type."""

    shape: Shape

    def run(self, env: Env, budget: Budget) -> Result:
        trigger = _object(env.lookup("trigger"))
        payload = trigger.get("payload")
        if self.shape == "payload":
            return Result(output=payload)
        metadata = _object(trigger.get("metadata"))
        if self.shape == "webhook":
            return Result(
                output={
                    "headers": _object(metadata.get("headers")),
                    "query": _object(metadata.get("query")),
                    "body": payload,
                }
            )
        return Result(output={"scheduled_time": _scheduled_time(env, metadata, payload)})


def _scheduled_time(env: Env, metadata: JsonObject, payload: Json) -> Json:
    """When it was due: as the caller says, else when the execution started."""
    for source in (metadata, _object(payload)):
        if source.get("scheduled_time") is not None:
            return source["scheduled_time"]
    return _object(env.lookup("execution")).get("started_at")


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _check_texts(config: JsonObject, *keys: str) -> list[Finding]:
    """Judges the entries of lists of names."""
    return [
        Finding(
            "VALIDATION",
            f"An entry of `{key}` must be a string that is not empty, not {shown(entry)}",
            f"/{key}/{position}",
            f'For example {{"{key}": ["{_EXAMPLES[key]}"]}}',
        )
        for key in keys
        for position, entry in enumerate(_list(config.get(key)))
        if not isinstance(entry, str) or not entry.strip()
    ]


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _check_webhook(config: JsonObject) -> Sequence[Finding]:
    allowed = config.get("allowed_ips")
    if not isinstance(allowed, list):
        return ()
    return [
        Finding(
            "VALIDATION",
            f"{_entry(entry)} is not an IP address or network",
            f"/allowed_ips/{position}",
            "Write an address like 203.0.113.7 or a network like 203.0.113.0/24",
        )
        for position, entry in enumerate(allowed)
        if not _is_network(entry)
    ]


def _entry(value: Json) -> str:
    """An entry in a message: a text as it is written, else what it is in JSON."""
    return repr(value) if isinstance(value, str) else shown(value)


def _is_network(entry: Json) -> bool:
    if not isinstance(entry, str):
        return False
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return True


def _check_schedule(config: JsonObject) -> Sequence[Finding]:
    found: list[Finding] = []
    expression, timezone = config.get("cron_expression"), config.get("timezone")
    if isinstance(expression, str):
        found.extend(_check_cron(expression))
    if isinstance(timezone, str) and not _is_timezone(timezone):
        found.append(
            Finding(
                "VALIDATION",
                f"There is no timezone {timezone!r}",
                "/timezone",
                "Write a name of the IANA database, like UTC or Europe/Berlin",
            )
        )
    return found


def _check_cron(expression: str) -> Sequence[Finding]:
    hint = "Write five fields: minute hour day month weekday, like 0 18 * * FRI"
    if len(expression.split()) == 6:
        # The parser takes these; nobody who starts workflows promises to.
        message = f"{expression!r} is not a cron expression: it has a sixth field, for seconds"
        return [Finding("BAD_CRON", message, "/cron_expression", hint)]
    try:
        # The date only anchors the parser: what is valid does not depend on it.
        next(CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        message = f"{expression!r} is not a cron expression: {error}"
        return [Finding("BAD_CRON", message, "/cron_expression", hint)]
    except StopIteration:
        message = f"{expression!r} never comes due"
        return [Finding("BAD_CRON", message, "/cron_expression", hint)]
    return ()


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Unknown, malformed, or the name of a directory of the database.
        return name.upper() == "UTC"
    return True


PLATFORMS = Field("platforms", ("array",), default=[])

TRIGGERS = (
    NodeSpec(
        type="trigger_command",
        family="trigger",
        summary="Starts on a chat command; gives the trigger's payload.",
        fields=(
            Field("command", ("string",), aliases=("command_pattern", "command_name")),
            Field("aliases", ("array",), default=[]),
            PLATFORMS,
            Field("cooldown_seconds", ("number",), default=0, minimum=0),
            Field("user_cooldown_seconds", ("number",), default=0, minimum=0),
            Field("require_permission", ("string",)),
            Field("case_sensitive", ("boolean",), default=False),
        ),
        compile=lambda config: Trigger("payload"),
        check=lambda config: _check_texts(config, "aliases", "platforms"),
    ),
    NodeSpec(
        type="trigger_event",
        family="trigger",
        summary="Starts on a platform's event; gives the trigger's payload.",
        fields=(
            Field("event_type", ("string",)),
            PLATFORMS,
            Field("event_filters", ("object",), default={}, aliases=("filters",)),
        ),
        compile=lambda config: Trigger("payload"),
        check=lambda config: _check_texts(config, "platforms"),
    ),
    NodeSpec(
        type="trigger_webhook",
        family="trigger",
        summary="Starts on an HTTP request; gives its headers, query and body.",
        fields=(
            Field("require_signature", ("boolean",), default=False),
            Field("allowed_ips", ("array",), default=[]),
        ),
        compile=lambda config: Trigger("webhook"),
        check=_check_webhook,
    ),
    NodeSpec(
        type="trigger_schedule",
        family="trigger",
        summary="Starts when a cron expression comes due; gives the time it was due.",
        fields=(
            Field("cron_expression", ("string",), required=True),
            Field("timezone", ("string",), default="UTC"),
            Field("max_executions", ("integer",), minimum=1),
        ),
        compile=lambda config: Trigger("schedule"),
        check=_check_schedule,
    ),
)
