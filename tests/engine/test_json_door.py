"""The JSON door: what passes, what does not, and that it says where."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.json_door import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_KEY_LENGTH,
    JsonError,
    check_json,
    dumps,
    parse_json,
)


def refusal(data: bytes | str) -> JsonError:
    with pytest.raises(JsonError) as caught:
        parse_json(data)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "null",
        " true ",
        "0",
        "-0",
        "1.5e3",
        "1e300",
        "-9223372036854775808",
        "9223372036854775807",
        '"\\ud83d\\ude00 café \\u00e9"',
        '{"url": "http://x:1", "a:b": {"c": ":"}, "": []}',
        '{"escaped colon": "\\u003a", "and a digit": "\\u0031"}',
        '{"a": {"k": 1}, "b": {"k": 1}}',
        '{"backslash": "\\\\u0000"}',
        "[]",
    ],
)
def test_sound_documents_give_the_value_the_standard_parser_gives(text: str) -> None:
    assert parse_json(text) == json.loads(text)
    assert parse_json(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "path", "word"),
    [
        ('{"a": 1, "a": 2}', "/a", "twice"),
        ('{"a": 1, "\\u0061": 2}', "/a", "twice"),
        ('{"x": [{"k/~": 1, "k/~": 1}]}', "/x/0/k~1~0", "twice"),
        ('{"a": 1, "a": "\\u003a"}', "/a", "twice"),
        ('{"a": "\\u003A", "a": ":"}', "/a", "twice"),
        ('{"n": 9223372036854775808}', "/n", "64 bits"),
        ('{"n": -9223372036854775809}', "/n", "64 bits"),
        ('{"n": [1, 18446744073709551616]}', "/n/1", "64 bits"),
        ('{"n": 1e999}', "/n", "too large"),
        ("[-1e131071]", "/0", "too large"),
        ('{"n": NaN}', "/n", "NaN"),
        ('{"n": -Infinity}', "/n", "-Infinity"),
        ('{"t": ["\\u0000"]}', "/t/0", "U+0000"),
        ('{"a\\u0000b": 1}', "/a\\u0000b", "U+0000"),
        ('{"t": "\\ud800"}', "/t", "surrogate"),
        ('{"\\udc00": 1}', "/\\udc00", "surrogate"),
        ("[" * 40 + "]" * 40, "/0" * 32, "32 levels"),
    ],
)
def test_a_refused_value_is_named_by_its_pointer(text: str, path: str, word: str) -> None:
    error = refusal(text)

    assert (error.path, word in error.message) == (path, True)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ("{", 1, 2),
        ('{"a": 1,\n "b" 2}', 2, 6),
        ("[1, 2,]", 1, 7),
        ("{'a': 1}", 1, 2),
        ('{"a": 01}', 1, 8),
        ("1 2", 1, 3),
        ("\n" + '{"a":' * 2000, 2, 161),
    ],
)
def test_malformed_text_is_named_by_line_and_column(text: str, line: int, column: int) -> None:
    error = refusal(text)

    assert (error.line, error.column) == (line, column)


def test_bytes_that_are_not_utf_8_are_refused_with_their_offset() -> None:
    assert "byte 2" in refusal(b'["\xff"]').message
    assert "UTF-8" in refusal(b'["\xed\xa0\x80"]').message


def test_text_with_a_lone_surrogate_is_refused() -> None:
    assert "surrogate" in refusal('["\ud800"]').message


def test_thirty_two_levels_pass_and_thirty_three_do_not() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    assert "32 levels" in refusal("[" * 33 + "]" * 33).message
    assert "32 levels" in refusal('{"a":' * 33 + "1" + "}" * 33).message


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    text = '{"a": "' + "[" * 100 + '", "b": NaN}'

    assert refusal(text).path == "/b"


def test_a_million_digits_are_never_converted() -> None:
    """Python refuses to convert more than 4,300 digits, so a conversion would show itself."""
    for digits in ("9" * 1_000_000, "-" + "1" * 5000, "1" * 21):
        error = refusal(f'{{"n": {digits}}}')
        assert error.path == "/n"
        assert len(str(error)) < 200


def test_a_million_open_brackets_are_refused_without_recursion() -> None:
    assert "32 levels" in refusal("[" * 1_000_000).message


def test_a_long_key_is_clipped_in_the_pointer() -> None:
    error = refusal(json.dumps({"k" * 10_000: math.nan}))

    assert len(error.path) <= 65


def test_an_error_reads_well() -> None:
    assert str(refusal("[1,]")) == "Expecting value (line 1, column 4)"
    assert str(refusal('{"a": 1e999}')) == "number is too large (at /a)"
    assert isinstance(refusal(""), ValueError)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, math.inf]}, "/a/1"),
        ({"a": {"b": math.nan}}, "/a/b"),
        ({"a": 2**63}, "/a"),
        ({"a": (1, 2)}, "/a"),
        ({"a": {1, 2}}, "/a"),
        ({1: "a"}, "/1"),
        ({"a": b"x"}, "/a"),
        ({"a": "\ud800"}, "/a"),
        ({"a": "x\0"}, "/a"),
        ("\0", ""),
        (datetime.now(UTC), ""),
    ],
)
def test_values_that_are_not_json_are_refused(value: Any, path: str) -> None:
    with pytest.raises(JsonError) as caught:
        check_json(value)

    assert caught.value.path == path


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(JsonError, match="32 levels"):
        check_json(value)


def test_dumps_writes_compact_utf_8_and_utc_times() -> None:
    moment = datetime(2025, 12, 9, 12, tzinfo=UTC)

    assert dumps({"é": [1, moment]}) == '{"é":[1,"2025-12-09T12:00:00Z"]}'.encode()


def test_dumps_refuses_what_json_cannot_say() -> None:
    with pytest.raises(JsonError):
        dumps({"a": {1, 2}})
    with pytest.raises(JsonError):
        dumps({"a": "\ud800"})


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from([":", "a:b", '":"', "\\u003a"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20
)


@given(values, st.booleans(), st.sampled_from([None, 2]))
def test_every_json_value_passes_in_every_notation(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    assert parse_json(text) == value
    assert check_json(value) is value
    assert parse_json(dumps(value)) == value


tricky = st.lists(st.sampled_from([r'"["', r'"]"', r'"\""', r'""', r'"\"[]"', r'"\\"']))


@given(st.integers(28, 36), tricky)
def test_brackets_and_quotes_in_strings_never_hide_or_fake_depth(
    depth: int, strings: list[str]
) -> None:
    """Each level carries the same strings before and after the next one."""
    text = "null"
    for _ in range(depth):
        text = "[" + ",".join([*strings, text, *strings]) + "]"

    if depth <= MAX_DEPTH:
        assert parse_json(text) == json.loads(text)
    else:
        assert "32 levels" in refusal(text).message


def test_ids_of_nineteen_digits_pass_as_numbers_and_as_text() -> None:
    text = '{"a": "1234567890123456789", "b": 1234567890123456789, "c": 0.12345678901234567890}'

    assert parse_json(text) == json.loads(text)


members = st.lists(
    st.tuples(st.sampled_from(["a", "b", ":", "c:", "\\u0061"]), st.sampled_from(["1", '":"'])),
    max_size=5,
)


@given(members, st.booleans())
def test_duplicate_keys_are_refused_exactly_when_there_are_some(
    pairs: list[tuple[str, str]], nested: bool
) -> None:
    source = "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
    text = f'{{"outer": [{source}]}}' if nested else source
    keys = [json.loads(f'"{key}"') for key, _ in pairs]

    if len(set(keys)) == len(keys):
        assert parse_json(text) == json.loads(text)
    else:
        assert "twice" in refusal(text).message


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_whatever_comes_is_a_sound_value_or_a_json_error(data: bytes | str) -> None:
    try:
        value = parse_json(data)
    except JsonError:
        return
    assert check_json(value) is value


@given(st.text(alphabet='{}[]":,0e19.-+ \\u0dx\n', max_size=30))
def test_nothing_passes_that_orjson_would_refuse(text: str) -> None:
    try:
        parse_json(text)
    except JsonError:
        return
    orjson.loads(text)


KEY = "k" * MAX_KEY_LENGTH


@pytest.mark.parametrize(
    "text",
    [
        f'{{"{KEY}": 1}}',
        f'{{"a": "{KEY}{KEY}", "b": 1}}',
        f'["{KEY}{KEY}", ":"]',
        f'{{"a": [{"1, " * 2000}1], "b" : 2}}',
        '{"a": "\\"' + KEY * 2 + '\\"", "b": 1}',
        json.dumps([0] * MAX_ITEMS),
        json.dumps({"a": [0] * MAX_ITEMS, "b": [","] * 5}),
        json.dumps({str(number): 0 for number in range(MAX_ITEMS)}),
        json.dumps({"a": "," * 2 * MAX_ITEMS}),
    ],
)
def test_what_is_as_large_as_it_may_be_passes(text: str) -> None:
    assert parse_json(text) == check_json(json.loads(text)) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (f'{{"{KEY}k": 1}}', f"/{KEY[:63]}…", "a key may have 1024 characters"),
        (f'{{"a": [{{"{KEY}k"\n : 1}}]}}', f"/a/0/{KEY[:63]}…", "a key may have 1024"),
        ('{"\\"' + KEY + '": 1}', '/"' + KEY[:62] + "…", "a key may have 1024"),
        ('{"' + "\\u00e9" * 1025 + '": 1}', "/" + "é" * 63 + "…", "a key may have 1024"),
        (json.dumps([0] * (MAX_ITEMS + 1)), "", "may have 100000 items"),
        (json.dumps({"a": [[], [0] * (MAX_ITEMS + 1)]}), "/a/1", "may have 100000 items"),
        (
            json.dumps({"a": {str(number): 0 for number in range(MAX_ITEMS + 1)}}),
            "/a",
            "may have 100000 items",
        ),
    ],
)
def test_what_is_larger_is_refused_by_its_place(text: str, path: str, said: str) -> None:
    for fault in (refusal(text), _unchecked(json.loads(text))):
        assert fault.path == path
        assert said in fault.message


def _unchecked(value: Any) -> JsonError:
    with pytest.raises(JsonError) as caught:
        check_json(value)
    return caught.value
