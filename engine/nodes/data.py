"""Data: nodes that compute, set and read variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.context import Json, JsonObject
from engine.errors import StepFailure
from engine.expressions import (
    Budget,
    Env,
    Expression,
    ExpressionSyntaxError,
    Overlay,
    Template,
    compile_expression,
    compile_template,
)
from engine.nodes.base import Field, Finding, NodeSpec, Result, options
from engine.nodes.checks import check_written, entries_of, keys_of, refuse_reserved, written
from engine.nodes.transform_code import explain_transform_code


@dataclass(frozen=True, slots=True)
class Transform:
    """Evaluates expressions in order, each seeing the names before it, and sets them all."""

    steps: tuple[tuple[str, Expression | Template], ...]
    output_variable: str | None

    def run(self, env: Env, budget: Budget) -> Result:
        made: JsonObject = {}
        seen = Overlay(env, made)
        for name, step in self.steps:
            made[name] = _evaluate(step, seen, budget)
        variables = dict(made)
        if self.output_variable:
            variables[self.output_variable] = dict(made)
        return Result(output=made, variables=variables)


def _evaluate(step: Expression | Template, env: Env, budget: Budget) -> Json:
    if isinstance(step, Expression):
        return step.evaluate(env, budget)
    return step.render(env, budget)


@dataclass(frozen=True, slots=True)
class VariableSet:
    """Sets variables of the execution, or of the iteration it runs in."""

    variables: Template
    scope: Literal["workflow", "local"]

    def run(self, env: Env, budget: Budget) -> Result:
        made = self.variables.render(env, budget)
        if not isinstance(made, dict):
            message = f"`variables` must give an object, not {made!r:.80}"
            raise StepFailure("BAD_CONFIG", message)
        refuse_reserved(made)
        if self.scope == "local":
            return Result(output=made, local=made)
        return Result(output=made, variables=made)


@dataclass(frozen=True, slots=True)
class VariableGet:
    """Reads one variable; without a default a missing one is an error that names the closest."""

    value: Expression
    exists: Expression
    default: Template | None
    output_variable: str | None

    def run(self, env: Env, budget: Budget) -> Result:
        if self.default is not None and not self.exists.evaluate(env, budget):
            value = self.default.render(env, budget)
        else:
            value = self.value.evaluate(env, budget)
        variables = {self.output_variable: value} if self.output_variable else None
        return Result(output=value, variables=variables)


TRANSFORM_FIELDS = (
    Field("transformations", ("object",), "expressions"),
    Field("output_variable", ("string",)),
    Field("transform_code", ("string",)),
)

SET_FIELDS = (
    Field("variables", ("object",), "template", required=True),
    Field(
        "scope",
        ("string",),
        default="workflow",
        choices=("workflow", "local"),
        choice_aliases=(("global", "workflow"),),
    ),
)

GET_FIELDS = (
    Field("variable_name", ("string",), required=True),
    Field("default_value", kind="template"),
    Field("output_variable", ("string",)),
)


def compile_transformation(value: Json) -> Expression | Template:
    """One value of `transformations`: a string without `{{` is an expression, else a template."""
    if isinstance(value, str) and "{{" not in value:
        return compile_expression(value)
    return compile_template(value)


def _compile_transform(config: JsonObject) -> Transform:
    given = config.get("transformations") or {}
    steps = tuple((name, compile_transformation(value)) for name, value in given.items())
    return Transform(steps, config.get("output_variable"))


def _compile_set(config: JsonObject) -> VariableSet:
    config = options(SET_FIELDS, config)
    return VariableSet(compile_template(config["variables"]), config["scope"])


def _compile_get(config: JsonObject) -> VariableGet:
    name = _bare_name(config["variable_name"])
    default = compile_template(config["default_value"]) if "default_value" in config else None
    return VariableGet(
        compile_expression(name),
        compile_expression(f"has({name})"),
        default,
        config.get("output_variable"),
    )


def _bare_name(name: str) -> str:
    return name.strip().removeprefix("{{").removesuffix("}}").strip()


def _check_transform(config: JsonObject) -> Sequence[Finding]:
    code = config.get("transform_code")
    if isinstance(code, str) and code.strip():
        return [
            Finding(
                "UNSUPPORTED_TRANSFORM_CODE",
                "Python code is not run; write each value as an expression",
                "/transform_code",
                explain_transform_code(code),
            )
        ]
    if not config.get("transformations"):
        hint = 'For example {"transformations": {"total": "price * amount"}}'
        message = "`transformations` is missing"
        return [Finding("MISSING_CONFIG", message, "/transformations", hint)]
    return _check_set_names(config, "transformations")


def _check_set_names(config: JsonObject, key: str) -> list[Finding]:
    """Judges the keys of the object under `key`, and `output_variable`."""
    names = entries_of(config, key)
    return check_written([*names, ("/output_variable", config.get("output_variable"))])


def _normalise_set(config: JsonObject) -> JsonObject:
    """Folds `variable_name` + `value` into `variables`."""
    name, variables = config.get("variable_name"), config.get("variables")
    if not isinstance(name, str) or not isinstance(variables, dict | None):
        return config
    rest = {key: kept for key, kept in config.items() if key not in {"variable_name", "value"}}
    return rest | {"variables": {**(variables or {}), name: config.get("value")}}


def _check_get(config: JsonObject) -> Sequence[Finding]:
    found = check_written([("/output_variable", config.get("output_variable"))])
    name = config.get("variable_name")
    if not isinstance(name, str):
        return found
    try:
        compile_expression(f"has({_bare_name(name)})")
    except ExpressionSyntaxError as error:
        hint = "Write a name, with dots to go deeper: user.name"
        message = f"{name!r} is not the name of a variable: {error}"
        found.append(Finding("EXPRESSION_SYNTAX", message, "/variable_name", hint))
    return found


def _sets_transform(config: JsonObject) -> tuple[str, ...]:
    return (*keys_of(config.get("transformations")), *written(config, "output_variable"))


def _sets_set(config: JsonObject) -> tuple[str, ...]:
    """What it sets for the whole execution; local names end with their iteration."""
    return () if config.get("scope") == "local" else keys_of(config.get("variables"))


DATA = (
    NodeSpec(
        type="data_transform",
        family="pure",
        summary="Evaluates expressions in order and sets a variable for each.",
        fields=TRANSFORM_FIELDS,
        compile=_compile_transform,
        check=_check_transform,
        sets=_sets_transform,
    ),
    NodeSpec(
        type="data_variable_set",
        family="pure",
        summary="Sets variables; values are templates, at any depth.",
        fields=SET_FIELDS,
        compile=_compile_set,
        normalise=_normalise_set,
        check=lambda config: _check_set_names(config, "variables"),
        sets=_sets_set,
    ),
    NodeSpec(
        type="data_variable_get",
        family="pure",
        summary="Gives the value of a variable, or a default.",
        fields=GET_FIELDS,
        compile=_compile_get,
        check=_check_get,
        sets=lambda config: written(config, "output_variable"),
    ),
)
