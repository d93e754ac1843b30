"""Routing and filtering."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import StepFailure
from engine.expressions import ExpressionError
from engine.nodes import REGISTRY

RULE = {"variable": "n", "operator": "greater_than", "value": 3}


@pytest.mark.parametrize(("n", "port"), [(5, "true"), (1, "false")])
def test_an_if_chooses_a_port_and_passes_its_input(run: Any, n: int, port: str) -> None:
    result = run("condition_if", {"condition": RULE}, n=n)
    assert (result.port, result.output) == (port, "in")


def test_the_ports_of_an_if_can_be_renamed(run: Any, ports: Any) -> None:
    config = {"condition": RULE, "output_true_port": "yes", "output_false_port": "no"}
    assert ports("condition_if", config) == ("yes", "no")
    assert run("condition_if", config, n=5).port == "yes"


def test_an_if_that_fails_but_continues_leaves_by_false() -> None:
    assert REGISTRY["condition_if"].fallback_port({"output_false_port": "no"}) == "no"


@pytest.mark.parametrize("alias", ["value", "variable", "switch_variable"])
def test_a_switch_takes_the_matching_case(run: Any, alias: str) -> None:
    config = {alias: "tier", "cases": {"gold": "vip", "none": "plain"}}
    assert run("condition_switch", config, tier="gold").port == "vip"


def test_a_switch_without_a_match_takes_the_default_port(run: Any) -> None:
    config = {"value": "tier", "cases": {"gold": "vip"}, "default_port": "other"}
    result = run("condition_switch", config, tier="silver")
    assert (result.port, result.output) == ("other", "in")


@pytest.mark.parametrize(
    ("value", "port"), [(3, "three"), ("3", "three"), (True, "yes"), (None, "nil"), (2.5, "half")]
)
def test_an_objects_keys_match_scalars_written_like_them(run: Any, value: Any, port: str) -> None:
    cases = {"3": "three", "true": "yes", "null": "nil", "2.5": "half"}
    assert run("condition_switch", {"value": "x", "cases": cases}, x=value).port == port


@pytest.mark.parametrize("key", ["port", "output_port"])
def test_cases_may_be_a_list_with_values_of_any_type(run: Any, key: str) -> None:
    cases = [{"value": 3, key: "three"}, {"value": [1], key: "list"}]
    config = {"value": "{{ x }}", "cases": cases}
    assert run("condition_switch", config, x="3").port == "three"
    assert run("condition_switch", config, x=[1]).port == "list"


def test_the_first_matching_case_wins(run: Any) -> None:
    cases = [{"value": 1, "output_port": "a"}, {"value": 1, "output_port": "b"}]
    assert run("condition_switch", {"value": "x", "cases": cases}, x=1).port == "a"


def test_the_ports_of_a_switch_are_its_cases_and_the_default(ports: Any) -> None:
    config = {"cases": {"a": "x", "b": "y", "c": "x"}, "default_port": "z"}
    assert ports("condition_switch", config) == ("x", "y", "z")


@pytest.mark.parametrize(
    "cases",
    [
        {"a": 7},
        {"a": ""},
        {"a": None},
        {"a": "error"},
        {"a": "break"},
        {"a": "*"},
        {"a": "{{ port }}"},
        [{"value": 1}],
        [{"output_port": "a"}],
        [7],
        [{"value": 1, "port": 2}],
        [{"value": 1, "port": "error"}],
    ],
)
def test_a_malformed_case_is_found(check: Any, cases: Any) -> None:
    (finding,) = check("condition_switch", {"cases": cases})
    assert finding.code == "VALIDATION"
    assert finding.path.startswith("/cases/")


def test_a_listed_cases_value_is_a_template(run: Any) -> None:
    cases = [
        {"value": "{{ limit + 1 }}", "output_port": "over"},
        {"value": {"tier": "{{ tier }}"}, "output_port": "object"},
    ]
    config = {"value": "x", "cases": cases}
    assert run("condition_switch", config, x=11, limit=10, tier="gold").port == "over"
    assert run("condition_switch", config, x={"tier": "gold"}, limit=1, tier="gold").port == (
        "object"
    )


def test_a_listed_text_is_no_other_way_to_write_null(run: Any) -> None:
    cases = [{"value": "null", "output_port": "text"}, {"value": None, "output_port": "null"}]
    config = {"value": "x", "cases": cases}
    assert [run("condition_switch", config, x=x).port for x in (None, "null")] == ["null", "text"]


def test_a_case_behind_the_matching_one_is_not_evaluated(run: Any) -> None:
    cases = [{"value": 1, "output_port": "one"}, {"value": "{{ gone }}", "output_port": "never"}]
    assert run("condition_switch", {"value": "x", "cases": cases}, x=1).port == "one"
    with pytest.raises(ExpressionError, match="gone"):
        run("condition_switch", {"value": "x", "cases": cases}, x=2)


def test_an_objects_keys_are_no_templates(run: Any) -> None:
    config = {"value": "x", "cases": {"{{ y }}": "there"}}
    assert run("condition_switch", config, x=1, y=1).port == "default"
    assert run("condition_switch", config, x="{{ y }}", y=1).port == "there"


def test_cases_that_are_a_template_are_found(check: Any, ports: Any) -> None:
    (finding,) = check("condition_switch", {"cases": "{{ cases }}"})
    assert (finding.code, finding.path) == ("VALIDATION", "/cases")
    assert ports("condition_switch", {"cases": "{{ cases }}"}) == ("default",)


@pytest.mark.parametrize("name", [None, ""])
def test_a_port_without_a_name_has_its_usual_one(run: Any, ports: Any, name: Any) -> None:
    renamed = {"condition": RULE, "output_true_port": name, "output_false_port": name}
    assert ports("condition_if", renamed) == ("true", "false")
    assert [run("condition_if", renamed, n=n).port for n in (5, 1)] == ["true", "false"]
    assert run("condition_switch", {"value": "1", "cases": {}, "default_port": name}).port == (
        "default"
    )


@pytest.mark.parametrize(
    ("node_type", "key"),
    [
        ("condition_if", "output_true_port"),
        ("condition_if", "output_false_port"),
        ("condition_switch", "default_port"),
    ],
)
@pytest.mark.parametrize("name", ["error", "break", "*", "{{ port }}"])
def test_a_port_whose_name_means_something_else_is_found(
    check: Any, node_type: str, key: str, name: str
) -> None:
    (finding,) = check(node_type, {key: name})
    assert (finding.code, finding.path, finding.warning) == ("VALIDATION", f"/{key}", False)


def test_yes_and_no_need_ports_of_their_own(check: Any) -> None:
    (finding,) = check("condition_if", {"output_true_port": "go", "output_false_port": "go"})
    assert finding.path == "/output_false_port"
    (finding,) = check("condition_if", {"output_true_port": "false"})
    assert finding.path == "/output_false_port"
    found = check("condition_if", {"output_true_port": "break", "output_false_port": "break"})
    assert [finding.path for finding in found] == ["/output_true_port", "/output_false_port"]


@pytest.mark.parametrize(
    ("condition", "n", "port"),
    [
        (RULE, 5, "true"),
        ([RULE, {"variable": "n", "operator": "less_than", "value": 10}], 5, "true"),
        ([RULE, {"variable": "n", "operator": "less_than", "value": 10}], 50, "false"),
        ({"any": [RULE, "n == 0"]}, 0, "true"),
        ({"not": RULE}, 5, "false"),
        ("n > 3", 5, "true"),
        ("{{ n > 3 }}", 1, "false"),
        (True, 1, "true"),
        (False, 1, "false"),
    ],
)
def test_a_condition_may_have_any_of_its_forms(run: Any, condition: Any, n: int, port: str) -> None:
    assert run("condition_if", {"condition": condition}, n=n).port == port


@pytest.mark.parametrize("node_type", ["condition_if", "condition_switch"])
def test_a_condition_that_cannot_be_evaluated_fails(run: Any, node_type: str) -> None:
    config = {"condition": "gone > 1", "value": "gone", "cases": {}}
    with pytest.raises(ExpressionError, match="gone"):
        run(node_type, config)


def test_a_switch_that_fails_but_continues_leaves_by_its_default() -> None:
    fallback = REGISTRY["condition_switch"].fallback_port
    assert fallback({}) == "default"
    assert fallback({"default_port": "other"}) == "other"
    assert REGISTRY["condition_if"].fallback_port({"output_false_port": None}) == "false"


def test_an_empty_list_filters_to_an_empty_list(run: Any) -> None:
    result = run("condition_filter", {"items": [], "condition": "item"})
    assert (result.output, result.variables) == ([], {"filtered_items": []})


@pytest.mark.parametrize("source", ["players", "{{ players }}", "players[:2]", [1, "{{ two }}"]])
def test_the_items_of_a_filter_are_a_reference(run: Any, source: Any) -> None:
    config = {"items": source, "condition": "item > 1"}
    assert run("condition_filter", config, players=[1, 2], two=2).output == [2]


def test_a_filter_fails_on_an_item_it_cannot_judge(run: Any) -> None:
    with pytest.raises(ExpressionError):
        run("condition_filter", {"items": [1, "x"], "condition": "item > 0"})


def test_a_filter_keeps_the_items_for_which_its_condition_holds(run: Any) -> None:
    config = {
        "input_array": "players",
        "condition": {"variable": "item.score", "operator": "greater_than", "value": 10},
    }
    players = [{"score": 5}, {"score": 15}, {"score": 20}]
    result = run("condition_filter", config, players=players)
    assert result.output == [{"score": 15}, {"score": 20}]
    assert result.variables == {"filtered_items": result.output}


def test_a_filter_sees_other_names_beside_the_item(run: Any) -> None:
    config = {"items": [1, 2, 3], "condition": "item > least", "output_variable": "kept"}
    assert run("condition_filter", config, least=1).variables == {"kept": [2, 3]}


def test_a_filter_of_something_else_than_a_list_fails(run: Any) -> None:
    with pytest.raises(StepFailure, match="must give a list, not a number") as caught:
        run("condition_filter", {"items": "n", "condition": "True"}, n=7)
    assert caught.value.error_type == "TYPE_ERROR"


def test_a_filter_may_not_write_a_reserved_name(check: Any) -> None:
    (finding,) = check("condition_filter", {"output_variable": "input"})
    assert (finding.path, finding.warning) == ("/output_variable", False)
