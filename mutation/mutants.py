"""The mutants of a file: every small change to its syntax tree that ought to matter.

One rule: a mutant is one node put in the place of another, so the rest of the file, its lines and
its names stay as they are. Annotations, docstrings, imports and decorators are no behaviour.

The operators are the usual ones (Offutt et al., 1996): arithmetic, relations and connectives
exchanged, constants changed, conditions negated, statements and keyword arguments left out.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_SKIPPED_FIELDS = frozenset({"annotation", "returns", "decorator_list", "bases", "type_comment"})
_SKIPPED_NODES = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_CONDITIONS = {
    (ast.If, "test"),
    (ast.IfExp, "test"),
    (ast.While, "test"),
    (ast.comprehension, "ifs"),
    (ast.match_case, "guard"),
}
_NEGATED_BY_OPERATOR = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. `apply` makes it in the tree it was found in and gives what takes it back."""

    line: int
    text: str
    apply: Callable[[], Callable[[], None]]


def mutants_of(tree: ast.Module) -> Iterator[Mutant]:
    """The mutants of a tree, in the order of its nodes."""
    yield from _within(tree, 0)


def _within(parent: ast.AST, line: int) -> Iterator[Mutant]:
    for field, value in ast.iter_fields(parent):
        if field in _SKIPPED_FIELDS:
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or isinstance(child, _SKIPPED_NODES):
                continue
            if _is_no_behaviour(child):
                continue
            at: int = getattr(child, "lineno", line)
            for changed in _changed(parent, field, child):
                place = index if isinstance(value, list) else None
                yield Mutant(at, _described(child, changed), _swap(parent, field, place, changed))
            yield from _within(child, at)
    yield from _left_out(parent, line)


def _is_no_behaviour(node: ast.AST) -> bool:
    """Docstrings, and the list of what a module exports."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return False


def _changed(parent: ast.AST, field: str, child: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a child's place."""
    operator = _OPERATORS.get(type(child))
    if operator is not None:
        yield operator()
    match child:
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=value) if not isinstance(parent, ast.FormattedValue):
            yield from _other_constants(child, value)
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield ast.copy_location(ast.Pass(), child)
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.copy_location(ast.Pass(), child)
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.copy_location(ast.Return(ast.copy_location(ast.Constant(None), value)), child)
        case ast.Break():
            yield ast.copy_location(ast.Continue(), child)
        case ast.Continue():
            yield ast.copy_location(ast.Break(), child)
    if (type(parent), field) not in _CONDITIONS or not isinstance(child, ast.expr):
        return
    if not _has_its_negation(child):
        yield ast.copy_location(ast.UnaryOp(ast.Not(), child), child)


def _other_constants(node: ast.Constant, value: object) -> Iterator[ast.AST]:
    if isinstance(value, bool):
        yield ast.copy_location(ast.Constant(not value), node)
    elif isinstance(value, int | float):
        yield ast.copy_location(ast.Constant(value + 1), node)
    elif isinstance(value, str):
        yield ast.copy_location(ast.Constant(f"XX{value}XX"), node)


def _left_out(parent: ast.AST, line: int) -> Iterator[Mutant]:
    """Keyword arguments and cases, each left out in turn."""
    if isinstance(parent, ast.Call):
        for index, keyword in enumerate(parent.keywords):
            text = f"without {ast.unparse(keyword)}"
            yield Mutant(keyword.lineno, text, _leave_out(parent.keywords, index))
    elif isinstance(parent, ast.Match) and len(parent.cases) > 1:
        for index, case in enumerate(parent.cases):
            text = f"without case {ast.unparse(case.pattern)}"
            yield Mutant(case.pattern.lineno, text, _leave_out(parent.cases, index))


def _has_its_negation(test: ast.expr) -> bool:
    """Whether another mutant already makes the opposite of a condition."""
    if isinstance(test, ast.UnaryOp):
        return isinstance(test.op, ast.Not)
    return (
        isinstance(test, ast.Compare)
        and len(test.ops) == 1
        and isinstance(test.ops[0], _NEGATED_BY_OPERATOR)
    )


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _described(before: ast.AST, after: ast.AST) -> str:
    if isinstance(before, ast.operator | ast.boolop | ast.cmpop | ast.unaryop):
        return f"{type(before).__name__} -> {type(after).__name__}"
    return f"{_short(before)} -> {_short(after)}"


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:59] + "…"


def _swap(
    parent: ast.AST, field: str, index: int | None, changed: ast.AST
) -> Callable[[], Callable[[], None]]:
    def apply() -> Callable[[], None]:
        if index is None:
            before = getattr(parent, field)
            setattr(parent, field, changed)
            return lambda: setattr(parent, field, before)
        siblings: list[ast.AST] = getattr(parent, field)
        child, siblings[index] = siblings[index], changed
        return lambda: siblings.__setitem__(index, child)

    return apply


def _leave_out(siblings: list[Any], index: int) -> Callable[[], Callable[[], None]]:
    def apply() -> Callable[[], None]:
        before = siblings.pop(index)
        return lambda: siblings.insert(index, before)

    return apply
