"""What an execution costs in all: the sum of what its steps reported."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import JsonObject
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
from tests.engine.world import document


def spent(state: JsonObject) -> tuple[float, int]:
    return state["total_cost"], state["tokens_used"]


def test_the_steps_usage_is_summed() -> None:
    nodes = {
        "a": module(config={"usage": {"cost": 0.25, "tokens": 10}}),
        "b": module(config={"usage": {"cost": 0.5}}),
        "c": {"node_type": "action_browser_source", "config": {"usage": {"tokens": 5}}},
        "d": {"node_type": "action_chat_message", "config": {"message": "x"}},
    }
    state = run_all(document(nodes, "start -> a", "a -> b", "b -> c", "c -> d"), Calls(None))[0]
    assert spent(state) == (0.75, 15)


def test_every_iteration_of_a_loop_counts() -> None:
    loop = {"node_type": "loop_foreach", "config": {"items": [1, 2, 3]}}
    nodes = {"each": loop, "n": module(config={"usage": {"cost": 0.5, "tokens": 2}})}
    raw = document(nodes, "start -> each", "each.loop -> n")
    assert spent(run_all(raw, Calls({"ok": 1}))[0]) == (1.5, 6)


@pytest.mark.parametrize(
    ("usage", "amounts"),
    [
        ({"cost": 0.5, "tokens": 7}, (0.5, 7)),
        ({"prompt_tokens": 3, "completion_tokens": 4}, (0.125, 7)),
        ({"cost": -5, "tokens": "many"}, (0.125, 0)),
        (None, (0.125, 0)),
    ],
)
@pytest.mark.parametrize("over_http", [True, False], ids=["webhook", "module"])
def test_an_answers_usage_counts_before_the_configured_one(
    usage: Any, amounts: tuple[float, int], over_http: bool
) -> None:
    config = {"usage": {"cost": 0.125}}
    answer = {"text": "hi", "usage": usage}
    node = webhook(config=config) if over_http else module(config=config)
    state = run(node, Calls(HttpResponse(200, {}, answer) if over_http else answer))
    assert spent(state) == amounts


def test_an_attempt_that_failed_costs_nothing() -> None:
    config = {"usage": {"cost": 0.5, "tokens": 3}}
    state = run(module(config=config, retry=FIXED), Calls(down(), {"ok": 1}))
    assert spent(state) == (0.5, 3)
    node = webhook(config=config, continue_on_error=True)
    answer = HttpResponse(400, {}, {"usage": {"cost": 9, "tokens": 9}})
    assert spent(run(node, Calls(answer))) == (0, 0)


def test_what_was_spent_before_a_failure_is_told() -> None:
    nodes = {
        "a": webhook(config={"usage": {"cost": 0.5}}),
        "b": webhook(config={"usage": {"cost": 1}, "params": {"page": "{{ gone }}"}}),
    }
    state, _ = run_all(document(nodes, "start -> a", "a -> b"), Calls(answered(200)))
    assert (state["status"], *spent(state)) == ("failed", 0.5, 0)
