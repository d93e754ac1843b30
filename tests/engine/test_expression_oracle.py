"""Python as the oracle: a generated expression gives what `eval` gives, or both fail.

The same source goes to both. Where our language differs on purpose, the oracle is made to differ:
`Difference` rewrites Python's tree, `PYTHON` holds its functions. These are all the differences:

* integers have 64 bits, floats are finite, numbers are real (`fits`);
* what Python gives as a tuple, view, iterator or generator is a list, but in `any` and `all`;
* `a.b` looks up a key (`Members`), and the keys of an object are text (`members`);
* `str` of a list or an object is JSON (`as_text`), `%` formats no text (`remainder`);
* `round` takes at most 400 digits, `sum` adds numbers only, `reverse=` takes any truth;
* `startswith` and `endswith` take lists (`has_affix`);
* there is a budget: what exceeds it is not compared, nor what is nested too deep to compile.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from engine.expressions import (
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    MapEnv,
    compile_expression,
)

VALUES: dict[str, Any] = {
    "a": 3,
    "b": -2,
    "x": 2.5,
    "yes": True,
    "none": None,
    "s": "hello wide world",
    "t": "a,b,,c",
    "xs": [3, 1, 2],
    "names": ["bob", "ann", ""],
    "mixed": [1, "a", None, [2]],
    "rows": [[1, "one"], [2, "two"]],
    "o": {"size": 4, "name": "ann", "tags": ["x", "y"], "in_it": {"size": 7}},
    "players": [{"name": "ann", "size": 9}, {"name": "bob", "size": 0.5}],
}


def fits(value: Any) -> Any:
    """Raises `OverflowError` for a number that JSON cannot hold."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise OverflowError
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError
    if isinstance(value, complex):
        raise OverflowError
    return value


