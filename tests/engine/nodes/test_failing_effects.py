"""Effects that fail, as an execution sees it: when they are tried again, what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.context import JsonObject
from engine.errors import StepFailure
from engine.ports import HttpResponse
from tests.engine.nodes.attempts import (
    FIXED,
    Calls,
    answered,
    down,
    module,
    run,
    run_all,
    webhook,
)
from tests.engine.world import World, document
from tests.virtual_time import simulate

LATE = 1.1
"""A pause of a second or more leaves memory and comes back at most a second late."""


# When the next attempt comes


@pytest.mark.parametrize(
    ("backoff", "pauses"),
    [
        ("exponential", [2, 4, 8, 9, 9]),
        ("linear", [2, 4, 6, 8, 9]),
        ("fixed", [2, 2, 2, 2, 2]),
        ("constant", [2, 2, 2, 2, 2]),
    ],
)
def test_the_pauses_between_attempts_grow_as_the_policy_says(
    backoff: str, pauses: list[float]
) -> None:
    calls = Calls(down())
    retry = {
        "max_attempts": 6,
        "backoff": backoff,
        "initial_seconds": 2,
        "max_seconds": 9,
        "jitter": False,
    }
    state = run(module(retry=retry), calls)
    assert state["status"] == "failed"
    assert len(calls.pauses) == 5
    for pause, least in zip(calls.pauses, pauses, strict=True):
        assert least <= pause <= least + LATE


def test_jitter_takes_up_to_half_of_a_pause_away() -> None:
    calls = Calls(down())
    run(module(retry={"max_attempts": 3, "backoff": "fixed", "initial_seconds": 0.8}), calls)
    assert all(0.4 <= pause < 0.8 for pause in calls.pauses)
    assert len(calls.pauses) == 2


def test_without_a_pause_the_attempts_follow_each_other_at_once() -> None:
    calls = Calls(down())
    state = run(module(retry={"max_attempts": 100, "initial_seconds": 0}), calls)
    assert (state["status"], len(calls.times)) == ("failed", 100)
    assert state["execution_time_seconds"] < 1


def test_a_policy_without_numbers_gives_three_attempts() -> None:
    calls = Calls(down())
    state = run(module(retry={}), calls)
    assert (len(calls.times), state["error_code"]) == (3, "DOWN")


def test_the_older_retry_count_counts_the_attempts_after_the_first() -> None:
    calls = Calls(down())
    run(module(config={"retry_count": 1}), calls)
    assert len(calls.times) == 2


def test_without_a_policy_there_is_one_attempt() -> None:
    calls = Calls(down())
    state = run(module(), calls)
    assert (len(calls.times), state["node_states"]["n"]["retry_count"]) == (1, 0)


def test_an_attempt_that_succeeds_ends_the_trying() -> None:
    calls = Calls(down(), down(), {"ok": 1})
    state = run(module(retry={"max_attempts": 9, **FIXED}), calls)
    assert state["status"] == "completed"
    assert state["node_states"]["n"]["output_data"] == {"ok": 1}
    assert state["node_states"]["n"]["retry_count"] == 2
    assert state["steps"][-1]["attempt"] == 3


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_a_status_that_may_pass_is_tried_again(status: int) -> None:
    calls = Calls(answered(status), answered(200))
    assert run(webhook(retry=FIXED), calls)["status"] == "completed"
    assert len(calls.times) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 404, 409, 410, 422])
def test_a_status_that_will_stay_is_not(status: int) -> None:
    calls = Calls(answered(status))
    state = run(webhook(retry=FIXED), calls)
    assert (state["error_code"], len(calls.times)) == ("HTTP_STATUS", 1)


def test_an_expected_status_is_no_failure_however_high() -> None:
    calls = Calls(answered(503))
    state = run(webhook(config={"expected_status": [200, 503]}, retry=FIXED), calls)
    assert state["node_states"]["n"]["output_data"]["status"] == 503
    assert len(calls.times) == 1


def test_a_failure_that_another_attempt_cannot_mend_is_not_tried_again() -> None:
    calls = Calls(down(retryable=False))
    state = run(module(retry={"max_attempts": 5, **FIXED}), calls)
    assert (state["error_code"], len(calls.times)) == ("DOWN", 1)


def test_what_cannot_be_rendered_is_not_tried_again() -> None:
    calls = Calls({"ok": 1})
    state = run(module(config={"action": "{{ gone }}"}, retry=FIXED), calls)
    assert (state["error_code"], calls.times) == ("EXPRESSION_ERROR", [])
    assert state["node_states"]["n"]["retry_count"] == 0


# Retry-After


DATES = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT", "Retry_After": "Wed, 21 Oct 2015 07:29:30 GMT"}


@pytest.mark.parametrize("headers", [{"Retry_After": "90"}, DATES], ids=["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_the_peers_wish_beats_the_policys_longest_pause(
    status: int, headers: dict[str, str]
) -> None:
    calls = Calls(answered(status, **headers), answered(200))
    run(webhook(retry={**FIXED, "max_seconds": 5}), calls)
    assert 90 <= calls.pauses[0] <= 90 + LATE


@pytest.mark.parametrize("wish", ["1", "0", "soon", "-4"])
def test_a_shorter_wish_or_none_leaves_the_policys_pause(wish: str) -> None:
    calls = Calls(answered(429, Retry_After=wish), answered(200))
    run(webhook(retry=FIXED), calls)
    assert 2 <= calls.pauses[0] <= 2 + LATE


def test_a_wish_is_believed_up_to_an_hour() -> None:
    calls = Calls(answered(503, Retry_After="86400"), answered(200))
    run(webhook(retry=FIXED), calls, max_execution_time_seconds=7200)
    assert 3600 <= calls.pauses[0] <= 3600 + LATE


def test_a_wish_beyond_the_executions_time_ends_it_by_its_time_limit() -> None:
    calls = Calls(answered(503, Retry_After="600"), answered(200))
    state = run(webhook(retry=FIXED), calls, max_execution_time_seconds=60)
    assert (state["error_code"], len(calls.times)) == ("EXECUTION_TIMEOUT", 1)
    assert 60 <= state["execution_time_seconds"] <= 60 + LATE


# The workflow's default policy


EFFECTS = [
    webhook(),
    module(),
    {"node_type": "action_chat_message", "config": {"message": "hi"}},
    {"node_type": "action_browser_source", "config": {}},
]


@pytest.mark.parametrize("node", EFFECTS, ids=lambda node: str(node["node_type"]))
def test_a_workflows_policy_is_that_of_every_action(node: JsonObject) -> None:
    calls = Calls(down())
    run(node, calls, retry_failed_nodes=True, max_retries=2)
    assert len(calls.times) == 3
    first, second = calls.pauses
    assert 0.5 <= first <= 1 + LATE
    assert 1 <= second <= 2 + LATE


@pytest.mark.parametrize(
    ("fields", "attempts"),
    [
        ({"max_retries": 2}, 1),
        ({"retry_failed_nodes": True}, 1),
        ({"retry_failed_nodes": True, "max_retries": 0}, 1),
        ({"retry_failed_nodes": False, "max_retries": 2}, 1),
    ],
)
def test_a_workflows_policy_needs_both_its_fields(fields: JsonObject, attempts: int) -> None:
    calls = Calls(down())
    run(module(), calls, **fields)
    assert len(calls.times) == attempts


@pytest.mark.parametrize("own", [1, 4])
def test_a_nodes_own_policy_wins(own: int) -> None:
    calls = Calls(down())
    run(module(retry={"max_attempts": own}), calls, retry_failed_nodes=True, max_retries=2)
    assert len(calls.times) == own


@pytest.mark.parametrize(
    "node",
    [
        {"node_type": "data_transform", "config": {"transformations": {"a": "1 / 0"}}},
        {"node_type": "condition_if", "config": {"condition": "1 / 0"}},
        {"node_type": "action_delay", "config": {"delay_seconds": "{{ 1 / 0 }}"}},
    ],
    ids=lambda node: str(node["node_type"]),
)
def test_what_is_no_effect_is_not_tried_again(node: JsonObject) -> None:
    node = {**node, "retry": {"max_attempts": 5}}
    state = run(node, Calls(None), retry_failed_nodes=True, max_retries=2)
    assert state["status"] == "failed"
    assert state["node_states"]["n"]["retry_count"] == 0


# Time-outs


@pytest.mark.parametrize(
    ("node", "seconds"),
    [
        (webhook(), 10),
        (webhook(config={"timeout_seconds": 3}), 3),
        (webhook(timeout_seconds=4), 4),
        (webhook(config={"timeout_seconds": 3}, timeout_seconds=4), 3),
        (webhook(config={"timeout_seconds": 5}, timeout_seconds=4), 4),
        (module(), 30),
        (module(config={"timeout_seconds": 3}), 3),
        (module(timeout_seconds=4), 4),
        (module(config={"timeout_seconds": 3}, timeout_seconds=4), 4),
        (EFFECTS[2], 30),
        (EFFECTS[3], 30),
        ({**EFFECTS[3], "timeout_seconds": 0.5}, 0.5),
    ],
)
def test_an_attempt_may_take_as_long_as_its_settings_say(node: JsonObject, seconds: float) -> None:
    if node["node_type"] == "action_webhook":
        calls: Callable[[], Awaitable[Any]] = AsTold(seconds)
    else:
        calls = Calls(200)
    state = run(node, calls)
    assert state["error_code"] == "TIMEOUT"
    assert state["execution_time_seconds"] == pytest.approx(seconds, abs=0.1)


class AsTold:
    """A peer that never answers. The HTTP client is the one that keeps a shorter time-out."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def __call__(self) -> Any:
        await asyncio.sleep(self.seconds)
        raise StepFailure("TIMEOUT", "It did not answer.", retryable=True)


