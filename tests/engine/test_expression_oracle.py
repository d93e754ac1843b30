"""Python as the oracle: a generated expression gives what `eval` gives, or both fail."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

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
}
"""No objects: their dots mean look-ups here and attributes in Python."""


def as_text(value: Any = "") -> str:
    """`str`, but for lists, which we write as JSON."""
    if isinstance(value, list | tuple):
        return json.dumps(as_json(value), ensure_ascii=False, separators=(",", ":"))
    return str(value)


PYTHON = {
    "len": len, "str": as_text, "int": int, "float": float, "bool": bool, "abs": abs,
    "round": round, "min": min, "max": max, "sum": sum, "any": any, "all": all, "sorted": sorted,
    "range": lambda *bounds: list(range(*bounds)), "floor": math.floor, "ceil": math.ceil,
    "reversed": lambda values: list(reversed(values)),
    "zip": lambda *lists: [list(row) for row in zip(*lists, strict=False)],
    "enumerate": lambda *given: [list(pair) for pair in enumerate(*given)],
    "replace": lambda text, old, new: text.replace(old, new),
}  # fmt: skip

atoms = st.one_of(
    st.sampled_from([*VALUES, "True", "False", "None", "0", "1", "2", "7", "10", "2.0", "0.5"]),
    st.sampled_from(["''", "'a'", "'l'", "' '", "','", "'wide'", "'12'", "[]", "[0]", "'ß'"]),
    st.integers(-(2**63) + 1, 2**63 - 1).map(str),
)


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
    compare = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
    simple = st.sampled_from(
        [
            "upper",
            "lower",
            "strip",
            "title",
            "capitalize",
            "swapcase",
            "casefold",
            "isdigit",
            "isalpha",
            "isalnum",
            "isspace",
            "isupper",
            "islower",
            "isnumeric",
            "split",
            "rsplit",
            "splitlines",
            "lstrip",
            "rstrip",
        ]
    )
    with_one = st.sampled_from(
        [
            "find",
            "rfind",
            "count",
            "index",
            "strip",
            "split",
            "rsplit",
            "join",
            "removeprefix",
            "removesuffix",
            "zfill",
            "ljust",
            "rjust",
            "center",
        ]
    )
    with_y = inner | st.just("y")
    of_one = st.sampled_from([name for name in PYTHON if name != "replace"])
    of_two = st.sampled_from(["min", "max", "round", "range"])
    of_many = st.sampled_from(["any", "all", "sum", "sorted", "max"])
    return st.one_of(
        st.builds("({} {} {})".format, inner, binary, inner),
        st.builds("({} {} {} {} {})".format, inner, compare, inner, compare, inner),
        st.builds("({} {} {})".format, inner, compare, inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("({} {})".format, st.sampled_from(["not", "-", "+"]), inner),
        st.builds("({} is {} None)".format, inner, st.sampled_from(["", "not"])),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("({})[{}:{}]".format, inner, inner, inner),
        st.builds("({})[::{}]".format, inner, inner),
        st.builds("[{} for y in {} if {}]".format, with_y, inner, with_y),
        st.builds("[p + q for p, q in {}]".format, inner),
        st.builds("{}({})".format, of_one, inner),
        st.builds("{}({}, {})".format, of_two, inner, inner),
        st.builds("{}(y for y in {})".format, of_many, inner),
        st.builds("replace({}, {}, {})".format, inner, inner, inner),
        st.builds("({}).{}()".format, inner, simple),
        st.builds("({}).{}({})".format, inner, with_one, inner),
        st.builds("({}).startswith(str({}))".format, inner, inner),
    )  # fmt: skip


expressions = st.recursive(atoms, compound, max_leaves=8)


def as_json(value: Any) -> Any:
    """Python's tuples as lists. Raises `OverflowError` for what JSON cannot hold."""
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise OverflowError
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError
    if isinstance(value, complex):
        raise OverflowError
    return value


def has_large_work(source: str) -> bool:
    """What Python would take too long, or too much memory, to refuse or to do."""
    digits = max((len(part) for part in _runs_of_digits(source)), default=0)
    stretching = ("*", "range", "just", "center", "zfill", "round")
    stretches = sum(source.count(word) for word in stretching)
    if "**" in source:
        return digits > 3 or stretches > 2
    return digits > 3 and stretches > 0


def _runs_of_digits(source: str) -> list[str]:
    return "".join(one if one.isdigit() else " " for one in source).split()


def pythons_answer(source: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            return as_json(eval(source, {"__builtins__": {}, **PYTHON, **VALUES}))
        except Exception as error:
            return error


def our_answer(source: str) -> Any:
    try:
        return compile_expression(source).evaluate(MapEnv(VALUES), Budget())
    except ExpressionError as error:
        return error


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and bool(left == right)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(expressions)
def test_an_expression_gives_what_python_gives_or_both_fail(source: str) -> None:
    assume(not has_large_work(source))
    ours = our_answer(source)
    assume(not (isinstance(ours, ExpressionError) and ours.code == "BUDGET_EXCEEDED"))
    pythons = pythons_answer(source)
    if isinstance(pythons, Exception):
        assert isinstance(ours, ExpressionError), f"{source}: {ours!r}, Python: {pythons!r}"
    elif isinstance(ours, ExpressionError):
        assert is_stricter_on_purpose(ours), f"{source}: {ours}, Python: {pythons!r}"
    else:
        assert equal(ours, pythons), f"{source}: {ours!r}, Python: {pythons!r}"


def is_stricter_on_purpose(error: ExpressionError) -> bool:
    """Where Python goes on and we do not: within a result that JSON cannot hold, `%` on text,
    and `sum` of lists."""
    reasons = (
        "64-bit",
        "finite",
        "real number",
        "% works on numbers only",
        "too large a number",
        "at most 400 digits",
    )
    return any(reason in error.message for reason in reasons)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | expressions.map(lambda source: source[:-1]))
def test_any_text_compiles_or_is_refused_politely(source: str) -> None:
    try:
        compile_expression(source).evaluate(MapEnv(VALUES), Budget())
    except (ExpressionError, ExpressionSyntaxError) as error:
        said = str(error)
    else:
        said = "fine"
    assert said
