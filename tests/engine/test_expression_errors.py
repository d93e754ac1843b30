"""What authors read when an expression is wrong: when it is saved, and when it runs."""

from __future__ import annotations

import pytest

from engine.expressions import (
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    MapEnv,
    MissingValue,
    compile_expression,
    compile_template,
)

ENV = MapEnv(
    {
        "username": "ann",
        "n": 5,
        "names": ["ann"],
        "weather": {"temp": 21, "wind": {"speed": 1}},
        "nothing": None,
        "nodes": {"fetch": {"output": {"temp": 8}}},
    }
)


def syntax_error(source: str) -> ExpressionSyntaxError:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_expression(source)
    return caught.value


def error_of(source: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).evaluate(ENV, Budget())
    return caught.value


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("usernme", "there is no variable 'usernme'; did you mean 'username'?"),
        ("userName", "there is no variable 'userName'; did you mean 'username'?"),
        ("qqq", "there is no variable 'qqq'"),
        ("weather.tmp", "weather has no key 'tmp'; did you mean 'temp'?"),
        ("weather.wind.sped", "weather.wind has no key 'sped'; did you mean 'speed'?"),
        ("weather.temp.x", "cannot read 'x' of weather.temp, which is a number"),
        ("nothing.x", "cannot read 'x' of nothing, which is null"),
        ("names.length", "cannot read 'length' of names, which is a list"),
        ("names[0].x", "cannot read 'x' of names[0], which is text"),
        ("{'ab': 1}.abc", "{'ab': 1} has no key 'abc'; did you mean 'ab'?"),
        ("weather['t' + 'mp']", "there is no key 'tmp'; did you mean 'temp'?"),
        ("names[3]", "there is no index 3 in a list of length 1"),
        ("nodes.fetsh.output", "node 'fetsh' has not run; did you mean 'fetch'?"),
        ("nodes.fetch.outputs", "nodes.fetch has no key 'outputs'; did you mean 'output'?"),
        ("nodes['other'].output", "node 'other' has not run"),
    ],
)
def test_what_is_missing_is_named_with_the_closest_known(source: str, message: str) -> None:
    error = error_of(source)
    assert isinstance(error, MissingValue)
    assert error.message == message
    assert error.source == source
    assert error.code == "EXPRESSION_ERROR"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("'a' + 1", "cannot add text and a number; write str(...) around the other one to join"),
        ("names + 1", "cannot add a list and a number"),
        ("n - 'a'", "- needs numbers, not a number and text"),
        ("'a' * 'b'", "cannot multiply text by text"),
        ("'%s' % n", "% works on numbers only"),
        ("n / 0", "division by zero"),
        ("n // 0", "division by zero"),
        ("n % 0.0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("-names", "- needs a number, not a list"),
        ("n < 'a'", "cannot compare a number < text"),
        ("nothing < 1", "cannot compare null < a number"),
        ("[1] < ['a']", "values of these kinds do not go together"),
        ("1 in 'a'", "`in` a text needs text on its left, not a number"),
        ("1 in 5", "`in` needs a text, list or object on its right, not a number"),
        ("[] in weather", "the key of an object is text, not a list"),
        ("names['a' + 'b']", "the index of a list is a whole number, not text"),
        ("n[0]", "cannot look up [0] in a number"),
        ("n[0:1]", "cannot take a slice of a number"),
        ("names[::0]", "the step of a slice cannot be zero"),
        ("names['a':]", "the bounds of a slice are whole numbers, not text"),
        ("{n: 1}", "the keys of an object are text, not a number"),
        ("{str(n): 1, **names}", "`**` needs an object, not a list"),
        ("[x for x in n]", "cannot iterate over a number"),
        ("[a for a, b in [1]]", "cannot take a number apart into 2 names"),
        ("[a for a, b in ['abc']]", "cannot take text of length 3 apart into 2 names"),
        ("n.upper()", "a number has no methods, so no upper()"),
        ("names.upper()", "a list has no method upper(); it has index, count"),
        ("len(5)", "len() takes a text, list or object, not a number"),
        ("int('x')", "int() cannot read 'x' as a whole number"),
        ("float('nan')", "the result is not a finite number"),
        ("float('x')", "float() cannot read 'x' as a number"),
        ("int(names)", "int() takes a number or text, not a list"),
        ("sum(['a'])", "sum() needs numbers; item 0 is text"),
        ("max([])", "max() of nothing; give default=… for an empty list"),
        ("sorted([1, 'a'])", "sorted() cannot put a number and text in order"),
        ("max(1, 'a')", "max() cannot put a number and text in order"),
        ("', '.join([1])", "join() needs texts; item 0 is a number; write [str(x) for x in …]"),
        ("username.index('q')", "index() did not find the text; find() gives -1 instead"),
        ("'a'.split('')", "the separator is empty"),
        ("keys(names)", "keys() takes an object, not a list"),
        ("parse_json('{')", "parse_json() cannot read the text"),
        ("date_format('x', '%Y')", "'x' is not a moment"),
        ("date_format(0, '%Q')", "%Q is not a part of a date"),
        ("matches('a', '(' + '')", "not a regular expression: missing )"),
        ("matches(names, 'a')", "a regular expression matches text, not a list"),
        ("random(2, 1)", "random(2, 1): the first is greater than the second"),
        ("random([])", "random() takes nothing, two whole numbers, or a filled list"),
    ],
)
def test_errors_say_what_is_wrong(source: str, message: str) -> None:
    error = error_of(source)
    assert error.message.startswith(message)
    assert error.code == "EXPRESSION_ERROR"
    assert str(error).endswith(f"(in {{{{ {source} }}}})")


