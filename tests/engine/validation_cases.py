"""Documents with one mistake each: what is found, where, and the document mended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.context import JsonObject, Limits
from tests.engine.documents import LIMITS, TRIGGER, connection, document, node, setter

SAY = node("action_chat_message", message="Hello")
CHILD = "0190a000-0000-7000-8000-00000000000c"
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
        "TOO_MANY_EXPRESSIONS",
        say("{{ 1 }} {{ 2 }} {{ 3 }}"),
        "/nodes",
        say("{{ 1 }} {{ 2 }}"),
        limits=Limits(max_workflow_expressions=2),
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
        "BAD_CONFIG",
        one(node("flow_subworkflow", workflow_id=CHILD, variables={"input": 1})),
        "/nodes/a/config/variables/input",
        one(node("flow_subworkflow", workflow_id=CHILD, variables={"given": 1})),
        hint="input_value",
        message="'input' is reserved",
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
        "UNKNOWN_CONFIG_KEY",
        one(node("action_delay", delay_seconds=1) | {"continue_on_eror": True}),
        "/nodes/a/continue_on_eror",
        one(node("action_delay", delay_seconds=1) | {"continue_on_error": True}),
        hint="'continue_on_error'?",
        warning=True,
    ),
    Case(
        "UNKNOWN_CONFIG_KEY",
        one(SAY | {"retri": {"max_attempts": 2}}),
        "/nodes/a/retri",
        one(SAY | {"retry": {"max_attempts": 2}}),
        hint="'retry'?",
        warning=True,
    ),
    Case(
        "UNKNOWN_CONFIG_KEY",
        one(node("action_chat_message", message="x", continue_on_eror=True)),
        "/nodes/a/config/continue_on_eror",
        one(SAY | {"continue_on_error": True}),
        hint="'continue_on_error'? It belongs on the node itself",
        warning=True,
    ),
    Case(
        "UNKNOWN_CONFIG_KEY",
        one({"node_type": "action_chat_message", "mesage_template": "x", "message": "y"}),
        "/nodes/a/mesage_template",
        one({"node_type": "action_chat_message", "message_template": "x"}),
        hint="'message'?",
        warning=True,
    ),
    Case(
        "UNKNOWN_CONFIG_KEY",
        condition_if([True, {"not": {"left": "a", "operator": "exists", "vlaue": 1}}]),
        "/nodes/a/config/condition/1/not/vlaue",
        condition_if([True, {"not": {"left": "a", "operator": "exists", "value": 1}}]),
        hint="Did you mean 'value'?",
        message="A rule of a condition has no 'vlaue'",
        warning=True,
    ),
    Case(
        "UNKNOWN_CONFIG_KEY",
        condition_if({"al": [True], "variable": "a", "operator": "exists"}),
        "/nodes/a/config/condition/al",
        condition_if({"all": [True]}),
        hint="Did you mean 'all'?",
        warning=True,
    ),
    Case(
        "UNKNOWN_CONFIG_KEY",
        one(node("condition_switch", value="a", cases=[{"value": 1, "port": "x", "a/b": 1}])),
        "/nodes/a/config/cases/0/a~1b",
        one(node("condition_switch", value="a", cases=[{"value": 1, "port": "x"}])),
        message="A case has no 'a/b'; it is kept, but does nothing.",
        warning=True,
    ),
    Case(
        "UNKNOWN_CONFIG_KEY",
        one(node("condition_switch", value="a", cases=[{"vlaue": 1, "output_port": "x"}])),
        "/nodes/a/config/cases/0/vlaue",
        one(node("condition_switch", value="a", cases=[{"value": 1, "output_port": "x"}])),
        hint="Did you mean 'value'?",
        warning=True,
    ),
    Case(
        "REPEATED_CONFIG_KEY",
        one(
            node(
                "condition_switch",
                value="a",
                cases=[{"value": 1, "output_port": "x", "port": "y"}],
            )
        ),
        "/nodes/a/config/cases/0/port",
        one(
            node(
                "condition_switch",
                value="a",
                cases=[
                    {"value": 1, "output_port": "x", "port": None},
                    {"value": 2, "output_port": None, "port": "y"},
                ],
            )
        ),
        hint="Remove 'port'.",
        message="the value under 'output_port' counts",
        warning=True,
    ),
    *(
        Case(
            "IGNORED_FIELD",
            one(quiet | {name: value}),
            f"/nodes/a/{name}",
            one(SAY | {name: value}),
            hint="effect on flow_subworkflow, action_webhook",
            message=f"takes no `{name}`",
            warning=True,
        )
        for quiet in (
            node("action_delay", delay_seconds=1),
            node("data_transform", transformations={"x": "1"}),
            node("loop_while", condition="false"),
            node("flow_merge"),
        )
        for name, value in (
            ("retry", {"max_attempts": 2}),
            ("timeout_seconds", 5),
            ("effect", "at_most_once"),
        )
    ),
    Case(
        "IGNORED_FIELD",
        document([TRIGGER | {"retry": {"max_attempts": 2}}]),
        "/nodes/0/retry",
        document([TRIGGER]),
        warning=True,
    ),
    Case(
        "REPEATED_CONFIG_KEY",
        one(SAY | {"timeout_seconds": 5, "config": {"message": "x", "timeout_seconds": 7}}),
        "/nodes/a/config/timeout_seconds",
        one(SAY | {"config": {"message": "x", "timeout_seconds": 7}}),
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
        "SECRET_MISPLACED",
        one(node("action_webhook", url="https://example.com/{{ secrets.token }}")),
        "/nodes/a/config/url",
        one(node("action_webhook", url="https://a.example", params={"key": "{{secrets.token}}"})),
        hint="`params`",
    ),
    Case(
        "SECRET_MISPLACED",
        condition_if("{{ secrets.token }}"),
        "/nodes/a/config/condition",
        condition_if("{{ token }}"),
    ),
    Case(
        "SECRET_MISPLACED",
        condition_if({"variable": "secrets.token", "operator": "equals", "value": "s"}),
        "/nodes/a/config/condition",
        condition_if({"variable": "token", "operator": "equals", "value": "s"}),
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
    Case(
        "VALIDATION_ERROR",
        document({"a": SAY | {"enabled": "yes"}}, "t>a"),
        "/nodes/a/enabled",
        document({"a": SAY | {"enabled": True}}, "t>a"),
        message="the string 'yes'",
    ),
    Case(
        "NODE_ID_IGNORED",
        one(SAY | {"id": "b"}),
        "/nodes/a",
        one(SAY | {"id": "a"}),
        message="'a' is its id",
        warning=True,
    ),
    Case(
        "IGNORED_FIELD",
        document({}, author_id=7),
        "/author_id",
        document({}),
        warning=True,
    ),
    Case(
        "BAD_VARIABLE_NAME",
        document({}, global_variables={"a/b~c": 1}),
        "/global_variables/a~1b~0c",
        document({}, global_variables={"abc": 1}),
        warning=True,
    ),
    Case(
        "REPEATED_CONFIG_KEY",
        one(SAY | {"message": "Bye"}),
        "/nodes/a/message",
        one(SAY),
        hint="Remove 'message'",
        warning=True,
    ),
    Case(
        "BAD_CONDITION",
        condition_if({"any": [{"variable": "a", "value": 1}]}),
        "/nodes/a/config/condition/any/0",
        condition_if({"any": [{"variable": "a", "operator": "equals", "value": 1}]}),
        message="`operator`",
    ),
    Case(
        "BAD_SCHEMA",
        one(node("flow_wait", signal="go", schema={"type": "objekt"})),
        "/nodes/a/config/schema",
        one(node("flow_wait", signal="go", schema={"type": "object"})),
    ),
    Case(
        "EXPRESSION_SYNTAX",
        one({"type": "data_variable_set", "variable_name": "x", "value": ["{{ ( }}"]}),
        "/nodes/a/value/0",
        one({"type": "data_variable_set", "variable_name": "x", "value": ["{{ y }}"]}),
    ),
    Case(
        "EXPRESSION_SYNTAX",
        document({"a": SAY}) | {"connections": [connection("t>a", condition="x >")]},
        "/connections/0/condition",
        document({"a": SAY}) | {"connections": [connection("t>a", condition="x > 1")]},
    ),
    Case(
        "BAD_CONFIG",
        one({"node_type": "flow_merge", "config": {"merge_strategy": "some"}}),
        "/nodes/a/config/merge_strategy",
        one({"node_type": "flow_merge", "config": {"merge_strategy": "any"}}),
        hint="wait_all",
    ),
    Case(
        "UNKNOWN_FIELD",
        one(SAY | {"retry": {"max_attemps": 3}}),
        "/nodes/a/retry/max_attemps",
        one(SAY | {"retry": {"max_attempts": 3}}),
        hint="max_attempts",
    ),
    Case(
        "UNKNOWN_PORT",
        document({"a/b": IF, "c": SAY}, "t>a/b")
        | {
            "connections": [
                connection("t>a/b"),
                {"source": "a/b", "target": "c", "sourceHandle": "ok"},
            ]
        },
        "/connections/1/sourceHandle",
        document({"a/b": IF, "c": SAY}, "t>a/b", "a/b.true>c"),
    ),
    Case(
        "MISSING_CONFIG",
        document(
            [TRIGGER, {"id": "a/b", "type": "action_chat_message", "message_template": " "}],
        )
        | {"connections": [{"from": "trigger_command_1", "to": "a/b"}]},
        "/nodes/1/message_template",
        document([TRIGGER, {"id": "a/b", "type": "action_chat_message", "message_template": "x"}])
        | {"connections": [{"from": "trigger_command_1", "to": "a/b"}]},
    ),
    Case(
        "MISSING_CONFIG",
        document({"a~/b": node("action_chat_message")}, "t>a~/b"),
        "/nodes/a~0~1b/config/message",
        document({"a/b": SAY}, "t>a/b"),
    ),
]
