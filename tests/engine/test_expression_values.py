"""What expressions work with: environments, names close to others, values as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from engine.expression_values import (
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    MapEnv,
    MissingValue,
    Overlay,
    kind,
    measure,
    nearest,
    shortened,
    shown,
    to_json,
    to_text,
    unlike_whole,
    weigh,
)

NODES: dict[str, Any] = {"fetch": {"output": 1}, "send": {"output": 2}}
NOW = datetime(2026, 1, 31, tzinfo=UTC)


def test_a_map_sees_its_names_and_nodes() -> None:
    env = MapEnv({"a": 1, "nodes": NODES}, now=NOW, random=0.5, uuid="u")
    assert env.lookup("a") == 1
    assert list(env.names()) == ["a", "nodes"]
    assert env.node("fetch") == {"output": 1}
    assert list(env.node_ids()) == ["fetch", "send"]
    assert (env.now(), env.random(), env.uuid()) == (NOW, 0.5, "u")
    with pytest.raises(KeyError):
        env.lookup("b")
    with pytest.raises(KeyError):
        env.node("b")


def test_a_map_without_nodes_has_none() -> None:
    assert list(MapEnv({}).node_ids()) == []
    assert list(MapEnv({"nodes": None}).node_ids()) == []


def test_a_map_without_clock_or_chance_says_so() -> None:
    env = MapEnv({})
    for ask, name in ((env.now, "now"), (env.random, "random"), (env.uuid, "uuid")):
        with pytest.raises(ExpressionError) as caught:
            ask()
        assert caught.value.message == f"{name}() is not available here"


def test_a_number_of_zero_is_a_chance() -> None:
    assert MapEnv({}, random=0.0).random() == 0.0
    assert MapEnv({}, uuid="").uuid() == ""


def test_an_overlay_adds_names_and_passes_the_rest_on() -> None:
    below = MapEnv({"a": 1, "b": 2, "nodes": NODES}, now=NOW, random=0.5, uuid="u")
    env = Overlay(below, {"a": 3, "item": None})
    assert [env.lookup(name) for name in ("a", "b", "item")] == [3, 2, None]
    assert list(env.names()) == ["a", "item", "a", "b", "nodes"]
    assert env.node("send") == {"output": 2}
    assert list(env.node_ids()) == ["fetch", "send"]
    assert (env.now(), env.random(), env.uuid()) == (NOW, 0.5, "u")
    with pytest.raises(KeyError):
        env.lookup("c")


@pytest.mark.parametrize(
    ("name", "known", "close"),
    [
        ("usernme", ["tier", "username"], "username"),
        ("userName", ["user_name", "x"], "user_name"),
        ("USERID", ["userid", "x"], "userid"),
        ("USER_ID", ["userid"], "userid"),
        ("USERID", ["user_id"], "user_id"),
        ("USER_ID", ["us_erid"], "us_erid"),
        ("_u_i_d", ["uid"], "uid"),
        ("uid", ["u_i_d"], "u_i_d"),
        ("qqq", ["username"], None),
        ("", ["a"], None),
        ("abc", [], None),
        ("abc", ["abd", "abcd"], "abcd"),
        ("abcde", ["abxyz"], None),
        ("abcde", ["abcxy"], "abcxy"),
        ("k" * 64, ["k" * 65], None),
        ("k" * 65, ["k" * 64], "k" * 64),
        ("target", [f"n{i}" for i in range(199)] + ["targe"], "targe"),
        ("target", [f"n{i}" for i in range(200)] + ["targe"], None),
    ],
)
def test_the_closest_name_is_the_one_probably_meant(
    name: str, known: list[str], close: str | None
) -> None:
    assert nearest(name, known) == close


def test_the_closest_name_is_looked_for_only_when_the_message_is_read() -> None:
    asked = []

    def known() -> list[str]:
        asked.append(True)
        return ["name"]

    error = MissingValue("there is no 'nam'", "nam", known)
    assert not asked
    assert error.message == "there is no 'nam'; did you mean 'name'?"
    assert str(error) == error.message
    assert len(asked) == 1
    assert MissingValue("gone").message == "gone"


def test_an_error_reads_with_its_source_once_it_has_one() -> None:
    error = ExpressionError("wrong")
    assert (error.message, error.source, error.code) == ("wrong", "", "EXPRESSION_ERROR")
    assert str(error) == "wrong"
    error.source = "a + 1"
    assert str(error) == "wrong (in {{ a + 1 }})"


def test_a_syntax_error_reads_with_its_place_and_its_hint() -> None:
    plain = ExpressionSyntaxError("wrong")
    assert (plain.message, plain.line, plain.column, plain.hint, plain.path) == (
        "wrong", 1, 1, None, "",
    )  # fmt: skip
    assert str(plain) == "wrong (line 1, column 1)"
    assert str(ExpressionSyntaxError("wrong", 2, 3, "do so")) == "wrong (line 2, column 3). do so"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (None, "null"), (True, "true/false"), (5, "a number"), (2.5, "a number"), ("a", "text"),
        ([], "a list"), ({}, "an object"), ((), "not a JSON value"),
    ],
)  # fmt: skip
def test_kinds_have_an_authors_names(value: Any, named: str) -> None:
    assert kind(value) == named
    assert unlike_whole(value) == ("2.5" if value == 2.5 else named)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"), ("it's", '"it\'s"'), ("k" * 40, f"'{'k' * 40}'"),
        ("k" * 41, f"'{'k' * 39}…'"), (5, "5"), (None, "None"), (True, "True"), ([1], "a list"),
        ({}, "an object"),
    ],
)  # fmt: skip
def test_a_key_is_shown_shortened_and_a_container_by_its_kind(value: Any, text: str) -> None:
    assert shown(value) == text


def test_a_source_is_shown_on_one_line_of_at_most_120_characters() -> None:
    assert shortened("a\n  +\tb") == "a + b"
    assert shortened("x" * 120) == "x" * 120
    assert shortened("x" * 121) == "x" * 119 + "…"
    assert shortened("a" + " " * 300 + "b") == "a"
    assert shortened(" " * 230 + "b" * 9) == "b" * 9


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"), (5, "5"), (2.50, "2.5"), (True, "True"), (None, "None"),
        ([1, "ä", None], '[1,"ä",null]'), ({"a": {"b": False}}, '{"a":{"b":false}}'), ([], "[]"),
    ],
)  # fmt: skip
def test_a_value_as_text(value: Any, text: str) -> None:
    assert to_text(value, Budget()) == text


def test_a_value_as_json() -> None:
    assert to_json("a", Budget()) == '"a"'
    assert to_json({"b": 1, "a": [2.5, None]}, Budget()) == '{"b":1,"a":[2.5,null]}'
    with pytest.raises(ExpressionError) as caught:
        to_json({"a": {1, 2}}, Budget())
    assert caught.value.message.startswith("not a JSON value: ")


def nested(levels: int, *, of_objects: bool = False) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if of_objects else [value]
    return value


@pytest.mark.parametrize("of_objects", [False, True])
def test_a_value_may_be_nested_32_levels(of_objects: bool) -> None:
    measure(nested(32, of_objects=of_objects), Budget())
    with pytest.raises(ExpressionError) as caught:
        measure(nested(33, of_objects=of_objects), Budget())
    assert caught.value.message == "the value is nested deeper than 32 levels"
    measure(nested(30, of_objects=of_objects), Budget(), 2)
    with pytest.raises(ExpressionError):
        measure(nested(31, of_objects=of_objects), Budget(), 2)


@pytest.mark.parametrize(
    ("value", "fuel", "size"),
    [
        ("abc", 0, 3),
        (5, 0, 8),
        (None, 0, 8),
        ([], 2, 0),
        ([1, 2, 3, 4], 3, 64),
        (["abc", [1]], 4, 51),
        ({}, 2, 0),
        ({"ab": 1, "c": "def"}, 4 - 2, 38),
        ({"a": {"b": [1]}}, 6, 50),
        ({str(i): i for i in range(8)}, 4, 136),
    ],
)
def test_a_value_is_measured_as_it_will_be_written(value: Any, fuel: int, size: int) -> None:
    budget = Budget()
    measure(value, budget)
    assert (20_000 - budget.fuel, 1_048_576 - budget.bytes) == (fuel, size)


@pytest.mark.parametrize(
    ("value", "units", "fuel"),
    [
        (5, 0, 0),
        ("x" * 1_023, 0, 0),
        ("x" * 2_048, 2, 0),
        ([], 1, 1),
        ([1] * 8, 3, 3),
        (["x" * 1_024, [1] * 4], 4, 3),
        ({"x" * 1_024: "y" * 1_024}, 3, 1),
        ({str(i): [] for i in range(4)}, 6, 6),
    ],
)
def test_a_value_is_weighed_by_its_parts(value: Any, units: int, fuel: int) -> None:
    budget = Budget()
    assert weigh(value, budget) == units
    assert 20_000 - budget.fuel == fuel
