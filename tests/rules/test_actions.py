"""Actions: what leaves, what comes back, and where it is kept."""

from __future__ import annotations

import asyncio

from engine.context import JsonObject
from tests.engine.world import World, after, document, failing
from tests.rules.harness import three_ways
from tests.rules.writing import (
    calls,
    each_of,
    fetches,
    gives,
    having,
    http,
    node,
    rule,
    says,
    sets,
)
from tests.virtual_time import simulate

RULES = [
    rule(
        "a chat message's output is its id",
        {"a": says("hi"), "b": sets(id="{{ input.message_id }}")},
        "start -> a",
        "a -> b",
        answers={"a": gives({"message_id": "77"})},
        has={"id": "77"},
    ),
    rule(
        "a chat message goes to the current channel when nothing is said",
        {"a": says("hi")},
        "start -> a",
        start={"platform": "twitch"},
        sent={
            "a": {
                "message": "hi",
                "destination": "current_channel",
                "entity_id": 7,
                "platform": "twitch",
                "reply_to_message": False,
            }
        },
    ),
    rule(
        "a chat message can go to one user",
        {"a": says("hi", destination="user_pm", user_id="{{ who }}")},
        "start -> a",
        start={"variables": {"who": "ada"}},
        sent={"a": {"destination": "user_pm", "target_user_id": "ada"}},
    ),
    rule(
        "a chat message to a user whom nobody names goes to who triggered the execution",
        {"a": says("hi", destination="user_pm")},
        "start -> a",
        sent={"a": {"destination": "user_pm", "target_user_id": "456"}},
    ),
    rule(
        "a chat message can go to another channel",
        {"a": says("hi", destination="specified_channel", channel_id="c{{ n }}")},
        "start -> a",
        start={"variables": {"n": 9}},
        sent={"a": {"destination": "specified_channel", "channel_id": "c9"}},
    ),
    rule(
        "a module is given its name, action, input and who asks",
        {"a": calls("loyalty", action="add", input={"points": 10}, module_version="1.2")},
        "start -> a",
        start={"session_id": "s1"},
        sent={
            "a": {
                "module_name": "loyalty",
                "module_version": "1.2",
                "action": "add",
                "input": {"points": 10},
                "entity_id": 7,
                "user_id": 456,
                "session_id": "s1",
            }
        },
    ),
    rule(
        "a module's output is its JSON",
        {"a": calls()},
        "start -> a",
        answers={"a": gives({"balance": 5, "deep": {"x": [1]}})},
        outputs={"a": {"balance": 5, "deep": {"x": [1]}}},
        final_output={"a": {"balance": 5, "deep": {"x": [1]}}},
    ),
    rule(
        "a module's output_mapping sets variables",
        {"a": calls(output_mapping={"balance": "points", "deep.x": "inner"})},
        "start -> a",
        answers={"a": gives({"balance": 5, "deep": {"x": [1]}})},
        variables={"points": 5, "inner": [1]},
    ),
    rule(
        "a webhook's output is status, headers and body",
        {"a": fetches(), "b": sets(x="{{ input.body.temp }}", s="{{ input.status }}")},
        "start -> a",
        "a -> b",
        answers={"a": http(201, {"temp": 21.5}, ETag="e")},
        outputs={"a": {"status": 201, "headers": {"ETag": "e"}, "body": {"temp": 21.5}}},
        has={"x": 21.5, "s": 201},
    ),
    rule(
        "a webhook's output_variable holds its output",
        {"a": fetches(output_variable="got"), "b": says("{{ got.body.ok }}!")},
        "start -> a",
        "a -> b",
        messages=["True!"],
        has={"got": {"status": 200, "headers": {}, "body": {"ok": True}}},
    ),
    rule(
        "a webhook posts when nothing is said",
        {"a": fetches()},
        "start -> a",
        sent={"a": {"method": "POST"}},
    ),
    *(
        rule(
            f"expected_status {expected!r} takes {status}",
            {"a": fetches(expected_status=expected)},
            "start -> a",
            answers={"a": http(status)},
            states={"a": "completed"},
            only=("run",),
        )
        for expected, status in ((404, 404), ([200, 404], 404), ("4xx", 418), ("200,404", 404))
    ),
    *(
        rule(
            f"expected_status {expected!r} does not take {status}",
            {"a": fetches(expected_status=expected)},
            "start -> a",
            answers={"a": http(status)},
            error=("HTTP_STATUS", "a"),
            only=("run",),
        )
        for expected, status in ((404, 200), ([200, 404], 201), ("2xx", 302))
    ),
    rule(
        "a webhook's own header is sent with the idempotency key",
        {"a": fetches(headers={"X-One": "{{ n }}"})},
        "start -> a",
        start={"variables": {"n": 1}},
        only=("run", "crash"),
        states={"a": "completed"},
    ),
    rule(
        "an overlay is displayed for ten seconds when nothing is said",
        {"a": node("action_browser_source", content={"text": "hi"})},
        "start -> a",
        sent={
            "a": {
                "source_type": "general",
                "action": "display",
                "content": {"text": "hi"},
                "duration": 10,
                "priority": 0,
                "entity_id": 7,
            }
        },
    ),
    # usage
    rule(
        "usage that modules report is summed",
        {"a": calls(), "b": calls()},
        "start -> a",
        "a -> b",
        answers={
            "a": gives({"usage": {"cost": 0.5, "tokens": 100}}),
            "b": gives({"usage": {"cost": 0.25, "tokens": 11}}),
        },
        usage=(0.75, 111),
    ),
    rule(
        "usage counts every iteration",
        {"loop": each_of([1, 2, 3]), "a": calls()},
        "start -> loop",
        "loop.loop -> a",
        answers={"a": gives({"usage": {"cost": 0.5, "tokens": 10}})},
        usage=(1.5, 30),
    ),
    rule(
        "usage of a web request is its body's",
        {"a": fetches()},
        "start -> a",
        answers={"a": http(200, {"usage": {"tokens": 5}})},
        usage=(0.0, 5),
        only=("run",),
    ),
    rule(
        "usage of the settings counts when the answer names none",
        {"a": says("hi", usage={"cost": 0.5}), "b": calls(usage={"cost": 9.0, "tokens": 9})},
        "start -> a",
        "a -> b",
        answers={"b": gives({"usage": {"cost": 0.25, "tokens": 1}})},
        usage=(0.75, 1),
    ),
    rule(
        "an execution without usage costs nothing",
        {"a": calls()},
        "start -> a",
        usage=(0.0, 0),
    ),
]


