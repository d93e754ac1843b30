"""Waiting for a signal: somebody outside says that, and with what, the workflow may go on.

Its one rule: a signal's payload is judged by the author's JSON Schema before the step takes it, by
a validator that reaches for nothing (no remote references) and cannot be made to work for long: no
backtracking regular expressions, no references in circles, and only so many rules once every
reference is followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote

import jsonschema_rs
import orjson

from engine.context import Json, JsonObject
from engine.expressions import Budget, Env, Template, compile_template
from engine.nodes.base import Field, Finding, NodeSpec, Park, Result
from engine.nodes.delay import LONGEST_SECONDS, seconds_of

MOST_SCHEMA_BYTES = 8_192
MOST_SCHEMA_RULES = 200
"""Objects in a schema with every `$ref` replaced by what it refers to: the work per value."""
MOST_PAYLOAD_BYTES = 65_536
_MOST_PROBLEMS = 5
_WORK_FOR_ALL_PROBLEMS = 20_000
"""Rules times bytes up to which every problem is looked for; beyond it, the first."""


@dataclass(frozen=True, slots=True)
class PayloadProblem:
    """Why a payload does not fit: `path` is a JSON pointer into it."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Parks until a signal of this name comes, or time runs out."""

    signal: str
    timeout: Template | None
    schema: jsonschema_rs.Validator | None
    rules: int = 0

    def park(self, env: Env, budget: Budget) -> Park:
        seconds = None
        if self.timeout is not None:
            seconds = seconds_of(self.timeout.render(env, budget), "timeout_seconds")
        return Park(seconds=seconds, signal=self.signal)

    def woken(self, waited: Park, payload: Json, *, timed_out: bool) -> Result:
        return Result(port="timeout") if timed_out else Result(output=payload)

    def problems(self, payload: Json) -> list[PayloadProblem]:
        """What is wrong with a payload; nothing if this node would take it."""
        size = len(orjson.dumps(payload))
        if size > MOST_PAYLOAD_BYTES:
            return [PayloadProblem("", f"it is larger than {MOST_PAYLOAD_BYTES} bytes")]
        if self.schema is None or self.schema.is_valid(payload):
            return []
        if self.rules * size <= _WORK_FOR_ALL_PROBLEMS:
            errors = islice(self.schema.iter_errors(payload), _MOST_PROBLEMS)
            return [_problem(error) for error in errors]
        try:
            self.schema.validate(payload)
        except jsonschema_rs.ValidationError as first:
            return [_problem(first)]
        return []

    def fits(self, payload: Json) -> bool:
        """Whether this node would take the payload."""
        return self.schema is None or self.schema.is_valid(payload)


def _problem(error: jsonschema_rs.ValidationError) -> PayloadProblem:
    path = "".join(f"/{_escaped(part)}" for part in error.instance_path)
    return PayloadProblem(path, str(error.message)[:300])


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _validator(schema: JsonObject) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(
        schema, pattern_options=jsonschema_rs.RegexOptions(), offline=True
    )


def _compile_wait(config: JsonObject) -> Wait:
    timeout, schema = config.get("timeout_seconds"), config.get("schema")
    return Wait(
        config["signal"],
        None if timeout is None else compile_template(timeout),
        None if schema is None else _validator(schema),
        0 if schema is None else _Weight(schema).total,
    )


def _check_wait(config: JsonObject) -> Sequence[Finding]:
    return [*_check_signal(config.get("signal")), *_check_schema(config.get("schema"))]


def _check_signal(signal: Json) -> Sequence[Finding]:
    if not isinstance(signal, str) or (signal and "/" not in signal and "{{" not in signal):
        return ()
    hint = "Write a fixed name like approved; it becomes part of the signal's address"
    return [Finding("VALIDATION", f"{signal!r} is not a signal's name", "/signal", hint)]


def _check_schema(schema: Json) -> Sequence[Finding]:
    if not isinstance(schema, dict):
        return ()
    hint = 'Write a JSON Schema, for example {"type": "object", "required": ["approved"]}'
    if len(orjson.dumps(schema)) > MOST_SCHEMA_BYTES:
        message = f"The schema is longer than {MOST_SCHEMA_BYTES} bytes"
        return [Finding("BAD_SCHEMA", message, "/schema", hint)]
    try:
        weight = _Weight(schema).total
        _validator(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as wrong:
        reason = str(getattr(wrong, "message", wrong)).partition("\n")[0][:200]
        return [Finding("BAD_SCHEMA", f"This is not a JSON Schema: {reason}", "/schema", hint)]
    if weight > MOST_SCHEMA_RULES:
        message = f"With its references followed the schema has more than {MOST_SCHEMA_RULES} rules"
        return [Finding("BAD_SCHEMA", message, "/schema", hint)]
    return ()


class _Weight:
    """How many rules a schema has with every reference followed. Raises `ValueError` for one in a
    circle, to something else than a part of the schema, or that is only resolved while judging."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._known: dict[str, int] = {}
        self._under_way: set[str] = set()
        self.total = self._of(schema)

    def _of(self, part: Json) -> int:
        if isinstance(part, list):
            return sum(map(self._of, part))
        if not isinstance(part, dict):
            return 0
        moving = next((k for k in ("$dynamicRef", "$recursiveRef", "$id") if k in part), None)
        if moving is not None and isinstance(part[moving], str):
            raise ValueError(f"{moving} is not supported")
        reference = part.get("$ref")
        target = self._target(reference) if isinstance(reference, str) else 0
        return 1 + target + sum(map(self._of, part.values()))

    def _target(self, reference: str) -> int:
        if reference in self._under_way or reference == "#":
            raise ValueError(f"the reference {reference!r} leads back to itself")
        if reference not in self._known:
            self._under_way.add(reference)
            self._known[reference] = self._of(self._resolved(reference))
            self._under_way.discard(reference)
        return self._known[reference]

    def _resolved(self, reference: str) -> Json:
        if not reference.startswith("#/"):
            raise ValueError(f"the reference {reference!r} leads out of the schema")
        part: Json = self._schema
        for step in unquote(reference[2:]).split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(part, list) and name.isdecimal() and int(name) < len(part):
                part = part[int(name)]
            elif isinstance(part, dict) and name in part:
                part = part[name]
            else:
                raise ValueError(f"the reference {reference!r} leads nowhere")
        return part


WAIT = NodeSpec(
    type="flow_wait",
    family="park",
    summary="Waits for a signal; leaves by `timeout` when none comes in time.",
    fields=(
        Field("signal", ("string",), required=True),
        Field("timeout_seconds", ("number",), "template", minimum=0, maximum=LONGEST_SECONDS),
        Field("schema", ("object",)),
    ),
    compile=_compile_wait,
    ports=lambda config: ("output", "timeout"),
    check=_check_wait,
)
