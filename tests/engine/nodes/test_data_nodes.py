"""Transforming, setting and reading variables."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import StepFailure
from engine.expressions import ExpressionError
from engine.nodes import REGISTRY
from tests.engine.documents import document, judge


def test_transformations_see_the_ones_before_them(run: Any) -> None:
    config = {"transformations": {"total": "price * 2", "label": "Total {{ total }}"}}
    result = run("data_transform", config, price=3)
    assert result.output == {"total": 6, "label": "Total 6"}
    assert result.variables == result.output


def test_a_transformation_that_is_no_string_is_a_template(run: Any) -> None:
    config = {"transformations": {"flag": True, "user": {"name": "{{ name }}", "age": 7}}}
    result = run("data_transform", config, name="Ada")
    assert result.output == {"flag": True, "user": {"name": "Ada", "age": 7}}


def test_a_transformation_reads_its_input(run: Any) -> None:
    config = {"transformations": {"output": "input['value'] * 2"}}
    assert run("data_transform", config, input={"value": 21}).output == {"output": 42}


def test_output_variable_sets_the_whole_object_too(run: Any) -> None:
    config = {"transformations": {"a": "1"}, "output_variable": "all"}
    result = run("data_transform", config)
    assert result.output == {"a": 1}
    assert result.variables == {"a": 1, "all": {"a": 1}}


def test_a_transformation_with_a_missing_name_fails(run: Any) -> None:
    with pytest.raises(ExpressionError, match="pric"):
        run("data_transform", {"transformations": {"a": "pric + 1"}}, price=1)


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("output = input['value'] * 2", """{"output": "input['value'] * 2"}"""),
        ("return len(items)", '{"output": "len(items)"}'),
        ("from datetime import datetime\nhour = datetime.now().hour",
         """{"hour": "int(date_format(now(), '%H'))"}"""),
        ("day = datetime.utcnow().strftime('%A')", """{"day": "date_format(now(), '%A')"}"""),
        ("if n < 12:\n    g = 'am'\nelse:\n    g = 'pm'", """{"g": "'am' if n < 12 else 'pm'"}"""),
        ("x = f'Hi {name}!'", """{"x": "'Hi ' + str(name) + '!'"}"""),
        ("a = 1\nb = a + 1", '{"a": "1", "b": "a + 1"}'),
    ],
)  # fmt: skip
def test_transform_code_is_refused_and_shown_as_expressions(
    check: Any, code: str, shown: str
) -> None:
    (finding,) = check("data_transform", {"transform_code": code})
    assert (finding.code, finding.path) == ("UNSUPPORTED_TRANSFORM_CODE", "/transform_code")
    assert f'"transformations": {shown}' in finding.hint


@pytest.mark.parametrize(
    "code", ["import os", "for x in y: z = x", "def f(", "x = 1\nx = 2", "x = (lambda: 1)()",
             "a.b = 1", "x = 1" + " + 1" * 2000, "x = f'{y:>10}'", "(" * 5000]
)  # fmt: skip
def test_transform_code_we_cannot_say_gets_a_general_hint(check: Any, code: str) -> None:
    (finding,) = check("data_transform", {"transform_code": code})
    assert finding.code == "UNSUPPORTED_TRANSFORM_CODE"
    assert "transformations" in finding.hint


@pytest.mark.parametrize("config", [{}, {"transformations": {}}])
def test_a_transform_of_nothing_is_found(check: Any, config: Any) -> None:
    (finding,) = check("data_transform", config)
    assert finding.code == "MISSING_CONFIG"


@pytest.mark.parametrize(
    ("node_type", "key"),
    [("data_transform", "transformations"), ("data_variable_set", "variables")],
)
def test_reserved_names_may_not_be_written(check: Any, node_type: str, key: str) -> None:
    (finding,) = check(node_type, {key: {"execution": "1", "fine": "2"}})
    assert (finding.path, finding.warning) == (f"/{key}/execution", False)


def test_a_name_no_expression_can_read_is_warned_about(check: Any) -> None:
    (finding,) = check("data_variable_set", {"variables": {"my/var": 1}})
    assert (finding.path, finding.warning) == ("/variables/my~1var", True)


def test_values_to_set_are_templates_at_any_depth(run: Any) -> None:
    config = {"variables": {"n": "{{ x + 1 }}", "who": {"names": ["{{ name }}"]}}}
    result = run("data_variable_set", config, x=1, name="Ada")
    assert result.variables == {"n": 2, "who": {"names": ["Ada"]}}
    assert result.output == result.variables
    assert result.local is None


def test_the_pair_of_name_and_value_is_read_as_variables(run: Any) -> None:
    config = {"variable_name": "n", "value": "{{ x }}", "variables": {"m": 1}}
    assert run("data_variable_set", config, x=5).variables == {"m": 1, "n": 5}


def test_local_scope_sets_the_iterations_variables_only(run: Any) -> None:
    result = run("data_variable_set", {"variables": {"n": 1}, "scope": "local"})
    assert (result.variables, result.local) == (None, {"n": 1})


def test_global_scope_is_read_as_workflow(read: Any) -> None:
    assert read("data_variable_set", {"scope": "global"}) == {"scope": "workflow"}


@pytest.mark.parametrize("name", ["user.name", "{{ user.name }}"])
def test_a_variable_is_read_by_its_path(run: Any, name: str) -> None:
    result = run("data_variable_get", {"variable_name": name}, user={"name": "Ada"})
    assert (result.output, result.variables) == ("Ada", None)


def test_a_variable_read_can_be_stored_under_another_name(run: Any) -> None:
    config = {"variable_name": "n", "output_variable": "m"}
    assert run("data_variable_get", config, n=1).variables == {"m": 1}


def test_a_missing_variable_without_default_fails_naming_the_closest(run: Any) -> None:
    with pytest.raises(ExpressionError, match="username"):
        run("data_variable_get", {"variable_name": "usernam"}, username="Ada")


@pytest.mark.parametrize(("default", "expected"), [("{{ n }}", 1), (None, None), ([], [])])
def test_a_missing_variable_gives_the_default(run: Any, default: Any, expected: Any) -> None:
    config = {"variable_name": "user.nick", "default_value": default}
    assert run("data_variable_get", config, n=1, user={}).output == expected


def test_a_default_is_not_evaluated_when_the_variable_is_there(run: Any) -> None:
    config = {"variable_name": "n", "default_value": "{{ missing }}"}
    assert run("data_variable_get", config, n=None).output is None


def test_a_variable_name_that_is_no_path_is_found(check: Any) -> None:
    (finding,) = check("data_variable_get", {"variable_name": "my var"})
    assert (finding.code, finding.path) == ("EXPRESSION_SYNTAX", "/variable_name")


@pytest.mark.parametrize("value", [7, "text", [1], None, True])
def test_variables_that_render_to_no_object_fail(run: Any, value: Any) -> None:
    with pytest.raises(StepFailure, match="`variables` must give an object") as caught:
        run("data_variable_set", {"variables": "{{ v }}"}, v=value)
    assert caught.value.error_type == "BAD_CONFIG"


def test_variables_may_come_from_one_object(run: Any) -> None:
    assert run("data_variable_set", {"variables": "{{ v }}"}, v={"a": [1]}).variables == {"a": [1]}


@pytest.mark.parametrize("scope", ["workflow", "local"])
def test_a_reserved_name_that_a_template_brings_fails(run: Any, scope: str) -> None:
    with pytest.raises(StepFailure, match="'nodes' is reserved"):
        run("data_variable_set", {"variables": "{{ v }}", "scope": scope}, v={"nodes": 1})


def test_what_a_template_gives_is_not_read_again(run: Any) -> None:
    config = {"variables": {"a": "{{ v }}", "b": ["{{ v }}!"]}}
    assert run("data_variable_set", config, v="{{ 1 + 1 }}").output == {
        "a": "{{ 1 + 1 }}",
        "b": ["{{ 1 + 1 }}!"],
    }


def test_a_name_without_a_value_is_set_to_null(run: Any) -> None:
    assert run("data_variable_set", {"variable_name": "n"}).variables == {"n": None}


def test_what_a_node_sets_is_told_to_the_validator() -> None:
    def sets(node_type: str, config: Any) -> tuple[str, ...]:
        return REGISTRY[node_type].sets(config)

    assert sets("data_variable_set", {"variables": {"a": 1, "b": 2}}) == ("a", "b")
    assert sets("data_variable_set", {"variables": {"a": 1}, "scope": "local"}) == ()
    transform = {"transformations": {"a": "1"}, "output_variable": "all"}
    assert sets("data_transform", transform) == ("a", "all")
    assert sets("data_variable_get", {"variable_name": "a", "output_variable": "b"}) == ("b",)
    assert sets("condition_filter", {}) == ("filtered_items",)
    assert sets("action_webhook", {"output_variable": "answer"}) == ("answer",)
    assert sets("action_module", {"output_mapping": {"a": "x", "b": "y"}}) == ("x", "y")


@pytest.mark.parametrize("node_type", ["data_transform", "data_variable_get"])
def test_an_output_variable_may_not_be_reserved(check: Any, node_type: str) -> None:
    config = {
        "output_variable": "execution",
        "variable_name": "a",
        "transformations": {"a": "1"},
    }
    (finding,) = check(node_type, config)
    assert (finding.path, finding.warning) == ("/output_variable", False)


@pytest.mark.parametrize(
    ("transformations", "said"),
    [({"a": "1 +"}, "a"), ({"a": {"b": ["{{ 1 + }}"]}}, "a/b/0"), ({"x/y": "("}, "x~1y")],
)
def test_a_transformation_that_cannot_be_read_is_found(transformations: Any, said: str) -> None:
    node = {"node_type": "data_transform", "config": {"transformations": transformations}}
    report = judge(document({"n": node}, "t>n"))
    syntax = [issue.path for issue in report.errors if issue.code == "EXPRESSION_SYNTAX"]
    assert syntax == [f"/nodes/n/config/transformations/{said}"]


def test_a_transformation_fails_as_soon_as_one_value_does(run: Any) -> None:
    with pytest.raises(ExpressionError, match="zero"):
        run("data_transform", {"transformations": {"a": "1 / 0", "b": "2"}})


def test_null_or_blank_transform_code_is_none(check: Any) -> None:
    config = {"transformations": {"a": "1"}}
    assert check("data_transform", config | {"transform_code": None}) == []
    assert check("data_transform", config | {"transform_code": " "}) == []


@pytest.mark.parametrize("default", [0, False, "", {"a": ["{{ n }}"]}])
def test_a_default_may_be_any_value(run: Any, default: Any) -> None:
    config = {"variable_name": "gone", "default_value": default}
    expected = {"a": [1]} if isinstance(default, dict) else default
    assert run("data_variable_get", config, n=1).output == expected


def test_a_variable_that_is_null_is_no_missing_one(run: Any) -> None:
    config = {"variable_name": "n", "default_value": 7, "output_variable": "m"}
    result = run("data_variable_get", config, n=None)
    assert (result.output, result.variables) == (None, {"m": None})