def test_a_long_expression_is_shown_shortened() -> None:
    error = error_of("n / 0" + " + 1" * 100)
    assert len(error.source) == 120
    assert error.source.endswith("…")


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("n = 5", "write `==` to compare; `=` does not assign here"),
        ("'a' if n = 5 else 'b'", "write `==` to compare; `=` does not assign here"),
        ("n && username", "write `and` instead of `&&`"),
        ("n || username", "write `or` instead of `||`"),
        ("!n", "write `not` instead of `!`"),
        ("n === 5", "write `==` and `!=`"),
        ("n <> 5", "write `!=` instead of `<>`"),
        ("n ?? 5", "write `default(x, y)` instead of `x ?? y`"),
        ("weather?.temp", "write `default(a.b, y)` for what may be missing"),
        ("n ? 1 : 2", "write `x if condition else y`"),
        ("$json.x", "names have no `$`: write `nodes.fetch.output`, `input`, `username`"),
        ("n == \u201ca\u201d", "use straight quotes: ' or \""),
        ("n AND n", "write `and`, `or`, `not`, `in`, `if`, `else` small"),
        ("1 if n", "an `if` needs its `else`: `x if condition else y`"),
        ("nodes.n-1.output", "write nodes['the-id'] for an id that is not a plain name"),
        ("names.0", "write items[0] for the first item"),
        ("import os", "one expression only"),
        ("username | upper", "there are no filters: write name.upper() instead of name | upper"),
        ("usrname.uper()", "did you mean .upper()?"),
        ("username.toUpperCase()", "did you mean .upper()?"),
        ("names.append(1)", "nothing changes in place: write items + [value]"),
        ("lenn(names)", "did you mean len()?"),
        ("upper(username)", "write value.upper(…)"),
        ("username.len()", "write len(value)"),
        ("list(names)", "functions here give lists already"),
        ("'{}'.format(n)", "write a template, or + with str()"),
        ("len()", "it takes value"),
        ("replace('a')", "it takes text, old, new"),
        ("sorted(names, cmp=1)", "it takes values, [key=…], [reverse=…]"),
        ("username.upper(1)", "it takes nothing"),
        ("n is 5", "write `==`"),
        ("{1: 2}", "write quotes around the key"),
        ("f'{n}'", "write a template, or + with str()"),
    ],
)
def test_common_typos_get_a_hint(source: str, hint: str) -> None:
    assert syntax_error(source).hint == hint


