"""Actions that go through WaddleBot's transport: modules, chat messages, browser sources.

Their one rule: what `render` gives is the request exactly as it will leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.context import Json, JsonObject
from engine.errors import StepFailure
from engine.expressions import Budget, Env, Template, compile_template
from engine.issues import pointer, shown
from engine.nodes.base import EffectIO, Field, Finding, NodeSpec, Result, options
from engine.nodes.checks import check_written
from engine.nodes.delay import LONGEST_SECONDS, numeric
from engine.nodes.usage import USAGE, check_usage, reported_usage


@dataclass(frozen=True, slots=True)
class Module:
    """Calls an action module."""

    module_name: Template
    module_version: Template
    action: Template
    input: Template
    output_mapping: dict[str, str]
    usage: JsonObject | None

    def render(self, env: Env, budget: Budget) -> JsonObject:
        execution = env.lookup("execution")
        version = _optional_text(self.module_version.render(env, budget), "module_version")
        return {
            "module_name": _text(self.module_name.render(env, budget), "module_name"),
            "module_version": version or LATEST,
            "action": _optional_text(self.action.render(env, budget), "action"),
            "input": _object(self.input.render(env, budget), "input"),
            "entity_id": execution.get("entity_id"),
            "user_id": execution.get("user_id"),
            "session_id": execution.get("session_id"),
        }

    async def perform(self, rendered: JsonObject, io: EffectIO) -> Json:
        return await io.transport.execute_module(
            rendered, idempotency_key=io.idempotency_key, timeout_seconds=io.timeout_seconds
        )

    def conclude(self, rendered: JsonObject, output: Json) -> Result:
        variables = {
            variable: _part(output, path) for path, variable in self.output_mapping.items()
        }
        return Result(
            output=output,
            variables=variables or None,
            usage=reported_usage(output, self.usage),
        )


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """Sends a chat message."""

    message: Template
    destination: str
    channel_id: Template
    user_id: Template | None
    """Whom a `user_pm` is for; None for the user who triggered the execution."""
    platform: Template
    reply_to_message: Template
    usage: JsonObject | None

    def render(self, env: Env, budget: Budget) -> JsonObject:
        """The request. Raises `StepFailure` when there is nothing to say or nobody to say it
        to."""
        execution = env.lookup("execution")
        platform = _optional_text(self.platform.render(env, budget), "platform")
        message = self.message.render(env, budget)
        if isinstance(message, bool):
            message = str(message)  # as in the midst of a text
        request: JsonObject = {
            "message": _text(message, "message"),
            "destination": self.destination,
            "entity_id": execution.get("entity_id"),
            "user_id": execution.get("user_id"),
            "platform": platform or execution.get("platform"),
            "reply_to_message": _reply(self.reply_to_message.render(env, budget)),
        }
        if self.destination == "specified_channel":
            request["channel_id"] = _text(self.channel_id.render(env, budget), "channel_id")
        elif self.destination == "user_pm":
            request["target_user_id"] = self._recipient(env, budget, execution)
        return request

    def _recipient(self, env: Env, budget: Budget, execution: JsonObject) -> str:
        """A `user_id` that turns out blank is an error: it was meant to name somebody else."""
        if self.user_id is None:
            return str(execution["user_id"])
        return _text(self.user_id.render(env, budget), "user_id")

    async def perform(self, rendered: JsonObject, io: EffectIO) -> Json:
        return await io.transport.send_message(
            rendered, idempotency_key=io.idempotency_key, timeout_seconds=io.timeout_seconds
        )

    def conclude(self, rendered: JsonObject, output: Json) -> Result:
        return Result(output=output, usage=reported_usage(output, self.usage))


@dataclass(frozen=True, slots=True)
class BrowserSource:
    """Shows, changes or clears an overlay."""

    source_type: Template
    action: str
    content: Template
    duration: Template
    priority: Template
    usage: JsonObject | None

    def render(self, env: Env, budget: Budget) -> JsonObject:
        return {
            "source_type": _text(self.source_type.render(env, budget), "source_type"),
            "action": self.action,
            "content": self.content.render(env, budget),
            "duration": _number(self.duration.render(env, budget), "duration", least=0),
            "priority": _number(self.priority.render(env, budget), "priority"),
            "entity_id": env.lookup("execution").get("entity_id"),
        }

    async def perform(self, rendered: JsonObject, io: EffectIO) -> Json:
        return await io.transport.browser_source(
            rendered, idempotency_key=io.idempotency_key, timeout_seconds=io.timeout_seconds
        )

    def conclude(self, rendered: JsonObject, output: Json) -> Result:
        return Result(output=output, usage=reported_usage(output, self.usage))


def _text(value: Json, name: str) -> str:
    """A text that must not be blank; a number is written out. Raises `StepFailure`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise StepFailure("BAD_CONFIG", f"`{name}` must give text, not {value!r:.80}")
    if not value.strip():
        raise StepFailure("BAD_CONFIG", f"`{name}` is empty")
    return value


def _optional_text(value: Json, name: str) -> str | None:
    """A text, None for null and for a blank one. Raises `StepFailure`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return _text(value, name)


def _object(value: Json, name: str) -> JsonObject:
    """An object; null is an empty one. Raises `StepFailure`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise StepFailure("BAD_CONFIG", f"`{name}` must give an object, not {value!r:.80}")
    return value


def _number(value: Json, name: str, least: float = -math.inf) -> int | float:
    """A number, also one written as text. Raises `StepFailure`."""
    number = numeric(value)
    if number is None or number < least:
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise StepFailure("BAD_CONFIG", f"`{name}` must give a number{bound}, not {value!r:.80}")
    return number


