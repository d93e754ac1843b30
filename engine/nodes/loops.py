"""Loops: what to iterate over, whether to go on, when to stop.

The handlers only evaluate; iterations, their scopes and their results are the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.conditions import Condition, compile_condition
from engine.context import Json, JsonObject
from engine.errors import StepFailure
from engine.expressions import Budget, Env, Template, compile_reference
from engine.nodes.base import Field, Finding, NodeSpec, Result, options
from engine.nodes.checks import check_written


@dataclass(frozen=True, slots=True)
class Foreach:
    """Iterates over the items of a list."""

    source: Template
    item_variable: str | None
    index_variable: str
    max_iterations: int | None
    concurrency: int

    def items(self, env: Env, budget: Budget) -> list[Json] | None:
        return items_of(self.source.render(env, budget))

    def test(self, env: Env, budget: Budget) -> bool:
        raise StepFailure("INTERNAL_ERROR", "loop_foreach has no condition")


@dataclass(frozen=True, slots=True)
class While:
    """Iterates as long as a condition holds."""

    condition: Condition
    max_iterations: int | None
    item_variable: str | None = None
    index_variable: str = "index"
    concurrency: int = 1

    def items(self, env: Env, budget: Budget) -> list[Json] | None:
        return None

    def test(self, env: Env, budget: Budget) -> bool:
        return self.condition.test(env, budget)


@dataclass(frozen=True, slots=True)
class Break:
    """Ends the innermost loop, always or on a condition."""

    condition: Condition | None

    def run(self, env: Env, budget: Budget) -> Result:
        passed = env.lookup("input")
        if self.condition is None or self.condition.test(env, budget):
            return Result(output=passed, broke=True)
        return Result(output=passed)


def items_of(value: Json) -> list[Json]:
    """`value` if it is a list. Raises `StepFailure` saying what it is and what would help."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        hint = "; to go through an object's entries use items(...), keys(...) or values(...)"
    elif isinstance(value, str):
        hint = "; to go through its parts use .split(...)"
    else:
        hint = ""
    raise StepFailure("TYPE_ERROR", f"`items` must give a list, not {type_name(value)}{hint}")


def type_name(value: Json) -> str:
    """What JSON calls the type of `value`, with its article."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


FOREACH_FIELDS = (
    Field(
        "items",
        ("array",),
        "reference",
        required=True,
        aliases=("array_variable", "collection_variable"),
    ),
    Field("item_variable", ("string",), default="item"),
    Field("index_variable", ("string",), default="index"),
    Field("max_iterations", ("integer",), minimum=1),
    Field("concurrency", ("integer",), default=1, minimum=1),
)

WHILE_FIELDS = (
    Field("condition", kind="condition", required=True, locals=("index",)),
    Field("max_iterations", ("integer",), minimum=1),
)


def _compile_foreach(config: JsonObject) -> Foreach:
    config = options(FOREACH_FIELDS, config)
    return Foreach(
        compile_reference(config["items"]),
        config["item_variable"],
        config["index_variable"],
        config.get("max_iterations"),
        config["concurrency"],
    )


def _compile_while(config: JsonObject) -> While:
    return While(compile_condition(config["condition"]), config.get("max_iterations"))


def _compile_break(config: JsonObject) -> Break:
    condition = config.get("condition")
    return Break(None if condition is None else compile_condition(condition))


def _check_foreach(config: JsonObject) -> Sequence[Finding]:
    config = options(FOREACH_FIELDS, config)
    names = [(f"/{key}", config[key]) for key in ("item_variable", "index_variable")]
    found = check_written(names)
    if config["item_variable"] == config["index_variable"]:
        message = "`item_variable` and `index_variable` are the same name"
        found.append(Finding("VALIDATION", message, "/index_variable", "Rename one of them"))
    return found


def _loop_ports(config: JsonObject) -> tuple[str, ...]:
    return ("loop", "output")


LOOPS = (
    NodeSpec(
        type="loop_foreach",
        family="loop",
        summary="Runs its body once for each item; gives the list of the iterations' results.",
        fields=FOREACH_FIELDS,
        compile=_compile_foreach,
        ports=_loop_ports,
        check=_check_foreach,
    ),
    NodeSpec(
        type="loop_while",
        family="loop",
        summary="Runs its body as long as a condition holds, testing before each iteration.",
        fields=WHILE_FIELDS,
        compile=_compile_while,
        ports=_loop_ports,
    ),
    NodeSpec(
        type="loop_break",
        family="pure",
        summary="Ends the innermost loop, if its condition holds or it has none.",
        fields=(Field("condition", kind="condition", aliases=("break_condition",)),),
        compile=_compile_break,
        ports=lambda config: ("output",),
    ),
)
