"""Effects that must not happen twice: what may be tried again, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.context import JsonObject
from engine.errors import StepFailure
from tests.engine.nodes.attempts import (
    FIXED,
    Calls,
    answered,
    down,
    module,
    run,
    webhook,
)
from tests.engine.world import World, after, document
from tests.virtual_time import simulate

ONCE: dict[str, Any] = {"effect": "at_most_once"}
RETRY = {"max_attempts": 3, **FIXED}


def interrupted(node: JsonObject, *edges: str, **others: JsonObject) -> tuple[JsonObject, int]:
    """Kills the worker while the effect `n` runs. The execution's state in the end, and how often
    the effect was called."""

    async def main() -> tuple[JsonObject, int]:
        world = World()
        await world.engine.start()
        world.outside.answers["m"] = after(50, {"ok": 1})
        nodes = {"n": {**node, "timeout_seconds": 100}, **others}
        context = await world.context(document(nodes, "start -> n", *edges))
        await world.engine.execute_workflow(context)
        await asyncio.sleep(1)
        world.store.kill(world.store.workers()[0])
        assert await world.engine.wait(context.execution_id, 200)
        state = await world.engine.get_execution_status(context.execution_id)
        await world.engine.shutdown()
        assert state is not None
        return state, len(world.outside.arrived)

    return simulate(main())


def test_an_attempt_that_a_crash_cut_off_is_not_repeated_whatever_the_policy() -> None:
    state, calls = interrupted(module(**ONCE, retry=RETRY))
    assert (state["status"], state["error_code"], calls) == ("failed", "OUTCOME_UNKNOWN", 1)
    assert state["error_node_id"] == "n"


def test_without_it_the_attempt_is_repeated() -> None:
    state, calls = interrupted(module())
    assert (state["status"], calls) == ("completed", 2)


def test_the_port_error_takes_the_unknown_outcome() -> None:
    end = {"node_type": "flow_end", "config": {"output": "{{ [input.type, input.attempts] }}"}}
    state, calls = interrupted(module(**ONCE), "n.error -> end", end=end)
    assert (state["status"], calls) == ("completed", 1)
    assert state["final_output"] == ["OUTCOME_UNKNOWN", 1]


def test_an_unknown_outcome_may_be_gone_on_with() -> None:
    end = {"node_type": "flow_end", "config": {"output": "{{ input.error.type }}"}}
    node = module(**ONCE, continue_on_error=True)
    state, _ = interrupted(node, "n -> end", end=end)
    assert state["final_output"] == "OUTCOME_UNKNOWN"


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_an_attempt_that_was_refused_is_tried_again(status: int) -> None:
    calls = Calls(answered(status), answered(200))
    assert run(webhook(**ONCE, retry=RETRY), calls)["status"] == "completed"
    assert len(calls.times) == 2


def test_an_attempt_that_never_left_is_tried_again() -> None:
    calls = Calls(down(), {"ok": 1})
    assert run(module(**ONCE, retry=RETRY), calls)["status"] == "completed"


def test_a_crash_in_the_pause_between_two_attempts_costs_none() -> None:
    calls = Calls(down(), {"ok": 1})

    async def main() -> JsonObject:
        world = World()
        await world.engine.start()
        world.outside.answers["m"] = calls
        retry = {"max_attempts": 2, "initial_seconds": 30, "jitter": False}
        context = await world.context(document({"n": module(**ONCE, retry=retry)}, "start -> n"))
        await world.engine.execute_workflow(context)
        await asyncio.sleep(10)
        world.store.kill(world.store.workers()[0])
        assert await world.engine.wait(context.execution_id, 200)
        state = await world.engine.get_execution_status(context.execution_id)
        await world.engine.shutdown()
        assert state is not None
        return state

    assert simulate(main())["status"] == "completed"
    assert len(calls.times) == 2


def test_an_attempt_that_took_too_long_is_not_repeated() -> None:
    calls = Calls(200, {"ok": 1})
    state = run(module(**ONCE, timeout_seconds=2, retry=RETRY), calls)
    assert (state["status"], state["error_code"], len(calls.times)) == ("failed", "TIMEOUT", 1)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_answer_that_does_not_tell_whether_it_happened_is_not_repeated(status: int) -> None:
    calls = Calls(answered(status), answered(200))
    state = run(webhook(**ONCE, retry=RETRY), calls)
    assert (state["error_code"], len(calls.times)) == ("HTTP_STATUS", 1)


def test_a_connection_that_broke_off_is_not_taken_up_again() -> None:
    broken = StepFailure("NETWORK_ERROR", "It broke off.", retryable=True, uncertain=True)
    calls = Calls(broken, {"ok": 1})
    state = run(module(**ONCE, retry=RETRY), calls)
    assert (state["error_code"], len(calls.times)) == ("NETWORK_ERROR", 1)
    calls = Calls(broken, {"ok": 1})
    assert run(module(retry=RETRY), calls)["status"] == "completed"