def test_a_typo_inside_text_gets_no_hint() -> None:
    assert syntax_error("n n + '&& = !'").hint is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "the expression is empty"),
        ("   ", "the expression is empty"),
        ("(1", "`(` is never closed"),
        ("1)", "`)` closes nothing"),
        ("1) + (2", "`)` closes nothing"),
        ("[1)", "`)` closes nothing"),
        ("'a", "the text is not closed: a ' is missing"),
        ('"""a"', 'the text is not closed: a " is missing'),
        ("1 # one", "comments are not allowed in an expression"),
        ("lambda: 1", "there are no functions to define here"),
        ("(x := 1)", "`:=` cannot set a variable here"),
        ("[*names]", "`*` cannot spread values here"),
        ("len(*names)", "`*` cannot spread arguments here"),
        ("sorted(names, **weather)", "`**` cannot spread arguments here"),
        ("{1, 2}", "there are no sets"),
        ("{x for x in names}", "there are no sets"),
        ("(x for x in names)", "a generator stands alone"),
        ("x for x in names", "a generator stands alone"),
        ("f'{n}'", "there are no f-strings"),
        ("n << 2", "there are no operators on bits"),
        ("~n", "there are no operators on bits"),
        ("n @ n", "there are no operators on bits"),
        ("b'a'", "this is not a JSON value"),
        ("1j", "this is not a JSON value"),
        ("...", "this is not a JSON value"),
        ("9223372036854775808", "the number does not fit a 64-bit integer"),
        ("1e999", "the number is too large"),
        ("'\\ud800'", "the text is not valid Unicode, or holds U+0000"),
        ("'\\x00'", "the text is not valid Unicode, or holds U+0000"),
        ("weather['\\ud800']", "the text is not valid Unicode, or holds U+0000"),
        ("n()()", "only functions and methods can be called"),
        ("names[0]()", "only functions and methods can be called"),
        ("foo(1)", "there is no function foo()"),
        ("username.foo()", "there is no method foo()"),
        ("default(n)", "default() takes a value that may be missing, and another"),
        ("has(n + 1)", "has() takes a path, such as has(user.name)"),
        ("has()", "has() takes one path, such as has(user.name)"),
        ("matches(username, '(')", "not a regular expression: missing ): ("),
        ("matches(username, 'a{1001}')", "not a regular expression: invalid repetition size"),
        ("[x for x.y in names]", "a loop variable is a plain name"),
        ("await n", "there is no await"),
        ("yield n", "there is no yield"),
        ("{{ n }} and more", "one expression is wanted here, not text around it"),
    ],
)
def test_what_is_not_in_the_language_is_refused(source: str, message: str) -> None:
    assert syntax_error(source).message.startswith(message)


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("1 +", 1, 4),
        ("foo(1)", 1, 1),
        ("n + foo(1)", 1, 5),
        ("'äöü' + foo(1)", 1, 9),
        ("n +\n  foo(1)", 2, 3),
        ("n +\n  (1", 2, 3),
        ("{{ n + foo(1) }}", 1, 8),
        ("{{\n  foo(1) }}", 2, 3),
        ("{{ n }} x", 1, 8),
        ("n\n'a", 2, 1),
    ],
)
def test_an_error_has_its_line_and_column(source: str, line: int, column: int) -> None:
    error = syntax_error(source)
    assert (error.line, error.column) == (line, column)


def test_an_error_in_a_template_is_placed_in_the_whole_text_and_pointed_to() -> None:
    template = {"body": {"a/b": ["fine {{ n }}", "Hello\n  and {{ username }} {{ n + }}!"]}}
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_template(template)
    assert caught.value.path == "/body/a~1b/1"
    assert (caught.value.line, caught.value.column) == (2, 29)


def test_an_error_reads_as_one_sentence_with_its_place_and_hint() -> None:
    assert str(syntax_error("n && n")) == (
        "this is not an expression (line 1, column 4). write `and` instead of `&&`"
    )


@pytest.mark.parametrize("source", [5, None, ["n"]])
def test_only_text_is_an_expression(source: object) -> None:
    with pytest.raises(ExpressionSyntaxError, match="written as text"):
        compile_expression(source)  # type: ignore[arg-type]  # what a caller may do wrong
