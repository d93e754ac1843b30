"""Errors: who handles one, what the handler is given, and what becomes of the others."""

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
    fetches,
    gives,
    having,
    loops_while,
    node,
    rule,
    says,
    sets,
    waits,
)

FAILING_ACTIONS = (
    "action_module",
    "action_chat_message",
    "action_browser_source",
    "action_webhook",
)
CONTINUED = [
    ("data_variable_set", broken(), "output"),
    ("data_transform", node("data_transform", transformations={"x": "nowhere"}), "output"),
    ("data_variable_get", node("data_variable_get", variable_name="nowhere"), "output"),
    ("condition_if", checks("nowhere"), "false"),
    (
        "condition_if with renamed ports",
        checks("nowhere", output_true_port="yes", output_false_port="no"),
        "no",
    ),
    ("condition_switch", node("condition_switch", value="nowhere", cases={"a": "a"}), "default"),
    (
        "condition_switch with a renamed default",
        node("condition_switch", value="nowhere", cases={"a": "a"}, default_port="other"),
        "other",
    ),
    ("condition_filter", node("condition_filter", items="nowhere", condition="true"), "output"),
    ("loop_foreach whose items fail", each_of("nowhere"), "output"),
    ("loop_while whose condition fails", loops_while("nowhere"), "output"),
    ("flow_end", ends("{{ nowhere }}"), "output"),
    ("action_delay", waits("{{ nowhere }}"), "output"),
    ("action_module", calls(), "output"),
    ("action_chat_message", says("hi"), "output"),
    ("action_browser_source", node("action_browser_source", content="x"), "output"),
    ("action_webhook", fetches(), "output"),
]