def test_each_attempt_has_the_whole_time() -> None:
    calls = Calls(200, 200, 1.5)
    state = run(module(timeout_seconds=2, retry={"max_attempts": 3, **FIXED}), calls)
    assert state["status"] == "completed"
    assert len(calls.times) == 3


# What becomes of a failure


def test_the_port_error_carries_the_error_once_the_attempts_are_used_up() -> None:
    saved = {"node_type": "flow_end", "config": {}}
    raw = document(
        {"n": webhook(retry={"max_attempts": 2, **FIXED}), "ok": saved, "saved": saved},
        "start -> n",
        "n -> ok",
        "n.error -> saved",
    )
    calls = Calls(HttpResponse(503, {}, {"error": "busy"}))
    state, _ = run_all(raw, calls)
    assert state["status"] == "completed"
    assert state["final_output"] == {
        "message": "POST api.example.com answered 503, expected 2xx",
        "type": "HTTP_STATUS",
        "node_id": "n",
        "step_key": "n",
        "attempts": 2,
        "details": {"status": 503, "body": {"error": "busy"}},
    }
    assert state["node_states"]["n"]["status"] == "failed"
    assert state["node_states"]["ok"]["status"] == "skipped"
    assert state["steps_failed"] == 1


def test_an_effect_that_goes_on_gives_the_error_on_its_normal_port() -> None:
    end = {"node_type": "flow_end", "config": {"output": "{{ input.error }}"}}
    node = module(continue_on_error=True, retry={"max_attempts": 2, **FIXED})
    calls = Calls(down(details={"why": "rain"}))
    state, _ = run_all(document({"n": node, "end": end}, "start -> n", "n -> end"), calls)
    assert state["status"] == "completed"
    assert state["final_output"] == {
        "message": "It is down.",
        "type": "DOWN",
        "node_id": "n",
        "step_key": "n",
        "attempts": 2,
        "details": {"why": "rain"},
    }


