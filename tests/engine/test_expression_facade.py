"""Expressions and templates as values: what they tell, and what they turn into our own errors."""

from __future__ import annotations

from typing import Any

import pytest

from engine.expressions import (
    Budget,
    Env,
    ExpressionError,
    ExpressionSyntaxError,
    MapEnv,
    compile_expression,
    compile_path,
    compile_reference,
    compile_template,
)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ZeroDivisionError("x"), "division by zero"),
        (OverflowError("x"), "the result is too large a number"),
        (RecursionError("x"), "the value is too large"),
        (MemoryError("x"), "the value is too large"),
        (TypeError("x"), "values of these kinds do not go together"),
        (KeyError("x"), "the value cannot be used like this"),
        (AttributeError("x"), "the value cannot be used like this"),
        (ValueError("x"), "the value cannot be used like this"),
    ],
)
def test_an_error_of_python_becomes_one_of_ours(raised: Exception, message: str) -> None:
    def run(env: Env, budget: Budget, frame: list[Any]) -> Any:
        raise raised

    expression = compile_path(["a"], "a.b", run)
    with pytest.raises(ExpressionError) as caught:
        expression.evaluate(MapEnv({}), Budget())
    assert (caught.value.message, caught.value.source) == (message, "a.b")
    assert caught.value.__suppress_context__


def test_what_is_no_error_of_an_expression_is_passed_on() -> None:
    def run(env: Env, budget: Budget, frame: list[Any]) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_path(["a"], "a", run).evaluate(MapEnv({}), Budget())


def test_expressions_and_templates_are_values() -> None:
    assert compile_expression(" a + b ") == compile_expression("a + b")
    assert compile_expression("a + b") != compile_expression("a + c")
    shown = repr(compile_expression("a"))
    assert shown == "Expression(source='a', paths=(('a',),))"
    assert compile_template("{{ a }}!") == compile_template("{{ a }}?")
    assert repr(compile_template("{{ a }}!")) == "Template(constant=False, paths=(('a',),))"


def test_a_template_with_an_expression_anywhere_is_not_constant() -> None:
    for value in ("{{ 1 }}", "a{{ 1 }}", ["a", "{{ 1 }}"], {"a": "b", "c": ["{{ 1 }}"]}):
        assert not compile_template(value).constant
    assert not compile_reference("a").constant
    assert not compile_reference("1 + 1").constant
    assert compile_reference(["a"]).constant


def test_the_innermost_expression_puts_its_name_to_an_error() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_template(["{{ 1 }}", "x {{ 1 / 0 }}"]).render(MapEnv({}), Budget())
    assert caught.value.source == "1 / 0"


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("{{ foo(1) }}", 1, 4),
        ("\n{{ foo(1) }}", 2, 4),
        ("\n\n  {{ foo(1) }}", 3, 6),
        ("a\n{{ 1 }} {{\nfoo(1) }}", 3, 1),
        ("a\n{{ 1 }} {{", 2, 9),
        ("{{", 1, 1),
    ],
)
def test_an_error_is_placed_in_the_whole_text(text: str, line: int, column: int) -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_template(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize("source", ["{{ a }}x", "{{ a }} }}", "{{ a }}{{ b }}"])
def test_one_expression_stands_alone(source: str) -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_expression(source)
    assert caught.value.message == "one expression is wanted here, not text around it"
    assert caught.value.column == 8


def test_only_text_is_compiled() -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_expression(5)  # type: ignore[arg-type]  # what a caller may do wrong
    assert caught.value.message == "an expression is written as text"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a~b": "{{ + }}"}, "/a~0b"),
        ({"a/b": ["{{ + }}"]}, "/a~1b/0"),
        ({"~1": {"/": "{{ + }}"}}, "/~01/~1"),
        ("{{ + }}", ""),
        ([["a", "{{ + }}"]], "/0/1"),
    ],
)
def test_a_broken_string_is_pointed_to(value: Any, path: str) -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        compile_template(value)
    assert caught.value.path == path


@pytest.mark.parametrize("template", [["{{ v }}"], {"a": "{{ v }}"}])
def test_a_value_is_as_deep_as_the_template_around_it_allows(template: Any) -> None:
    compile_template(template).render(MapEnv({"v": nested(31)}), Budget())
    with pytest.raises(ExpressionError, match="nested deeper"):
        compile_template(template).render(MapEnv({"v": nested(32)}), Budget())
    around = {"x": [template]}
    compile_template(around).render(MapEnv({"v": nested(29)}), Budget())
    with pytest.raises(ExpressionError, match="nested deeper"):
        compile_template(around).render(MapEnv({"v": nested(30)}), Budget())
