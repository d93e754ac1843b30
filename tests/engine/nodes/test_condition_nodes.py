"""Routing and filtering."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import StepFailure
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
    [{"a": 7}, {"a": ""}, [{"value": 1}], [{"output_port": "a"}], [7], [{"value": 1, "port": 2}]],
)
def test_a_malformed_case_is_found(check: Any, cases: Any) -> None:
    (finding,) = check("condition_switch", {"cases": cases})
    assert finding.code == "VALIDATION"
    assert finding.path.startswith("/cases/")


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