def test_a_failure_that_nobody_takes_fails_the_execution_and_says_where() -> None:
    state = run(module(retry={"max_attempts": 2, **FIXED}), Calls(down()))
    assert (state["status"], state["error_code"]) == ("failed", "DOWN")
    assert (state["error_node_id"], state["error_message"]) == ("n", "It is down.")


def test_a_bug_of_a_node_fails_its_step_and_is_not_tried_again() -> None:
    async def broken() -> Any:
        raise RuntimeError("a bug")

    state = run(module(retry=FIXED), broken)
    assert state["error_code"] == "NODE_CRASHED"
    assert "bug" not in state["error_message"]
    assert state["node_states"]["n"]["retry_count"] == 0


def test_attempts_within_a_loop_belong_to_their_iteration() -> None:
    loop = {"node_type": "loop_foreach", "config": {"items": [1, 2]}}
    raw = document({"each": loop, "n": module(retry=FIXED)}, "start -> each", "each.loop -> n")
    state, keys = run_all(raw, Calls(down(), {"n": 1}, down(), {"n": 2}))
    assert keys == ["each[0].n", "each[0].n", "each[1].n", "each[1].n"]
    assert state["final_output"] == {"each": [{"n": 1}, {"n": 2}]}


def test_a_cancelled_execution_does_not_try_again() -> None:
    calls = Calls(down(), {"ok": 1})

    async def main() -> None:
        world = World()
        await world.engine.start()
        world.outside.answers["m"] = calls
        retry = {"max_attempts": 2, "initial_seconds": 50, "jitter": False}
        context = await world.context(document({"n": module(retry=retry)}, "start -> n"))
        await world.engine.execute_workflow(context)
        await asyncio.sleep(10)
        await world.engine.cancel_execution(context.execution_id)
        await asyncio.sleep(100)
        await world.engine.shutdown()

    simulate(main())
    assert len(calls.times) == 1
