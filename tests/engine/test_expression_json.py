"""JSON read and written by expressions: the limits of values hold for what comes from texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.expression_json import valid_text
from engine.expressions import Budget, ExpressionError, MapEnv, compile_expression

LONE = "\\ud800"
PAIR = "\\ud83d\\ude00"


def parsed(text: str) -> Any:
    return compile_expression("parse_json(text)").evaluate(MapEnv({"text": text}), Budget())


def refusal(text: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        parsed(text)
    assert caught.value.code == "EXPRESSION_ERROR"
    return caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775807",
        "-9223372036854775808",
        "0",
        "-0",
        "1.5e300",
        "-2.5",
        "1e-400",
        "true",
        "null",
        '"a\\nb\\u00e4"',
        f'"{PAIR}"',
        f'{{"{PAIR}": ["{PAIR}"]}}',
        "[]",
        '{"a": {"b": [1, 2.0, "x", null, false]}}',
        '{"b": 1, "a": 2}',
        " [1 , 2 ] ",
    ],
)
def test_a_json_text_is_read_as_its_value(text: str) -> None:
    value = parsed(text)
    assert repr(value) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "1" + "0" * 5000])
def test_an_integer_beyond_64_bits_is_refused(text: str) -> None:
    assert refusal(f"[{text}]") == "the JSON holds an integer that does not fit 64 bits"


def test_a_number_may_have_a_thousand_characters() -> None:
    assert parsed("1." + "0" * 997 + "5") == 1.0
    assert refusal("1." + "0" * 998 + "5") == "the JSON holds a number that is too large"
    assert refusal("-1e400") == "the JSON holds a number that is too large"


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_number_is_refused(name: str) -> None:
    assert refusal(f"[1, {name}]") == f"{name} is not a JSON number"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 32 + "]" * 32,
        '{"a":' * 32 + "1" + "}" * 32,
        "[" * 31 + "[],[],[]" + "]" * 31,
        "[" + "[]," * 100 + "{}]",
        '["' + "[" * 100 + '"]',
        '["\\"' + "[" * 100 + '"]',
        '["\\\\", "' + "{" * 100 + '"]',
        '["' + "]" * 50 + "[" * 50 + '"]',
    ],
)
def test_nesting_counts_outside_of_texts_and_up_to_32_levels(text: str) -> None:
    assert parsed(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 33 + "]" * 33,
        "[" * 100_000,
        '{"a":' * 33 + "1" + "}" * 33,
        '["\\\\",' + "[" * 32 + "]" * 33,
        '["]]]",' + "[" * 32 + "]" * 33,
        '["\\"]",' + "[" * 32 + "]" * 33,
        "[[], {}," + "[" * 32 + "]" * 33,
    ],
)
def test_deeper_nesting_is_refused_before_it_is_read(text: str) -> None:
    assert refusal(text) == "the JSON is nested deeper than 32 levels"


@pytest.mark.parametrize(
    "text",
    [
        f'"{LONE}"',
        f'[["a", "{LONE}"]]',
        f'{{"a": "{LONE}"}}',
        f'{{"{LONE}": 1}}',
        '"\\u0000"',
        '{"\\u0000": 1}',
        '[{"a": ["\\u0000"]}]',
    ],
)
def test_text_that_cannot_be_stored_is_refused(text: str) -> None:
    assert refusal(text) == "the JSON holds text that is not valid Unicode, or U+0000"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "Expecting value (line 1, column 1)"),
        ("[1,\n 2", "Expecting ',' delimiter (line 2, column 3)"),
        ("[1] 2", "Extra data (line 1, column 5)"),
        ('"a\0b"', "Invalid control character at (line 1, column 3)"),
    ],
)
def test_a_malformed_text_is_refused_with_the_place(text: str, place: str) -> None:
    assert refusal(text) == f"parse_json() cannot read the text: {place}"


def test_what_is_read_pays_for_itself() -> None:
    env = MapEnv({"text": "[" + "0," * 40 + "0]"})
    expression = compile_expression("parse_json(text)")
    with pytest.raises(ExpressionError) as caught:
        expression.evaluate(env, Budget(fuel=20_000, bytes=700))
    assert caught.value.code == "BUDGET_EXCEEDED"


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [("", True), ("a\u00e4\U0001f600", True), ("\ud800", False), ("a\0", False), ("\x01", True)],
)
def test_a_text_can_be_stored_if_it_is_unicode_without_nul(text: str, is_valid: bool) -> None:
    assert valid_text(text) is is_valid
