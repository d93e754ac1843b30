"""The fine print: limits to the last unit, and what lies next to them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from engine.expressions import (
    Budget,
    ExpressionError,
    MapEnv,
    compile_expression,
)

VALUES: dict[str, Any] = {
    "o": {"size": 4, "name": "ann"},
    "xs": [3, 1, 2],
    "digits": "7" * 400,
    "nodes": {"fetch": {"output": {"temp": 8}}},
    "players": [{"name": "bob", "score": 7}, {"name": "ann", "score": 7}],
    "none": None,
}
NOW = datetime(2026, 1, 31, 20, 5, 9, 987_654, tzinfo=UTC)


def value_of(source: str, **more: Any) -> Any:
    env = MapEnv({**VALUES, **more}, now=NOW, random=more.get("chance", 0.5), uuid="7e5c")
    return compile_expression(source).evaluate(env, Budget())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("-9223372036854775807 - 1", -(2**63)),
        ("9223372036854775806 + 1", 2**63 - 1),
        ("-9223372036854775808 + 0", -(2**63)),
        ("1 ** 64", 1),
        ("(-1) ** 65", -1),
        ("0 ** 64", 0),
        ("True ** 99", 1),
        ("2 ** 62", 2**62),
        ("2.0 ** 64", 2.0**64),
        ("2 ** 64.0", 2.0**64),
        ("0 ** 0", 1),
        ("(-2) ** 63", -(2**63)),
        ("2 ** -64", 2.0**-64),
        ("True * 'ab'", "ab"),
        ("'ab' * False", ""),
        ("-True", -1),
        ("+True", 1),
        ("1 == True", True),
        ("'a' == 1", False),
        ("[1] == 'a'", False),
        ("{'a': 1} == [1]", False),
        ("[1] == [1, 2]", False),
        ("[1, 2] == [1, 3]", False),
        ("[1, [2]] == [1.0, [2]]", True),
        ("{'a': 1} == {'a': 1, 'b': 2}", False),
        ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", True),
        ("[1] != [1, 2]", True),
        ("1.0 in [1]", True),
        ("none in o", False),
        ("True in [1]", True),
        ("xs[True]", 1),
        ("xs[-3]", 3),
        ("'abc'[-3]", "a"),
        ("xs[True:]", [1, 2]),
        ("xs[:0]", []),
        ("xs[5:]", []),
        ("xs[::-2]", [2, 3]),
        ("'abc'[2:0:-1]", "cb"),
        ("1 < 2 > 1 != 3", True),
        ("3 > 2 > 2", False),
        ("2 >= 2 <= 2", True),
        ("'b' >= 'a'", True),
        ("'a' <= 'a'", True),
        ("[1] >= [1]", True),
        ("[2] > [1, 9]", True),
        ("0 and 1 / 0", 0),
        ("1 or 1 / 0", 1),
        ("'' or 0 or []", []),
        ("1 and 'a' and 2", 2),
        ("1 if [] else 2", 2),
        ("none is not None or none is None", True),
        ("none is True", False),
        ("1 is not True", True),
        ("{'a': 1, 'a': 2}", {"a": 2}),
        ("{**{'a': 1}, 'a': 2, **{'b': 3}}", {"a": 2, "b": 3}),
        ("{'a': 1, **{'a': 2}}", {"a": 2}),
        ("[a + b for a, b in {'ab': 1, 'cd': 2}]", ["ab", "cd"]),
        ("[[a, b, c] for a, (b, c) in [[1, {'x': 1, 'y': 2}]]]", [[1, "x", "y"]]),
        ("[x for x in xs if x > 1 if x < 3]", [2]),
        ("[x + y for x in xs if x > 1 for y in xs if y < x]", [4, 5, 3]),
        ("[[x for x in [x, 9]] for x in [1, 2]]", [[1, 9], [2, 9]]),
        ("{str(x): [y for y in range(x)] for x in xs if x < 3}", {"1": [0], "2": [0, 1]}),
        ("[x for x in [y for y in xs] if x not in [1]]", [3, 2]),
        ("any(x > 2 for x in xs) and not any(x > 3 for x in xs)", True),
        ("all(x > 0 for x in xs) and not all(x > 1 for x in xs)", True),
        ("any([x > 2 for x in xs])", True),
        ("[true, null, false]", [True, None, False]),
        ("[true for true in xs]", [3, 1, 2]),
        ("[none for nodes in xs]", [None, None, None]),
        ("[nodes['size'] for nodes in [o]]", [4]),
        ("[null.size for null in [o]]", [4]),
    ],
)
def test_operators_and_loops_at_their_edges(source: str, expected: Any) -> None:
    value = value_of(source)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'aXbX'.lstrip('a') + 'aXbX'.rstrip('X')", "XbXaXb"),
        ("'xxa'.lstrip('x') + 'axx'.rstrip('x')", "aa"),
        ("['abc'.startswith('b'), 'abc'.endswith('c'), 'abc'.endswith('b')]", [False, True, False]),
        ("'abc'.startswith([])", False),
        ("'x'.ljust(3, '-') + 'x'.rjust(3, '-')", "x----x"),
        ("'-7'.zfill(4)", "-007"),
        ("'abcabc'.find('b', 2)", 4),
        ("'abcabc'.find('b', 2, 4)", -1),
        ("'abcabc'.rfind('b', 0, 4)", 1),
        ("'abcabc'.count('b', 2)", 1),
        ("'abc'.find('b', none, 1)", -1),
        ("'abc'.index('a')", 0),
        ("'abc'.index('c')", 2),
        ("'-'.join({'a': 1, 'b': 2})", "a-b"),
        ("'-'.join('abc')", "a-b-c"),
        (
            "'a b c d'.split(none, 1) + 'a b c d'.split(none, -1)",
            ["a", "b c d", "a", "b", "c", "d"],
        ),
        ("'aaa'.replace('a', 'b', 0)", "aaa"),
        ("'aaa'.replace('a', 'b', 2)", "bba"),
        ("'aaa'.replace('a', 'b', -1)", "bbb"),
        ("'aaa'.replace('', '-')", "-a-a-a-"),
        ("'a b c'.split(none, 1)", ["a", "b c"]),
        ("'a b c'.split(maxsplit=0)", ["a b c"]),
        ("'a,b,c'.split(',', 0)", ["a,b,c"]),
        ("'a,b,c'.split(sep=',')", ["a", "b", "c"]),
        ("'a,b,c'.rsplit(',', 1)", ["a,b", "c"]),
        ("'a\\nb'.splitlines(true)", ["a\n", "b"]),
        ("'a\\nb'.splitlines(keepends=false)", ["a", "b"]),
        ("'ab'.partition('x') + 'ab'.rpartition('x')", ["ab", "", "", "", "", "ab"]),
        ("'x=1=2'.partition('=') + 'x=1=2'.rpartition('=')", ["x", "=", "1=2", "x=1", "=", "2"]),
        ("[1, 1.0, True, 'a'].index(True)", 0),
        ("[[1], [2], [2]].count([2])", 2),
        ("xs.index(2)", 2),
        ("o.get(1)", None),
        ("o.get(none, 5)", 5),
        ("'ǆ'.title() + 'ŉ'.upper() + 'İ'.lower()", "\u01c5\u02bcNi\u0307"),
        (
            "['Ⅷ'.isnumeric(), '²'.isdigit(), '²'.isdecimal(), '²'.isnumeric()]",
            [True, True, False, True],
        ),
        ("['A1'.isupper(), 'a1'.islower(), 'a1'.isalnum(), ' \\t'.isspace()]", [True] * 4),
        ("'Straße'.swapcase()", "sTRASSE"),
        ("'hello wORLD'.capitalize()", "Hello world"),
    ],
)
def test_methods_at_their_edges(source: str, expected: Any) -> None:
    assert value_of(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("str()", ""),
        ("int()", 0),
        ("float()", 0.0),
        ("bool()", False),
        ("bool('a')", True),
        ("str(none)", "None"),
        ("int(True)", 1),
        ("int(' 12 ')", 12),
        ("int('-0x1f', 16)", -31),
        ("int('0b11', 0)", 3),
        ("int('0' * 400)", 0),
        ("float('0' * 399 + '1')", 1.0),
        ("float(True)", 1.0),
        ("len(o)", 2),
        ("abs(True)", 1),
        ("round(True)", 1),
        ("round(7, 400)", 7),
        ("round(7.5, -400)", 0.0),
        ("round(15, -1)", 20),
        ("round(2.675, 2)", 2.67),
        ("floor(-2.5) + ceil(-2.5)", -5),
        ("sum([])", 0),
        ("sum([True, 2])", 3),
        ("sum([0.5], start=1)", 1.5),
        ("sum({'a': 1} and [1])", 1),
        ("any({'': 1})", False),
        ("all('')", True),
        ("sorted('bca')", ["a", "b", "c"]),
        ("sorted({'b': 1, 'a': 2})", ["a", "b"]),
        ("zip([1, 2, 3], [4])", [[1, 4]]),
        ("sorted(xs, reverse=1)", [3, 2, 1]),
        ("[p.name for p in sorted(players, key='score', reverse=true)]", ["bob", "ann"]),
        ("[p.name for p in sorted(players, key='name')]", ["ann", "bob"]),
        ("min('bca')", "a"),
        ("max({'a': 1, 'b': 0})", "b"),
        ("max(players, key='score').name", "bob"),
        ("min(players, key='name').name", "ann"),
        ("min([], default=none)", None),
        ("max(1, 2.5, True)", 2.5),
        ("min(1, True)", 1),
        ("min('b', 'a')", "a"),
        ("reversed('abc')", ["c", "b", "a"]),
        ("reversed(o)", ["name", "size"]),
        ("[p.name for p in sorted(o and players, key='name', reverse=true)]", ["bob", "ann"]),
        ("range(5, 5, -1)", []),
        ("range(4, 5, 9)", [4]),
        ("zip([1], [2], [])", []),
        ("range(0)", []),
        ("range(2, 5)", [2, 3, 4]),
        ("range(5, 2, -1)", [5, 4, 3]),
        ("range(5, 1, -2)", [5, 3]),
        ("range(1, 6, 2)", [1, 3, 5]),
        ("range(-3, True)", [-3, -2, -1, 0]),
        ("zip('ab', xs, o)", [["a", 3, "size"], ["b", 1, "name"]]),
        ("zip()", []),
        ("enumerate('ab')", [[0, "a"], [1, "b"]]),
        ("enumerate('ab', start=5)", [[5, "a"], [6, "b"]]),
        ("enumerate(['a'], 9223372036854775807)", [[2**63 - 1, "a"]]),
        ("enumerate([], 9223372036854775807)", []),
        (
            "keys(o) + values(o) + items(o)",
            ["size", "name", 4, "ann", ["size", 4], ["name", "ann"]],
        ),
        ("matches(12.5, '^12')", True),
        ("matches(true, 'rue$')", True),
        ("matches(5, '5' + '')", True),
        ("matches('a\\nb', '^b')", False),
        ("matches('a' * 256, 'a' * 256)", True),
        ("quote('a b/c?d&e=f+g%h#i~j-k.l_m')", "a%20b%2Fc%3Fd%26e%3Df%2Bg%25h%23i~j-k.l_m"),
        ("quote('\u00fc\u20ac\U0001f600')", "%C3%BC%E2%82%AC%F0%9F%98%80"),
        ("quote('')", ""),
        ("quote(12) + quote(2.5) + quote(true)", "122.5True"),
        ("hash_sha256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("json('\u00e4\"')", '"\u00e4\\""'),
        ("now()", "2026-01-31T20:05:09.987Z"),
        ("now_unix()", 1769889909),
        ("random(['a'])", "a"),
        ("random(-3, -3)", -3),
        ("random(True, 4)", 3),
    ],
)
def test_functions_at_their_edges(source: str, expected: Any) -> None:
    value = value_of(source)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("chance", "whole", "one"),
    [(0.0, 1, "a"), (0.34, 2, "b"), (0.67, 3, "c"), (0.999999, 3, "c"), (1.0, 3, "c")],
)
def test_chance_reaches_both_ends_and_never_beyond(chance: float, whole: int, one: str) -> None:
    assert value_of("random(1, 3)", chance=chance) == whole
    assert value_of("random(['a', 'b', 'c'])", chance=chance) == one


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("default(o.size, 1)", 4),
        ("default(o.nope, o.size)", 4),
        ("default(none, none)", None),
        ("default(o['no' + 'pe'], 1)", 1),
        ("default(nodes['x' + 'y'], 1)", 1),
        ("default(xs[0], 1)", 3),
        ("default([x for x in xs][9], 1)", 1),
        ("default(sorted(players, key='nope'), 1)", 1),
        ("has(o['size'])", True),
        ("has(o['nope'])", False),
        ("has(xs[2])", True),
        ("has(xs[3])", False),
        ("has(xs[-4])", False),
        ("has(nodes['fetch'].output.temp)", True),
        ("has(nodes['x'])", False),
        ("has(none.x)", False),
        ("[has(p.nick) or p.name for p in players]", ["bob", "ann"]),
    ],
)
def test_default_and_has_at_their_edges(source: str, expected: Any) -> None:
    assert value_of(source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("default(o.size + 'a', 1)", "cannot add a number and text"),
        ("default(nope, nope)", "there is no variable 'nope'"),
        ("has(xs['a' + 'b'])", "the index of a list is a whole number"),
        ("has(nodes[5])", "the id of a node is text"),
    ],
)
def test_default_and_has_hide_nothing_but_what_is_missing(source: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        value_of(source)
