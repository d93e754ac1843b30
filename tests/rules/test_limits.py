"""Limits: what exceeds one fails with its own code, and nothing is silently cut."""

from __future__ import annotations

import pytest

from engine.context import Json, JsonObject, Limits
from engine.validation import validate
from tests.engine.world import document
from tests.rules.harness import three_ways
from tests.rules.writing import (
    calls,
    checks,
    each_of,
    fails,
    gives,
    having,
    loops_while,
    rule,
    says,
    sets,
    waits,
)

RULES = [
    rule(
        "an execution of as many steps as it may completes",
        {"a": sets(x=1), "b": sets(y=1)},
        "start -> a",
        "a -> b",
        limits=Limits(max_total_operations=3),
        steps=["start", "a", "b"],
    ),
    rule(
        "one step more than it may fails the execution",
        {"a": sets(x=1), "b": sets(y=1), "c": says("c")},
        "start -> a",
        "a -> b",
        "b -> c",
        limits=Limits(max_total_operations=3),
        error=("OPERATION_LIMIT_EXCEEDED", "c"),
        because="MAX_TOTAL_OPERATIONS",
        messages=[],
    ),
    rule(
        "skipped nodes are no operations",
        {"check": checks("true"), "a": sets(x=1), "b": sets(y=1), "c": sets(z=1)},
        "start -> check",
        "check.true -> a",
        "check.false -> b",
        "b -> c",
        limits=Limits(max_total_operations=3),
        steps=["start", "check", "a"],
    ),
    rule(
        "every iteration's steps are operations",
        {"loop": each_of([1, 2, 3]), "a": sets(x=1)},
        "start -> loop",
        "loop.loop -> a",
        limits=Limits(max_total_operations=3),
        status="failed",
        error=("OPERATION_LIMIT_EXCEEDED", "a"),
    ),
    rule(
        "attempts are no operations of their own",
        {"a": having(calls(), retry={"max_attempts": 3, "initial_seconds": 1})},
        "start -> a",
        answers={"a": [fails(), fails(), gives()]},
        limits=Limits(max_total_operations=2),
        attempts={"a": 3},
    ),
    rule(
        "the operation limit is taken by no error port",
        {"a": sets(x=1), "b": sets(y=1), "sorry": says("sorry")},
        "start -> a",
        "a -> b",
        "b.error -> sorry",
        limits=Limits(max_total_operations=2),
        error=("OPERATION_LIMIT_EXCEEDED", "b"),
        messages=[],
    ),
    rule(
        "the operation limit is taken by no loop that continues",
        {"loop": having(each_of([1, 2, 3]), continue_on_error=True), "a": sets(x=1)},
        "start -> loop",
        "loop.loop -> a",
        limits=Limits(max_total_operations=3),
        error=("OPERATION_LIMIT_EXCEEDED", "a"),
    ),
    rule(
        "a thousand steps are the most when nothing is said",
        {"outer": each_of("range(50)"), "inner": each_of("range(50)"), "a": sets(x=1)},
        "start -> outer",
        "outer.loop -> inner",
        "inner.loop -> a",
        status="failed",
        error=("OPERATION_LIMIT_EXCEEDED", "a"),
        only=("run",),
    ),
    # iterations
    rule(
        "a loop over as many items as it may completes",
        {"loop": each_of("range(100)"), "a": sets(x="{{ item }}")},
        "start -> loop",
        "loop.loop -> a",
        variables={"x": 99},
        only=("run", "dry"),
    ),
    rule(
        "a loop over more items than it may fails and runs none of them",
        {"loop": each_of("range(101)"), "a": says("{{ item }}")},
        "start -> loop",
        "loop.loop -> a",
        error=("LOOP_LIMIT_EXCEEDED", "loop"),
        because="MAX_LOOP_ITERATIONS",
        messages=[],
    ),
    rule(
        "a node's max_iterations lowers the limit",
        {"loop": each_of([1, 2, 3], max_iterations=2), "a": sets(x=1)},
        "start -> loop",
        "loop.loop -> a",
        error=("LOOP_LIMIT_EXCEEDED", "loop"),
        because=("max_iterations", "2"),
    ),
    rule(
        "a loop of exactly max_iterations completes",
        {"loop": each_of([1, 2], max_iterations=2), "a": sets(x="{{ item }}")},
        "start -> loop",
        "loop.loop -> a",
        variables={"x": 2},
    ),
    rule(
        "a node's max_iterations does not raise the limit",
        {"loop": each_of([1, 2, 3], max_iterations=50), "a": sets(x=1)},
        "start -> loop",
        "loop.loop -> a",
        limits=Limits(max_loop_iterations=2),
        error=("LOOP_LIMIT_EXCEEDED", "loop"),
        because="MAX_LOOP_ITERATIONS",
    ),
    rule(
        "a while loop that never ends fails at its limit",
        {"loop": loops_while("true"), "a": sets(n="{{ index }}")},
        "start -> loop",
        "loop.loop -> a",
        limits=Limits(max_loop_iterations=5),
        error=("LOOP_LIMIT_EXCEEDED", "loop"),
        variables={"n": 4},
    ),
    rule(
        "a while loop whose condition fails to hold right at its limit completes",
        {"loop": loops_while("index < 5"), "a": sets(n="{{ index }}")},
        "start -> loop",
        "loop.loop -> a",
        limits=Limits(max_loop_iterations=5),
        variables={"n": 4},
    ),
    rule(
        "a while loop's max_iterations lowers the limit",
        {"loop": loops_while("true", max_iterations=2), "a": sets(n="{{ index }}")},
        "start -> loop",
        "loop.loop -> a",
        error=("LOOP_LIMIT_EXCEEDED", "loop"),
        variables={"n": 1},
    ),
    rule(
        "the iteration limit is of one loop, each time it runs",
        {"outer": each_of([1, 2, 3]), "inner": each_of([1, 2, 3]), "a": sets(x=1)},
        "start -> outer",
        "outer.loop -> inner",
        "inner.loop -> a",
        limits=Limits(max_loop_iterations=3),
    ),
    rule(
        "the iteration limit is taken by no error port",
        {"loop": each_of([1, 2]), "a": sets(x=1), "sorry": says("sorry")},
        "start -> loop",
        "loop.loop -> a",
        "loop.error -> sorry",
        limits=Limits(max_loop_iterations=1),
        error=("LOOP_LIMIT_EXCEEDED", "loop"),
        messages=[],
    ),
    rule(
        "the iteration limit is taken by no continue_on_error, of the loop or of one around it",
        {
            "outer": having(each_of([1]), continue_on_error=True),
            "inner": having(each_of([1, 2]), continue_on_error=True),
            "a": sets(x=1),
        },
        "start -> outer",
        "outer.loop -> inner",
        "inner.loop -> a",
        limits=Limits(max_loop_iterations=1),
        error=("LOOP_LIMIT_EXCEEDED", "inner"),
    ),
    rule(
        "loops ten deep run",
        {**{f"l{n}": each_of([1]) for n in range(10)}, "a": says("deep")},
        "start -> l0",
        *(f"l{n}.loop -> l{n + 1}" for n in range(9)),
        "l9.loop -> a",
        messages=["deep"],
    ),
    # bytes and expressions
    rule(
        "steps that record more than an execution may hold fail it",
        {"loop": each_of("range(20)"), "a": sets(x="{{ 'x' * 1000 }}")},
        "start -> loop",
        "loop.loop -> a",
        limits=Limits(max_execution_bytes=8_000),
        error=("EXECUTION_TOO_LARGE", "a"),
        because="MAX_EXECUTION_BYTES",
        only=("run", "crash"),
    ),
    rule(
        "the size limit is taken by no loop that continues",
        {
            "loop": having(each_of("range(20)"), continue_on_error=True),
            "a": sets(x="{{ 'x' * 1000 }}"),
        },
        "start -> loop",
        "loop.loop -> a",
        limits=Limits(max_execution_bytes=8_000),
        error=("EXECUTION_TOO_LARGE", "a"),
        only=("run", "crash"),
    ),
    rule(
        "an expression that takes too much work fails its node",
        {"a": sets(x="{{ sum([i for i in range(1000) for j in range(1000)]) }}")},
        "start -> a",
        error=("BUDGET_EXCEEDED", "a"),
    ),
    rule(
        "an expression that takes too much memory fails its node",
        {"a": sets(x="{{ 'x' * 5000000 }}")},
        "start -> a",
        error=("BUDGET_EXCEEDED", "a"),
    ),
    rule(
        "a step's budget is shared by all its expressions",
        {"a": sets(**{f"v{n}": "{{ len([i for i in range(3000)]) }}" for n in range(20)})},
        "start -> a",
        error=("BUDGET_EXCEEDED", "a"),
    ),
    rule(
        "every step has a budget of its own",
        {
            **{f"a{n}": sets(**{f"v{n}": "{{ len([i for i in range(3000)]) }}"}) for n in range(8)},
        },
        "start -> a0",
        *(f"a{n} -> a{n + 1}" for n in range(7)),
        has={"v7": 3000},
    ),
    rule(
        "a budget used up can be handled like any other error",
        {"a": sets(x="{{ 'x' * 5000000 }}"), "b": says("{{ input.type }}")},
        "start -> a",
        "a.error -> b",
        messages=["BUDGET_EXCEEDED"],
    ),
    # side by side
    rule(
        "no more than MAX_PARALLEL_NODES actions of an execution run at once",
        {f"a{n}": calls() for n in range(6)},
        *(f"start -> a{n}" for n in range(6)),
        limits=Limits(max_parallel_nodes=2),
        answers={f"a{n}": gives(after=5) for n in range(6)},
        most_running=2,
        seconds=15,
        only=("run",),
    ),
    rule(
        "concurrent iterations keep to MAX_PARALLEL_NODES too",
        {"loop": each_of("range(6)", concurrency=6), "a": calls()},
        "start -> loop",
        "loop.loop -> a",
        limits=Limits(max_parallel_nodes=3),
        answers={"a": gives(after=5)},
        most_running=3,
        seconds=10,
        only=("run",),
    ),
    rule(
        "delays take no place among the actions that run at once",
        {"w1": waits(100), "w2": waits(100), "a": calls()},
        "start -> w1",
        "start -> w2",
        "start -> a",
        limits=Limits(max_parallel_nodes=1),
        answers={"a": gives(after=5)},
        seconds=(100, 102),
        only=("run",),
    ),
    # time
    rule(
        "an execution that takes longer than it may fails and its call is cancelled",
        {"a": calls(timeout_seconds=500), "b": says("b")},
        "start -> a",
        "a -> b",
        fields={"max_execution_time_seconds": 20},
        answers={"a": gives(after=100)},
        error=("EXECUTION_TIMEOUT", "a"),
        states={"a": "cancelled", "b": "skipped"},
        seconds=20,
        messages=[],
        only=("run",),
    ),
    rule(
        "waiting counts towards an execution's time",
        {"w": waits(100), "b": says("b")},
        "start -> w",
        "w -> b",
        fields={"max_execution_time_seconds": 20},
        error=("EXECUTION_TIMEOUT", "w"),
        states={"w": "cancelled"},
        seconds=(20, 22),
        messages=[],
        only=("run",),
    ),
    rule(
        "a retry's pauses count towards an execution's time",
        {"a": having(calls(), retry={"max_attempts": 50, "initial_seconds": 10})},
        "start -> a",
        fields={"max_execution_time_seconds": 60},
        answers={"a": fails()},
        error=("EXECUTION_TIMEOUT", "a"),
        seconds=(60, 62),
        only=("run",),
    ),
    rule(
        "an execution's time is taken by no error port",
        {"a": calls(timeout_seconds=500), "sorry": says("sorry")},
        "start -> a",
        "a.error -> sorry",
        fields={"max_execution_time_seconds": 20},
        answers={"a": gives(after=100)},
        error=("EXECUTION_TIMEOUT", "a"),
        messages=[],
        only=("run",),
    ),
    rule(
        "five minutes are the most when nothing is said",
        {"w": waits(1000)},
        "start -> w",
        error=("EXECUTION_TIMEOUT", "w"),
        seconds=(300, 302),
        only=("run",),
    ),
    rule(
        "an execution may take thirty days if it says so",
        {"w": waits(29 * 86_400), "b": says("at last")},
        "start -> w",
        "w -> b",
        fields={"max_execution_time_seconds": 30 * 86_400},
        messages=["at last"],
        only=("dry",),
    ),
]