def _reply(value: Json) -> bool | str:
    """Whether, or to which message, a message is a reply; null is no. Raises `StepFailure`."""
    if value is None:
        return False
    if not isinstance(value, bool | str):
        message = f"`reply_to_message` must give true, false or text, not {value!r:.80}"
        raise StepFailure("BAD_CONFIG", message)
    return value


def _part(output: Json, path: str) -> Json:
    """The part of an answer under a key, or under a dotted path; null when it has none."""
    if isinstance(output, dict) and path in output:
        return output[path]
    part = output
    for key in path.split("."):
        part = part.get(key) if isinstance(part, dict) else None
    return part


LATEST = "latest"

TEST_OUTPUT = Field("test_output")

MODULE_FIELDS = (
    Field("module_name", ("string",), "template", required=True),
    Field("module_version", ("string",), "template", default=LATEST),
    Field("action", ("string",), "template"),
    Field("input", ("object",), "template", default={}, aliases=("params", "input_mapping")),
    Field("output_mapping", ("object",), default={}),
    Field("timeout_seconds", ("number",), minimum=0.001, maximum=LONGEST_SECONDS),
    USAGE,
    TEST_OUTPUT,
)

CHAT_FIELDS = (
    Field("message", ("string",), "template", required=True, aliases=("message_template",)),
    Field(
        "destination",
        ("string",),
        default="current_channel",
        aliases=("target",),
        choices=("current_channel", "user_pm", "specified_channel"),
        choice_aliases=(("chat", "current_channel"),),
    ),
    Field("channel_id", ("string", "integer"), "template"),
    Field("user_id", ("string", "integer"), "template"),
    Field("platform", ("string",), "template"),
    Field("reply_to_message", ("boolean", "string"), "template", default=False),
    USAGE,
    TEST_OUTPUT,
)

BROWSER_FIELDS = (
    Field("source_type", ("string",), "template", default="general"),
    Field("action", ("string",), default="display", choices=("display", "update", "clear")),
    Field("content", kind="template", aliases=("content_template",)),
    Field("duration", ("number",), "template", default=10, minimum=0),
    Field("priority", ("number",), "template", default=0),
    USAGE,
    TEST_OUTPUT,
)


def _compile_module(config: JsonObject) -> Module:
    config = options(MODULE_FIELDS, config)
    return Module(
        compile_template(config["module_name"]),
        compile_template(config["module_version"]),
        compile_template(config.get("action")),
        compile_template(config["input"]),
        config["output_mapping"],
        config.get("usage"),
    )


def _compile_chat(config: JsonObject) -> ChatMessage:
    config = options(CHAT_FIELDS, config)
    recipient = config.get("user_id")
    return ChatMessage(
        compile_template(config["message"]),
        config["destination"],
        compile_template(config.get("channel_id")),
        None if recipient in (None, "") else compile_template(recipient),
        compile_template(config.get("platform")),
        compile_template(config["reply_to_message"]),
        config.get("usage"),
    )


def _compile_browser(config: JsonObject) -> BrowserSource:
    config = options(BROWSER_FIELDS, config)
    return BrowserSource(
        compile_template(config["source_type"]),
        config["action"],
        compile_template(config.get("content")),
        compile_template(config["duration"]),
        compile_template(config["priority"]),
        config.get("usage"),
    )


def _mapping(config: JsonObject) -> JsonObject:
    mapping = config.get("output_mapping")
    return mapping if isinstance(mapping, dict) else {}


def _check_module(config: JsonObject) -> Sequence[Finding]:
    hint = 'Write {"key of the answer": "name of the variable"}'
    found: list[Finding] = []
    for key, variable in _mapping(config).items():
        path = pointer("/output_mapping", key)
        if not isinstance(variable, str):
            message = f"The variable for {key!r} must be a string, not {shown(variable)}"
            found.append(Finding("VALIDATION", message, path, hint))
        found.extend(check_written([(path, variable)]))
    return found + check_usage(config)


def _sets_module(config: JsonObject) -> tuple[str, ...]:
    return tuple(name for name in _mapping(config).values() if isinstance(name, str))


def _check_chat(config: JsonObject) -> Sequence[Finding]:
    """A specified channel needs to be specified; a user need not, since somebody triggered it."""
    found = check_usage(config)
    if config.get("destination") == "specified_channel" and config.get("channel_id") in (None, ""):
        message = "`channel_id` is missing: destination 'specified_channel' needs it"
        found.append(Finding("MISSING_CONFIG", message, "/channel_id", "Add `channel_id`"))
    return found


ACTIONS = (
    NodeSpec(
        type="action_module",
        family="effect",
        summary="Calls a WaddleBot module; gives its answer.",
        fields=MODULE_FIELDS,
        compile=_compile_module,
        check=_check_module,
        sets=_sets_module,
        default_timeout_seconds=30,
    ),
    NodeSpec(
        type="action_chat_message",
        family="effect",
        summary="Sends a chat message; gives its id.",
        fields=CHAT_FIELDS,
        compile=_compile_chat,
        check=_check_chat,
        default_timeout_seconds=30,
    ),
    NodeSpec(
        type="action_browser_source",
        family="effect",
        summary="Shows, changes or clears an overlay.",
        fields=BROWSER_FIELDS,
        compile=_compile_browser,
        check=check_usage,
        default_timeout_seconds=30,
    ),
)
