"""The dry run by its mocks: answers, errors, how long they take, and what would have been sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from engine.context import JsonObject, Limits
from engine.errors import WorkflowTimeoutException
from engine.ports import HttpResponse
from services.transports import RouterTransport
from tests.engine.rehearsing import entries, rehearse
from tests.engine.world import Outside, World, document
from tests.virtual_time import simulate

EVERY_EFFECT: JsonObject = {
    "call": {
        "node_type": "action_webhook",
        "config": {
            "url": "https://api.example.com/v1/{{ name }}",
            "method": "PUT",
            "headers": {"X-Who": "{{ name }}"},
            "params": {"page": 2, "tag": ["a", "b"]},
            "body": {"hello": "{{ name }}"},
            "timeout_seconds": 4,
        },
    },
    "form": {
        "node_type": "action_webhook",
        "config": {"url": "https://api.example.com", "body": '{"a": "{{ name }}"}'},
    },
    "look": {
        "node_type": "action_webhook",
        "config": {"url": "https://a.example", "method": "GET"},
    },
    "module": {
        "node_type": "action_module",
        "config": {"module_name": "scores", "action": "add", "input": {"who": "{{ name }}"}},
    },
    "chat": {
        "node_type": "action_chat_message",
        "config": {
            "message": "Hi {{ name }}",
            "destination": "specified_channel",
            "channel_id": "42",
        },
    },
    "whisper": {
        "node_type": "action_chat_message",
        "config": {"message": "psst", "destination": "user_pm", "user_id": "{{ name }}"},
    },
    "overlay": {
        "node_type": "action_browser_source",
        "config": {"content": {"text": "{{ name }}"}, "duration": 3},
    },
}
IN_A_ROW = [f"{a} -> {b}" for a, b in zip(["start", *EVERY_EFFECT], EVERY_EFFECT, strict=False)]


class Recorder:
    """An `HttpClient` that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[JsonObject] = []

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | list[str]] | None,
        body: Any,
        timeout_seconds: float,
    ) -> HttpResponse:
        self.sent.append(
            {
                "method": method,
                "url": url,
                "headers": dict(headers),
                "params": dict(params or {}),
                "body": body,
                "timeout_seconds": timeout_seconds,
            }
        )
        return HttpResponse(200, {}, {"message_id": "m"})


class ThroughTheRouter(World):
    """A world whose effects leave as they do in production, as far as the HTTP client."""

    def __init__(self) -> None:
        self.http = Recorder()
        self.router = Recorder()
        super().__init__(outside=_Wired(self.http, self.router))


class _Wired(Outside):
    def __init__(self, http: Recorder, router: Recorder) -> None:
        super().__init__()
        transport = RouterTransport(router, "http://router", "service-key")
        self.request = http.request  # type: ignore[method-assign]  # the same door as in production
        self.execute_module = transport.execute_module  # type: ignore[method-assign]  # likewise
        self.send_message = transport.send_message  # type: ignore[method-assign]  # likewise
        self.browser_source = transport.browser_source  # type: ignore[method-assign]  # likewise


def message(text: str, **node: Any) -> JsonObject:
    return {"node_type": "action_chat_message", "config": {"message": text}, **node}


def in_world(main: Callable[[World], Awaitable[None]], **world: Any) -> None:
    async def run() -> None:
        await main(World(**world))

    simulate(run())


# What would be sent


def test_what_would_be_sent_is_what_a_real_run_hands_to_the_http_client() -> None:
    async def main() -> None:
        world = ThroughTheRouter()
        raw = document(EVERY_EFFECT, *IN_A_ROW)
        state = await world.run(raw, variables={"name": "Ada"}, platform="twitch")
        assert state["status"] == "completed", state["error_message"]
        await world.engine.shutdown()
        real_http, real_router = list(world.http.sent), list(world.router.sent)

        same_id = {"execution_id": state["execution_id"]}
        report = await rehearse(world, raw, variables={"name": "Ada"}, platform="twitch", **same_id)

        assert (world.http.sent, world.router.sent) == (real_http, real_router)
        effects = [entry for entry in report["trace"] if "would_send" in entry]
        webhooks = [e["would_send"] for e in effects if e["node_type"] == "action_webhook"]
        assert webhooks == real_http
        posted = [e for e in effects if e["node_type"] != "action_webhook"]
        assert [e["would_send"] for e in posted] == [sent["body"] for sent in real_router]
        keys = [sent["headers"]["Idempotency-Key"] for sent in real_router]
        assert [e["idempotency_key"] for e in posted] == keys

    simulate(main())


