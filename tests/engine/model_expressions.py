"""Expressions, templates and conditions for the model: Python's own `eval`, nothing of the engine.

Its one rule: it knows the part of the language that random documents are written in, and means by
it what Python means; `default` and `has`, which see a name that is missing, are the exceptions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from types import CodeType
from typing import Any, Protocol

Json = Any
JsonObject = dict[str, Any]


class Names(Protocol):
    """Where an expression finds its names."""

    def lookup(self, name: str) -> Json:
        """The value of a root name. Raises `KeyError`."""
        ...


class Unevaluable(Exception):
    """An expression means nothing here."""


class _Object(dict[str, Any]):
    """An object whose keys are reached by a dot."""

    __getattr__ = dict.__getitem__


class Nodes:
    """The reserved name `nodes`: looked up only when asked for."""

    def __init__(self, find: Callable[[str], Json]) -> None:
        self._find = find

    def __getattr__(self, node_id: str) -> Json:
        return dotted(self._find(node_id))


def dotted(value: Json) -> Json:
    """The value with its objects open to dots."""
    if isinstance(value, dict):
        return _Object({name: dotted(part) for name, part in value.items()})
    return [dotted(part) for part in value] if isinstance(value, list) else value


_MISSING = (KeyError, NameError, AttributeError, IndexError)


def _default(path: Callable[[], Json], otherwise: Json) -> Json:
    try:
        value = path()
    except _MISSING:
        return otherwise
    return otherwise if value is None else value


def _has(path: Callable[[], Json]) -> bool:
    try:
        path()
    except _MISSING:
        return False
    return True


_FUNCTIONS: JsonObject = {
    "__builtins__": {},
    "default": _default,
    "has": _has,
    "len": len,
    "str": str,
    "int": int,
    "max": max,
    "range": lambda *bounds: list(range(*bounds)),
}


class _Delayed(ast.NodeTransformer):
    """Wraps what may be missing into a function, so that asking for it can fail inside."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("default", "has"):
            nothing = ast.arguments([], [], None, [], [], None, [])
            node.args[0] = ast.Lambda(nothing, node.args[0])
        return node


@cache
def _compiled(source: str) -> tuple[CodeType, tuple[str, ...]]:
    tree = ast.parse(source.strip(), mode="eval")
    free = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - _FUNCTIONS.keys()
    delayed = ast.fix_missing_locations(_Delayed().visit(tree))
    return compile(delayed, "<expression>", "eval"), tuple(sorted(free))


def evaluate(source: str, names: Names) -> Json:
    """The value of an expression. Raises `Unevaluable`."""
    code, free = _compiled(source)
    known = dict(_FUNCTIONS)
    for name in free:
        try:
            known[name] = dotted(names.lookup(name))
        except KeyError:
            continue
    try:
        return eval(code, known)
    except Exception as problem:  # whatever Python objects to
        raise Unevaluable(f"{source}: {problem!r}") from problem


def render(template: Json, names: Names) -> Json:
    """A template's value: one `{{ }}` keeps its type, among text it becomes text."""
    if isinstance(template, dict):
        return {name: render(part, names) for name, part in template.items()}
    if isinstance(template, list):
        return [render(part, names) for part in template]
    if not isinstance(template, str) or "{{" not in template:
        return template
    text = template.strip()
    if text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1:
        return evaluate(text[2:-2], names)
    return re.sub(r"\{\{(.*?)\}\}", lambda found: str(evaluate(found[1], names)), template)


def refer(reference: Json, names: Names) -> Json:
    """A reference's value: a bare string is an expression, anything else a template."""
    if isinstance(reference, str) and "{{" not in reference:
        return evaluate(reference, names)
    return render(reference, names)


def holds(condition: Json, names: Names) -> bool:
    """Whether a condition holds, in any of its forms. Raises `Unevaluable`."""
    if isinstance(condition, bool):
        return condition
    if isinstance(condition, str):
        text = condition.strip()
        bare = text[2:-2] if text.startswith("{{") else text
        return bool(evaluate(bare, names))
    if isinstance(condition, list):
        return all(holds(each, names) for each in condition)
    if "all" in condition:
        return all(holds(each, names) for each in condition["all"])
    if "any" in condition:
        return any(holds(each, names) for each in condition["any"])
    if "not" in condition:
        return not holds(condition["not"], names)
    return _rule(condition, names)


def _rule(rule: JsonObject, names: Names) -> bool:
    operator = rule["operator"]
    try:
        value = evaluate(rule["variable"], names)
    except Unevaluable:
        if operator in ("exists", "not_exists", "is_empty"):
            return bool(operator != "exists")
        raise
    wanted = render(rule.get("value"), names)
    match operator:
        case "exists" | "not_exists":
            return bool((value is not None) == (operator == "exists"))
        case "is_empty":
            return value is None or (isinstance(value, str | list | dict) and not value)
        case "equals" | "not_equals":
            return bool(same(value, wanted) == (operator == "equals"))
        case "in_list":
            return any(same(value, each) for each in wanted)
        case "less_than" | "greater_than":
            one, other = _number(value), _number(wanted)
            if one is None or other is None:
                raise Unevaluable(f"{value!r} and {wanted!r} have no order")
            return one < other if operator == "less_than" else one > other
    raise NotImplementedError(operator)


def same(one: Json, other: Json) -> bool:
    """What the operator `equals` means: a number, or `true`, written as text counts as such."""
    if isinstance(one, bool) or isinstance(other, bool):
        truths = {"true": True, "false": False}
        pair = [truths.get(v.lower(), v) if isinstance(v, str) else v for v in (one, other)]
        return all(isinstance(v, bool) for v in pair) and pair[0] == pair[1]
    numbers = (_number(one), _number(other))
    if None not in numbers:
        return numbers[0] == numbers[1]
    return bool(one == other)


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