def nested(depth: int) -> JsonObject:
    """A document of loops within loops."""
    loops = {f"l{n}": each_of([1]) for n in range(depth)}
    edges = [f"l{n}.loop -> l{n + 1}" for n in range(depth - 1)]
    return document({**loops, "a": sets(x=1)}, "start -> l0", *edges, f"l{depth - 1}.loop -> a")


def codes(raw: JsonObject, limits: Limits | None = None) -> set[str]:
    """The errors a document is refused with."""
    return {issue["code"] for issue in validate(raw, limits or Limits()).as_json()["errors"]}


def test_loops_nest_ten_deep_and_no_deeper() -> None:
    assert codes(nested(10)) == set()
    assert codes(nested(11)) == {"LOOP_TOO_DEEP"}
    assert codes(nested(3), Limits(max_loop_depth=2)) == {"LOOP_TOO_DEEP"}


def test_a_workflow_has_five_hundred_nodes_and_no_more() -> None:
    def many(count: int) -> JsonObject:
        nodes = {f"a{n}": sets(x=1) for n in range(count - 1)}
        return document(nodes, *(f"start -> {name}" for name in nodes))

    assert codes(many(500)) == set()
    assert codes(many(501)) == {"TOO_MANY_NODES"}


def test_a_workflow_has_five_thousand_expressions_and_no_more() -> None:
    def many(count: int) -> JsonObject:
        return document({"a": sets(x="{{ 1 }}" * count)}, "start -> a")

    assert codes(many(5000)) == set()
    assert codes(many(5001)) == {"TOO_MANY_EXPRESSIONS"}


