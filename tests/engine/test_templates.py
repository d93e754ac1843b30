"""Templates and references: text around expressions, types kept, nothing read twice."""

from __future__ import annotations

from typing import Any

import pytest

from engine.expressions import (
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    MapEnv,
    compile_reference,
    compile_template,
)

ENV = MapEnv(
    {
        "username": "ann",
        "n": 5,
        "x": 2.5,
        "yes": True,
        "nothing": None,
        "names": ["ann", "b\u00f6b"],
        "weather": {"temp": 21},
        "tricky": "{{ n }} and }} and '",
    }
)


def rendered(value: Any) -> Any:
    return compile_template(value).render(ENV, Budget())


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ n }}", 5),
        ("{{ x }}", 2.5),
        ("{{ yes }}", True),
        ("{{ nothing }}", None),
        ("{{ names }}", ["ann", "b\u00f6b"]),
        ("{{weather}}", {"temp": 21}),
        ("{{ n + 1 }}", 6),
    ],
)
def test_a_string_that_is_one_expression_keeps_its_type(template: str, expected: Any) -> None:
    value = rendered(template)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Hello, {{ username }}!", "Hello, ann!"),
        (" {{ n }}", " 5"),
        ("{{ n }}{{ n }}", "55"),
        ("{{ yes }}/{{ nothing }}/{{ x }}/{{ n }}", "True/None/2.5/5"),
        ("{{ names }} {{ weather }}", '["ann","b\u00f6b"] {"temp":21}'),
        ("{{ '{{' }}", "{{"),
        ("{{ '{{' }} {{ '}}' }}", "{{ }}"),
        ('{"a": {"b": {{ n }}}}', '{"a": {"b": 5}}'),
        ("{{ {'a': {'b': n}}['a']['b'] }}!", "5!"),
        ("{{ {'a': {'b': n}}}} ", '{"a":{"b":5}} '),
        ("{{ '}}' + \"}}\" }}!", "}}}}!"),
        ("{{ 'it\\'s }}' }}!", "it's }}!"),
        ("{{ '''a'}}''' }}!", "a'}}!"),
        ("it's {{ n }} o'clock", "it's 5 o'clock"),
        ("no braces }} here { }", "no braces }} here { }"),
        ("{% n %} {# n #}", "{% n %} {# n #}"),
        ("", ""),
        ("{{\n  n +\n  1\n}}!", "6!"),
    ],
)
def test_any_other_string_renders_to_text(template: str, expected: str) -> None:
    assert rendered(template) == expected


def test_what_an_expression_gave_is_never_read_again() -> None:
    assert rendered("{{ tricky }}") == "{{ n }} and }} and '"
    assert rendered("<{{ tricky }}>") == "<{{ n }} and }} and '>"


def test_strings_are_rendered_at_any_depth_and_keys_are_not() -> None:
    template = {"{{ n }}": ["{{ n }}", {"a": "{{ username }}!", "b": 1, "c": None}]}
    assert rendered(template) == {"{{ n }}": [5, {"a": "ann!", "b": 1, "c": None}]}


@pytest.mark.parametrize("value", ["text", 5, None, True, [1, {"a": "b"}], {}, "}}"])
def test_a_value_without_expressions_is_constant_and_itself(value: Any) -> None:
    template = compile_template(value)
    assert template.constant
    assert template.paths == ()
    assert template.render(ENV, Budget()) is value


def test_the_paths_of_a_template_are_those_of_all_its_expressions_once() -> None:
    template = compile_template(
        {"a": "{{ x.y }} {{ z }}", "b": ["{{ x.y }}", "{{ default(q, 1) }}"]}
    )
    assert not template.constant
    assert template.paths == (("x", "y"), ("z",))


@pytest.mark.parametrize(
    ("template", "message", "column"),
    [
        ("Hello {{ username", "`{{` is never closed", 7),
        ("{{ }}", "the expression is empty", 3),
        ("Hi {{}}", "the expression is empty", 6),
        ("{{{ n }}}", "there are no sets", 3),
        ("{{ user's }}", "the text is not closed", 8),
        ("{{ len(names }}!", "`(` is never closed", 7),
        ("{{ n }} {{ n + }}", "this is not an expression", 16),
        ("{{ 'a }} {{ n }}", "the text is not closed", 4),
        ("{{ n # n }}", "comments are not allowed", 6),
        ("{{ " + "n + " * 1100 + "n }}", "the expression is longer than 4096 bytes", 3),
    ],
)
def test_a_broken_template_is_refused_with_its_place(
    template: str, message: str, column: int
) -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_template(template)
    assert caught.value.message.startswith(message)
    assert (caught.value.line, caught.value.column) == (1, column)


def test_an_unclosed_template_says_how_to_write_braces() -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_template("use {{ for lists")
    assert caught.value.hint == "close it with `}}`, or write {{ '{{' }} for literal braces"


def test_a_missing_variable_is_an_error_and_never_an_empty_text() -> None:
    with pytest.raises(ExpressionError, match="there is no variable 'user'"):
        rendered("Hello, {{ user }}!")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("names", ["ann", "b\u00f6b"]),
        ("weather.temp", 21),
        ("names[0]", "ann"),
        ("n + 1", 6),
        ("{{ names }}", ["ann", "b\u00f6b"]),
        ("n is {{ n }}", "n is 5"),
        ([1, "{{ n }}"], [1, 5]),
        ({"a": "{{ n }}"}, {"a": 5}),
        (7, 7),
        (None, None),
        (["names"], ["names"]),
    ],
)
def test_a_reference_is_a_name_an_expression_or_a_literal(reference: Any, expected: Any) -> None:
    assert compile_reference(reference).render(ENV, Budget()) == expected


def test_a_reference_knows_its_paths() -> None:
    assert compile_reference("weather.temp").paths == (("weather", "temp"),)
    assert compile_reference([1, 2]).constant


def test_a_broken_reference_is_refused() -> None:
    with pytest.raises(ExpressionSyntaxError):
        compile_reference("names[")
