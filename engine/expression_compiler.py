"""From syntax to closures.

A closure takes the environment, the budget and the frame of comprehension variables, and gives a
value. One rule: a syntax node without a method here does not exist in the language; whatever is
not on the list is refused before anything runs. What the nodes cost is summed up beforehand and
paid once per evaluation (and per turn of a comprehension), so that no closure need count.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from engine.context import Json
from engine.expression_calls import compile_call
from engine.expression_closures import (
    apply_unary,
    chain,
    choose,
    compare_all,
    give,
    is_other,
    is_same,
    logic,
    look_up,
    make_list,
    make_object,
    read_any_node,
    read_key,
    read_slot,
    take_slice,
)
from engine.expression_json import valid_text
from engine.expression_loops import (
    Bind,
    Loop,
    Rows,
    bind_name,
    bind_several,
    list_of,
    object_of,
    rows_of,
)
from engine.expression_operators import BINARY, COMPARISON, Binary, affirm, negate
from engine.expression_paths import Path, Run, read_path
from engine.expression_source import counts, position
from engine.expression_values import (
    MAX_DEPTH,
    MAX_INTEGER,
    MIN_INTEGER,
    ExpressionSyntaxError,
    shortened,
)
from engine.secret_names import SECRETS, is_secret

_CONSTANTS = {"true": True, "false": False, "null": None}
"""JSON's names, readable beside Python's."""

_REFUSED: dict[type[ast.AST], tuple[str, str | None]] = {
    ast.Lambda: ("there are no functions to define here", None),
    ast.JoinedStr: ("there are no f-strings", "write a template, or + with str()"),
    ast.NamedExpr: ("`:=` cannot set a variable here", "use a data_variable_set node"),
    ast.Starred: ("`*` cannot spread values here", "join lists with +"),
    ast.Set: ("there are no sets", "write [a, b] for a list; {{{ … }}} has one brace too many"),
    ast.SetComp: ("there are no sets", "write [x for x in items]"),
    ast.Await: ("there is no await", None),
    ast.Yield: ("there is no yield", None),
    ast.YieldFrom: ("there is no yield", None),
    ast.GeneratorExp: ("a generator stands alone", "write [x for x in items]"),
    ast.Slice: ("a slice stands alone", None),
}
_UNARY: dict[type[ast.unaryop], Callable[[Json], Json]] = {
    ast.Not: operator.not_,
    ast.USub: negate,
    ast.UAdd: affirm,
}
_BAD_TEXT = "the text is not valid Unicode, or holds U+0000"
_ALONE = "a secret stands alone in its braces: no expression can look into it"
_ALONE_HINT = "write {{ secrets.name }}, with any text around it, as in Bearer {{ secrets.name }}"
_NO_PIPES = "there are no filters: write name.upper() instead of name | upper"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled expression: `cost` is its fuel before loops, `slots` the size of its frame,
    `is_fresh` whether its value may be one that did not exist before."""

    run: Run
    paths: tuple[Path, ...]
    cost: int
    slots: int
    is_fresh: bool


def compile_tree(tree: ast.expr, size: int, source: str) -> Compiled:
    """Compiles a syntax tree of that many nodes. Raises `ExpressionSyntaxError` with a position in
    the source."""
    compiler = _Compiler(source, tree)
    run = compiler.expression(tree)
    is_read = _names_of(tree) is not None or isinstance(tree, ast.Constant)
    return Compiled(run, tuple(compiler.paths), size, compiler.slots, not is_read)


