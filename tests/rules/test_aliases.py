"""Two dialects: every other name means the same when it runs."""

from __future__ import annotations

from engine.context import Json, JsonObject
from tests.rules.harness import three_ways
from tests.rules.writing import (
    breaks,
    checks,
    each_of,
    merges,
    rule,
    says,
    sets,
    splits,
    waits,
)

GIVEN = {"n": 2, "list": [1, 2], "tier": "gold"}
CONFIGS: dict[str, JsonObject] = {
    "condition_switch": {"cases": {"gold": "vip"}},
    "condition_filter": {"condition": "item > 1"},
    "data_variable_set": {},
    "loop_foreach": {},
    "action_chat_message": {},
    "action_module": {"module_name": "m"},
    "action_webhook": {"url": "https://api.example.com/"},
    "action_browser_source": {},
    "flow_end": {},
}
SETTINGS: list[tuple[str, str, str, Json, str, list[str]]] = [
    ("condition_switch", "variable", "value", "tier", ".vip", ["next"]),
    ("condition_switch", "switch_variable", "value", "tier", ".vip", ["next"]),
    ("condition_filter", "input_array", "items", "list", "", ["next"]),
    ("loop_foreach", "array_variable", "items", "list", ".loop", ["next", "next"]),
    ("loop_foreach", "collection_variable", "items", "list", ".loop", ["next", "next"]),
    ("action_chat_message", "message_template", "message", "hi {{ n }}", "", ["hi 2", "next"]),
    ("action_webhook", "body_template", "body", {"n": "{{ n }}"}, "", ["next"]),
    ("action_module", "params", "input", {"n": "{{ n }}"}, "", ["next"]),
    ("action_module", "input_mapping", "input", {"n": "{{ n }}"}, "", ["next"]),
    ("action_browser_source", "content_template", "content", "{{ n }}", "", ["next"]),
    ("flow_end", "output_data", "output", "{{ n }}", "", ["next"]),
]

RULES = [
    *(
        rule(
            f"{alias} of {kind} is read as {name}",
            {"a": {"node_type": kind, **CONFIGS[kind], alias: value}, "b": says("next")},
            "start -> a",
            f"a{port} -> b",
            start={"variables": GIVEN},
            messages=said,
        )
        for kind, alias, name, value, port, said in SETTINGS
    ),
    *(
        rule(
            f"the port {alias} is read as output",
            {"a": sets(x=1), "b": says("next")},
            "start -> a",
            f"a.{alias} -> b",
            messages=["next"],
        )
        for alias in ("success", "result", "triggered", "done", "completed", "exit", "output")
    ),
    *(
        rule(
            f"the port {alias} is read as loop",
            {"a": each_of([1, 2]), "b": says("{{ item }}"), "c": says("after")},
            "start -> a",
            f"a.{alias} -> b",
            "a.completed -> c",
            messages=["1", "2", "after"],
        )
        for alias in ("loop_body", "body", "loop")
    ),
    rule(
        "the port continue of a break is read as output",
        {"a": each_of([1]), "stop": breaks("false"), "b": says("next")},
        "start -> a",
        "a.loop -> stop",
        "stop.continue -> b",
        messages=["next"],
    ),
    rule(
        "the type all_fastest of a parallel is read as any_first",
        {
            "fork": splits(execution_type="all_fastest"),
            "slow": waits(100),
            "quick": waits(2),
            "join": merges(),
        },
        "start -> fork",
        "fork.one -> slow",
        "fork.two -> quick",
        "slow -> join",
        "quick -> join",
        states={"slow": "cancelled"},
        outputs={"join": {"quick": {"delayed_seconds": 2}}},
    ),
    *(
        rule(
            f"{alias} of a merge is read as mode",
            {"a": sets(x=1), "wait": waits(5), "join": {"node_type": "flow_merge", alias: value}},
            "start -> a",
            "start -> wait",
            "a -> join",
            "wait -> join",
            outputs={"join": {"a": {"x": 1}}},
        )
        for alias, value in (("merge_strategy", "any"), ("input_ports_required", 1), ("mode", 1))
    ),
    *(
        rule(
            f"a connection's ends may be called {one} and {other}",
            {"a": says("hi")},
            fields={"connections": [{one: "start", other: "a"}]},
            messages=["hi"],
        )
        for one, other in (("from_node", "to_node"), ("source", "target"), ("from", "to"))
    ),
    *(
        rule(
            f"a connection's port may be called {name}",
            {"check": checks("true"), "a": says("a"), "b": says("b")},
            fields={
                "connections": [
                    {"from_node_id": "start", "to_node_id": "check"},
                    {"from_node_id": "check", name: "true", "to_node_id": "a"},
                    {"from_node_id": "check", name: "false", "to_node_id": "b"},
                ]
            },
            messages=["a"],
        )
        for name in ("from_port", "source_port", "sourceHandle")
    ),
    rule(
        "a connection's condition may be called condition",
        {"a": says("a"), "b": says("b")},
        fields={
            "connections": [
                {"from_node_id": "start", "to_node_id": "a", "condition": "1 > 2"},
                {"from_node_id": "start", "to_node_id": "b", "condition": "2 > 1"},
            ]
        },
        messages=["b"],
    ),
    rule(
        "the name of a target port makes no difference",
        {"a": sets(x=1), "b": sets(y=1), "tail": says("once")},
        fields={
            "connections": [
                {"from_node_id": "start", "to_node_id": "a", "to_port_name": "anything"},
                {"from_node_id": "start", "to_node_id": "b"},
                {"from_node_id": "a", "to_node_id": "tail", "to_port_name": "left"},
                {"from_node_id": "b", "to_node_id": "tail", "to_port_name": "right"},
            ]
        },
        messages=["once"],
    ),
    rule(
        "settings may lie flat on the node",
        {"a": {"node_type": "action_chat_message", "message": "flat"}},
        "start -> a",
        messages=["flat"],
    ),
]


(
    test_the_engine_keeps_the_rule,
    test_a_dry_run_keeps_the_rule,
    test_an_execution_whose_worker_dies_keeps_the_rule,
) = three_ways(RULES)
