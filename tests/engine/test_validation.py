"""Validation: every finding, where it stands, and that mending it helps."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.context import JsonObject, Limits
from engine.issues import Nearest
from engine.validation import publishable, storable
from tests.engine.documents import (
    LIMITS,
    TRIGGER,
    connection,
    document,
    error_codes,
    judge,
    node,
    setter,
    warning_codes,
)

SAY = node("action_chat_message", message="Hello")
EACH = node("loop_foreach", items="players")
IF = node("condition_if", condition={"variable": "tier", "operator": "equals", "value": "gold"})


@dataclass(frozen=True)
class Case:
    """A document with one mistake, where it is found, and the document mended."""

    code: str
    wrong: JsonObject
    path: str
    mended: JsonObject
    hint: str = ""
    message: str = ""
    limits: Limits = field(default=LIMITS)
    warning: bool = False


def condition_if(condition: Any) -> JsonObject:
    return document({"a": node("condition_if", condition=condition)}, "t>a")


def say(message: Any) -> JsonObject:
    return document({"a": node("action_chat_message", message=message)}, "t>a")


def one(given: JsonObject) -> JsonObject:
    return document({"a": given}, "t>a")


CASES = [
    Case("NO_NODES", document({}) | {"nodes": {}}, "/nodes", document({})),
    Case("NO_NODES", document({}) | {"nodes": []}, "/nodes", document({})),
    Case("NO_TRIGGER", document([SAY]), "/nodes", document([SAY, TRIGGER])),
    Case(
        "NO_TRIGGER",
        document([TRIGGER | {"enabled": False}]),
        "/nodes",
        document([TRIGGER]),
        message="disabled",
    ),
    Case(
        "UNKNOWN_NODE_TYPE",
        one(SAY | {"node_type": "action_chat_mesage"}),
        "/nodes/a/node_type",
        one(SAY),
        hint="action_chat_message",
    ),
    Case(
        "UNKNOWN_NODE_IN_CONNECTION",
        document({"greet": SAY}, "t>gret"),
        "/connections/0/to_node_id",
        document({"greet": SAY}, "t>greet"),
        hint="greet",
    ),
    Case(
        "UNKNOWN_PORT",
        document({"a": IF, "b": SAY}, "t>a", "a.yes>b"),
        "/connections/1/from_port_name",
        document({"a": IF, "b": SAY}, "t>a", "a.true>b"),
        message="'true', 'false', 'error'",
    ),
    Case(
        "UNKNOWN_PORT",
        document({"a": IF, "b": SAY}, "t>a", "a>b"),
        "/connections/1/from_port_name",
        document({"a": IF, "b": SAY}, "t>a", "a.error>b"),
    ),
    Case(
        "DUPLICATE_NODE_ID",
        document([TRIGGER | {"node_id": "t"}, SAY | {"node_id": "t"}]),
        "/nodes/1",
        document([TRIGGER | {"node_id": "t"}, SAY | {"node_id": "a"}], "t>a"),
    ),
    Case(
        "DUPLICATE_NODE_ID",
        document({"a": SAY | {"node_id": "t"}}, "t>a"),
        "/nodes/a",
        document({"a": SAY | {"node_id": "a"}}, "t>a"),
    ),
    Case(
        "BAD_NODE_ID",
        document({"a[0]": SAY}, "t>a[0]"),
        "/nodes/a[0]",
        document({"a.b c": SAY}, "t>a.b c"),
        hint="label",
    ),
    Case(
        "DUPLICATE_CONNECTION_ID",
        document({"a": SAY}) | {"connections": [connection("t>a", connection_id="x")] * 2},
        "/connections/1/connection_id",
        document({"a": SAY}) | {"connections": [connection("t>a")] * 2},
    ),
    Case(
        "CYCLE",
        document({"a": SAY, "b": SAY}, "t>a", "a>b", "b>a"),
        "/connections/2",
        document({"a": SAY, "b": SAY}, "t>a", "a>b"),
        message="a -> b -> a",
    ),
    Case(
        "LOOP_BODY_ENTRY",
        document({"each": EACH, "a": SAY}, "t>each", "each.loop>a", "t>a"),
        "/connections/2",
        document({"each": EACH, "a": SAY}, "t>each", "each.loop>a"),
        hint="loop",
    ),
    Case(
        "LOOP_BODY_ESCAPE",
        document({"each": EACH, "a": SAY, "b": SAY}, "t>each", "each.loop>a", "each>b", "a>b"),
        "/connections/3",
        document({"each": EACH, "a": SAY, "b": SAY}, "t>each", "each.loop>a", "each>b", "a>each"),
        hint="output",
    ),
    Case(
        "BREAK_OUTSIDE_LOOP",
        one(node("loop_break")),
        "/nodes/a",
        document({"each": EACH, "a": node("loop_break")}, "t>each", "each.loop>a"),
    ),
    Case(
        "LOOP_TOO_DEEP",
        document({"x": EACH, "y": EACH, "z": SAY}, "t>x", "x.loop>y", "y.loop>z"),
        "/nodes/y",
        document({"x": EACH, "z": SAY}, "t>x", "x.loop>z"),
        limits=Limits(max_loop_depth=1),
    ),
    Case(
        "TOO_MANY_NODES",
        document({"a": SAY, "b": SAY}, "t>a", "a>b"),
        "/nodes",
        document({"a": SAY}, "t>a"),
        limits=Limits(max_workflow_nodes=2),
    ),
    Case(
        "EXPRESSION_SYNTAX",
        say("Hi {{ name + }}"),
        "/nodes/a/config/message",
        say("Hi {{ name }}"),
        message="line 1, column",
    ),
    Case(
        "EXPRESSION_SYNTAX",
        one({"node_type": "flow_end", "output_data": {"a": [1, "{{ ( }}"]}}),
        "/nodes/a/output_data/a/1",
        one({"node_type": "flow_end", "output_data": {"a": [1, "{{ x }}"]}}),
    ),
    Case(
        "EXPRESSION_SYNTAX",
        one(node("data_transform", transformations={"n": "1 +"})),
        "/nodes/a/config/transformations/n",
        one(node("data_transform", transformations={"n": "1 + 1"})),
    ),
    Case(
        "EXPRESSION_SYNTAX",
        document({"a": SAY}) | {"connections": [connection("t>a", conditional="x >")]},
        "/connections/0/conditional",
        document({"a": SAY}) | {"connections": [connection("t>a", conditional="x > 1")]},
    ),
    Case(
        "UNKNOWN_OPERATOR",
        condition_if([{"variable": "a", "operator": "equls", "value": 1}]),
        "/nodes/a/config/condition/0/operator",
        condition_if([{"variable": "a", "operator": "equals", "value": 1}]),
    ),
    Case(
        "BAD_REGEX",
        condition_if({"variable": "a", "operator": "matches_regex", "value": "("}),
        "/nodes/a/config/condition/value",
        condition_if({"variable": "a", "operator": "matches_regex", "value": "(a)"}),
    ),
    Case(
        "BAD_CRON",
        document([node("trigger_schedule", cron_expression="99 * * * *")]),
        "/nodes/0/config/cron_expression",
        document([node("trigger_schedule", cron_expression="0 18 * * FRI")]),
    ),
    Case(
        "BAD_URL",
        one(node("action_webhook", url="ftp://example.com")),
        "/nodes/a/config/url",
        one(node("action_webhook", url="https://example.com/{{ path }}")),
    ),
    Case(
        "MISSING_CONFIG",
        one({"node_type": "action_chat_message", "config": {"message": ""}}),
        "/nodes/a/config/message",
        one(SAY),
        message="message",
    ),
    Case("MISSING_CONFIG", one({"node_type": "loop_while"}), "/nodes/a/config/condition", one(SAY)),
    Case(
        "UNSUPPORTED_TRANSFORM_CODE",
        one(node("data_transform", transform_code="result = a + b")),
        "/nodes/a/config/transform_code",
        one(node("data_transform", transformations={"result": "a + b"})),
    ),
    Case(
        "BAD_CONFIG_TYPE",
        document([node("trigger_command", command=5)]),
        "/nodes/0/config/command",
        document([node("trigger_command", command="5")]),
        message="a string",
    ),
    Case(
        "BAD_CONFIG_TYPE",
        one(node("action_delay", delay_seconds="soon")),
        "/nodes/a/config/delay_seconds",
        one(node("action_delay", delay_seconds="5")),
    ),
    Case(
        "BAD_CONFIG_VALUE",
        one({"node_type": "flow_parallel", "execution_type": "paralel"}),
        "/nodes/a/execution_type",
        one({"node_type": "flow_parallel", "execution_type": "all_fastest"}),
        hint="parallel",
    ),
    Case(
        "BAD_CONFIG_VALUE",
        one(node("loop_foreach", items="x", max_iterations=0)),
        "/nodes/a/config/max_iterations",
        one(node("loop_foreach", items="x", max_iterations=1)),
        message="at least 1",
    ),
    Case(
        "BAD_CONFIG",
        one(setter(execution=1)),
        "/nodes/a/config/variables/execution",
        one(setter(result=1)),
    ),
    Case(
        "RESERVED_NAME",
        document({}, global_variables={"nodes": 1}),
        "/global_variables/nodes",
        document({}, global_variables={"node": 1}),
    ),
    Case("UNKNOWN_FIELD", document({}, tag=[]), "/tag", document({}, tags=[]), hint="tags"),
    Case(
        "UNKNOWN_CONFIG_KEY",
        one(node("action_chat_message", message="x", chanel_id="1")),
        "/nodes/a/config/chanel_id",
        one(node("action_chat_message", message="x", channel_id="1")),
        hint="channel_id",
        warning=True,
    ),
    Case(
        "UNREACHABLE_NODE",
        document({"a": SAY}),
        "/nodes/a",
        document({"a": SAY}, "t>a"),
        warning=True,
    ),
    Case(
        "UNREACHABLE_NODE",
        document({"a": SAY | {"enabled": False}, "b": SAY}, "t>a", "a>b"),
        "/nodes/b",
        document({"a": SAY, "b": SAY}, "t>a", "a>b"),
        warning=True,
    ),
    Case(
        "TRIGGER_HAS_INPUT",
        document({"a": SAY, "t2": TRIGGER}, "t>a", "a>t2"),
        "/connections/1",
        document({"a": SAY, "t2": TRIGGER}, "t>a", "t2>a"),
        warning=True,
    ),
    Case(
        "UNKNOWN_VARIABLE",
        document(
            {"a": SAY, "b": setter(greeting="{{ usrname }}")},
            "t>a",
            "a>b",
            global_variables={"username": 1},
        ),
        "/nodes/b/config/variables/greeting",
        document(
            {"a": SAY, "b": setter(greeting="{{ username }}")},
            "t>a",
            "a>b",
            global_variables={"username": 1},
        ),
        hint="username",
        warning=True,
    ),
    Case(
        "PARALLEL_WRITE",
        document({"a": setter(x=1), "b": setter(x=2)}, "t>a", "t>b"),
        "/nodes/b",
        document({"a": setter(x=1), "b": setter(x=2)}, "t>a", "a>b"),
        message="'x'",
        warning=True,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_mistake_is_reported_where_it_stands(case: Case) -> None:
    report = judge(case.wrong, case.limits)

    found = [i for i in report.issues if i.code == case.code and i.path == case.path]

    assert found, report.as_json()
    assert found[0].warning == case.warning
    assert case.hint in (found[0].hint or "")
    assert case.message in found[0].message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_mended_document_is_clean(case: Case) -> None:
    report = judge(case.mended, case.limits)

    assert [i for i in report.issues if not i.warning or i.code == case.code] == []


def test_everything_wrong_is_reported_in_one_pass() -> None:
    given = document(
        {
            "a": node("action_chat_message", message="{{ 1 + }}"),
            "b": node("nonsense"),
            "c": node("loop_break"),
        },
        "t>a",
        "a>nowhere",
        "a.left>b",
        "b>c",
        "c>b",
        name=5,
        colour="red",
    )

    assert set(error_codes(judge(given))) == {
        "VALIDATION_ERROR",
        "UNKNOWN_FIELD",
        "UNKNOWN_NODE_IN_CONNECTION",
        "UNKNOWN_PORT",
        "EXPRESSION_SYNTAX",
        "UNKNOWN_NODE_TYPE",
        "CYCLE",
        "BREAK_OUTSIDE_LOOP",
    }


def test_a_report_is_json_of_the_documented_shape() -> None:
    body = judge(document({"a": node("action_chat_message"), "b": SAY}, "t>a")).as_json()

    assert json.loads(json.dumps(body)) == body
    assert body["is_valid"] is False
    assert (body["error_count"], body["warning_count"]) == (1, 1)
    assert body["errors"] == [
        {
            "code": "MISSING_CONFIG",
            "message": "action_chat_message needs `message`.",
            "path": "/nodes/a/config/message",
            "node_id": "a",
            "hint": "Give a string.",
        }
    ]
    assert body["node_validation_errors"] == {"a": ["action_chat_message needs `message`."]}


def test_a_draft_may_be_unfinished_but_not_published() -> None:
    for unfinished in (document([]), document([SAY]), one(node("action_chat_message"))):
        report = judge(unfinished)

        assert storable(report)
        assert not publishable(report)


def test_a_draft_may_not_be_wrong() -> None:
    for wrong in (say("{{ 1 + }}"), document({"a": SAY}, "t>b"), document({}, name=None)):
        assert not storable(judge(wrong))


def test_warnings_do_not_keep_a_document_from_being_published() -> None:
    report = judge(document({"a": SAY}))

    assert warning_codes(report) == ["UNREACHABLE_NODE"]
    assert publishable(report)


def test_shape_errors_are_told_from_the_rest() -> None:
    report = judge(document({"a": node("nonsense")}, "t>a", community_id="x"))

    assert [issue.path for issue in report.shape_errors] == ["/community_id"]
    assert error_codes(report) == ["VALIDATION_ERROR", "UNKNOWN_NODE_TYPE"]


def test_a_missing_list_of_nodes_is_a_mistake_of_shape() -> None:
    given = document({})
    del given["nodes"]

    assert error_codes(judge(given)) == ["VALIDATION_ERROR", "NO_NODES"]


def test_a_disabled_connection_leads_nowhere() -> None:
    given = document({"a": SAY, "b": SAY}, "t>a", "a>b")
    given["connections"].append(connection("b>a", enabled=False))

    assert judge(given).issues == ()


def test_a_template_may_stand_for_a_value_of_any_type() -> None:
    given = one(node("action_delay", delay_seconds="{{ pause }}"))

    assert judge(given).errors == []


def test_a_document_far_too_large_is_not_gone_into() -> None:
    given = document({f"n{i}": node("nonsense") for i in range(30)})

    assert error_codes(judge(given, Limits(max_workflow_nodes=2))) == ["TOO_MANY_NODES"]


def test_ten_thousand_nodes_are_judged() -> None:
    nodes: JsonObject = {}
    flow = ["t>n0"]
    for i in range(3333):
        nodes |= {f"n{i}": setter(x="{{ a }}"), f"l{i}": setter(l=1), f"r{i}": setter(r=1)}
        flow += [f"n{i}>l{i}", f"n{i}>r{i}"]
        if i:
            flow += [f"l{i - 1}>n{i}", f"r{i - 1}>n{i}"]

    report = judge(document(nodes, *flow), Limits(max_workflow_nodes=10_000))

    assert report.issues == ()


def test_many_misspelt_names_are_hinted_at_within_a_budget_of_comparisons() -> None:
    nearest = Nearest(comparisons=1000)

    for _ in range(10):
        nearest.to("some_name", [f"some_name{i}" for i in range(1000)])

    assert nearest.comparisons > -100
