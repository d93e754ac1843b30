"""What counts as cost and tokens, wherever it comes from."""

from __future__ import annotations

from typing import Any

import pytest

from engine.nodes.usage import MOST, check_usage, reported_usage


@pytest.mark.parametrize(
    ("usage", "amounts"),
    [
        ({"cost": 0.5, "tokens": 12}, {"cost": 0.5, "tokens": 12}),
        ({"cost": 0, "tokens": 0}, {"cost": 0, "tokens": 0}),
        ({"tokens": 12.0}, {"tokens": 12}),
        ({"cost": MOST, "tokens": MOST}, {"cost": MOST, "tokens": MOST}),
        ({"total_cost": 0.25}, {"cost": 0.25}),
        ({"cost": 0.5, "total_cost": 9}, {"cost": 0.5}),
        ({"total_tokens": 30, "prompt_tokens": 10}, {"tokens": 30}),
        ({"prompt_tokens": 10, "completion_tokens": 20}, {"tokens": 30}),
        ({"input_tokens": 10, "output_tokens": 20}, {"tokens": 30}),
        ({"input_tokens": 10}, {"tokens": 10}),
        ({"output_tokens": 20, "prompt_tokens": None}, {"tokens": 20}),
        ({"tokens": 5, "total_tokens": 30}, {"tokens": 5}),
        ({"tokens": {"total": 30}}, {"tokens": 30}),
        ({"tokens": {"prompt": 10, "completion": 20}}, {"tokens": 30}),
        ({"tokens": {"input": 10, "output": 20}}, {"tokens": 30}),
        ({"tokens": {"input_tokens": 10, "output_tokens": 20}}, {"tokens": 30}),
        ({"tokens": {"total_tokens": 30}, "cost": 1}, {"tokens": 30, "cost": 1}),
    ],
)
def test_the_words_of_an_answer_are_understood(usage: Any, amounts: Any) -> None:
    assert reported_usage({"usage": usage}, None) == amounts


@pytest.mark.parametrize(
    "value",
    [
        -1, -0.01, True, False, None, "7", [], {}, [7],
        float("nan"), float("inf"), float("-inf"), MOST + 1, 10**400, {"total": "7"},
    ],
)  # fmt: skip
def test_what_is_no_amount_is_as_if_it_were_not_there(value: Any) -> None:
    reported = {"usage": {"cost": value, "tokens": value}}
    assert reported_usage(reported, None) is None
    assert reported_usage(reported, {"cost": 0.1, "tokens": 2}) == {"cost": 0.1, "tokens": 2}


def test_parts_whose_sum_is_no_amount_are_left_out() -> None:
    parts = {"input_tokens": MOST, "output_tokens": 1}
    assert reported_usage({"usage": parts}, None) is None


@pytest.mark.parametrize("answer", [None, "text", [], 7, {}, {"usage": 7}, {"usage": []}])
def test_an_answer_without_usage_costs_what_is_configured(answer: Any) -> None:
    assert reported_usage(answer, {"cost": 0.1}) == {"cost": 0.1}
    assert reported_usage(answer, None) is None
    assert reported_usage(answer, {}) is None


def test_amount_by_amount_the_answer_wins() -> None:
    configured = {"cost": 0.1, "tokens": 100}
    assert reported_usage({"usage": {"tokens": 7}}, configured) == {"cost": 0.1, "tokens": 7}
    assert reported_usage({"usage": {"cost": 0}}, configured) == {"cost": 0, "tokens": 100}


@pytest.mark.parametrize("value", [-1, "7", "{{ price }}", True, [], {}, MOST + 1])
@pytest.mark.parametrize("name", ["cost", "tokens"])
def test_a_configured_amount_that_is_none_is_found(name: str, value: Any) -> None:
    (finding,) = check_usage({"usage": {name: value}})
    assert (finding.code, finding.path, finding.warning) == ("VALIDATION", f"/usage/{name}", False)
    assert f"`usage.{name}` must be a number from 0" in finding.message


def test_an_amount_nobody_sums_is_warned_about() -> None:
    (finding,) = check_usage({"usage": {"requests/day": 1}})
    assert (finding.path, finding.warning) == ("/usage/requests~1day", True)


@pytest.mark.parametrize("usage", [None, {}, {"cost": 0.1}, {"cost": None, "tokens": 0}, 7])
def test_a_usage_without_mistakes_passes(usage: Any) -> None:
    assert check_usage({"usage": usage}) == []