def test_every_attempt_carries_the_same_key() -> None:
    retry = {"max_attempts": 3, "backoff": "fixed", "initial_seconds": 1}
    raw = document({"a": having(fetches(), retry=retry)}, "start -> a")
    world = World()
    world.outside.answers["https://api.example.com/"] = failing(2, retryable=True)
    state = simulate(world.run(raw))
    assert state["status"] == "completed"
    assert world.outside.keys == [f"{state['execution_id']}:a"] * 3


def test_a_step_in_a_loop_has_its_scope_in_its_key() -> None:
    raw = document(
        {"outer": each_of([1]), "inner": each_of([1, 2]), "a": says("x")},
        "start -> outer",
        "outer.loop -> inner",
        "inner.loop -> a",
    )
    world = World()
    state = simulate(world.run(raw))
    keys = [f"{state['execution_id']}:outer[0].inner[{n}].a" for n in (0, 1)]
    assert world.outside.keys == keys


def test_an_at_most_once_action_that_a_crash_cut_off_is_not_repeated_and_can_be_handled() -> None:
    async def main() -> tuple[list[str], JsonObject]:
        world = World()
        await world.engine.start()
        once = having(calls("once", timeout_seconds=100), effect="at_most_once")
        raw = document({"a": once, "b": says("{{ input.type }}")}, "start -> a", "a.error -> b")
        world.outside.answers["once"] = after(50)
        context = await world.context(raw)
        await world.engine.execute_workflow(context)
        await asyncio.sleep(1)
        world.store.kill(world.store.workers()[0])
        assert await world.engine.wait(context.execution_id, 200)
        state = await world.engine.get_execution_status(context.execution_id)
        await world.engine.shutdown()
        assert state is not None
        return [kind for kind, _ in world.outside.arrived], state

    arrived, state = simulate(main())
    assert arrived == ["module", "message"]
    assert state["status"] == "completed"
    assert state["node_states"]["a"]["error_type"] == "OUTCOME_UNKNOWN"


(
    test_the_engine_keeps_the_rule,
    test_a_dry_run_keeps_the_rule,
    test_an_execution_whose_worker_dies_keeps_the_rule,
) = three_ways(RULES)
