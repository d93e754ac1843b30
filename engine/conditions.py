"""Conditions: rules, lists of rules, `all`, `any`, `not`, or an expression; compiled once.

One rule: everything that can be wrong with a condition without its values is found while
compiling, and all of it at once: an unknown operator, a bad regular expression, a typo in an
expression. A rule that names something missing fails when it is tested, except where missing is
what it asks for (`exists`, `not_exists`, `is_empty`).

`variable` is a dotted path; a number in it may be the index of a list. `left` and `right` (`value`)
are templates. A `left` that is a bare name beside a constant `right` is read as a path too: as a
text it would make the rule always the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
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
Suggest = Callable[[str, Sequence[str]], str | None]
"""Says which of several names was probably meant by one that is none of them."""
Code = Literal["UNKNOWN_OPERATOR", "BAD_REGEX", "EXPRESSION_SYNTAX", "VALIDATION"]

_SORTED = sorted(OPERATORS)
_OF_A_RULE = ("variable", "left", "operator", "value", "right")
_GROUPS = ("all", "any", "not")
KEYS = (*_OF_A_RULE, *_GROUPS)
"""The keys that objects in a condition may have."""

_DOTTED = re.compile(r"[^\W\d][\w-]*(?:\.[\w-]+)*")
_BARE = re.compile(r"[^\W\d]\w*(?:\.\w+)*")
_SHAPES = (
    'write {"variable": …, "operator": …, "value": …}, a list of those, {"all": […]}, '
    '{"any": […]}, {"not": …}, or an expression'
)


class ConditionError(ValueError):
    """A condition is not valid. `path` is a JSON pointer within it.

    `also` is what else is wrong with it, and `paths` are those that its sound parts read.
    """

    def __init__(self, code: Code, message: str, path: str = "", hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.hint = hint
        self.also: tuple[ConditionError, ...] = ()
        self.paths: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; `paths` are the dotted paths that must exist to test it."""

    paths: tuple[Path, ...]
    test: Test = field(repr=False, compare=False)
    """Called with the environment and the budget. Raises `ExpressionError`, and nothing else."""


def compile_condition(value: Json, suggest: Suggest = nearest) -> Condition:
    """Compiles a condition in any of its forms; `suggest` says which operator was meant. Raises
    `ConditionError` for the first thing wrong, with the others beside it."""
    compiler = _Compiler(suggest)
    compiled = compiler.condition(value, "")
    if compiler.wrong:
        first = compiler.wrong[0]
        first.also, first.paths = tuple(compiler.wrong[1:]), compiled.paths
        raise first
    return compiled


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


def unknown_keys(value: Json) -> Iterator[tuple[str, str]]:
    """The keys of a condition's rules that mean nothing: the pointer of the rule, and the key."""
    stack = [(value, "")]
    while stack:
        part, path = stack.pop()
        if isinstance(part, list):
            stack += [(one, f"{path}/{i}") for i, one in reversed(list(enumerate(part)))]
        elif isinstance(part, dict):
            groups = [(part[name], f"{path}/{name}") for name in _GROUPS if name in part]
            stack += reversed(groups)
            # What stands beside a group is an error already.
            yield from ((path, key) for key in part if not groups and key not in _OF_A_RULE)


def _tests_a_name(rule: JsonObject) -> bool:
    tested = rule.get("variable", rule.get("left"))
    if not isinstance(tested, str) or "{{" in tested:
        return False
    return "variable" in rule or _BARE.fullmatch(tested.strip()) is not None


