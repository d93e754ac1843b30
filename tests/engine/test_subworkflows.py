"""Sub-workflows: children are created with what waits for them, and their ends travel up."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import JsonObject, Limits
from tests.engine.rehearsing import rehearse
from tests.engine.world import WORKFLOW_ID, World, document, failing
from tests.virtual_time import simulate

CHILD = "0190a000-0000-7000-8000-00000000000c"
GRANDCHILD = "0190a000-0000-7000-8000-00000000000d"


def calling(workflow_id: str = CHILD, **fields: Any) -> JsonObject:
    return {"node_type": "flow_subworkflow", "workflow_id": workflow_id, **fields}


def parent(**fields: Any) -> JsonObject:
    """Calls the child and ends with what that gave."""
    return document(
        {"sub": calling(**fields), "end": {"node_type": "flow_end"}}, "start -> sub", "sub -> end"
    )


def adding() -> JsonObject:
    """A child that gives `{sum: a + b}`."""
    return document(
        {"end": {"node_type": "flow_end", "output": {"sum": "{{ a + b }}"}}}, "start -> end"
    )


def speaking(**node: Any) -> JsonObject:
    """A child that sends one message."""
    say = {"node_type": "action_chat_message", "message": "hello", **node}
    return document({"say": say}, "start -> say")


async def run(world: World, raw: JsonObject, *children: tuple[str, JsonObject]) -> JsonObject:
    for workflow_id, child in children:
        world.publish(child, workflow_id)
    return await world.run(raw)


async def child_of(world: World, state: JsonObject, node: str = "sub") -> JsonObject:
    child_id = state["node_states"][node]["child_execution_id"]
    child = await world.engine.get_execution_status(child_id)
    assert child is not None
    return child


def test_a_child_runs_and_its_final_output_is_the_steps() -> None:
    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        raw = parent(variables={"a": "{{ x }}", "b": 2})
        world.publish(adding(), CHILD)
        state = await world.run(raw, variables={"x": 40})
        return state, await child_of(world, state)

    state, child = simulate(scenario())
    assert state["final_output"] == {"sum": 42}
    assert child["parent_execution_id"] == state["execution_id"]
    assert child["trigger_source"] == "subworkflow"
    assert child["input_parameters"] == {"a": 40, "b": 2}
    assert child["user_id"] == state["user_id"]
    assert child["community_id"] == state["community_id"]


def test_the_parent_takes_no_room_while_it_waits() -> None:
    """With room for a single execution, parent and child still get through."""
    slow = document({"nap": {"node_type": "action_delay", "delay_seconds": 90}}, "start -> nap")
    world = World(max_concurrent_executions=1)
    state = simulate(run(world, parent(), (CHILD, slow)))
    assert state["status"] == "completed"


def test_a_failed_child_fails_its_step_and_tells_why() -> None:
    child = document(
        {"t": {"node_type": "data_transform", "transformations": {"x": "1 / 0"}}}, "start -> t"
    )
    state = simulate(run(World(), parent(), (CHILD, child)))
    assert state["status"] == "failed"
    assert state["error_code"] == "SUBWORKFLOW_FAILED"
    assert state["error_node_id"] == "sub"
    assert "division by zero" in state["error_message"]


def test_an_error_port_takes_a_childs_failure_with_its_details() -> None:
    child = document(
        {"t": {"node_type": "data_transform", "transformations": {"x": "nope"}}}, "start -> t"
    )
    raw = document(
        {"sub": calling(), "end": {"node_type": "flow_end", "output": "{{ input }}"}},
        "start -> sub",
        "sub.error -> end",
    )
    state = simulate(run(World(), raw, (CHILD, child)))
    error = state["final_output"]
    assert error["type"] == "SUBWORKFLOW_FAILED"
    assert error["details"]["error_code"] == "EXPRESSION_ERROR"
    assert error["details"]["error_node_id"] == "t"


def test_a_failed_child_is_tried_again_as_the_nodes_policy_says() -> None:
    world = World()
    world.outside.answers["hello"] = failing(2)
    raw = parent(
        retry={"max_attempts": 3, "backoff": "fixed", "initial_seconds": 10, "jitter": False}
    )
    state = simulate(run(world, raw, (CHILD, speaking())))
    assert state["status"] == "completed"
    assert state["node_states"]["sub"]["retry_count"] == 2
    assert len(set(world.outside.keys)) == 3, "each attempt is an execution of its own"


@pytest.mark.parametrize("pause", [0.1, 30])
def test_every_attempt_starts_the_child_with_the_same_variables(pause: float) -> None:
    async def scenario() -> list[JsonObject]:
        world = World()
        world.outside.answers["hello"] = failing(2)
        retry = {"max_attempts": 3, "backoff": "fixed", "initial_seconds": pause, "jitter": False}
        raw = parent(variables={"at": "{{ now() }}", "id": "{{ uuid() }}"}, retry=retry)
        await run(world, raw, (CHILD, speaking()))
        return [row.context.variables for row in world.store._rows.values()][1:]

    first, *others = simulate(scenario())
    assert len(others) == 2
    assert others == [first, first]


def test_a_child_that_may_have_done_its_work_is_not_tried_again_at_most_once() -> None:
    world = World()
    raw = parent(timeout_seconds=20, effect="at_most_once", retry={"max_attempts": 3})
    slow = document({"nap": {"node_type": "action_delay", "delay_seconds": 200}}, "start -> nap")
    state = simulate(run(world, raw, (CHILD, slow)))
    assert (state["status"], state["error_code"]) == ("failed", "TIMEOUT")
    assert len(world.store._rows) == 2


def test_the_default_retry_policy_is_for_actions_only() -> None:
    world = World()
    world.outside.answers["hello"] = failing(1)
    raw = {**parent(), "retry_failed_nodes": True, "max_retries": 3}
    state = simulate(run(world, raw, (CHILD, speaking())))
    assert state["status"] == "failed"


def test_nobody_waits_for_a_child_that_is_sent_off() -> None:
    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        slow = document({"nap": {"node_type": "action_delay", "delay_seconds": 60}}, "start -> nap")
        state = await run(world, parent(wait=False), (CHILD, slow))
        child_id = state["final_output"]["execution_id"]
        assert await world.engine.wait(child_id, 1_000)
        return state, await child_of(world, state)

    state, child = simulate(scenario())
    assert state["execution_time_seconds"] < 1
    assert state["final_output"]["workflow_id"] == CHILD
    assert child["status"] == "completed"
    assert child["parent_execution_id"] == state["execution_id"]


def test_a_workflow_that_does_not_exist_fails_the_step() -> None:
    state = simulate(run(World(), parent()))
    assert state["error_code"] == "SUBWORKFLOW_NOT_FOUND"


def test_an_id_that_a_template_gets_wrong_fails_the_step() -> None:
    state = simulate(run(World(), parent(workflow_id="{{ 'not an id' }}")))
    assert state["error_code"] == "BAD_CONFIG"


def test_reserved_names_that_a_template_gives_a_child_fail_the_step() -> None:
    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        world.publish(adding(), CHILD)
        raw = parent(variables="{{ given }}")
        given = {"a": 1, "b": 2, "trigger": "T"}
        state = await world.run(raw, variables={"given": given})
        return state, await rehearse(world, raw, variables={"given": given})

    state, tried = simulate(scenario())
    for outcome in (state, tried):
        assert (outcome["status"], outcome["error_code"]) == ("failed", "BAD_CONFIG")
        assert "'trigger' is reserved and cannot be set" in outcome["error_message"]


def test_a_workflow_that_calls_itself_stops_at_the_depth_limit() -> None:
    async def scenario() -> tuple[JsonObject, int]:
        world = World(Limits(max_subworkflow_depth=3))
        state = await run(world, parent(workflow_id=WORKFLOW_ID))
        executions = list(world.store._rows)
        return state, len(executions)

    state, executions = simulate(scenario())
    assert state["status"] == "failed"
    assert state["error_code"] == "SUBWORKFLOW_FAILED"
    assert "at most 3 deep (MAX_SUBWORKFLOW_DEPTH)" in state["error_message"]
    assert executions == 4


def test_too_deep_is_a_limit_and_no_error_port_takes_it() -> None:
    raw = document(
        {"sub": calling(), "end": {"node_type": "flow_end"}}, "start -> sub", "sub.error -> end"
    )
    world = World(Limits(max_subworkflow_depth=0))
    state = simulate(run(world, raw, (CHILD, adding())))
    assert (state["status"], state["error_code"]) == ("failed", "SUBWORKFLOW_TOO_DEEP")


def test_cancelling_the_parent_cancels_its_children_and_theirs() -> None:
    async def scenario() -> list[str]:
        world = World()
        slow = document({"ask": {"node_type": "flow_wait", "signal": "never"}}, "start -> ask")
        world.publish(slow, GRANDCHILD)
        world.publish(parent(workflow_id=GRANDCHILD), CHILD)
        await world.engine.start()
        context = await world.context(parent())
        await world.engine.execute_workflow(context)
        while len(world.store._rows) < 3:
            await world.turn()
        await world.engine.cancel_execution(context.execution_id)
        await world.turn()
        return [str(row.progress.status) for row in world.store._rows.values()]

    assert simulate(scenario()) == ["cancelled"] * 3


def test_cancelling_the_parent_aborts_what_its_child_does() -> None:
    async def scenario() -> int:
        world = World()
        world.outside.answers["hello"] = world.gate.wait_for_it
        world.publish(speaking(), CHILD)
        await world.engine.start()
        context = await world.context(parent())
        await world.engine.execute_workflow(context)
        while world.outside.running == 0:
            await world.turn()
        await world.engine.cancel_execution(context.execution_id)
        await world.turn()
        return world.outside.running

    assert simulate(scenario()) == 0


def test_a_parent_that_runs_out_of_time_takes_its_child_along() -> None:
    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        slow = document({"ask": {"node_type": "flow_wait", "signal": "never"}}, "start -> ask")
        raw = {**parent(), "max_execution_time_seconds": 30}
        state = await run(world, raw, (CHILD, slow))
        await world.turn()
        return state, await child_of(world, state)

    state, child = simulate(scenario())
    assert state["error_code"] == "EXECUTION_TIMEOUT"
    assert child["status"] == "cancelled"


def test_a_nodes_time_out_ends_the_wait_and_the_child() -> None:
    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        slow = document(
            {"nap": {"node_type": "action_delay", "delay_seconds": 200}}, "start -> nap"
        )
        state = await run(world, parent(timeout_seconds=20), (CHILD, slow))
        await world.turn()
        return state, await child_of(world, state)

    state, child = simulate(scenario())
    assert state["error_code"] == "TIMEOUT"
    assert state["execution_time_seconds"] == pytest.approx(20, abs=1)
    assert child["status"] == "cancelled"


def test_the_child_of_a_lost_race_is_cancelled_while_its_parent_goes_on() -> None:
    raw = document(
        {
            "race": {"node_type": "flow_parallel", "execution_type": "any_first"},
            "sub": calling(),
            "fast": {"node_type": "action_delay", "delay_seconds": 2},
            "join": {"node_type": "flow_merge"},
            "rest": {"node_type": "action_delay", "delay_seconds": 60},
        },
        "start -> race",
        "race -> sub",
        "race -> fast",
        "sub -> join",
        "fast -> join",
        "join -> rest",
    )

    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        slow = document({"ask": {"node_type": "flow_wait", "signal": "never"}}, "start -> ask")
        state = await run(world, raw, (CHILD, slow))
        return state, await child_of(world, state)

    state, child = simulate(scenario())
    assert state["status"] == "completed"
    assert child["status"] == "cancelled"
    assert child["execution_time_seconds"] < 30


def test_children_run_side_by_side_as_far_as_their_lane_lets_them() -> None:
    calls = {f"sub{n}": calling(variables={"n": n}) for n in range(4)}
    raw = document(
        {"fan": {"node_type": "flow_parallel", "max_parallel": 2}, **calls},
        "start -> fan",
        *(f"fan -> {name}" for name in calls),
    )
    nap = document({"nap": {"node_type": "action_delay", "delay_seconds": 10}}, "start -> nap")
    state = simulate(run(World(), raw, (CHILD, nap)))
    assert state["execution_time_seconds"] == pytest.approx(20, abs=2)


def test_children_in_a_loop_give_their_outputs_in_item_order() -> None:
    raw = document(
        {
            "each": {"node_type": "loop_foreach", "items": "{{ [3, 1, 2] }}", "concurrency": 3},
            "sub": calling(variables={"n": "{{ item }}"}),
            "end": {"node_type": "flow_end"},
        },
        "start -> each",
        "each.loop -> sub",
        "each -> end",
    )
    child = document(
        {
            "nap": {"node_type": "action_delay", "delay_seconds": "{{ n }}"},
            "end": {"node_type": "flow_end", "output": "{{ n * 10 }}"},
        },
        "start -> nap",
        "nap -> end",
    )
    state = simulate(run(World(), raw, (CHILD, child)))
    assert state["final_output"] == [30, 10, 20]


@pytest.mark.parametrize("flushes", range(1, 9))
def test_a_crash_of_the_worker_neither_loses_nor_repeats_a_child(flushes: int) -> None:
    async def scenario() -> tuple[JsonObject, World]:
        world = World(lease_seconds=5)
        world.publish(speaking(), CHILD)
        await world.engine.start()
        world.another_engine()
        context = await world.context(parent())
        await world.engine.execute_workflow(context)
        assert world.engine._session is not None
        for _ in range(400):
            if world.engine._session.journal.flushes >= flushes:
                break
            await world.pause()
        world.store.kill(world.store.workers()[0])
        assert await world.engine.wait(context.execution_id, 600)
        state = await world.engine.get_execution_status(context.execution_id)
        assert state is not None
        return state, world

    state, world = simulate(scenario())
    assert state["status"] == "completed"
    assert len(world.store._rows) == 2
    assert len(set(world.outside.keys)) == 1


ANSWER = document(
    {"say": {"node_type": "action_chat_message", "message": "{{ trigger.error_message }}"}},
    "start -> say",
)


def failing_workflow(**fields: Any) -> JsonObject:
    return document(
        {"t": {"node_type": "data_transform", "transformations": {"x": "1 / 0"}}},
        "start -> t",
        **fields,
    )


async def settled(world: World) -> list[JsonObject]:
    """Every execution once nothing is left to run."""
    for _ in range(500):
        await world.turn()
        over = all(row.progress.status.terminal for row in world.store._rows.values())
        if over and not await world.store.unanswered(1):
            break
    states = [await world.engine.get_execution_status(key) for key in world.store._rows]
    return [state for state in states if state is not None]


def test_a_failure_starts_the_error_workflow_with_its_details() -> None:
    async def scenario() -> list[JsonObject]:
        world = World()
        world.publish(ANSWER, CHILD)
        await world.run(failing_workflow(error_workflow_id=CHILD), variables={"who": "ada"})
        return await settled(world)

    failed, answer = simulate(scenario())
    assert failed["status"] == "failed"
    assert answer["status"] == "completed"
    assert answer["trigger_source"] == "error"
    assert answer["parent_execution_id"] == failed["execution_id"]
    told = answer["metadata"]["payload"]
    assert told["execution_id"] == failed["execution_id"]
    assert told["error_node_id"] == "t"
    assert told["input_parameters"] == {"who": "ada"}
    assert answer["node_states"]["say"]["input_data"]["message"] == failed["error_message"]


def test_an_error_workflow_tells_its_own_source_from_that_of_the_failed_one() -> None:
    read = {
        "own": "{{ [trigger.trigger_source, execution.trigger_source] }}",
        "failed": "{{ [trigger.payload.trigger_source, failed_execution.trigger_source] }}",
        "same": "{{ {**trigger.payload, **trigger} == {**failed_execution, **trigger} }}",
        "at": "{{ trigger.error_node_id }}",
    }
    end = {"end": {"node_type": "flow_end", "output": read}}

    async def scenario() -> list[JsonObject]:
        world = World()
        world.publish(document(end, "start -> end"), CHILD)
        failing = failing_workflow(error_workflow_id=CHILD)
        await world.run(failing, trigger_source="command")
        return await settled(world)

    _, answer = simulate(scenario())
    assert answer["final_output"] == {
        "own": ["error", "error"],
        "failed": ["command", "command"],
        "same": True,
        "at": "t",
    }


def test_the_failure_of_an_error_workflow_starts_nothing() -> None:
    async def scenario() -> list[JsonObject]:
        world = World()
        world.publish(failing_workflow(error_workflow_id=CHILD), CHILD)
        await world.run(failing_workflow(error_workflow_id=CHILD))
        return await settled(world)

    assert [state["status"] for state in simulate(scenario())] == ["failed", "failed"]


def test_a_workflow_may_be_its_own_error_workflow_once() -> None:
    async def scenario() -> list[JsonObject]:
        world = World()
        await world.run(failing_workflow(error_workflow_id=WORKFLOW_ID))
        return await settled(world)

    assert len(simulate(scenario())) == 2


def test_the_failure_of_a_child_is_its_parents_to_answer() -> None:
    async def scenario() -> list[JsonObject]:
        world = World()
        world.publish(ANSWER, GRANDCHILD)
        world.publish(failing_workflow(error_workflow_id=GRANDCHILD), CHILD)
        await world.run(parent())
        return await settled(world)

    assert len(simulate(scenario())) == 2


def test_success_and_cancellation_start_no_error_workflow() -> None:
    async def scenario() -> int:
        world = World()
        world.publish(ANSWER, CHILD)
        nap = {"node_type": "action_delay", "delay_seconds": 60}
        await world.run(document({"nap": nap}, "start -> nap", error_workflow_id=CHILD))
        context = await world.context(
            document({"nap": nap}, "start -> nap", error_workflow_id=CHILD)
        )
        await world.engine.execute_workflow(context)
        await world.engine.cancel_execution(context.execution_id)
        return len(await settled(world))

    assert simulate(scenario()) == 2


def test_an_error_workflow_that_cannot_be_started_is_said_once() -> None:
    async def scenario() -> list[tuple[str, str, JsonObject]]:
        world = World()
        await world.run(failing_workflow(error_workflow_id=CHILD))
        await settled(world)
        return [line for line in world.log.lines if line[0] == "start_error_workflow"]

    lines = simulate(scenario())
    assert len(lines) == 1
    assert CHILD in lines[0][2]["reason"]


def test_several_engines_start_one_error_workflow_between_them() -> None:
    async def scenario() -> int:
        world = World()
        world.publish(ANSWER, CHILD)
        await world.another_engine().start()
        await world.another_engine().start()
        await world.run(failing_workflow(error_workflow_id=CHILD))
        return len(await settled(world))

    assert simulate(scenario()) == 2
