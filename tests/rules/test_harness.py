"""The harness itself: a rule that does not hold is noticed, whichever way it is held."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.rules.harness import (
    hold,
    hold_crashed,
    hold_dry,
)
from tests.rules.writing import (
    Rule,
    broken,
    calls,
    fails,
    rule,
    says,
    sets,
)

WAYS = [hold, hold_dry, hold_crashed]
NODES = {"a": sets(x=1), "b": says("hi")}
EDGES = ("start -> a", "a -> b")
FALSE = [
    rule("status", NODES, *EDGES, status="failed"),
    rule("error", {"a": broken()}, "start -> a"),
    rule("code", {"a": broken()}, "start -> a", error=("TIMEOUT", "a")),
    rule("node", {"a": broken()}, "start -> a", error=("EXPRESSION_ERROR", "start")),
    rule("because", {"a": broken()}, "start -> a", error=("EXPRESSION_ERROR", "a"), because="xyz"),
    rule("messages", NODES, *EDGES, messages=["ho"]),
    rule("no messages", NODES, *EDGES, messages=[]),
    rule("set of messages", NODES, *EDGES, messages={"hi", "ho"}),
    rule("variables", NODES, *EDGES, variables={"x": 1, "y": 2}),
    rule("one variable", NODES, *EDGES, has={"x": 2}),
    rule("final output", NODES, *EDGES, final_output=None),
    rule("order of steps", NODES, *EDGES, steps=["start", "b", "a"]),
    rule("set of steps", NODES, *EDGES, steps={"start", "a"}),
    rule("output", NODES, *EDGES, outputs={"a": {"x": 2}}),
    rule("input", NODES, *EDGES, inputs={"a": 5}),
    rule("port", NODES, *EDGES, ports={"a": "error"}),
    rule("sent", NODES, *EDGES, sent={"b": {"message": "ho"}}),
    rule("attempts", {"a": calls()}, "start -> a", answers={"a": fails()}, attempts={"a": 2}),
]
FALSE_STATE = [
    rule("states", NODES, *EDGES, states={"a": "skipped"}),
    rule("path", NODES, *EDGES, path=["start"]),
]
FALSE_RUN = [
    rule("listed", NODES, *EDGES, listed={"b": "cancelled"}),
    rule("calls", NODES, *EDGES, calls={"b": 2}),
    rule("most running", NODES, *EDGES, most_running=2),
    rule("usage", NODES, *EDGES, usage=(1.0, 1)),
    rule("seconds", NODES, *EDGES, seconds=5),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrong", FALSE, ids=lambda one: one.says)
def test_a_rule_that_does_not_hold_is_noticed(wrong: Rule, way: Callable[[Rule], None]) -> None:
    with pytest.raises(AssertionError):
        way(wrong)


@pytest.mark.parametrize("way", [hold, hold_crashed])
@pytest.mark.parametrize("wrong", FALSE_STATE, ids=lambda one: one.says)
def test_a_false_state_is_noticed(wrong: Rule, way: Callable[[Rule], None]) -> None:
    with pytest.raises(AssertionError):
        way(wrong)


@pytest.mark.parametrize("wrong", FALSE_RUN, ids=lambda one: one.says)
def test_a_false_count_is_noticed(wrong: Rule) -> None:
    with pytest.raises(AssertionError):
        hold(wrong)