def test_an_effect_that_cannot_be_rendered_would_send_nothing() -> None:
    async def main(world: World) -> None:
        report = await rehearse(world, document({"m": message("{{ nobody }}")}, "start -> m"))
        entry = entries(report)["m"]
        assert (entry["status"], entry["error_type"]) == ("failed", "EXPRESSION_ERROR")
        assert "would_send" not in entry

    in_world(main)


def test_every_iteration_of_a_loop_shows_what_it_would_send() -> None:
    async def main(world: World) -> None:
        raw = document(
            {
                "each": {"node_type": "loop_foreach", "config": {"items": "{{ [1, 2] }}"}},
                "m": message("number {{ item }}"),
            },
            "start -> each",
            "each.loop -> m",
        )
        found = entries(await rehearse(world, raw))
        sent = {key: e["would_send"]["message"] for key, e in found.items() if "would_send" in e}
        assert sent == {"each[0].m": "number 1", "each[1].m": "number 2"}
        assert found["each[1].m"]["idempotency_key"].endswith(":each[1].m")

    in_world(main)


# Answers


def test_without_a_mock_an_action_gives_its_test_output_or_says_that_it_is_simulated() -> None:
    async def main(world: World) -> None:
        told = message("a")
        told["config"]["test_output"] = {"message_id": "t"}
        raw = document({"a": told, "b": message("b")}, "start -> a", "a -> b")
        found = entries(await rehearse(world, raw))
        assert found["a"]["output"] == {"message_id": "t"}
        assert found["b"]["output"] == {"simulated": True}

    in_world(main)


def test_a_mocks_error_has_the_type_it_is_given() -> None:
    async def main(world: World) -> None:
        raw = document({"m": message("hi")}, "start -> m")
        mocks = {"m": {"error": {"message": "Too busy", "type": "HTTP_STATUS"}}}
        report = await rehearse(world, raw, mocks=mocks)
        assert (report["status"], report["error_code"]) == ("failed", "HTTP_STATUS")
        assert report["error_message"] == "Too busy"

    in_world(main)


def test_an_error_that_is_not_retryable_is_not_tried_again() -> None:
    async def main(world: World) -> None:
        raw = document({"m": message("hi", retry={"max_attempts": 3})}, "start -> m")
        mocks = {"m": {"error": {"message": "no", "retryable": False}}}
        report = await rehearse(world, raw, mocks=mocks)
        assert entries(report)["m"]["attempt"] == 1
        assert report["execution_time_seconds"] == 0

    in_world(main)


def test_back_offs_pass_in_virtual_time_and_are_logged() -> None:
    async def main(world: World) -> None:
        retry = {"max_attempts": 3, "initial_seconds": 3600, "max_seconds": 7200, "jitter": False}
        raw = document(
            {"m": message("hi", retry=retry)}, "start -> m", max_execution_time_seconds=20_000
        )
        report = await rehearse(world, raw, mocks={"m": {"error": "down"}})
        entry = entries(report)["m"]
        assert (entry["attempt"], entry["duration_seconds"]) == (3, 3600 + 7200)
        assert [line["level"] for line in entry["logs"]] == ["warning", "warning", "error"]
        assert entry["logs"][0]["message"].startswith("Attempt 1 failed: down. Next attempt at ")

    in_world(main)


# Time


def test_an_answer_takes_the_time_its_mock_says() -> None:
    async def main(world: World) -> None:
        raw = document({"a": message("a"), "b": message("b")}, "start -> a", "start -> b")
        mocks = {
            "a": {"output": 1, "duration_seconds": 20},
            "b": {"output": 2, "duration_seconds": 5},
        }
        report = await rehearse(world, raw, mocks=mocks)
        assert [e["step_key"] for e in report["trace"]] == ["start", "b", "a"]
        assert entries(report)["a"]["duration_seconds"] == 20
        assert report["execution_time_seconds"] == 20

    in_world(main)


def test_an_answer_that_takes_too_long_is_a_timeout_and_may_be_tried_again() -> None:
    async def main(world: World) -> None:
        retry = {"max_attempts": 2, "initial_seconds": 1, "jitter": False}
        raw = document({"m": message("hi", retry=retry, timeout_seconds=10)}, "start -> m")
        slow = {"output": None, "duration_seconds": 11}
        report = await rehearse(world, raw, mocks={"m": [slow, {"output": "fast"}]})
        assert (report["status"], report["execution_time_seconds"]) == ("completed", 11)
        report = await rehearse(world, raw, mocks={"m": slow})
        assert (report["error_code"], report["execution_time_seconds"]) == ("TIMEOUT", 21)

    in_world(main)


