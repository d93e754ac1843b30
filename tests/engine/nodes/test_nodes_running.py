"""Node types within an execution: what they see, what they set, and where they lead."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import JsonObject
from engine.ports import HttpResponse
from tests.engine.nodes.attempts import URL, Calls, module, run_all, webhook
from tests.engine.world import World, document
from tests.virtual_time import simulate


def run(raw: JsonObject, answer: Any = None, **fields: Any) -> JsonObject:
    """Runs a document whose effects give `answer`: its state in the end."""

    async def main() -> JsonObject:
        world = World()
        for name in ("m", URL):
            world.outside.answers[name] = Calls(answer)
        try:
            return await world.run(raw, **fields)
        finally:
            await world.engine.shutdown()

    return simulate(main())


def end(output: Any) -> JsonObject:
    return {"node_type": "flow_end", "config": {"output": output}}


def setting(scope: str = "workflow", **variables: Any) -> JsonObject:
    config = {"variables": variables, "scope": scope}
    return {"node_type": "data_variable_set", "config": config}


METADATA: dict[str, Any] = {
    "headers": {"X-A": "1"},
    "query": {"q": "2"},
    "scheduled_time": "2026-01-02T18:00:00Z",
    "payload": {"text": "!so ada"},
}


@pytest.mark.parametrize(
    ("source", "config", "output"),
    [
        ("command", {"command": "!so"}, {"text": "!so ada"}),
        ("event", {"event_type": "raid"}, {"text": "!so ada"}),
        (
            "webhook",
            {},
            {"headers": {"X-A": "1"}, "query": {"q": "2"}, "body": {"text": "!so ada"}},
        ),
        (
            "schedule",
            {"cron_expression": "0 18 * * *"},
            {"scheduled_time": "2026-01-02T18:00:00Z"},
        ),
    ],
)
def test_the_trigger_of_the_source_starts_and_gives_its_payload(
    source: str, config: JsonObject, output: Any
) -> None:
    nodes = {
        "c": {"node_type": "trigger_command", "config": {"command": "!other"}},
        "e": {"node_type": "trigger_event", "config": {}},
        "w": {"node_type": "trigger_webhook", "config": {}},
        "s": {"node_type": "trigger_schedule", "config": {"cron_expression": "* * * * *"}},
        "end": end("{{ input }}"),
    }
    nodes[source[0]]["config"] = config
    edges = [f"{trigger} -> end" for trigger in "cews"]
    state = run(document(nodes, *edges), metadata={**METADATA, "trigger_source": source})
    assert state["final_output"] == output
    assert state["execution_path"] == [source[0], "end"]


@pytest.mark.parametrize(("n", "arm"), [(5, "big"), (1, "small")])
def test_a_renamed_port_leads_where_it_says(n: int, arm: str) -> None:
    choice = {
        "node_type": "condition_if",
        "config": {"condition": "n > 3", "output_true_port": "yes", "output_false_port": "no"},
    }
    nodes = {"if": choice, "big": end("big"), "small": end("small")}
    raw = document(nodes, "start -> if", "if.yes -> big", "if.no -> small")
    assert run(raw, variables={"n": n})["final_output"] == arm


def test_a_switch_of_listed_templates_leads_to_its_case() -> None:
    cases = [{"value": "{{ limit }}", "port": "at"}, {"value": [1], "output_port": "list"}]
    switch = {"node_type": "condition_switch", "config": {"variable": "n", "cases": cases}}
    nodes = {"s": switch, "at": end("at"), "list": end("list"), "other": end("other")}
    raw = document(nodes, "start -> s", "s.at -> at", "s.list -> list", "s.default -> other")
    ends = [
        run(raw, variables={"n": n, "limit": 3})["final_output"] for n in (3, "3", [1], [2], None)
    ]
    assert ends == ["at", "at", "list", "other", "other"]


def test_what_is_set_for_an_iteration_ends_with_it() -> None:
    nodes = {
        "each": {"node_type": "loop_foreach", "config": {"items": [1, 2]}},
        "local": setting("local", seen="{{ default(seen, 0) + item }}"),
        "shared": setting(total="{{ default(total, 0) + seen }}"),
        "end": end("{{ [has(seen), total] }}"),
    }
    edges = ("start -> each", "each.loop -> local", "local -> shared", "each -> end")
    assert run(document(nodes, *edges))["final_output"] == [False, 3]


def test_outside_a_loop_a_local_variable_lives_as_long_as_the_execution() -> None:
    nodes = {"set": setting("local", n=1), "end": end("{{ n }}")}
    assert run(document(nodes, "start -> set", "set -> end"))["final_output"] == 1


def test_variables_of_no_object_fail_the_node_and_nothing_else() -> None:
    broken = {"node_type": "data_variable_set", "config": {"variables": "{{ n }}"}}
    raw = document(
        {"set": broken, "end": end("{{ input.type }}")}, "start -> set", "set.error -> end"
    )
    assert run(raw, variables={"n": 5})["final_output"] == "BAD_CONFIG"


def test_an_answer_can_be_read_by_its_variable_and_as_input() -> None:
    node = webhook(config={"output_variable": "answer"})
    nodes = {"n": node, "end": end("{{ [answer.body.user.name, input.status] }}")}
    answer = HttpResponse(201, {"x": "y"}, {"user": {"name": "Ada"}})
    state = run(document(nodes, "start -> n", "n -> end"), answer)
    assert state["final_output"] == ["Ada", 201]
    assert state["final_variables"]["answer"] == {
        "status": 201,
        "headers": {"x": "y"},
        "body": {"user": {"name": "Ada"}},
    }


def test_parts_of_a_modules_answer_become_variables() -> None:
    node = module(config={"output_mapping": {"user.name": "who", "gone": "nothing"}})
    raw = document({"n": node, "end": end("{{ [who, nothing] }}")}, "start -> n", "n -> end")
    assert run(raw, {"user": {"name": "Ada"}})["final_output"] == ["Ada", None]


@pytest.mark.parametrize(
    "config",
    [
        {"delay_seconds": "{{ n }}"},
        {"delay_ms": "{{ n * 1000 }}"},
        {"delay_variable": "n"},
        {"delay_variable": "{{ n }}"},
        {"delay_ms": 1, "delay_variable": "n * 1000"},
    ],
)
def test_a_delay_lets_time_pass_in_any_spelling(config: JsonObject) -> None:
    nodes = {"wait": {"node_type": "action_delay", "config": config}, "end": end("{{ input }}")}
    state = run(document(nodes, "start -> wait", "wait -> end"), variables={"n": 90})
    assert state["final_output"] == {"delayed_seconds": 90}
    assert 90 <= state["execution_time_seconds"] <= 91.1


EFFECTS: dict[str, JsonObject] = {
    "action_webhook": {
        "url": "https://api.example.com/{{ who }}",
        "method": "put",
        "headers": {"X-Who": "{{ who }}"},
        "params": {"tag": ["{{ who }}", 2], "none": None},
        "body": {"deep": [{"who": "{{ who }}", "n": "{{ 1 + 1 }}"}]},
    },
    "action_module": {"module_name": "m", "input": {"deep": ["{{ who }}", {"n": "{{ 2 * 2 }}"}]}},
    "action_chat_message": {
        "message": "Hi {{ who }}",
        "destination": "user_pm",
        "user_id": "{{ 7 }}",
        "reply_to_message": "{{ True }}",
    },
    "action_browser_source": {"content": {"a": ["{{ who }}"]}, "duration": "{{ 5 }}"},
}


TO_THE_CALLER = ("action_chat_message", {"message": "Hi", "destination": "user_pm"})


@pytest.mark.parametrize(("node_type", "config"), [*EFFECTS.items(), TO_THE_CALLER])
def test_a_rehearsal_shows_an_effect_as_it_leaves(node_type: str, config: JsonObject) -> None:
    raw = document({"n": {"node_type": node_type, "config": config}}, "start -> n")

    async def main() -> tuple[JsonObject, Any]:
        world = World()
        await world.run(raw, variables={"who": "ada"})
        context = await world.context(raw, variables={"who": "ada"})
        graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
        report = await world.engine.dry_run(graph, context)
        await world.engine.shutdown()
        ((_, arrived),) = world.outside.arrived
        return report, arrived

    report, arrived = simulate(main())
    shown = next(entry for entry in report["trace"] if entry["node_id"] == "n")["would_send"]
    assert {key: shown[key] for key in arrived} == arrived


@pytest.mark.parametrize(
    "config",
    [
        {"headers": {"X-A": "{{ 'a' + lines }}"}},
        {"params": {"a": {"b": 1}}},
        {"url": "{{ lines }}"},
    ],
)
def test_what_could_not_be_sent_is_not(config: JsonObject) -> None:
    node = webhook(config=config, continue_on_error=True)
    raw = document(
        {"set": setting(lines="\r\nb"), "n": node, "end": end("{{ input.error.type }}")},
        "start -> set", "set -> n", "n -> end",
    )  # fmt: skip
    if "params" in config:
        raw["nodes"]["n"]["config"]["params"] = {"a": "{{ {'b': 1} }}"}
    state, keys = run_all(raw, Calls(None))
    assert state["final_output"] in {"BAD_CONFIG", "BAD_URL"}
    assert keys == []
