"""Errors that the connections from the port `error` refuse: no `conditional` loses a failure."""

from __future__ import annotations

from tests.rules.harness import hold, hold_crashed, hold_dry
from tests.rules.writing import (
    Rule,
    broken,
    calls,
    each,
    each_of,
    fails,
    having,
    loops_while,
    node,
    rule,
    says,
    sets,
)

LATE = "input.type == 'TIMEOUT'"

RULES = [
    rule(
        "an error that the only edge from the error port refuses fails the execution",
        {"a": broken(), "b": says("b")},
        "start -> a",
        f"a.error -> b if {LATE}",
        error=("EXPRESSION_ERROR", "a"),
        because="nowhere",
        messages=[],
        states={"a": "failed", "b": "skipped"},
        steps=["start", "a"],
    ),
    rule(
        "an error that the error port of an action refuses fails the execution as that error",
        {"a": calls(), "b": says("b")},
        "start -> a",
        "a.error -> b if false",
        answers={"a": fails()},
        error=("MOCKED_ERROR", "a"),
        because="It is down.",
        final_output=None,
    ),
    rule(
        "an error that every edge from the error port refuses fails the execution",
        {"a": broken(), "b": says("b"), "c": says("c")},
        "start -> a",
        f"a.error -> b if {LATE}",
        "a.error -> c if false",
        error=("EXPRESSION_ERROR", "a"),
        messages=[],
    ),
    rule(
        "one edge that takes the error is enough",
        {"a": broken(), "b": says("b"), "c": says("c")},
        "start -> a",
        f"a.error -> b if {LATE}",
        "a.error -> c if input.node_id == 'a' and nodes.a.port == 'error'",
        messages=["c"],
        states={"a": "failed", "b": "skipped"},
        ports={"a": "error"},
    ),
    rule(
        "an edge from the error port without a condition takes what the others refuse",
        {"a": broken(), "b": says("b"), "c": says("c")},
        "start -> a",
        f"a.error -> b if {LATE}",
        "a.error -> c",
        messages=["c"],
    ),
    rule(
        "an error that the error port refuses cancels what runs beside it",
        {"a": calls("a"), "slow": calls("slow", timeout_seconds=500), "b": says("b")},
        "start -> a",
        "start -> slow",
        "a.error -> b if false",
        answers={"a": fails("DOWN", after=1)},
        error=("DOWN", "a"),
        messages=[],
        only=("run",),
    ),
    rule(
        "continue_on_error takes what the error port refuses, by the normal port",
        {
            "a": having(calls(), continue_on_error=True),
            "ok": sets(got="{{ input }}"),
            "b": says("b"),
        },
        "start -> a",
        "a -> ok",
        "a.error -> b if false",
        answers={"a": fails()},
        messages=[],
        ports={"a": "output"},
        states={"a": "failed", "ok": "completed", "b": "skipped"},
        has={
            "got": {
                "error": {
                    "message": "It is down.",
                    "type": "MOCKED_ERROR",
                    "node_id": "a",
                    "step_key": "a",
                    "attempts": 1,
                }
            }
        },
    ),
    rule(
        "the conditions of the normal port are asked after the error port has refused",
        {"a": having(broken(), continue_on_error=True), "ok": says("ok"), "no": says("no")},
        "start -> a",
        "a -> ok if input.error.node_id == 'a' and nodes.a.port == 'output'",
        "a -> no if not has(input.error)",
        "a.error -> no if false",
        messages=["ok"],
        states={"no": "skipped"},
    ),
    rule(
        "the conditions of the normal port are not asked while the error port takes the error",
        {"a": having(broken(), continue_on_error=True), "ok": says("ok"), "b": says("b")},
        "start -> a",
        "a -> ok if missing",
        "a.error -> b",
        messages=["b"],
    ),
    rule(
        "a loop that continues on errors takes what the error port in its body refuses",
        {
            "each": having(each_of([1, 2]), continue_on_error=True),
            "a": node("data_transform", transformations={"x": "1 / (item - 1)"}),
            "b": says("b"),
        },
        "start -> each",
        "each.loop -> a",
        "a.error -> b if false",
        messages=[],
        steps=["start", "each[0].a", "each[1].a", "each"],
        status="completed",
    ),
    rule(
        "an error that the error port in a body refuses fails the execution",
        {"each": each_of([1]), "a": broken(), "b": says("b")},
        "start -> each",
        "each.loop -> a",
        "a.error -> b if false",
        error=("EXPRESSION_ERROR", "a"),
        messages=[],
    ),
    rule(
        "an error that an edge straight back to the loop takes ends the iteration",
        {"each": each_of([1, 2]), "a": broken()},
        "start -> each",
        "each.loop -> a",
        "a.error -> each if input.type == 'EXPRESSION_ERROR'",
        steps=["start", "each[0].a", "each[1].a", "each"],
    ),
    rule(
        "an error that an edge straight back to the loop refuses fails the execution",
        {"each": each_of([1, 2]), "a": broken()},
        "start -> each",
        "each.loop -> a",
        "a.error -> each if false",
        error=("EXPRESSION_ERROR", "a"),
        steps=["start", "each[0].a"],
    ),
    rule(
        "an error of a loop itself that its error port refuses fails the execution",
        {"w": loops_while("nowhere"), "a": says("a"), "b": says("b")},
        "start -> w",
        "w.loop -> a",
        "w.error -> b if false",
        error=("EXPRESSION_ERROR", "w"),
        messages=[],
    ),
    rule(
        "a condition of the error port that cannot be evaluated fails the execution and tells both",
        {"a": calls(), "b": says("b")},
        "start -> a",
        "a.error -> b if missing",
        answers={"a": fails()},
        error=("EXPRESSION_ERROR", "a"),
        because=("missing", "It is down."),
        messages=[],
    ),
    rule(
        "a condition of the error port that cannot be evaluated is beyond continue_on_error",
        {
            "each": having(each_of([1, 2]), continue_on_error=True),
            "a": having(calls(), continue_on_error=True),
            "b": says("b"),
        },
        "start -> each",
        "each.loop -> a",
        "a.error -> b if missing",
        answers={"a": fails()},
        error=("EXPRESSION_ERROR", "a"),
        because=("missing", "It is down."),
        messages=[],
    ),
    rule(
        "a live edge from the error port does not make up for one that cannot be evaluated",
        {"a": calls(), "b": says("b"), "c": says("c")},
        "start -> a",
        "a.error -> b",
        "a.error -> c if missing",
        answers={"a": fails()},
        error=("EXPRESSION_ERROR", "a"),
        because=("missing", "It is down."),
        messages=[],
    ),
    rule(
        "a live edge from the error port to a disabled node takes the error",
        {"a": broken(), "b": having(says("b"), enabled=False)},
        "start -> a",
        "a.error -> b",
        messages=[],
        states={"a": "failed", "b": "skipped"},
        status="completed",
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