def test_the_first_branch_wins_and_what_the_loser_would_have_sent_is_shown() -> None:
    async def main(world: World) -> None:
        raw = document(
            {
                "race": {"node_type": "flow_parallel", "config": {"execution_type": "any_first"}},
                "slow": message("slow"),
                "fast": message("fast"),
                "join": {"node_type": "flow_merge", "config": {"mode": "any"}},
            },
            "start -> race",
            "race -> slow",
            "race -> fast",
            "slow -> join",
            "fast -> join",
        )
        mocks = {
            "slow": {"output": "s", "duration_seconds": 9},
            "fast": {"output": "f", "duration_seconds": 2},
        }
        report = await rehearse(world, raw, mocks=mocks)
        assert report["final_output"] == {"join": {"fast": "f"}}
        assert report["execution_time_seconds"] == 2
        lost = entries(report)["slow"]
        assert (lost["status"], lost["output"]) == ("cancelled", None)
        assert lost["would_send"]["message"] == "slow"

    in_world(main)


def test_no_more_actions_run_at_the_same_time_than_may() -> None:
    async def main(world: World) -> None:
        nodes = {f"m{i}": message("x") for i in range(5)}
        mocks = {name: {"output": None, "duration_seconds": 10} for name in nodes}
        raw = document(nodes, *(f"start -> {name}" for name in nodes))
        report = await rehearse(world, raw, mocks=mocks)
        assert report["execution_time_seconds"] == 30
        lanes = document(
            {"p": {"node_type": "flow_parallel", "config": {"max_parallel": 1}}, **nodes},
            "start -> p",
            *(f"p -> {name}" for name in nodes),
        )
        report = await rehearse(world, lanes, mocks=mocks)
        assert report["execution_time_seconds"] == 50

    in_world(main, limits=Limits(max_parallel_nodes=2))


def test_effects_that_start_together_do_not_see_what_each_other_gives() -> None:
    async def main(world: World) -> None:
        module = {
            "node_type": "action_module",
            "config": {"module_name": "x", "output_mapping": {"n": "n"}},
        }
        raw = document(
            {"a": module, "b": message("{{ n }}")},
            "start -> a",
            "start -> b",
            global_variables={"n": "before"},
        )
        report = await rehearse(world, raw, mocks={"a": {"output": {"n": "after"}}})
        assert entries(report)["b"]["would_send"]["message"] == "before"

    in_world(main)


def test_a_month_of_waiting_costs_no_time_and_few_turns_of_the_loop() -> None:
    async def main(world: World) -> None:
        raw = document(
            {
                "each": {"node_type": "loop_foreach", "config": {"items": "{{ range(30) }}"}},
                "wait": {"node_type": "action_delay", "config": {"delay_seconds": 80_000}},
            },
            "start -> each",
            "each.loop -> wait",
            max_execution_time_seconds=30 * 86_400,
        )
        context = await world.context(raw)
        graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
        loop, turns = asyncio.get_running_loop(), 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        loop.call_soon(turn)
        report = await world.engine.dry_run(graph, context)
        assert report["execution_time_seconds"] == 30 * 80_000
        assert turns <= 2
        assert loop.time() == 0

    in_world(main)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (
            {"node_type": "action_delay", "config": {"delay_seconds": 400}},
            r"300 s, the most it may: 'w' waits until 2026-01-01T12:06:40.000Z\.",
        ),
        (
            {"node_type": "flow_wait", "config": {"signal": "approved"}},
            "'w' waits for ever for the signal 'approved', which does not come",
        ),
    ],
)
def test_a_workflow_that_would_take_too_long_says_what_it_waits_for(
    node: JsonObject, reason: str
) -> None:
    async def main(world: World) -> None:
        with pytest.raises(WorkflowTimeoutException, match=reason):
            await rehearse(world, document({"w": node}, "start -> w"))

    in_world(main)


def test_an_action_that_ends_with_the_execution_at_its_deadline_is_in_time() -> None:
    async def main(world: World) -> None:
        wait = {"node_type": "action_delay", "config": {"delay_seconds": 300}}
        report = await rehearse(world, document({"w": wait}, "start -> w"))
        assert (report["status"], report["execution_time_seconds"]) == ("completed", 300)

    in_world(main)


def test_every_attempt_would_send_the_same() -> None:
    say = {"node_type": "action_chat_message", "message": "{{ now() }} {{ uuid() }}"}
    retry = {"max_attempts": 2, "backoff": "fixed", "initial_seconds": 60, "jitter": False}
    raw = document({"say": {**say, "retry": retry}}, "start -> say")
    mocks = {"say": [{"error": "busy"}, {"output": None}]}
    report = simulate(rehearse(World(), raw, mocks=mocks))
    entry = entries(report)["say"]
    assert (entry["attempt"], entry["duration_seconds"]) == (2, 60)
    assert entry["would_send"]["message"].startswith("2026-01-01T12:00:00")
