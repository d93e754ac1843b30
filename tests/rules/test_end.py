"""How an execution ends: its output, several ends, termination, cancelling."""

from __future__ import annotations

from tests.rules.harness import (
    hold,
    hold_crashed,
    hold_dry,
)
from tests.rules.writing import (
    Rule,
    broken,
    calls,
    checks,
    each,
    each_of,
    ends,
    fails,
    gives,
    having,
    rule,
    says,
    sets,
    waits,
)

RULES = [
    rule(
        "the output is what the flow_end gives",
        {"a": sets(x=1), "end": ends({"got": "{{ x }}", "text": "x is {{ x }}"})},
        "start -> a",
        "a -> end",
        final_output={"got": 1, "text": "x is 1"},
    ),
    rule(
        "a flow_end without an output gives its input",
        {"a": sets(x=1), "end": ends()},
        "start -> a",
        "a -> end",
        final_output={"x": 1},
    ),
    rule(
        "a flow_end's output may be null",
        {"end": ends(None)},
        "start -> end",
        start={"variables": {"x": 1}},
        final_output=None,
    ),
    rule(
        "of several flow_ends the one that ran gives the output",
        {"check": checks("false"), "a": ends("a"), "b": ends("b")},
        "start -> check",
        "check.true -> a",
        "check.false -> b",
        final_output="b",
        states={"a": "skipped"},
    ),
    rule(
        "several flow_ends that ran give their outputs by node id",
        {"a": ends("A"), "b": ends("B"), "c": sets(x=1)},
        "start -> a",
        "start -> b",
        "start -> c",
        final_output={"a": "A", "b": "B"},
    ),
    rule(
        "without a flow_end the output is what the nodes that ran last gave, by node id",
        {"a": sets(x=1), "b": sets(y=2), "c": sets(z=3)},
        "start -> a",
        "a -> b",
        "a -> c",
        final_output={"b": {"y": 2}, "c": {"z": 3}},
    ),
    rule(
        "a node whose edges are all dead ran last",
        {"a": sets(x=1), "b": says("b")},
        "start -> a",
        "a -> b if false",
        final_output={"a": {"x": 1}},
    ),
    rule(
        "a flow_end does not end the branches beside it",
        {"end": ends("done"), "wait": waits(5), "say": says("still here")},
        "start -> end",
        "start -> wait",
        "wait -> say",
        messages=["still here"],
        final_output="done",
    ),
    rule(
        "a flow_end with terminate ends the execution now and cancels the rest",
        {"end": ends("done", terminate=True), "wait": waits(50), "say": says("never")},
        "start -> wait",
        "start -> end",
        "wait -> say",
        messages=[],
        final_output="done",
        states={"wait": "cancelled", "say": "skipped"},
        seconds=(0, 2),
    ),
    rule(
        "terminate cancels a call that runs",
        {
            "slow": calls("slow", timeout_seconds=500),
            "wait": waits(5),
            "end": ends("done", terminate=True),
        },
        "start -> slow",
        "start -> wait",
        "wait -> end",
        answers={"slow": gives(after=100)},
        final_output="done",
        states={"slow": "cancelled"},
        seconds=(5, 7),
        only=("run",),
    ),
    rule(
        "terminate in a loop ends the whole execution",
        {
            "loop": each_of([1, 2, 3]),
            "say": says("{{ item }}"),
            "check": checks("item == 2"),
            "end": ends("{{ item }}", terminate=True),
            "after": says("after"),
        },
        "start -> loop",
        "loop.loop -> say",
        "say -> check",
        "check.true -> end",
        "loop -> after",
        messages=["1", "2"],
        final_output=2,
        states={"after": "skipped"},
    ),
    rule(
        "a terminate whose arm is dead ends nothing",
        {"check": checks("false"), "end": ends("x", terminate=True), "say": says("on")},
        "start -> check",
        "check.true -> end",
        "check.false -> say",
        messages=["on"],
    ),
    rule(
        "a flow_end in a loop gives the output of its last run",
        {"loop": each_of([1, 2]), "end": ends("{{ item }}")},
        "start -> loop",
        "loop.loop -> end",
        final_output=2,
        outputs={"loop": [1, 2]},
    ),
    rule(
        "what follows a flow_end runs",
        {"end": ends("done"), "say": says("after")},
        "start -> end",
        "end -> say",
        messages=["after"],
        final_output="done",
    ),
    rule(
        "a flow_end whose output cannot be evaluated fails",
        {"end": ends("{{ nowhere }}")},
        "start -> end",
        error=("EXPRESSION_ERROR", "end"),
    ),
    rule(
        "an execution that failed has no output",
        {"a": ends("early"), "b": waits(1), "c": broken()},
        "start -> a",
        "start -> b",
        "b -> c",
        error=("EXPRESSION_ERROR", "c"),
        final_output=None,
    ),
    # cancelling
    rule(
        "cancelling aborts the call that runs and starts nothing more",
        {"a": calls(timeout_seconds=500), "b": says("b")},
        "start -> a",
        "a -> b",
        answers={"a": gives(after=100)},
        cancel_after=5,
        status="cancelled",
        states={"a": "cancelled", "b": "skipped"},
        listed={"a": "cancelled"},
        messages=[],
        seconds=5,
        only=("run",),
    ),
    rule(
        "cancelling an execution that waits ends it",
        {"a": waits(100), "b": says("b")},
        "start -> a",
        "a -> b",
        cancel_after=5,
        status="cancelled",
        states={"a": "cancelled", "b": "skipped"},
        messages=[],
        only=("run",),
    ),
    rule(
        "cancelling an execution between two attempts ends it",
        {"a": having(calls(), retry={"max_attempts": 9, "initial_seconds": 60})},
        "start -> a",
        answers={"a": fails()},
        cancel_after=5,
        status="cancelled",
        calls={"a": 1},
        only=("run",),
    ),
    rule(
        "cancelling in the midst of a loop ends it",
        {"loop": each_of([1, 2, 3]), "w": waits(20), "say": says("{{ item }}"), "z": says("z")},
        "start -> loop",
        "loop.loop -> w",
        "w -> say",
        "loop -> z",
        cancel_after=30,
        status="cancelled",
        messages=["1"],
        states={"loop": "cancelled", "z": "skipped"},
        only=("run",),
    ),
    rule(
        "a cancelled execution keeps the variables it had",
        {"a": sets(x=1), "b": waits(100)},
        "start -> a",
        "a -> b",
        cancel_after=5,
        status="cancelled",
        variables={"x": 1},
        only=("run",),
    ),
]


@each("run", RULES)
def test_the_engine_keeps_the_rule(rule: Rule) -> None:
    hold(rule)


@each("dry", RULES)
def test_a_dry_run_keeps_the_rule(rule: Rule) -> None:
    hold_dry(rule)


@each("crash", RULES)
def test_an_execution_whose_worker_dies_keeps_the_rule(rule: Rule) -> None:
    hold_crashed(rule)
