"""Where an expression ends, and what may be parsed: limits to the last byte, bracket and node."""

from __future__ import annotations

import pytest

from engine.expression_source import MAX_NODES, MAX_SOURCE_BYTES, end_of_expression, parse
from engine.expressions import ExpressionSyntaxError, compile_expression


def refusal(source: str) -> ExpressionSyntaxError:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_expression(source)
    return caught.value


def test_a_source_has_at_most_4096_bytes() -> None:
    assert MAX_SOURCE_BYTES == 4_096
    compile_expression("'" + "x" * 4_094 + "'")
    compile_expression("'" + "ä" * 2_047 + "'")
    for source in ("'" + "x" * 4_095 + "'", "'" + "ä" * 2_048 + "'", "'" + "x" + "ä" * 2_047 + "'"):
        assert refusal(source).message == "the expression is longer than 4096 bytes"


def test_an_expression_has_at_most_500_parts() -> None:
    assert MAX_NODES == 500
    assert parse("[" + "1," * 499 + "]")[1] == 500
    error = refusal("[" + "1," * 500 + "]")
    assert error.message == "the expression has more than 500 parts"
    assert error.hint == "split it over several nodes or variables"


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ("a", 1),
        ("a.b[0]", 4),
        ("1 + 2 * 3", 5),
        ("[x for x in xs if x]", 6),
        ("f(a, key=b)", 4),
        ("a < b <= c", 4),
        ("{'a': 1, **b}", 4),
        ("a[1:2]", 5),
    ],
)
def test_operands_operators_and_loops_count_as_parts(source: str, size: int) -> None:
    assert parse(source)[1] == size


@pytest.mark.parametrize(
    ("opening", "closing"), [("(", ")"), ("[", "]"), ("a[", "]"), ("{'a':", "}")]
)
def test_brackets_are_nested_at_most_32_levels(opening: str, closing: str) -> None:
    parse(opening * 32 + "1" + closing * 32)
    parse(("(" * 30 + "1" + ")" * 30 + "+") * 2 + "1")
    error = refusal(opening * 33 + "1" + closing * 33)
    assert error.message == "brackets are nested deeper than 32"
    assert error.column == 32 * len(opening) + len(opening) - (opening == "{'a':") * 4


def test_an_expression_is_nested_at_most_32_levels() -> None:
    compile_expression("not " * 31 + "a")
    error = refusal("not " * 32 + "a")
    assert error.message == "the expression is nested deeper than 32 levels"
    assert error.column == 32 * 4 + 1


def test_a_chain_is_one_level_however_long() -> None:
    compile_expression("+".join(["a"] * 250))
    compile_expression("a and " * 400 + "a")
    compile_expression("(" + "+".join(["a"] * 240) + ").x")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("a }}", 2),
        ("a }} }}", 2),
        ("{'a': 1} }}", 9),
        ("{'a': {'b': 1}}}}", 15),
        ("{'a': {'b': 1}} }}", 16),
        ("'}}' }}", 5),
        ('"}}" }}', 5),
        ("'it\\'s }}' }}", 11),
        ("'''a'}}''' }}", 11),
        ("f(']') }}", 7),
        ("a", -1),
        ("a }", -1),
        ("'a }}", 3),
        ("'a\n' }}", 5),
        ("(a }}", 3),
        ("a) }}", 3),
        ("[}} ]", 1),
        ("a # } }}", 6),
        ("", -1),
    ],
)
def test_an_expression_ends_at_its_own_braces(text: str, end: int) -> None:
    assert end_of_expression(text, 0) == end
    shifted = end_of_expression("{{ }}" + text, 5)
    assert shifted == (end + 5 if end >= 0 else -1)


def test_the_end_is_looked_for_no_further_than_a_source_may_reach() -> None:
    assert end_of_expression("'" + "x" * 4_090 + "}}' }}", 0) == 4_095
    assert end_of_expression("'" + "x" * 5_000 + "}}' }}", 0) == 5_001


@pytest.mark.parametrize(
    ("source", "line", "column", "message"),
    [
        ("a +\n(b", 2, 1, "`(` is never closed"),
        ("a +\n  b]", 2, 4, "`]` closes nothing"),
        ("'ä' + b]", 1, 8, "`]` closes nothing"),
        ("a\n+ # c", 2, 3, "comments are not allowed in an expression"),
        ("a +\n 'b", 2, 2, "the text is not closed: a ' is missing"),
        ('"""a\nb', 1, 1, 'the text is not closed: a " is missing'),
        ("[(a]", 1, 4, "`]` closes nothing"),
        ("([a)", 1, 4, "`)` closes nothing"),
        ("a +\n  foo(b)", 2, 3, "there is no function foo()"),
        ("'ä' + foo(b)", 1, 7, "there is no function foo()"),
        ("a +\n'ä' + foo(b)", 2, 7, "there is no function foo()"),
        ("'\U0001f600' + 'ä' + foo(b)", 1, 13, "there is no function foo()"),
    ],
)
def test_the_place_is_counted_in_lines_and_characters(
    source: str, line: int, column: int, message: str
) -> None:
    error = refusal(source)
    assert (error.line, error.column, error.message) == (line, column, message)


@pytest.mark.parametrize("source", ["'#'", "'a' '#'", "'''#'''", '"\\"#"', "'(' + ')' + ']'"])
def test_brackets_and_comments_in_texts_are_text(source: str) -> None:
    assert parse(source)[1] >= 1


@pytest.mark.parametrize("source", ["a\0b", "\ud800", "'\ud800'", "a + \0"])
def test_what_the_parser_cannot_read_is_refused(source: str) -> None:
    assert refusal(source).message.startswith("this is not an expression")


def test_a_backslash_that_escapes_nothing_is_no_warning() -> None:
    assert parse(r"matches(a, '\d')")[1] == 4


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [("1 +", 1, 4), ("n && s", 1, 4), ("n +\n\n", 3, 1), ("n +\n  && s", 2, 3), ("x => x", 1, 3)],
)
def test_what_the_parser_stumbles_over_has_its_place(source: str, line: int, column: int) -> None:
    error = refusal(source)
    assert (error.line, error.column) == (line, column)


def test_what_the_parser_says_is_passed_on_where_there_is_no_hint() -> None:
    expected = "this is not an expression: invalid decimal literal"
    assert refusal("1_").message == expected


def test_a_text_in_three_quotes_has_lines_and_one_in_single_quotes_has_not() -> None:
    assert parse("'''a\n'b'\nc''' + \"\"\"d\n\"e\"\"\"")[1] == 3
    assert refusal("'a\nb'").message == "the text is not closed: a ' is missing"
    assert parse(r"'a\'b' + '''c\''''")[1] == 3


def test_hints_look_at_the_beginning_of_a_long_source() -> None:
    assert refusal("a && " + "b " * 900).hint == "write `and` instead of `&&`"
    assert refusal("b " * 900 + "&& a").hint is None