class Members(dict[str, Any]):
    """An object: dots look keys up, and what gives several gives a list."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def keys(self) -> Any:
        return list(super().keys())

    def values(self) -> Any:
        return list(super().values())

    def items(self) -> Any:
        return [list(pair) for pair in super().items()]


def members(value: dict[Any, Any]) -> Members:
    if not all(isinstance(key, str) for key in value):
        raise TypeError
    return Members(value)


def with_members(value: Any) -> Any:
    if isinstance(value, list):
        return [with_members(item) for item in value]
    if isinstance(value, dict):
        return Members({key: with_members(item) for key, item in value.items()})
    return value


def as_json(value: Any) -> Any:
    """A value as ours would be: lists for tuples, plain objects."""
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json(value[key]) for key in dict.keys(value)}
    return fits(value)


def as_text(value: Any = "") -> str:
    if isinstance(value, list | dict):
        return orjson.dumps(as_json(value)).decode()
    return str(value)


def listed(make: Callable[..., Iterable[Any]]) -> Callable[..., Any]:
    return lambda *given: as_members([make_list(item) for item in make(*given)])


def make_list(item: Any) -> Any:
    return list(item) if isinstance(item, tuple) else item


def as_members(items: list[Any]) -> list[Any]:
    for item in items:
        fits(item[0] if isinstance(item, list) and item else item)
    return items


def total(values: Any, start: Any = 0) -> Any:
    numbers = list(values)
    if not all(isinstance(one, int | float) for one in (start, *numbers)):
        raise TypeError
    return fits(sum(numbers, start))


def power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and abs(left) > 1 and right >= 64:
        raise OverflowError
    return left**right


def rounded(number: Any, ndigits: Any = None) -> Any:
    """Python would write ten to the power of the digits out, for hours."""
    if isinstance(ndigits, int) and abs(ndigits) > 400:
        raise OverflowError
    return fits(round(number, ndigits))


def remainder(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        raise TypeError
    return left % right


def has_affix(method: str, text: Any, affix: Any) -> bool:
    test: Callable[[Any], bool] = getattr(text, method)
    return test(tuple(affix) if isinstance(affix, list) else affix)


def of_number(change: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **named: fits(change(*given, **named))


PYTHON = {
    "len": len, "str": as_text, "int": of_number(int), "float": of_number(float), "bool": bool,
    "abs": of_number(abs), "round": rounded, "floor": of_number(math.floor),
    "ceil": of_number(math.ceil), "min": min, "max": max, "sum": total, "any": any, "all": all,
    "sorted": lambda values, reverse=False: sorted(values, reverse=bool(reverse)),
    "range": listed(range), "reversed": listed(reversed), "zip": listed(zip),
    "enumerate": listed(enumerate), "replace": lambda text, old, new: text.replace(old, new),
    "json": lambda value: orjson.dumps(as_json(value)).decode(),
    "keys": lambda value: value.keys(), "values": lambda value: value.values(),
    "items": lambda value: value.items(),
}  # fmt: skip

UNSEEN = {
    "__builtins__": {}, "_fits": fits, "_members": members, "_power": power, "_list": list,
    "_remainder": remainder, "_has_affix": has_affix,
}  # fmt: skip


def listed_generator(node: ast.expr) -> ast.expr:
    return ast.ListComp(node.elt, node.generators) if isinstance(node, ast.GeneratorExp) else node


def call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


class Difference(ast.NodeTransformer):
    """Makes Python's tree mean what the differences at the top say."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        match node.op:
            case ast.Pow():
                return call("_fits", call("_power", node.left, node.right))
            case ast.Mod():
                return call("_fits", call("_remainder", node.left, node.right))
        return call("_fits", node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return call("_fits", node)

    def visit_Dict(self, node: ast.Dict) -> ast.expr:
        self.generic_visit(node)
        return call("_members", node)

    def visit_DictComp(self, node: ast.DictComp) -> ast.expr:
        self.generic_visit(node)
        return call("_members", node)

    def visit_Tuple(self, node: ast.Tuple) -> ast.expr:
        self.generic_visit(node)
        return node if isinstance(node.ctx, ast.Store) else ast.List(node.elts, node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node.func:
            case ast.Name(id=name) if name not in ("any", "all"):
                node.args = [listed_generator(one) for one in node.args]
            case ast.Attribute(value=text, attr="startswith" | "endswith" as name):
                return call("_has_affix", ast.Constant(name), text, *node.args)
            case ast.Attribute(attr="partition" | "rpartition"):
                return call("_list", node)
        return node


def pythons_answer(source: str) -> Any:
    tree = ast.parse(f"({source})", mode="eval")
    changed = ast.fix_missing_locations(Difference().visit(tree))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            names = {**UNSEEN, **PYTHON, **with_members(VALUES)}
            return as_json(eval(compile(changed, "oracle", "eval"), names))
        except Exception as error:
            return error


def our_answer(source: str) -> Any:
    try:
        return compile_expression(source).evaluate(MapEnv(VALUES), Budget())
    except (ExpressionError, ExpressionSyntaxError) as error:
        return error


ATOMS = st.one_of(
    st.sampled_from([*VALUES, "True", "False", "None", "0", "1", "2", "7", "10", "2.0", "0.5"]),
    st.sampled_from(["''", "'a'", "'l'", "' '", "','", "'wide'", "'12'", "'-3'", "'ß'", "'ǅ1'"]),
    st.sampled_from(["[]", "[0]", "{}", "o.name", "o.in_it.size", "o['tags']", "players[0].size"]),
    st.sampled_from(["1e308", "9223372036854775807", "(-9223372036854775808)", "1e-9", "-1", "-2"]),
    st.integers(-(2**63) + 1, 2**63 - 1).map(str),
)
ARITHMETIC = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
RELATION = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
NO_ARGUMENT = st.sampled_from(
    [
        "upper", "lower", "strip", "lstrip", "rstrip", "title", "capitalize", "swapcase",
        "casefold", "isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower",
        "isnumeric", "isdecimal", "split", "rsplit", "splitlines", "keys", "values", "items",
    ]
)  # fmt: skip
ONE_ARGUMENT = st.sampled_from(
    [
        "find", "rfind", "count", "index", "strip", "lstrip", "rstrip", "split", "rsplit",
        "join", "removeprefix", "removesuffix", "zfill", "ljust", "rjust", "center", "partition",
        "rpartition", "startswith", "endswith", "get",
    ]
)  # fmt: skip
TWO_ARGUMENTS = st.sampled_from(
    ["find", "rfind", "count", "split", "rsplit", "replace", "ljust", "rjust", "center", "get"]
)
FUNCTION = st.sampled_from([name for name in PYTHON if name != "replace"])
FUNCTION_OF_TWO = st.sampled_from(
    [
        "min", "max", "round", "range", "int", "sum", "zip", "enumerate",
    ]
)  # fmt: skip
FUNCTION_OF_MANY = st.sampled_from(["any", "all", "sum", "sorted", "max", "min", "len", "reversed"])
STEP = st.sampled_from(["", "1", "2", "-1", "-2", "-7", "0", "True"])


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    bound = inner | st.just("") | st.integers(-5, 5).map(str)
    with_y = st.one_of(inner, st.sampled_from(["y", "y", "(y + y)", "(y > 1)", "str(y)"]))
    with_z = with_y | st.sampled_from(["z", "[y, z]", "(y * z)", "(y == z)"])
    iterable = inner | st.sampled_from(["xs", "names", "t", "o", "range(4)", "rows", "players"])
    key = st.sampled_from(["'size'", "'name'", "'no'", "str(a)"]) | inner
    shapes: dict[str, tuple[st.SearchStrategy[str], ...]] = {
        "({} {} {})": (inner, ARITHMETIC, inner),
        "({} {} {} {} {})": (inner, ARITHMETIC, inner, ARITHMETIC, inner),
        "({}{}{})": (inner, ARITHMETIC, inner),
        "({} {} {} )": (inner, RELATION, inner),
        "({} {} {} {} {} )": (inner, RELATION, inner, RELATION, inner),
        "({} {} {} {} {} {} {})": (inner, RELATION, inner, RELATION, inner, RELATION, inner),
        "({} and {} or {})": (inner, inner, inner),
        "({} or {} and not {})": (inner, inner, inner),
        "({} if {} else {})": (inner, inner, inner),
        "({} if {} else {} if {} else {})": (inner, inner, inner, inner, inner),
        "({} {})": (st.sampled_from(["not", "-", "+", "- -", "not not"]), inner),
        "({} is {})": (inner, st.sampled_from(["None", "not None"])),
        "[{}, {}]": (inner, inner),
        "({}, {})": (inner, inner),
        "{{'size': {}, str({}): {}}}": (inner, inner, inner),
        "{{**{}, 'name': {}}}": (inner, inner),
        "({})[{}]": (inner, inner),
        "({})[{}] ": (inner, key),
        "({}).size": (inner,),
        "({})[{}:{}]": (inner, bound, bound),
        "({})[{}:{}:{}]": (inner, bound, bound, STEP),
        "[{} for y in {} if {}]": (with_y, iterable, with_y),
        "[{} for y in {}]": (with_y, iterable),
        "[{} for y in {} for z in {} if {} if {}]": (with_z, iterable, iterable, with_z, with_z),
        "[[{} for z in {}] for y in {}]": (with_z, with_y, iterable),
        "[p + q for p, q in {}]": (iterable,),
        "[p for (p, [q, r]) in {}]": (iterable,),
        "{{str({}): {} for y in {} if {}}}": (with_y, with_y, iterable, with_y),
        "{{{}: y for y in {}}}": (with_y, iterable),
        "{}({})": (FUNCTION, inner),
        "{}({}, {})": (FUNCTION_OF_TWO, inner, inner),
        "range({}, {}, {})": (inner, inner, inner),
        "min({}, {}, {})": (inner, inner, inner),
        "max({}, default={})": (inner, inner),
        "min({}, {}, default={})": (inner, inner, inner),
        "sorted({}, reverse={})": (inner, inner),
        "{}({} for y in {} if {})": (FUNCTION_OF_MANY, with_y, iterable, with_y),
        "replace({}, {}, {})": (inner, inner, inner),
        "({}).{}()": (inner, NO_ARGUMENT),
        "({}).{}({})": (inner, ONE_ARGUMENT, inner),
        "({}).{}({}, {})": (inner, TWO_ARGUMENTS, inner, inner),
        "({}).{}({}, {}, {})": (inner, st.sampled_from(["find", "count"]), inner, inner, inner),
        "({}).split(maxsplit={})": (inner, inner),
        "t.rsplit(sep={}, maxsplit={})": (inner, inner),
        "round({}, ndigits={})": (inner, inner),
        "sum({}, start={})": (inner, inner),
        "s.{}({})": (ONE_ARGUMENT, inner),
        "t.{}({}, {})": (TWO_ARGUMENTS, inner, inner),
        "o.get({}, {})": (key, inner),
        "xs.{}({})": (st.sampled_from(["index", "count"]), inner),
    }
    return st.one_of([st.builds(shape.format, *parts) for shape, parts in shapes.items()])


EXPRESSIONS = st.recursive(ATOMS, compound, max_leaves=10)


def is_not_compared(answer: Any) -> bool:
    if isinstance(answer, ExpressionSyntaxError):
        return "nested deeper" in answer.message or "more than 500" in answer.message
    return isinstance(answer, ExpressionError) and answer.code == "BUDGET_EXCEEDED"


@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))
@given(EXPRESSIONS)
def test_an_expression_gives_what_python_gives_or_both_fail(source: str) -> None:
    ours = our_answer(f"({source})")
    assume(not is_not_compared(ours))
    assert not isinstance(ours, ExpressionSyntaxError), f"{source}: {ours}"
    pythons = pythons_answer(source)
    if isinstance(pythons, Exception):
        assert isinstance(ours, ExpressionError), f"{source}: {ours!r}, Python: {pythons!r}"
    else:
        # The texts of both say what equality hides: 1, 1.0 and True, -0.0, the order of keys.
        assert repr(ours) == repr(pythons), f"{source}: {ours!r}, Python: {pythons!r}"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | EXPRESSIONS.map(lambda source: source[:-1]))
def test_any_text_compiles_or_is_refused_politely(source: str) -> None:
    answer = our_answer(source)
    assert not isinstance(answer, Exception) or str(answer)