def test_texts_without_an_expression_do_not_count_as_one() -> None:
    assert codes(document({"a": sets(x=["word"] * 6000)}, "start -> a")) == set()


TESTED = {"variable": "n", "operator": "equals", "value": "yes"}


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("n > 1", 1),
        (TESTED, 1),
        ({"left": "n", "operator": "equals", "right": "n"}, 1),
        ({"left": "a text", "operator": "equals", "right": "{{ n }}"}, 1),
        ({"left": "{{ n }}", "operator": "equals", "right": "{{ n }} {{ n }}"}, 3),
        ({**TESTED, "value": ["{{ n }}", "word"]}, 2),
        ([TESTED, "n > 1"], 2),
        ({"any": [TESTED, {"not": {"all": [TESTED, TESTED]}}]}, 3),
        ({"variable": "n", "operator": "exists"}, 1),
        (True, 0),
    ],
)
def test_of_a_condition_its_expressions_count_and_not_its_words(
    condition: Json, count: int
) -> None:
    six = {"a": checks(condition), "b": sets(x="{{ 1 }}" * (6 - count))}
    there = document(six, "start -> a", "a.true -> b")
    assert codes(there, Limits(max_workflow_expressions=5)) == {"TOO_MANY_EXPRESSIONS"}
    assert codes(there, Limits(max_workflow_expressions=6)) == set()


(
    test_the_engine_keeps_the_rule,
    test_a_dry_run_keeps_the_rule,
    test_an_execution_whose_worker_dies_keeps_the_rule,
) = three_ways(RULES)
