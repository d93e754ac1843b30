"""Variables: what overlays what, who may set them, and who sees them."""

from __future__ import annotations

from tests.rules.harness import (
    hold,
    hold_crashed,
    hold_dry,
)
from tests.rules.writing import (
    Rule,
    checks,
    each,
    each_of,
    node,
    rule,
    says,
    sets,
    waits,
)

RULES = [
    rule(
        "global_variables are there from the start",
        {"a": says("{{ greeting }}")},
        "start -> a",
        fields={"global_variables": {"greeting": "hi"}},
        messages=["hi"],
        variables={"greeting": "hi"},
    ),
    rule(
        "the request's variables overlay the global ones",
        {"a": says("{{ greeting }} {{ name }}")},
        "start -> a",
        fields={"global_variables": {"greeting": "hi", "name": "you"}},
        start={"variables": {"name": "ada"}},
        messages=["hi ada"],
        variables={"greeting": "hi", "name": "ada"},
    ),
    rule(
        "what nodes set overlays the request's variables",
        {"a": sets(name="linus")},
        "start -> a",
        start={"variables": {"name": "ada"}},
        variables={"name": "linus"},
    ),
    rule(
        "an overlay replaces a value whole and merges nothing",
        {},
        fields={"global_variables": {"user": {"name": "a", "age": 1}}},
        start={"variables": {"user": {"name": "b"}}},
        variables={"user": {"name": "b"}},
    ),
    rule(
        "of two nodes that set a variable the one that finishes last wins",
        {"slow": waits(20), "a": sets(x="slow"), "quick": waits(5), "b": sets(x="quick")},
        "start -> slow",
        "slow -> a",
        "start -> quick",
        "quick -> b",
        variables={"x": "slow"},
    ),
    rule(
        "global_variables are no templates",
        {"a": says("{{ text }}")},
        "start -> a",
        fields={"global_variables": {"text": "{{ 1 + 1 }}"}},
        messages=["{{ 1 + 1 }}"],
    ),
    rule(
        "a value that contains braces stays text wherever it goes",
        {"a": sets(y="{{ x }}", z="<{{ x }}>"), "b": says("{{ y }} {{ z }}")},
        "start -> a",
        "a -> b",
        start={"variables": {"x": "{{ execution.id }}"}},
        messages=["{{ execution.id }} <{{ execution.id }}>"],
    ),
    rule(
        "several variables of one node see those before the node, not each other",
        {"a": sets(x="{{ x + 1 }}", y="{{ x }}")},
        "start -> a",
        start={"variables": {"x": 1}},
        variables={"x": 2, "y": 1},
    ),
    rule(
        "a local variable lives in its iteration only",
        {
            "loop": each_of([1, 2]),
            "a": node("data_variable_set", variables={"mine": "{{ item }}"}, scope="local"),
            "b": says("{{ mine }}"),
            "after": sets(known="{{ has(mine) }}"),
        },
        "start -> loop",
        "loop.loop -> a",
        "a -> b",
        "loop -> after",
        messages=["1", "2"],
        variables={"known": False},
    ),
    rule(
        "a local variable of one iteration is unknown in the next",
        {
            "loop": each_of([1, 2]),
            "known": says("known: {{ has(mine) }}"),
            "a": node("data_variable_set", variables={"mine": "{{ item }}"}, scope="local"),
        },
        "start -> loop",
        "loop.loop -> known",
        "known -> a",
        messages=["known: False", "known: False"],
    ),
    rule(
        "a local variable hides the workflow's of the same name and gives it back",
        {
            "loop": each_of([1]),
            "a": node("data_variable_set", variables={"x": "local"}, scope="local"),
            "b": says("{{ x }}"),
            "after": says("{{ x }}"),
        },
        "start -> loop",
        "loop.loop -> a",
        "a -> b",
        "loop -> after",
        start={"variables": {"x": "workflow"}},
        messages=["local", "workflow"],
        variables={"x": "workflow"},
    ),
    rule(
        "a local variable is seen in the loops within its iteration",
        {
            "outer": each_of([1]),
            "a": node("data_variable_set", variables={"mine": "outer"}, scope="local"),
            "inner": each_of([1, 2]),
            "say": says("{{ mine }}"),
        },
        "start -> outer",
        "outer.loop -> a",
        "a -> inner",
        "inner.loop -> say",
        messages=["outer", "outer"],
    ),
    rule(
        "a workflow variable set in a loop is seen in the next iteration",
        {"loop": each_of([1, 2, 3]), "a": sets(last="{{ item }}", before="{{ default(last, 0) }}")},
        "start -> loop",
        "loop.loop -> a",
        outputs={
            "loop": [
                {"last": 1, "before": 0},
                {"last": 2, "before": 1},
                {"last": 3, "before": 2},
            ]
        },
    ),
    # get
    rule(
        "a variable_get's output is the value",
        {"a": node("data_variable_get", variable_name="x"), "b": sets(got="{{ input }}")},
        "start -> a",
        "a -> b",
        start={"variables": {"x": [1, 2]}},
        has={"got": [1, 2]},
    ),
    rule(
        "a variable_get goes deeper with dots",
        {"a": node("data_variable_get", variable_name="user.name", output_variable="who")},
        "start -> a",
        start={"variables": {"user": {"name": "ada"}}},
        has={"who": "ada"},
    ),
    rule(
        "a variable_get falls back to its default",
        {"a": node("data_variable_get", variable_name="user.name", default_value="{{ x }}")},
        "start -> a",
        start={"variables": {"x": "friend"}},
        outputs={"a": "friend"},
    ),
    rule(
        "a variable_get's default may be null, zero or false",
        {
            "a": node("data_variable_get", variable_name="no", default_value=0),
            "b": node("data_variable_get", variable_name="no", default_value=False),
        },
        "start -> a",
        "a -> b",
        outputs={"a": 0, "b": False},
    ),
    rule(
        "a variable that is there is not replaced by a default though it is empty",
        {"a": node("data_variable_get", variable_name="x", default_value="d")},
        "start -> a",
        start={"variables": {"x": ""}},
        outputs={"a": ""},
    ),
    rule(
        "a variable_get of something missing fails and names it",
        {"a": node("data_variable_get", variable_name="usernmae")},
        "start -> a",
        start={"variables": {"username": "ada"}},
        error=("EXPRESSION_ERROR", "a"),
        because=("usernmae", "username"),
    ),
    # transform
    rule(
        "a transform's expressions run in order and each sees the earlier",
        {"a": node("data_transform", transformations={"a": "x + 1", "b": "a * 2", "c": "a + b"})},
        "start -> a",
        start={"variables": {"x": 1}},
        outputs={"a": {"a": 2, "b": 4, "c": 6}},
        variables={"x": 1, "a": 2, "b": 4, "c": 6},
    ),
    rule(
        "a transform's output_variable holds them all",
        {"a": node("data_transform", transformations={"p": "1", "q": "2"}, output_variable="both")},
        "start -> a",
        has={"both": {"p": 1, "q": 2}, "p": 1, "q": 2},
    ),
    rule(
        "a transform that fails halfway sets nothing",
        {"a": node("data_transform", transformations={"p": "1", "q": "nowhere"})},
        "start -> a",
        error=("EXPRESSION_ERROR", "a"),
        variables={},
    ),
    # reserved names
    rule(
        "execution tells what the execution is",
        {"a": sets(got="{{ execution }}")},
        "start -> a",
        start={
            "session_id": "s1",
            "platform": "twitch",
            "metadata": {"trigger_source": "command"},
        },
        has={
            "got": {
                "id": "0190b000-0000-7000-8000-000000000002",
                "workflow_id": "0190a000-0000-7000-8000-000000000001",
                "workflow_version": 1,
                "community_id": 1,
                "entity_id": 7,
                "user_id": 456,
                "session_id": "s1",
                "platform": "twitch",
                "trigger_source": "command",
                "started_at": "2026-01-01T12:00:00.000Z",
            }
        },
        only=("run",),
    ),
    rule(
        "nodes shows output, port and error of what ran and nothing of what did not",
        {
            "check": checks("true"),
            "a": sets(x=1),
            "off": sets(y=1),
            "b": sets(
                output="{{ nodes.a.output }}",
                port="{{ nodes.check.port }}",
                error="{{ nodes.a.error }}",
                known="{{ has(nodes.off) }}",
            ),
        },
        "start -> check",
        "check.true -> a",
        "check.false -> off",
        "a -> b",
        variables={"x": 1, "output": {"x": 1}, "port": "true", "error": None, "known": False},
    ),
    rule(
        "nodes of an id that is no plain name is reached with brackets",
        {"an-id": sets(x=1), "b": says("{{ nodes['an-id'].output.x }}")},
        "start -> an-id",
        "an-id -> b",
        messages=["1"],
    ),
    rule(
        "a node that did not run is an error that names it",
        {"a": sets(x=1), "b": says("{{ nodes.later.output }}"), "later": sets(y=1)},
        "start -> a",
        "a -> b",
        "b -> later",
        error=("EXPRESSION_ERROR", "b"),
        because="later",
    ),
    rule(
        "input is the output of the live predecessor",
        {"a": sets(x=1), "b": sets(got="{{ input.x }}")},
        "start -> a",
        "a -> b",
        has={"got": 1},
        inputs={"b": {"x": 1}},
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
