"""Conditions: nodes that choose a port, and the filter that chooses items.

A routing node changes nothing: what comes in goes out, by one port or another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from engine.conditions import Condition, compile_condition
from engine.context import Json, JsonObject
from engine.expressions import (
    Budget,
    Env,
    MapEnv,
    Overlay,
    Template,
    compile_reference,
    compile_template,
)
from engine.issues import pointer, shown
from engine.nodes.base import ALL_PORTS, Field, Finding, NodeSpec, Result, options
from engine.nodes.checks import check_written, keys_of, written
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
    """One case of a switch. `template` renders what a listed case wants; where it is None, `value`
    was an object's key, so any scalar written like it matches too."""

    value: Json
    port: str
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """Leaves by the port of the first case that equals a value."""

    value: Template
    cases: tuple[Case, ...]
    default_port: str
    equals: Condition

    def run(self, env: Env, budget: Budget) -> Result:
        value = self.value.render(env, budget)
        matching = (case.port for case in self.cases if self._matches(case, value, env, budget))
        return Result(output=env.lookup("input"), port=next(matching, self.default_port))

    def _matches(self, case: Case, value: Json, env: Env, budget: Budget) -> bool:
        if case.template is None and case.value in _key_texts(value):
            return True
        wanted = case.value if case.template is None else case.template.render(env, budget)
        return self.equals.test(MapEnv({"value": value, "wanted": wanted}), budget)


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


TAKEN_PORTS = frozenset({"error", "break", ALL_PORTS})
"""Where errors leave, how a `loop_break` that broke is recorded, and all ports at once: a node
that chose one of these would mean something else."""

_OF_A_CASE = ("value", "output_port")

IF_FIELDS = (
    Field("condition", kind="condition", required=True),
    Field("output_true_port", ("string",), default="true"),
    Field("output_false_port", ("string",), default="false"),
)

SWITCH_FIELDS = (
    Field("value", kind="reference", required=True, aliases=("variable", "switch_variable")),
    Field("cases", ("object", "array"), "template", required=True),
    Field("default_port", ("string",), default="default"),
)

FILTER_FIELDS = (
    Field("items", ("array",), "reference", required=True, aliases=("input_array",)),
    Field("condition", kind="condition", required=True, locals=("item",)),
    Field("output_variable", ("string",), default="filtered_items"),
)


def _compile_if(config: JsonObject) -> If:
    true_port, false_port = _if_ports(config)
    return If(compile_condition(config["condition"]), true_port, false_port)


def _compile_switch(config: JsonObject) -> Switch:
    config = options(SWITCH_FIELDS, config)
    return Switch(
        compile_reference(config["value"]),
        _compile_cases(config["cases"]),
        _default_port(config),
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
                yield Case(key, port)
    elif isinstance(cases, list):
        for case in cases:
            if isinstance(case, dict) and isinstance(case.get("output_port"), str):
                yield Case(case.get("value"), case["output_port"])


def _compile_cases(cases: Json) -> tuple[Case, ...]:
    if isinstance(cases, dict):
        return tuple(_cases(cases))
    return tuple(replace(case, template=compile_template(case.value)) for case in _cases(cases))


def _normalise_switch(config: JsonObject) -> JsonObject:
    """Reads `port` in a listed case as `output_port`."""
    cases = config.get("cases")
    if not isinstance(cases, list):
        return config
    return config | {"cases": [_normalise_case(case) for case in cases]}


def _normalise_case(case: Json) -> Json:
    if not isinstance(case, dict) or "port" not in case:
        return case
    rest = {key: value for key, value in case.items() if key != "port"}
    if case.get("output_port") is None:
        return rest | {"output_port": case["port"]}
    return rest if case["port"] is None else case


def _check_if(config: JsonObject) -> Sequence[Finding]:
    found = _check_ports(config, "output_true_port", "output_false_port")
    if not found and len(set(_if_ports(config))) == 1:
        message = "`output_true_port` and `output_false_port` are the same name"
        hint = "Rename one of them: one port cannot tell yes from no"
        found.append(Finding("VALIDATION", message, "/output_false_port", hint))
    return found


def _check_switch(config: JsonObject) -> Sequence[Finding]:
    cases = config.get("cases")
    hint = 'Write {"gold": "vip"} or [{"value": "gold", "output_port": "vip"}]'
    found: list[Finding] = _check_ports(config, "default_port")
    if isinstance(cases, str) and "{{" in cases:
        message = "`cases` must be written out: its ports are what connections leave from"
        found.append(Finding("VALIDATION", message, "/cases", hint))
    elif isinstance(cases, dict):
        for key, port in cases.items():
            if problem := _port_problem(port):
                message = f"The port of case {key!r} {problem}"
                found.append(Finding("VALIDATION", message, pointer("/cases", key), hint))
    elif isinstance(cases, list):
        for position, case in enumerate(cases):
            path = pointer("/cases", position)
            if message := _case_problem(case) or "":
                found.append(Finding("VALIDATION", message, path, hint))
            found += [_unknown(key, path) for key in keys_of(case) if key not in _OF_A_CASE]
    return found


def _unknown(key: str, path: str) -> Finding:
    if key == "port":
        message = "'port' is given twice; the value under 'output_port' counts"
        hint = "Remove 'port'"
        return Finding("REPEATED_CONFIG_KEY", message, pointer(path, key), hint, warning=True)
    message = f"A case has no '{key}'; it is kept, but does nothing"
    place = pointer(path, key)
    return Finding("UNKNOWN_CONFIG_KEY", message, place, warning=True, meant=_OF_A_CASE)


def _case_problem(case: Json) -> str | None:
    if not isinstance(case, dict):
        return f"A case must be an object with a `value` and an `output_port`, not {shown(case)}"
    if "value" not in case:
        return "A case needs a `value`"
    if case.get("output_port") is None:
        return "A case needs an `output_port`"
    problem = _port_problem(case.get("output_port"))
    return f"The `output_port` of a case {problem}" if problem else None


def _check_ports(config: JsonObject, *keys: str) -> list[Finding]:
    """Judges ports that have a default, so that null and an empty name are none."""
    given = {key: config[key] for key in keys if isinstance(config.get(key), str) and config[key]}
    return [
        Finding("VALIDATION", f"`{key}` {problem}", f"/{key}", "Write a fixed name, like yes")
        for key, port in given.items()
        if (problem := _port_problem(port))
    ]


def _port_problem(port: Json) -> str | None:
    """Why connections cannot leave by a port of this name, as a predicate; None if they can."""
    if not isinstance(port, str) or not port:
        return f"must be a string that is not empty, not {shown(port)}"
    if port in TAKEN_PORTS:
        return f"cannot be {port!r}, which has a meaning of its own"
    if "{{" in port:
        return "must be a fixed name, not a template"
    return None


def _if_ports(config: JsonObject) -> tuple[str, str]:
    return (
        _port(config, "output_true_port", "true"),
        _port(config, "output_false_port", "false"),
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
        check=_check_if,
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