@dataclass(slots=True)
class _Compiler:
    """Compiles one condition and collects what is wrong with it: where something is, the condition
    made is none to be tested, and has the paths of what is sound."""

    suggest: Suggest
    wrong: list[ConditionError] = field(default_factory=list)

    def condition(self, value: Json, path: str) -> Condition:
        if isinstance(value, bool):
            return Condition((), lambda env, budget: value)
        if isinstance(value, str):
            return self._expression(value, path)
        if isinstance(value, list):
            return _all(self._each(value, path))
        if not isinstance(value, dict):
            self.wrong.append(
                ConditionError("VALIDATION", f"a condition is not {kind(value)}", path, _SHAPES)
            )
            return _broken()
        groups = [name for name in _GROUPS if name in value]
        if not groups:
            return self._rule(value, path)
        if len(value) > 1:
            others = ", ".join(sorted(key for key in value if key != groups[0]))
            message = f"`{groups[0]}` stands alone in its object, without {others}"
            self.wrong.append(ConditionError("VALIDATION", message, path))
        return _all([self._group(name, value[name], f"{path}/{name}") for name in groups])

    def _group(self, name: str, value: Json, path: str) -> Condition:
        if name == "not":
            inner = self.condition(value, path)
            test = inner.test
            return Condition(inner.paths, lambda env, budget: not test(env, budget))
        if not isinstance(value, list):
            message = f"`{name}` is a list of conditions, not {kind(value)}"
            self.wrong.append(ConditionError("VALIDATION", message, path))
            return _broken()
        parts = self._each(value, path)
        return _all(parts) if name == "all" else _any(parts)

    def _each(self, values: list[Json], path: str) -> list[Condition]:
        return [self.condition(one, f"{path}/{position}") for position, one in enumerate(values)]

    def _expression(self, source: str, path: str) -> Condition:
        try:
            expression = compile_expression(source)
        except ExpressionSyntaxError as error:
            self._syntax(error, path)
            return _broken()
        evaluate = expression.evaluate
        return Condition(expression.paths, lambda env, budget: bool(evaluate(env, budget)))

    def _syntax(self, error: ExpressionSyntaxError, path: str) -> None:
        for each in (error, *error.also):
            message = f"{each.message} (line {each.line}, column {each.column})"
            self.wrong.append(
                ConditionError("EXPRESSION_SYNTAX", message, path + each.path, each.hint)
            )

    def _rule(self, rule: JsonObject, path: str) -> Condition:
        operator = self._operator(rule, path)
        tested = self._only(rule, "variable", "left", path)
        if tested not in rule and rule.get("operator") is not None:
            self.wrong.append(
                ConditionError("VALIDATION", "the rule does not say what to test", path, _SHAPES)
            )
        if operator is not None and operator in UNARY:
            return _unary(operator, self._left(rule, tested, path, may_be_path=True))
        wanted = self._only(rule, "value", "right", path)
        if wanted not in rule and operator is not None:
            message = f"`{operator}` needs something to compare with: `{wanted}` is missing"
            self.wrong.append(ConditionError("VALIDATION", message, path))
        right = self._template(rule.get(wanted), f"{path}/{wanted}")
        left = self._left(rule, tested, path, may_be_path=right.constant)
        if operator is None:
            # The one that was meant may be one for what is missing.
            return _broken(right.paths)
        shown = shortened(f"{_shown(rule.get(tested))} {operator} {_shown(rule.get(wanted))}")
        if operator == "matches_regex" and right.constant and wanted in rule:
            return self._matching(left, rule[wanted], f"{path}/{wanted}", shown)
        return _binary(operator, left, right, shown)

    def _operator(self, rule: JsonObject, path: str) -> str | None:
        """The canonical name of a rule's operator, None if it is told to be wrong."""
        name = rule.get("operator")
        if name is None:
            hint = _SHAPES if not {"variable", "left"} & rule.keys() else None
            self.wrong.append(
                ConditionError("VALIDATION", "the rule has no `operator`", path, hint)
            )
            return None
        if isinstance(name, str):
            canonical = ALIASES.get(name, name)
            if canonical in OPERATORS:
                return canonical
        if name in ("and", "or"):
            hint = f'write {{"{"all" if name == "and" else "any"}": [rule, rule]}}'
        else:
            close = self.suggest(str(name), _SORTED)
            hint = f"did you mean {close}?" if close else f"there are: {', '.join(_SORTED)}"
        message = f"there is no operator {str(name)[:40]!r}"
        self.wrong.append(ConditionError("UNKNOWN_OPERATOR", message, f"{path}/operator", hint))
        return None

    def _only(self, rule: JsonObject, first: str, second: str, path: str) -> str:
        """The one of two keys that a rule has, the first if it has none, or wrongly both."""
        if first in rule and second in rule:
            message = f"the rule has both `{first}` and `{second}`; it takes one of them"
            self.wrong.append(ConditionError("VALIDATION", message, path))
            return first
        return second if second in rule else first

    def _left(self, rule: JsonObject, key: str, path: str, *, may_be_path: bool) -> Template:
        value, path = rule.get(key), f"{path}/{key}"
        if key == "variable" and key in rule and not isinstance(value, str):
            message = f"`variable` is the name of a variable, not {kind(value)}"
            self.wrong.append(ConditionError("VALIDATION", message, path))
        if not isinstance(value, str) or "{{" in value:
            return self._template(value, path)
        name = value.strip()
        if key == "left":
            is_path = may_be_path and _BARE.fullmatch(name)
            return _path(name) if is_path else self._template(value, path)
        if _DOTTED.fullmatch(name):
            return _path(name)
        try:
            return compile_reference(name)
        except ExpressionSyntaxError as error:
            self._syntax(error, path)
            return _template_of(error)

    def _template(self, value: Json, path: str) -> Template:
        try:
            return compile_template(value)
        except ExpressionSyntaxError as error:
            self._syntax(error, path)
            return _template_of(error)

    def _matching(self, left: Template, pattern: Json, path: str, shown: str) -> Condition:
        if not isinstance(pattern, str):
            message = f"a regular expression is text, not {kind(pattern)}"
            self.wrong.append(ConditionError("BAD_REGEX", message, path))
            return _broken(left.paths)
        try:
            search = Pattern(pattern).search
        except ValueError as error:
            hint = "the syntax is RE2's: no look-around and no back-references"
            self.wrong.append(
                ConditionError("BAD_REGEX", f"not a regular expression: {error}", path, hint)
            )
            return _broken(left.paths)
        read = left.render

        def run(env: Env, budget: Budget) -> bool:
            value = read(env, budget)
            try:
                return search(subject(value), budget)
            except ExpressionError as error:
                error.source = error.source or shown
                raise

        return Condition(left.paths, run)


def _broken(paths: tuple[Path, ...] = ()) -> Condition:
    return Condition(paths, lambda env, budget: False)


def _template_of(error: ExpressionSyntaxError) -> Template:
    return Template(False, error.paths, lambda env, budget: None)


def _all(parts: Sequence[Condition]) -> Condition:
    tests = [part.test for part in parts]
    return Condition(_paths(parts), lambda env, budget: all(test(env, budget) for test in tests))


def _any(parts: Sequence[Condition]) -> Condition:
    tests = [part.test for part in parts]
    return Condition(_paths(parts), lambda env, budget: any(test(env, budget) for test in tests))


def _paths(parts: Sequence[Condition]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(path for part in parts for path in part.paths))


def _path(name: str) -> Template:
    segments = tuple(name.split("."))
    expression = compile_path(segments, name, read_dotted(segments))
    return Template(False, expression.paths, expression.evaluate)


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


def _shown(value: Json) -> str:
    if isinstance(value, str):
        return value
    return kind(value) if isinstance(value, list | dict) else str(value)
