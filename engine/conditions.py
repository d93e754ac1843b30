"""Conditions: rules, lists of rules, `all`, `any`, `not`, or an expression; compiled once.

One rule: everything that can be wrong with a condition without its values is found while
compiling: an unknown operator, a bad regular expression, a typo in an expression. A rule that
names something missing fails when it is tested, except where missing is what it asks for
(`exists`, `not_exists`, `is_empty`).

`variable` is a dotted path; a number in it may be the index of a list. `left` and `right` (`value`)
are templates. A `left` that is a bare name beside a constant `right` is read as a path too: as a
text it would make the rule always the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.condition_operators import ALIASES, BINARY, UNARY
from engine.context import Json, JsonObject
from engine.expression_paths import Path, read_dotted
from engine.expression_patterns import Pattern, subject
from engine.expression_values import (
    Budget,
    Env,
    ExpressionError,
    ExpressionSyntaxError,
    MissingValue,
    kind,
    nearest,
    shortened,
)
from engine.expressions import (
    Template,
    compile_expression,
    compile_path,
    compile_reference,
    compile_template,
)

OPERATORS = frozenset({*BINARY, *UNARY})
"""The operators' canonical names."""

Test = Callable[[Env, Budget], bool]
Code = Literal["UNKNOWN_OPERATOR", "BAD_REGEX", "EXPRESSION_SYNTAX", "VALIDATION"]

_GROUPS = ("all", "any", "not")
_DOTTED = re.compile(r"[^\W\d][\w-]*(?:\.[\w-]+)*")
_BARE = re.compile(r"[^\W\d]\w*(?:\.\w+)*")
_SHAPES = (
    'write {"variable": …, "operator": …, "value": …}, a list of those, {"all": […]}, '
    '{"any": […]}, {"not": …}, or an expression'
)


