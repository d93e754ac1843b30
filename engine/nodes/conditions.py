"""Conditions: nodes that choose a port, and the filter that chooses items.

A routing node changes nothing: what comes in goes out, by one port or another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.conditions import Condition, compile_condition
from engine.context import Json, JsonObject
from engine.expressions import Budget, Env, MapEnv, Overlay, Template, compile_reference
from engine.issues import pointer
from engine.nodes.base import Field, Finding, NodeSpec, Result, options
from engine.nodes.checks import check_written, written
from engine.nodes.loops import items_of


@dataclass(frozen=True, slots=True)
class If:
    """Leaves by one of two ports."""

    condition: Condition
    true_port: str
    false_port: str

    def run(self, env: Env, budget: Budget) -> Result:
        holds = self.condition.test(env, budget)
        return Result(output=env.lookup("input"), port=self.true_port if holds else self.false_port)


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a switch. `as_text`: it was an object's key, so any scalar written like it
    matches too."""

    value: Json
    port: str
    as_text: bool


@dataclass(frozen=True, slots=True)
class Switch:
    """Leaves by the port of the first case that equals a value."""

    value: Template
    cases: tuple[Case, ...]
    default_port: str
    equals: Condition

    def run(self, env: Env, budget: Budget) -> Result:
        value = self.value.render(env, budget)
        matching = (case.port for case in self.cases if self._matches(case, value, budget))
        return Result(output=env.lookup("input"), port=next(matching, self.default_port))

    def _matches(self, case: Case, value: Json, budget: Budget) -> bool:
        if case.as_text and case.value in _key_texts(value):
            return True
        return self.equals.test(MapEnv({"value": value, "wanted": case.value}), budget)


def _key_texts(value: Json) -> tuple[str, ...]:
    """How a scalar may be written as an object's key, in JSON or in Python; nothing for lists and
    objects."""
    if isinstance(value, bool):
        return ("true", "True") if value else ("false", "False")
    if value is None:
        return ("null", "None")
    return () if isinstance(value, list | dict) else (str(value),)


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps the items for which a condition holds."""

    source: Template
    condition: Condition
    output_variable: str

    def run(self, env: Env, budget: Budget) -> Result:
        kept = [
            item
            for item in items_of(self.source.render(env, budget))
            if self.condition.test(Overlay(env, {"item": item}), budget)
        ]
        return Result(output=kept, variables={self.output_variable: kept})


IF_FIELDS = (
    Field("condition", kind="condition", required=True),
    Field("output_true_port", ("string",), default="true"),
    Field("output_false_port", ("string",), default="false"),
)

SWITCH_FIELDS = (
    Field("value", kind="reference", required=True, aliases=("variable", "switch_variable")),
    Field("cases", ("object", "array"), required=True),
    Field("default_port", ("string",), default="default"),
)

FILTER_FIELDS = (
    Field("items", ("array",), "reference", required=True, aliases=("input_array",)),
    Field("condition", kind="condition", required=True, locals=("item",)),
    Field("output_variable", ("string",), default="filtered_items"),
)


def _compile_if(config: JsonObject) -> If:
    config = options(IF_FIELDS, config)
    return If(
        compile_condition(config["condition"]),
        config["output_true_port"],
        config["output_false_port"],
    )


def _compile_switch(config: JsonObject) -> Switch:
    config = options(SWITCH_FIELDS, config)
    return Switch(
        compile_reference(config["value"]),
        tuple(_cases(config["cases"])),
        config["default_port"],
        compile_condition({"left": "{{ value }}", "operator": "equals", "right": "{{ wanted }}"}),
    )


def _compile_filter(config: JsonObject) -> Filter:
    config = options(FILTER_FIELDS, config)
    return Filter(
        compile_reference(config["items"]),
        compile_condition(config["condition"]),
        config["output_variable"],
    )


def _cases(cases: Json) -> Iterator[Case]:
    """The well-formed cases; `check` has told about any others."""
    if isinstance(cases, dict):
        for key, port in cases.items():
            if isinstance(port, str):
                yield Case(key, port, as_text=True)
    elif isinstance(cases, list):
        for case in cases:
            if isinstance(case, dict) and isinstance(case.get("output_port"), str):
                yield Case(case.get("value"), case["output_port"], as_text=False)


def _normalise_switch(config: JsonObject) -> JsonObject:
    """Reads `port` in a listed case as `output_port`."""
    cases = config.get("cases")
    if not isinstance(cases, list):
        return config
    return config | {"cases": [_normalise_case(case) for case in cases]}


def _normalise_case(case: Json) -> Json:
    if not isinstance(case, dict) or "port" not in case or "output_port" in case:
        return case
    return {("output_port" if key == "port" else key): value for key, value in case.items()}


def _check_switch(config: JsonObject) -> Sequence[Finding]:
    cases = config.get("cases")
    hint = 'Write {"gold": "vip"} or [{"value": "gold", "output_port": "vip"}]'
    found: list[Finding] = []
    if isinstance(cases, dict):
        for key, port in cases.items():
            if not _is_port(port):
                message = f"The port of case {key!r} must be a string"
                found.append(Finding("VALIDATION", message, pointer("/cases", key), hint))
    elif isinstance(cases, list):
        for position, case in enumerate(cases):
            path = pointer("/cases", position)
            if not isinstance(case, dict) or "value" not in case:
                found.append(Finding("VALIDATION", "A case needs a `value`", path, hint))
            elif not _is_port(case.get("output_port")):
                message = "A case needs an `output_port`, a string"
                found.append(Finding("VALIDATION", message, path, hint))
    return found


def _is_port(value: Json) -> bool:
    return isinstance(value, str) and bool(value)


def _if_ports(config: JsonObject) -> tuple[str, ...]:
    return tuple(
        _port(config, key, default)
        for key, default in (("output_true_port", "true"), ("output_false_port", "false"))
    )


def _switch_ports(config: JsonObject) -> tuple[str, ...]:
    ports = [case.port for case in _cases(config.get("cases"))]
    return tuple(dict.fromkeys([*ports, _default_port(config)]))


def _default_port(config: JsonObject) -> str:
    return _port(config, "default_port", "default")


def _port(config: JsonObject, key: str, default: str) -> str:
    value = config.get(key)
    return value if isinstance(value, str) and value else default


CONDITIONS = (
    NodeSpec(
        type="condition_if",
        family="pure",
        summary="Leaves by `true` or `false`; passes its input on.",
        fields=IF_FIELDS,
        compile=_compile_if,
        ports=_if_ports,
        # An error is no yes.
        fallback_port=lambda config: _port(config, "output_false_port", "false"),
    ),
    NodeSpec(
        type="condition_switch",
        family="pure",
        summary="Leaves by the port of the matching case; passes its input on.",
        fields=SWITCH_FIELDS,
        compile=_compile_switch,
        ports=_switch_ports,
        normalise=_normalise_switch,
        check=_check_switch,
        fallback_port=_default_port,
    ),
    NodeSpec(
        type="condition_filter",
        family="pure",
        summary="Keeps the items of a list for which a condition holds.",
        fields=FILTER_FIELDS,
        compile=_compile_filter,
        check=lambda config: check_written([("/output_variable", config.get("output_variable"))]),
        sets=lambda config: written(options(FILTER_FIELDS, config), "output_variable"),
    ),
)