RULES = [
    rule(
        "an unhandled error fails the execution and names its node",
        {"a": sets(x=1), "b": broken(), "c": says("c")},
        "start -> a",
        "a -> b",
        "b -> c",
        error=("EXPRESSION_ERROR", "b"),
        because="nowhere",
        messages=[],
        steps=["start", "a", "b"],
        states={"a": "completed", "b": "failed", "c": "skipped"},
        variables={"x": 1},
        final_output=None,
    ),
    rule(
        "an action that fails fails the execution with its error's type",
        {"a": calls()},
        "start -> a",
        answers={"a": fails()},
        error=("MOCKED_ERROR", "a"),
        because="It is down.",
    ),
    rule(
        "an unhandled error cancels running siblings",
        {"bad": calls("bad"), "slow": calls("slow", timeout_seconds=500), "after": says("after")},
        "start -> bad",
        "start -> slow",
        "slow -> after",
        answers={"bad": fails("DOWN", after=1), "slow": gives(after=100)},
        error=("DOWN", "bad"),
        states={"slow": "cancelled", "bad": "failed", "after": "skipped"},
        messages=[],
        seconds=1,
        only=("run",),
    ),
    rule(
        "a call that an unhandled error cut off is listed among the steps as cancelled",
        {"bad": calls("bad"), "slow": calls("slow", timeout_seconds=500)},
        "start -> bad",
        "start -> slow",
        answers={"bad": fails("DOWN", after=1), "slow": gives(after=100)},
        error=("DOWN", "bad"),
        listed={"start": "completed", "bad": "failed", "slow": "cancelled"},
        only=("run",),
    ),
    rule(
        "an unhandled error cancels a sibling that waits",
        {"bad": calls("bad"), "wait": waits(1000), "after": says("after")},
        "start -> bad",
        "start -> wait",
        "wait -> after",
        answers={"bad": fails(after=2)},
        error=("MOCKED_ERROR", "bad"),
        states={"wait": "cancelled", "after": "skipped"},
        messages=[],
        seconds=(0, 3),
    ),
    rule(
        "an unhandled error cancels a sibling that waits for its next attempt",
        {
            "bad": calls("bad"),
            "again": having(calls("again"), retry={"max_attempts": 9, "initial_seconds": 60}),
        },
        "start -> bad",
        "start -> again",
        answers={"bad": fails("DOWN", after=2), "again": fails("LATE")},
        error=("DOWN", "bad"),
        states={"again": "cancelled"},
        calls={"again": 1},
        seconds=2,
        only=("run",),
    ),
    rule(
        "an error port makes its edge live and the node's other edges dead",
        {"a": calls(), "ok": says("ok"), "sorry": says("sorry")},
        "start -> a",
        "a -> ok",
        "a.error -> sorry",
        answers={"a": fails()},
        messages=["sorry"],
        states={"a": "failed", "ok": "skipped", "sorry": "completed"},
        steps=["start", "a", "sorry"],
        ports={"a": "error"},
    ),
    rule(
        "an error port's payload is the error",
        {"a": calls(), "b": sets(got="{{ input }}")},
        "start -> a",
        "a.error -> b",
        answers={"a": fails()},
        has={
            "got": {
                "message": "It is down.",
                "type": "MOCKED_ERROR",
                "node_id": "a",
                "step_key": "a",
                "attempts": 1,
            }
        },
    ),
    rule(
        "an error port's edge is dead when nothing fails",
        {"a": calls(), "ok": says("ok"), "sorry": says("sorry")},
        "start -> a",
        "a -> ok",
        "a.error -> sorry",
        messages=["ok"],
        states={"sorry": "skipped"},
    ),
    rule(
        "an error port of a pure node handles what its expression cannot",
        {"a": broken(), "b": sets(why="{{ input.type }}", where="{{ input.node_id }}")},
        "start -> a",
        "a.error -> b",
        variables={"why": "EXPRESSION_ERROR", "where": "a"},
        states={"a": "failed"},
    ),
    rule(
        "an error port of a condition handles its error",
        {"check": checks("nowhere > 1"), "yes": says("yes"), "no": says("no"), "e": says("e")},
        "start -> check",
        "check.true -> yes",
        "check.false -> no",
        "check.error -> e",
        messages=["e"],
    ),
    rule(
        "an error port comes before continue_on_error",
        {"a": having(calls(), continue_on_error=True), "ok": says("ok"), "sorry": says("sorry")},
        "start -> a",
        "a -> ok",
        "a.error -> sorry",
        answers={"a": fails()},
        messages=["sorry"],
    ),
    rule(
        "what failed and what was handled meet again in one tail",
        {"a": calls(), "sorry": says("sorry"), "tail": says("tail")},
        "start -> a",
        "a -> tail",
        "a.error -> sorry",
        "sorry -> tail",
        answers={"a": fails()},
        messages=["sorry", "tail"],
        steps=["start", "a", "sorry", "tail"],
    ),
    rule(
        "several edges from an error port are all live",
        {"a": broken(), "b": says("b"), "c": says("c")},
        "start -> a",
        "a.error -> b",
        "a.error -> c",
        messages={"b", "c"},
    ),
    rule(
        "an error's handler that fails fails the execution as the handler",
        {"a": calls(), "sorry": calls("sorry")},
        "start -> a",
        "a.error -> sorry",
        answers={"a": fails(), "sorry": fails()},
        error=("MOCKED_ERROR", "sorry"),
    ),
    rule(
        "an error's handler can have a handler of its own",
        {"a": broken(), "b": broken(), "c": says("{{ input.node_id }}")},
        "start -> a",
        "a.error -> b",
        "b.error -> c",
        messages=["b"],
    ),
    rule(
        "an error that was handled leaves the execution completed and the node failed",
        {"a": calls(), "b": sets(x=1)},
        "start -> a",
        "a.error -> b",
        answers={"a": fails()},
        status="completed",
        states={"a": "failed"},
        final_output={"b": {"x": 1}},
    ),
    rule(
        "nodes tells the error of a node that failed",
        {"a": calls(), "b": sets(why="{{ nodes.a.error.message }}", port="{{ nodes.a.port }}")},
        "start -> a",
        "a.error -> b",
        answers={"a": fails()},
        variables={"why": "It is down.", "port": "error"},
    ),
    rule(
        "a failing branch that is never reached fails nothing",
        {"check": checks("false"), "bad": broken(), "ok": says("ok")},
        "start -> check",
        "check.true -> bad",
        "check.false -> ok",
        messages=["ok"],
    ),
    rule(
        "error ports can be told apart by what the error is",
        {"a": broken(), "late": says("late"), "wrong": says("wrong")},
        "start -> a",
        "a.error -> late if input.type == 'TIMEOUT'",
        "a.error -> wrong if input.type == 'EXPRESSION_ERROR'",
        messages=["wrong"],
    ),
    # continue_on_error
    *(
        rule(
            f"continue_on_error of {kind} goes on by {port} with the error as output",
            {"a": having(failing, continue_on_error=True), "next": sets(got="{{ input }}")},
            "start -> a",
            f"a.{port} -> next",
            answers={"a": fails()} if kind in FAILING_ACTIONS else {},
            ports={"a": port},
            states={"a": "failed", "next": "completed"},
            steps=["start", "a", "next"],
        )
        for kind, failing, port in CONTINUED
    ),
    rule(
        "continue_on_error gives the error under error",
        {"a": having(calls(), continue_on_error=True), "b": sets(got="{{ input }}")},
        "start -> a",
        "a -> b",
        answers={"a": fails()},
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
        "an edge's condition is judged after continue_on_error too",
        {"a": having(calls(), continue_on_error=True), "ok": says("ok"), "bad": says("bad")},
        "start -> a",
        "a -> ok if not has(input.error)",
        "a -> bad if has(input.error)",
        answers={"a": fails()},
        messages=["bad"],
        states={"ok": "skipped"},
    ),
    rule(
        "continue_on_error of a node that fails last still completes the execution",
        {"a": having(calls(), continue_on_error=True)},
        "start -> a",
        answers={"a": fails()},
        states={"a": "failed"},
        steps=["start", "a"],
    ),
    rule(
        "continue_on_error sets no variable that the node would have set",
        {
            "a": having(calls(output_mapping={"points": "points"}), continue_on_error=True),
            "b": sets(known="{{ has(points) }}"),
        },
        "start -> a",
        "a -> b",
        answers={"a": fails()},
        variables={"known": False},
    ),
    rule(
        "continue_on_error makes no difference to a node that does not fail",
        {"a": having(calls(), continue_on_error=True), "b": sets(got="{{ input }}")},
        "start -> a",
        "a -> b",
        answers={"a": gives({"x": 1})},
        has={"got": {"x": 1}},
        states={"a": "completed"},
    ),
    rule(
        "an object's data that looks like an error is no error",
        {"a": calls(), "b": says("b")},
        "start -> a",
        "a -> b",
        answers={"a": gives({"error": {"message": "theirs"}})},
        messages=["b"],
        states={"a": "completed"},
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