class ConditionError(ValueError):
    """A condition is not valid. `path` is a JSON pointer within it."""

    def __init__(self, code: Code, message: str, path: str = "", hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; `paths` are the dotted paths that must exist to test it."""

    paths: tuple[Path, ...]
    test: Test = field(repr=False, compare=False)
    """Called with the environment and the budget. Raises `ExpressionError`, and nothing else."""


def compile_condition(value: Json) -> Condition:
    """Compiles a condition in any of its forms. Raises `ConditionError`."""
    return _compile(value, "")


def count_bare(value: Json) -> int:
    """How many expressions of a condition stand there without braces: those that are conditions,
    and the names that rules test. What a rule compares with is one in braces only."""
    count, stack = 0, [value]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack += part
        elif isinstance(part, dict):
            groups = [part[name] for name in _GROUPS if name in part]
            stack += groups
            count += not groups and _tests_a_name(part)
        else:
            count += isinstance(part, str) and "{{" not in part
    return count


def _tests_a_name(rule: JsonObject) -> bool:
    tested = rule.get("variable", rule.get("left"))
    if not isinstance(tested, str) or "{{" in tested:
        return False
    return "variable" in rule or _BARE.fullmatch(tested.strip()) is not None


def _compile(value: Json, path: str) -> Condition:
    if isinstance(value, bool):
        return Condition((), lambda env, budget: value)
    if isinstance(value, str):
        return _expression(value, path)
    if isinstance(value, list):
        return _all(_compile_each(value, path))
    if not isinstance(value, dict):
        raise ConditionError("VALIDATION", f"a condition is not {kind(value)}", path, _SHAPES)
    groups = [name for name in _GROUPS if name in value]
    if not groups:
        return _rule(value, path)
    if len(value) > 1:
        others = ", ".join(sorted(key for key in value if key != groups[0]))
        message = f"`{groups[0]}` stands alone in its object, without {others}"
        raise ConditionError("VALIDATION", message, path)
    return _group(groups[0], value[groups[0]], f"{path}/{groups[0]}")


def _group(name: str, value: Json, path: str) -> Condition:
    if name == "not":
        inner = _compile(value, path)
        test = inner.test
        return Condition(inner.paths, lambda env, budget: not test(env, budget))
    if not isinstance(value, list):
        message = f"`{name}` is a list of conditions, not {kind(value)}"
        raise ConditionError("VALIDATION", message, path)
    parts = _compile_each(value, path)
    return _all(parts) if name == "all" else _any(parts)


def _compile_each(values: list[Json], path: str) -> list[Condition]:
    return [_compile(one, f"{path}/{position}") for position, one in enumerate(values)]


def _all(parts: Sequence[Condition]) -> Condition:
    tests = [part.test for part in parts]
    return Condition(_paths(parts), lambda env, budget: all(test(env, budget) for test in tests))


def _any(parts: Sequence[Condition]) -> Condition:
    tests = [part.test for part in parts]
    return Condition(_paths(parts), lambda env, budget: any(test(env, budget) for test in tests))


def _paths(parts: Sequence[Condition]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(path for part in parts for path in part.paths))


def _expression(source: str, path: str) -> Condition:
    try:
        expression = compile_expression(source)
    except ExpressionSyntaxError as error:
        raise _syntax(error, path) from None
    evaluate = expression.evaluate
    return Condition(expression.paths, lambda env, budget: bool(evaluate(env, budget)))


def _syntax(error: ExpressionSyntaxError, path: str) -> ConditionError:
    message = f"{error.message} (line {error.line}, column {error.column})"
    return ConditionError("EXPRESSION_SYNTAX", message, path + error.path, error.hint)


def _rule(rule: JsonObject, path: str) -> Condition:
    operator = _operator(rule, path)
    subject_key = _only(rule, "variable", "left", path)
    if subject_key not in rule:
        raise ConditionError("VALIDATION", "the rule does not say what to test", path, _SHAPES)
    if operator in UNARY:
        compiled = _left(rule, subject_key, f"{path}/{subject_key}", may_be_path=True)
        return _unary(operator, compiled)
    value_key = _only(rule, "value", "right", path)
    if value_key not in rule:
        message = f"`{operator}` needs something to compare with: `{value_key}` is missing"
        raise ConditionError("VALIDATION", message, path)
    right = _template(rule[value_key], f"{path}/{value_key}")
    compiled = _left(rule, subject_key, f"{path}/{subject_key}", may_be_path=right.constant)
    shown = shortened(f"{_shown(rule[subject_key])} {operator} {_shown(rule[value_key])}")
    if operator == "matches_regex" and right.constant:
        return _matching(compiled, rule[value_key], f"{path}/{value_key}", shown)
    return _binary(operator, compiled, right, shown)


def _operator(rule: JsonObject, path: str) -> str:
    name = rule.get("operator")
    if name is None:
        hint = _SHAPES if not {"variable", "left"} & rule.keys() else None
        raise ConditionError("VALIDATION", "the rule has no `operator`", path, hint)
    if isinstance(name, str):
        canonical = ALIASES.get(name, name)
        if canonical in OPERATORS:
            return canonical
    known = ", ".join(sorted(OPERATORS))
    close = nearest(str(name), sorted(OPERATORS))
    hint = f"did you mean {close}?" if close else f"there are: {known}"
    if name in ("and", "or"):
        hint = f'write {{"{"all" if name == "and" else "any"}": [rule, rule]}}'
    message = f"there is no operator {str(name)[:40]!r}"
    raise ConditionError("UNKNOWN_OPERATOR", message, f"{path}/operator", hint)


def _only(rule: JsonObject, first: str, second: str, path: str) -> str:
    """The one of two keys that a rule has, the first if it has none."""
    if first in rule and second in rule:
        message = f"the rule has both `{first}` and `{second}`; it takes one of them"
        raise ConditionError("VALIDATION", message, path)
    return second if second in rule else first


def _left(rule: JsonObject, key: str, path: str, *, may_be_path: bool) -> Template:
    value = rule[key]
    if key == "variable" and not isinstance(value, str):
        message = f"`variable` is the name of a variable, not {kind(value)}"
        raise ConditionError("VALIDATION", message, path)
    if not isinstance(value, str) or "{{" in value:
        return _template(value, path)
    name = value.strip()
    if key == "left":
        is_path = may_be_path and _BARE.fullmatch(name)
        return _path(name) if is_path else _template(value, path)
    if _DOTTED.fullmatch(name):
        return _path(name)
    try:
        return compile_reference(name)
    except ExpressionSyntaxError as error:
        raise _syntax(error, path) from None


def _path(name: str) -> Template:
    segments = tuple(name.split("."))
    expression = compile_path(segments, name, read_dotted(segments))
    return Template(False, expression.paths, expression.evaluate)


def _template(value: Json, path: str) -> Template:
    try:
        return compile_template(value)
    except ExpressionSyntaxError as error:
        raise _syntax(error, path) from None


def _unary(operator: str, left: Template) -> Condition:
    read, test = left.render, UNARY[operator]

    def run(env: Env, budget: Budget) -> bool:
        budget.spend(1)
        try:
            value = read(env, budget)
        except MissingValue:
            value = None
        return test(value)

    return Condition((), run)


def _binary(operator: str, left: Template, right: Template, shown: str) -> Condition:
    read, compare_with, test = left.render, right.render, BINARY[operator]

    def run(env: Env, budget: Budget) -> bool:
        value, other = read(env, budget), compare_with(env, budget)
        try:
            budget.spend(1)
            return test(value, other, budget)
        except ExpressionError as error:
            error.source = error.source or shown
            raise

    return Condition(tuple(dict.fromkeys(left.paths + right.paths)), run)


def _matching(left: Template, pattern: Json, path: str, shown: str) -> Condition:
    if not isinstance(pattern, str):
        message = f"a regular expression is text, not {kind(pattern)}"
        raise ConditionError("BAD_REGEX", message, path)
    try:
        search = Pattern(pattern).search
    except ValueError as error:
        hint = "the syntax is RE2's: no look-around and no back-references"
        message = f"not a regular expression: {error}"
        raise ConditionError("BAD_REGEX", message, path, hint) from None
    read = left.render

    def run(env: Env, budget: Budget) -> bool:
        value = read(env, budget)
        try:
            return search(subject(value), budget)
        except ExpressionError as error:
            error.source = error.source or shown
            raise

    return Condition(left.paths, run)


def _shown(value: Json) -> str:
    if isinstance(value, str):
        return value
    return kind(value) if isinstance(value, list | dict) else str(value)