class _Compiler:
    """Compiles one expression; holds what is known at the node it is at."""

    def __init__(self, source: str, whole: ast.expr) -> None:
        self.paths: dict[Path, None] = {}
        self.slots = 0
        self._source = source
        self._whole = whole
        self._names: dict[str, int] = {}
        self._depth = 0
        self._quiet = 0
        self._by_node: dict[type[ast.AST], Callable[[Any], Run]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Subscript: self._subscript,
            ast.Call: self._call,
            ast.BinOp: self._arithmetic,
            ast.UnaryOp: self._unary,
            ast.BoolOp: self._logic,
            ast.Compare: self._comparison,
            ast.IfExp: self._choice,
            ast.List: self._list,
            ast.Tuple: self._list,
            ast.Dict: self._object,
            ast.ListComp: self._list_comprehension,
            ast.DictComp: self._object_comprehension,
        }

    def expression(self, node: ast.expr) -> Run:
        """Compiles a node and what is below it."""
        compile_node = self._by_node.get(type(node))
        if compile_node is None:
            message, hint = _REFUSED.get(type(node), (f"no {type(node).__name__} here", None))
            self.refuse(node, message, hint)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self.refuse(node, f"the expression is nested deeper than {MAX_DEPTH} levels")
        run = compile_node(node)
        self._depth -= 1
        return run

    def argument(self, node: ast.expr) -> Run:
        """Compiles an argument; a generator becomes a list."""
        if isinstance(node, ast.GeneratorExp):
            return list_of(self.rows(node))
        return self.expression(node)

    def rows(self, node: ast.GeneratorExp | ast.ListComp) -> Rows:
        """Compiles a comprehension, to be taken turn by turn."""
        return self._loops(node.generators, node.elt)

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """While it lasts, paths may be missing and are not reported."""
        self._quiet += 1
        yield
        self._quiet -= 1

    def refuse(self, node: ast.AST, message: str, hint: str | None = None) -> NoReturn:
        """Raises the syntax error at a node."""
        raise ExpressionSyntaxError(message, *position(self._source, node), hint)

    def _constant(self, node: ast.Constant) -> Run:
        value: Json = node.value
        shape = type(value)
        if value is not None and shape not in (bool, int, float, str):
            self.refuse(node, "this is not a JSON value")
        if shape is int and value > MAX_INTEGER:
            self.refuse(node, "the number does not fit a 64-bit integer")
        if shape is float and not math.isfinite(value):
            self.refuse(node, "the number is too large")
        if shape is str and not valid_text(value):
            self.refuse(node, _BAD_TEXT)
        return give(value)

    def _name(self, node: ast.Name) -> Run:
        slot = self._names.get(node.id)
        if slot is not None:
            return read_slot(slot)
        if node.id in _CONSTANTS:
            return give(_CONSTANTS[node.id])
        return self._path(node, [node.id])

    def _attribute(self, node: ast.Attribute) -> Run:
        return self._path_or(node, lambda: self._key(node.value, node, node.attr))

    def _subscript(self, node: ast.Subscript) -> Run:
        return self._path_or(node, lambda: self._looked_up(node))

    def _path_or(self, node: ast.expr, other: Callable[[], Run]) -> Run:
        names = _names_of(node)
        if names is None or names[0] in self._names or names[0] in _CONSTANTS:
            return other()
        return self._path(node, names)

    def _path(self, node: ast.expr, names: Sequence[str]) -> Run:
        self._require_plain(node, names[0])
        part = node
        while isinstance(part, ast.Attribute | ast.Subscript):
            if isinstance(part, ast.Attribute):
                self._require_plain(part, part.attr)
            part = part.value
        if not all(map(valid_text, names)):
            self.refuse(node, _BAD_TEXT)
        path = tuple(names)
        if names[0] == SECRETS and not (node is self._whole and is_secret(path)):
            self.refuse(node, _ALONE, _ALONE_HINT)
        if not self._quiet:
            self.paths[path] = None
        return read_path(path)

    def _require_plain(self, node: ast.AST, name: str) -> None:
        if name.startswith("__"):
            self.refuse(node, f"names that start with __ cannot be read ({name})")

    def _key(self, value: ast.expr, node: ast.Attribute, key: str) -> Run:
        self._require_plain(node, key)
        read = self.expression(value)
        name = ast.get_source_segment(f"({self._source}\n)", value) or "the value"
        return read_key(read, shortened(name), key)

    def _looked_up(self, node: ast.Subscript) -> Run:
        if isinstance(node.slice, ast.Slice):
            return self._slice(node.value, node.slice)
        key = self.expression(node.slice)
        if isinstance(node.value, ast.Name) and self._is_nodes(node.value):
            return read_any_node(key)
        return look_up(self.expression(node.value), key)

    def _is_nodes(self, node: ast.Name) -> bool:
        return node.id == "nodes" and node.id not in self._names

    def _slice(self, value: ast.expr, node: ast.Slice) -> Run:
        whole = self.expression(value)
        low, high, step = (
            give(None) if bound is None else self.expression(bound)
            for bound in (node.lower, node.upper, node.step)
        )
        return take_slice(whole, low, high, step)

    def _call(self, node: ast.Call) -> Run:
        return compile_call(self, node)

    def _arithmetic(self, node: ast.BinOp) -> Run:
        """A chain `a + b + c` is one level deep, however long."""
        links: list[ast.BinOp] = []
        first: ast.expr = node
        while isinstance(first, ast.BinOp):
            links.append(first)
            first = first.left
        start = self.expression(first)
        steps = []
        for link in reversed(links):
            calculate = BINARY.get(type(link.op))
            if calculate is None:
                hint = _NO_PIPES if isinstance(link.op, ast.BitOr) else None
                self.refuse(link, "there are no operators on bits", hint)
            steps.append((calculate, self.expression(link.right)))
        return chain(start, steps)

    def _unary(self, node: ast.UnaryOp) -> Run:
        if isinstance(node.op, ast.Invert):
            self.refuse(node, "there are no operators on bits")
        operand = node.operand
        if (
            isinstance(node.op, ast.USub)
            and isinstance(operand, ast.Constant)
            and operand.value == -MIN_INTEGER
        ):
            return give(MIN_INTEGER)
        value = self.expression(operand)
        return apply_unary(_UNARY[type(node.op)], value)

    def _logic(self, node: ast.BoolOp) -> Run:
        values = [self.expression(value) for value in node.values]
        return logic(values, ends_on=isinstance(node.op, ast.Or))

    def _comparison(self, node: ast.Compare) -> Run:
        left = self.expression(node.left)
        steps = []
        for sign, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(sign, ast.Is | ast.IsNot):
                self._require_singleton(node, right)
                compare: Binary = is_same if isinstance(sign, ast.Is) else is_other
            else:
                compare = COMPARISON[type(sign)]
            steps.append((compare, self.expression(right)))
        return compare_all(left, steps)

    def _require_singleton(self, node: ast.Compare, right: ast.expr) -> None:
        is_named = isinstance(right, ast.Name) and right.id in _CONSTANTS
        is_singleton = isinstance(right, ast.Constant) and (
            right.value is None or isinstance(right.value, bool)
        )
        if not (is_named or is_singleton):
            self.refuse(node, "`is` only asks for None, True or False", "write `==`")

    def _choice(self, node: ast.IfExp) -> Run:
        return choose(*map(self.expression, (node.test, node.body, node.orelse)))

    def _list(self, node: ast.List | ast.Tuple) -> Run:
        return make_list([self.expression(part) for part in node.elts])

    def _object(self, node: ast.Dict) -> Run:
        members: list[tuple[Run | None, Run]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and not isinstance(key.value, str):
                self.refuse(key, "the keys of an object are text", "write quotes around the key")
            name = None if key is None else self.expression(key)
            members.append((name, self.expression(value)))
        return make_object(members)

    def _list_comprehension(self, node: ast.ListComp) -> Run:
        return list_of(self.rows(node))

    def _object_comprehension(self, node: ast.DictComp) -> Run:
        pair = ast.Tuple([node.key, node.value], ast.Load())
        return object_of(self._loops(node.generators, ast.copy_location(pair, node)))

    def _loops(self, generators: Sequence[ast.comprehension], element: ast.expr) -> Rows:
        outer = self._names
        loops = []
        for position_of, one in enumerate(generators):
            if one.is_async:
                self.refuse(element, "there is no async")
            source = self.expression(one.iter)
            self._names = dict(self._names)
            bind = self._target(one.target)
            tests = [self.expression(test) for test in one.ifs]
            condition = logic(tests, ends_on=False) if tests else None
            inner = generators[position_of + 1 :]
            body = [*one.ifs, inner[0].iter if inner else element]
            loops.append(Loop(source, bind, condition, 1 + sum(map(_cost, body))))
        made = self.expression(element)
        self._names = outer
        return rows_of(loops, made)

    def _target(self, node: ast.expr) -> Bind:
        match node:
            case ast.Name(id=name):
                self._require_plain(node, name)
                slot, self.slots = self.slots, self.slots + 1
                self._names[name] = slot
                return bind_name(slot)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return bind_several([self._target(part) for part in parts])
        self.refuse(node, "a loop variable is a plain name")


def _cost(node: ast.AST) -> int:
    return sum(1 for part in ast.walk(node) if counts(part))


def _names_of(node: ast.expr) -> list[str] | None:
    """The names of a path such as `a.b['c']`, None if the node is something else."""
    names: list[str] = []
    while True:
        match node:
            case ast.Name(id=name):
                return [name, *reversed(names)]
            case ast.Attribute(value=value, attr=name):
                names.append(name)
            case ast.Subscript(value=value, slice=ast.Constant(value=str() as name)):
                names.append(name)
            case _:
                return None
        node = value
