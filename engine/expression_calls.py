"""Calls: of our functions, and of our methods on values.

One rule: what may be called is decided here, while compiling. A call names a function of the
tables, or a method that some type has; the number of arguments is checked against the signature.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NoReturn, Protocol

from engine.context import Json
from engine.expression_functions import FUNCTION_NAMES, FUNCTIONS, IMPURE, Function
from engine.expression_loops import Rows
from engine.expression_methods import METHOD_NAMES, METHODS, no_such_method
from engine.expression_paths import Frame, Run
from engine.expression_patterns import Pattern, subject
from engine.expression_values import Budget, Env, MissingValue, nearest

_ELSEWHERE = {  # asked before the closest name is: `map` is not meant to be `max`
    "list": "functions here give lists already",
    "tuple": "functions here give lists already",
    "dict": "write {'key': value}",
    "set": "there are no sets; use lists",
    "format": "write a template, or + with str()",
    "print": "an expression only gives a value",
    "type": "there are no types to ask for",
    "isinstance": "there are no types to ask for",
    "map": "write [f(x) for x in items]",
    "filter": "write [x for x in items if …]",
    "pow": "write a ** b",
    "datetime": "write now() or date_format(now(), '%H:%M')",
    "length": "write len(x)",
    "size": "write len(x)",
    "coalesce": "write default(x, y)",
    "ifelse": "write `x if condition else y`",
}


class NodeCompiler(Protocol):
    """What compiling a call needs of the compiler around it."""

    def expression(self, node: ast.expr) -> Run:
        """Compiles an argument."""
        ...

    def rows(self, node: ast.GeneratorExp) -> Rows:
        """Compiles a generator, to be taken turn by turn."""
        ...

    def argument(self, node: ast.expr) -> Run:
        """Compiles an argument that may be a generator, which becomes a list."""
        ...

    def quietly(self) -> AbstractContextManager[None]:
        """While it lasts, paths are allowed to be missing and are not reported."""
        ...

    def refuse(self, node: ast.AST, message: str, hint: str | None = None) -> NoReturn:
        """Raises the syntax error at a node."""
        ...


def compile_call(compiler: NodeCompiler, node: ast.Call) -> Run:
    """Compiles a call."""
    for one in node.args:
        if isinstance(one, ast.Starred):
            compiler.refuse(one, "`*` cannot spread arguments here")
    for keyword in node.keywords:
        if keyword.arg is None:
            compiler.refuse(node, "`**` cannot spread arguments here")
    match node.func:
        case ast.Name(id=name):
            return _compile_function(compiler, node, name)
        case ast.Attribute(value=receiver, attr=name):
            return _compile_method(compiler, node, receiver, name)
    compiler.refuse(node, "only functions and methods can be called")


def _compile_function(compiler: NodeCompiler, node: ast.Call, name: str) -> Run:
    if name in ("any", "all") and len(node.args) == 1 and not node.keywords:
        argument = node.args[0]
        if isinstance(argument, ast.GeneratorExp):
            return _compile_test(compiler.rows(argument), any if name == "any" else all)
    match name:
        case "default":
            return _compile_default(compiler, node)
        case "has":
            return _compile_has(compiler, node)
        case "matches" if len(node.args) == 2 and not node.keywords:
            return _compile_matches(compiler, node)
    if name in FUNCTIONS:
        _bind(compiler, node, name, FUNCTIONS[name], 1)
        return _call(compiler, node, FUNCTIONS[name])
    if name in IMPURE:
        _bind(compiler, node, name, IMPURE[name], 2)
        return _call_impure(compiler, node, IMPURE[name])
    compiler.refuse(node.func, f"there is no function {name}()", _function_hint(name))


def _function_hint(name: str) -> str:
    if name in METHOD_NAMES:
        return f"write value.{name}(…)"
    if name.lower() in _ELSEWHERE:
        return _ELSEWHERE[name.lower()]
    close = nearest(name, sorted(FUNCTION_NAMES))
    if close:
        return f"did you mean {close}()?"
    return f"there are: {', '.join(sorted(FUNCTION_NAMES))}"


def _call(compiler: NodeCompiler, node: ast.Call, function: Function) -> Run:
    arguments = tuple(compiler.argument(one) for one in node.args)
    named = tuple((str(one.arg), compiler.argument(one.value)) for one in node.keywords)
    if len(arguments) == 1 and not named:
        (only,) = arguments

        def run_with_one(env: Env, budget: Budget, frame: Frame) -> Json:
            return function(budget, only(env, budget, frame))

        return run_with_one

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        values = [one(env, budget, frame) for one in arguments]
        return function(budget, *values, **{key: one(env, budget, frame) for key, one in named})

    return run


def _call_impure(compiler: NodeCompiler, node: ast.Call, function: Function) -> Run:
    arguments = tuple(compiler.argument(one) for one in node.args)

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        return function(env, budget, *[one(env, budget, frame) for one in arguments])

    return run


def _compile_test(rows: Rows, test: Callable[..., bool]) -> Run:
    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        return test(rows(env, budget, frame))

    return run


def _compile_default(compiler: NodeCompiler, node: ast.Call) -> Run:
    if len(node.args) != 2 or node.keywords:
        compiler.refuse(node, "default() takes a value that may be missing, and another")
    with compiler.quietly():
        wanted = compiler.argument(node.args[0])
    otherwise = compiler.argument(node.args[1])

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        try:
            value = wanted(env, budget, frame)
        except MissingValue:
            value = None
        return otherwise(env, budget, frame) if value is None else value

    return run


def _compile_has(compiler: NodeCompiler, node: ast.Call) -> Run:
    if len(node.args) != 1 or node.keywords:
        compiler.refuse(node, "has() takes one path, such as has(user.name)")
    wanted = node.args[0]
    if not isinstance(wanted, ast.Name | ast.Attribute | ast.Subscript):
        compiler.refuse(wanted, "has() takes a path, such as has(user.name)")
    with compiler.quietly():
        read = compiler.expression(wanted)

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        try:
            read(env, budget, frame)
        except MissingValue:
            return False
        return True

    return run


def _compile_matches(compiler: NodeCompiler, node: ast.Call) -> Run:
    text, pattern = node.args
    if not isinstance(pattern, ast.Constant) or not isinstance(pattern.value, str):
        return _call(compiler, node, FUNCTIONS["matches"])
    read = compiler.argument(text)
    try:
        compiled = Pattern(pattern.value)
    except ValueError as error:
        compiler.refuse(pattern, f"not a regular expression: {error}")

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        return compiled.search(subject(read(env, budget, frame)), budget)

    return run


def _compile_method(compiler: NodeCompiler, node: ast.Call, value: ast.expr, name: str) -> Run:
    tables = {shape: table[name] for shape, table in METHODS.items() if name in table}
    if not tables:
        hint = f"write {name}(value)" if name in FUNCTION_NAMES else _method_hint(name)
        compiler.refuse(node, f"there is no method {name}()", hint)
    _bind(compiler, node, name, next(iter(tables.values())), 2)
    read = compiler.expression(value)
    arguments = tuple(compiler.argument(one) for one in node.args)
    named = tuple((str(one.arg), compiler.argument(one.value)) for one in node.keywords)

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        receiver = read(env, budget, frame)
        method = tables.get(type(receiver))
        if method is None:
            raise no_such_method(receiver, name)
        if not arguments and not named:
            return method(budget, receiver)
        values = [one(env, budget, frame) for one in arguments]
        return method(
            budget, receiver, *values, **{key: one(env, budget, frame) for key, one in named}
        )

    return run


def _method_hint(name: str) -> str | None:
    if name == "format":
        return _ELSEWHERE[name]
    if name in ("append", "extend", "insert", "add", "push"):
        return "nothing changes in place: write items + [value]"
    if name in ("pop", "remove", "clear", "update", "sort", "reverse", "setdefault", "popitem"):
        return "nothing changes in place: write an expression that gives the new value"
    known = {"toUpperCase": "upper", "toLowerCase": "lower", "trim": "strip"}
    known |= {"includes": "count", "indexOf": "find", "startsWith": "startswith"}
    close = known.get(name) or nearest(name, sorted(METHOD_NAMES))
    return f"did you mean .{close}()?" if close else None


def _bind(
    compiler: NodeCompiler, node: ast.Call, name: str, function: Function, leading: int
) -> None:
    """Refuses a call whose arguments do not fit the signature."""
    signature = inspect.signature(function)
    values: Sequence[None] = [None] * (leading + len(node.args))
    try:
        signature.bind(*values, **{str(one.arg): None for one in node.keywords})
    except TypeError:
        wanted = list(signature.parameters.values())[leading:]
        shown = ", ".join(_shown_parameter(parameter) for parameter in wanted) or "nothing"
        compiler.refuse(node, f"{name}() does not take these arguments", f"it takes {shown}")


def _shown_parameter(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return "…"
    if parameter.default is parameter.empty:
        return parameter.name
    if parameter.kind is parameter.KEYWORD_ONLY:
        return f"[{parameter.name}=…]"
    return f"[{parameter.name}]"
