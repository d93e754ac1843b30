"""What expressions mean: a table of behaviours, by topic."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from engine.expressions import (
    Budget,
    ExpressionError,
    MapEnv,
    MissingValue,
    Overlay,
    compile_expression,
)

NOW = datetime(2026, 1, 31, 20, 5, 9, 123456, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "username": "ann",
    "tier": "gold",
    "index": 3,
    "price": 2.5,
    "active": True,
    "nothing": None,
    "message": "hello wide world",
    "names": ["ann", "bob"],
    "numbers": [3, 1, 2],
    "weather": {"temp": 21, "wind": {"speed": 4.5}, "home-town": "Ulm"},
    "players": [{"name": "ann", "score": 12}, {"name": "bob", "score": 7}],
    "items": [10, 20],
    "json": "a variable named like a function",
    "order": {"items": [1, 2, 3], "count": 9},
    "nodes": {
        "fetch": {"output": {"temp": 8}, "port": "output", "error": None},
        "n-1": {"port": "x"},
    },
}
ENV = MapEnv(VALUES, now=NOW, random=0.5, uuid="7e5c4d62-4e1b-4b19-a6a8-6f53a2b7b9b1")


def value_of(source: str) -> Any:
    return compile_expression(source).evaluate(ENV, Budget())


def same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("username", "ann"),
        ("weather.temp", 21),
        ("weather['temp']", 21),
        ("weather.wind.speed", 4.5),
        ("weather['home-town']", "Ulm"),
        ("players[0].name", "ann"),
        ("players[-1]['score']", 7),
        ("nodes.fetch.output.temp", 8),
        ("nodes['n-1'].port", "x"),
        ("nodes['n' + '-1'].port", "x"),
        ("nodes.keys()", ["fetch", "n-1"]),
        ("'fetch' in nodes", True),
        ("len(items)", 2),
        ("items", [10, 20]),
        ("json", "a variable named like a function"),
        ("json(items)", "[10,20]"),
        ("order.items", [1, 2, 3]),
        ("order.items()", [["items", [1, 2, 3]], ["count", 9]]),
        ("order.count", 9),
        ("{{ username }}", "ann"),
        ("  {{ index + 1 }}\n", 4),
        ("\n index\n  + 1 ", 4),
    ],
)
def test_names_and_paths_read_values(source: str, expected: Any) -> None:
    assert same(value_of(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("index + 1", 4),
        ("index - 1 - 1", 1),
        ("2 * 3 + 4 * 5", 26),
        ("7 / 2", 3.5),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("2 ** 10", 1024),
        ("2 ** -1", 0.5),
        ("-2 ** 2", -4),
        ("+index", 3),
        ("True + 1", 2),
        ("'a' + 'b'", "ab"),
        ("'ab' * 3", "ababab"),
        ("3 * 'ab'", "ababab"),
        ("'ab' * -1", ""),
        ("[1] + [2]", [1, 2]),
        ("[0] * 2", [0, 0]),
        ("-9223372036854775808", -(2**63)),
        ("1 < 2 < 3", True),
        ("1 < 3 < 2", False),
        ("1 == 1.0", True),
        ("1 == '1'", False),
        ("'a' < 'b'", True),
        ("[1, 2] < [1, 3]", True),
        ("[1, {'a': 2}] == [1, {'a': 2}]", True),
        ("'wide' in message", True),
        ("'ann' in names", True),
        ("'temp' in weather", True),
        ("5 not in numbers", True),
        ("nothing is None", True),
        ("active is not None", True),
        ("active is true", True),
        ("nothing is null", True),
        ("not active", False),
        ("'' or 'x'", "x"),
        ("'a' and 0", 0),
        ("false or null", None),
        ("active and index > 2 and username == 'ann'", True),
        ("'VIP' if tier == 'gold' else 'Regular'", "VIP"),
        ("1 if False else 2 if False else 3", 3),
    ],
)
def test_operators_are_pythons(source: str, expected: Any) -> None:
    assert same(value_of(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("message[:5]", "hello"),
        ("message[-5:]", "world"),
        ("numbers[::-1]", [2, 1, 3]),
        ("numbers[1]", 1),
        ("'abc'[1]", "b"),
        ("[1, 'a', null, true]", [1, "a", None, True]),
        ("(1, 2)", [1, 2]),
        ("1, 2", [1, 2]),
        ("{'a': 1, 'b': [2]}", {"a": 1, "b": [2]}),
        ("{**weather, 'temp': 0}['temp']", 0),
        ("[p.name for p in players if p.score > 10]", ["ann"]),
        ("[x * y for x in numbers for y in items if y > 10]", [60, 20, 40]),
        ("[x for x in numbers if x > 1 if 6 / (x - 1) > 3]", [2]),
        ("{p.name: p.score for p in players}", {"ann": 12, "bob": 7}),
        ("[k + str(v) for k, v in items({'a': 1})]", ["a1"]),
        ("[a + b for a, (b, c) in [[1, [2, 3]]]]", [3]),
        ("sum(p.score for p in players)", 19),
        ("', '.join(p.name for p in players)", "ann, bob"),
        ("any(p.score > 10 for p in players)", True),
        ("any(1 / x > 0 for x in [1, 0])", True),
        ("all(p.score > 10 for p in players)", False),
        ("[[y for y in range(x)] for x in range(3)]", [[], [0], [0, 1]]),
        ("[username for username in names][1] + username", "bobann"),
        ("[c for c in 'ab']", ["a", "b"]),
        ("[k for k in weather]", ["temp", "wind", "home-town"]),
        ("[nodes for nodes in [{'fetch': 1}]][0].fetch", 1),
    ],
)
def test_lists_objects_and_comprehensions(source: str, expected: Any) -> None:
    assert same(value_of(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("username.upper()", "ANN"),
        ("'ß'.casefold()", "ss"),
        ("'a b'.title()", "A B"),
        ("' x '.strip()", "x"),
        ("'xxaxx'.strip('x')", "a"),
        ("'a,b,c'.split(',', 1)", ["a", "b,c"]),
        ("'a b  c'.split()", ["a", "b", "c"]),
        ("'a-b-c'.rsplit('-', maxsplit=1)", ["a-b", "c"]),
        ("'a\\nb'.splitlines()", ["a", "b"]),
        ("'k=v=w'.partition('=')", ["k", "=", "v=w"]),
        ("'k=v=w'.rpartition('=')", ["k=v", "=", "w"]),
        ("', '.join(names)", "ann, bob"),
        ("'aXbX'.replace('X', '-')", "a-b-"),
        ("'aXbX'.replace('X', '-', 1)", "a-bX"),
        ("'!song x'.removeprefix('!song ')", "x"),
        ("'file.txt'.removesuffix('.txt')", "file"),
        ("username.startswith('an')", True),
        ("username.endswith(['x', 'n'])", True),
        ("message.find('wide')", 6),
        ("message.find('nowhere')", -1),
        ("message.rfind('w')", 11),
        ("message.count('l')", 3),
        ("message.index('w')", 6),
        ("'7'.zfill(3)", "007"),
        ("'x'.center(3, '-')", "-x-"),
        ("'x'.ljust(2) + 'x'.rjust(2)", "x  x"),
        ("'12'.isdigit()", True),
        ("'a1'.isalpha()", False),
        ("numbers.index(2)", 2),
        ("names.count('bob')", 1),
        ("weather.get('temp')", 21),
        ("weather.get('rain', 0)", 0),
        ("weather.get('rain')", None),
        ("weather.wind.keys()", ["speed"]),
        ("weather.wind.values()", [4.5]),
        ("username.upper().lower().title()", "Ann"),
    ],
)
def test_methods(source: str, expected: Any) -> None:
    assert same(value_of(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("len(message)", 16),
        ("len(weather)", 3),
        ("str(5) + str(2.50) + str(true) + str(null)", "52.5TrueNone"),
        ("str([1, 'ä', {'a': null}])", '[1,"ä",{"a":null}]'),
        ("int('12')", 12),
        ("int(-3.9)", -3),
        ("int('ff', 16)", 255),
        ("float('2.5')", 2.5),
        ("bool([])", False),
        ("abs(-3)", 3),
        ("round(2.5)", 2),
        ("round(2.345, 2)", 2.35 if round(2.345, 2) == 2.35 else 2.34),
        ("round(1234, -2)", 1200),
        ("round(2.345, ndigits=1)", 2.3),
        ("floor(2.7)", 2),
        ("ceil(2.1)", 3),
        ("min(3, 1, 2)", 1),
        ("max(numbers)", 3),
        ("max([], default=0)", 0),
        ("max(players, key='score').name", "ann"),
        ("sum([1, 2.5])", 3.5),
        ("sum([1], 10)", 11),
        ("sorted(numbers)", [1, 2, 3]),
        ("sorted(numbers, reverse=True)", [3, 2, 1]),
        ("[p.name for p in sorted(players, key='score')]", ["bob", "ann"]),
        ("sorted([{'a': {'b': 2}}, {'a': {'b': 1}}], key='a.b')[0].a.b", 1),
        ("reversed(numbers)", [2, 1, 3]),
        ("range(3)", [0, 1, 2]),
        ("range(5, 0, -2)", [5, 3, 1]),
        ("range(5, 0)", []),
        ("any([0, 1])", True),
        ("all([])", True),
        ("zip(names, numbers)", [["ann", 3], ["bob", 1]]),
        ("enumerate(names, 1)", [[1, "ann"], [2, "bob"]]),
        ("keys(weather.wind)", ["speed"]),
        ("values(weather.wind)", [4.5]),
        ("items(weather.wind)", [["speed", 4.5]]),
        ("json({'a': [1, null]})", '{"a":[1,null]}'),
        ('parse_json(\'{"a": [1, 2.5, null, "x"]}\').a', [1, 2.5, None, "x"]),
        ("matches(message, 'w.de')", True),
        ("matches(message, '^wide')", False),
        ("matches('a1', '\\d')", True),
        ("matches(message, 'wi' + 'de')", True),
        ("replace(message, 'hello', 'bye')", "bye wide world"),
        ("hash_sha256('a')[:8]", "ca978112"),
    ],
)
def test_functions(source: str, expected: Any) -> None:
    assert same(value_of(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("now()", "2026-01-31T20:05:09.123Z"),
        ("now_unix()", int(NOW.timestamp())),
        ("random()", 0.5),
        ("random(1, 6)", 4),
        ("random(5, 5)", 5),
        ("random(names)", "bob"),
        ("uuid()", "7e5c4d62-4e1b-4b19-a6a8-6f53a2b7b9b1"),
        ("date_format(now(), '%Y-%m-%d %H:%M:%S')", "2026-01-31 20:05:09"),
        (
            "date_format('2026-01-31', '%A, %d %B %y, day %j, week %V')",
            "Saturday, 31 January 26, day 031, week 05",
        ),
        ("date_format('2026-01-31T20:05:00+02:00', '%I:%M %p %z %Z')", "08:05 PM +0200 UTC+0200"),
        ("date_format(0, '%F %T 100%%')", "1970-01-01 00:00:00 100%"),
    ],
)
def test_time_and_chance_come_from_the_environment(source: str, expected: Any) -> None:
    assert same(value_of(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("default(weather.rain, 0)", 0),
        ("default(weather.rain.today.amount, 'dry')", "dry"),
        ("default(weather.temp, 0)", 21),
        ("default(nothing, 'x')", "x"),
        ("default(nothing.at.all, 'x')", "x"),
        ("default(players[9].name, 'nobody')", "nobody"),
        ("default(nodes.other.output, 'none')", "none"),
        ("default(unknown, default(other, 1))", 1),
        ("default(username, 1 / 0)", "ann"),
        ("has(weather.temp)", True),
        ("has(weather.rain)", False),
        ("has(nothing)", True),
        ("has(unknown.at.all)", False),
        ("has(players[0].name)", True),
        ("has(nodes.fetch)", True),
        ("has(nodes.other)", False),
    ],
)
def test_default_and_has_answer_for_what_is_missing(source: str, expected: Any) -> None:
    assert same(value_of(source), expected)


def test_default_does_not_hide_other_errors() -> None:
    with pytest.raises(ExpressionError, match="division by zero"):
        value_of("default(1 / 0, 2)")


def test_paths_are_those_that_must_exist() -> None:
    source = (
        "[p.name + suffix.a for p in players if p.x] + [default(m.n, d.e), has(h.i), u.v.upper(),"
        " w['x'].y, z[0].q]"
    )
    assert compile_expression(source).paths == (
        ("players",),
        ("suffix", "a"),
        ("d", "e"),
        ("u", "v"),
        ("w", "x", "y"),
        ("z",),
    )


def test_a_loop_variable_is_gone_after_its_comprehension() -> None:
    with pytest.raises(MissingValue, match="'p'"):
        value_of("[p for p in numbers] + [p]")


def test_an_overlay_wins_over_what_is_below() -> None:
    env = Overlay(ENV, {"username": "zoe", "item": 1})
    expression = compile_expression("[username, item, tier, now()[:4], random(1, 3), uuid()[:2]]")
    assert expression.evaluate(env, Budget()) == ["zoe", 1, "gold", "2026", 2, "7e"]


def test_nodes_that_ran_are_seen_through_an_overlay() -> None:
    expression = compile_expression("nodes.fetch.port")
    assert expression.evaluate(Overlay(ENV, {"item": 1}), Budget()) == "output"


@pytest.mark.parametrize("source", ["now()", "random()", "uuid()"])
def test_a_bare_environment_has_no_clock_and_no_chance(source: str) -> None:
    with pytest.raises(ExpressionError, match="not available here"):
        compile_expression(source).evaluate(MapEnv({}), Budget())


def test_values_are_shared_and_never_changed() -> None:
    before = repr(VALUES)
    value_of("[sorted(numbers), reversed(names), numbers + [1], {**weather, 'temp': 1}]")
    assert repr(VALUES) == before
