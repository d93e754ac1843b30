"""Shows what a piece of Python transform code would be as expressions.

Nothing is run and nothing is promised: the outcome is a hint for the author. Translated are
assignments (`output = …`), `if` statements that choose what to assign, f-strings without format
specifications, and the common readings of the current time.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence

from engine.expressions import ExpressionSyntaxError, compile_expression

GENERAL_HINT = (
    "Leave `transform_code` out and give each name an expression: "
    '{"transformations": {"output": "input[\'value\'] * 2"}}'
)

CLOCK_FIELDS = {
    "year": "%Y",
    "month": "%m",
    "day": "%d",
    "hour": "%H",
    "minute": "%M",
    "second": "%S",
}
"""Attributes of Python's `datetime` and the `date_format` directive that gives the same number."""

LONGEST_CODE = 4096
"""An expression may be no longer, so no code beyond it can be said as a few of them."""

LONGEST_HINT = 2000


class _Untranslatable(Exception):
    """The code does something expressions cannot say, or that we do not try to say."""


def explain_transform_code(code: str) -> str:
    """A hint: the same thing as `transformations` where we can say it, else how to write them."""
    if len(code) > LONGEST_CODE:
        return GENERAL_HINT
    try:
        transformations = _translate(ast.parse(code).body)
        for source in transformations.values():
            compile_expression(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, _Untranslatable):
        return GENERAL_HINT
    except ExpressionSyntaxError:
        return GENERAL_HINT
    shown = json.dumps({"transformations": transformations}, ensure_ascii=False)
    return f"The same as expressions: {shown}" if len(shown) <= LONGEST_HINT else GENERAL_HINT


def _translate(statements: Sequence[ast.stmt]) -> dict[str, str]:
    transformations: dict[str, str] = {}
    for statement in statements:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        name, value = _assignment(statement)
        if name in transformations:
            raise _Untranslatable
        transformations[name] = ast.unparse(ast.fix_missing_locations(_Rewrite().visit(value)))
    if not transformations:
        raise _Untranslatable
    return transformations


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr]:
    """The name a statement sets, and to what."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return name, value
        case ast.Return(value=ast.expr() as value):
            return "output", value
        case ast.If(test=test, body=[yes], orelse=[no]):
            (name, chosen), (other, alternative) = _assignment(yes), _assignment(no)
            if name == other:
                return name, ast.IfExp(test, chosen, alternative)
    raise _Untranslatable


class _Rewrite(ast.NodeTransformer):
    """Replaces what Python can say and an expression cannot."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if node.attr in CLOCK_FIELDS and _is_now(node.value):
            return _parse(f"int(date_format(now(), '{CLOCK_FIELDS[node.attr]}'))")
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if _is_now(node):
            return _parse("now()")
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="isoformat"), args=[]):
                if _is_now(value):
                    return _parse("now()")
            case ast.Call(func=ast.Attribute(value=value, attr="weekday"), args=[]):
                if _is_now(value):
                    return _parse("int(date_format(now(), '%u')) - 1")
            case ast.Call(func=ast.Attribute(value=value, attr="strftime"), args=[layout]):
                if _is_now(value):
                    arguments: list[ast.expr] = [_parse("now()"), layout]
                    return ast.Call(ast.Name("date_format", ast.Load()), arguments, [])
        self.generic_visit(node)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        parts = [self._part(value) for value in node.values]
        if not parts:
            return ast.Constant("")
        joined = parts[0]
        for part in parts[1:]:
            joined = ast.BinOp(joined, ast.Add(), part)
        return joined

    def _part(self, value: ast.expr) -> ast.expr:
        if not isinstance(value, ast.FormattedValue):
            return value
        if value.format_spec is not None or value.conversion != -1:
            raise _Untranslatable
        inner: ast.expr = self.visit(value.value)
        return ast.Call(ast.Name("str", ast.Load()), [inner], [])


def _is_now(node: ast.expr) -> bool:
    """`datetime.now(…)`, `datetime.utcnow()` and the like."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr="now" | "utcnow")):
            return ast.unparse(owner) in {"datetime", "datetime.datetime"}
    return False


def _parse(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body
