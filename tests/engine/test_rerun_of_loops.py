"""Retries of loops whose iterations overlap."""

from __future__ import annotations

import asyncio

import pytest

from engine.context import JsonObject
from tests.engine.test_rerun import again, reused, say
from tests.engine.world import World, after, document
from tests.virtual_time import simulate


def test_what_a_loop_decided_about_one_iteration_is_not_taken_for_another() -> None:
    """`each` runs two at a time and starts no iteration for `c`. From `slow` on, iteration 1 is
    open for longer than it was, so that other iterations start in another order."""
    raw = document(
        {
            "each": {
                "node_type": "loop_foreach",
                "items": ["a", "S", "b", "d", "SKIP", "e"],
                "concurrency": 2,
            },
            "which": {"node_type": "condition_if", "condition": "item == 'S'"},
            "slow": say("slow"),
            "fast": say("fast {{ item }}"),
            "end": {"node_type": "flow_end", "output": "{{ nodes.each.output }}"},
        },
        "start -> each",
        "each.loop -> which if item != 'SKIP'",
        "which.true -> slow",
        "which.false -> fast",
        "each -> end",
    )

    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        world.outside.answers["slow"] = after(1)
        for item, seconds in (("a", 0.5), ("b", 0.9), ("d", 2), ("e", 1)):
            world.outside.answers[f"fast {item}"] = after(seconds)
        old = await world.run(raw)
        assert old["status"] == "completed"
        return old, await again(world, old, "slow")

    old, new = simulate(scenario())
    assert new["status"] == "completed"

    def shape(state: JsonObject) -> list[bool]:
        return [one is None for one in state["final_output"]]

    print(reused(new), new["final_output"], old["final_output"])
    assert shape(old) == [False, False, False, False, True, False]
    assert shape(new) == shape(old)


def test_a_back_edge_does_not_make_the_whole_loop_run_again() -> None:
    raw = document(
        {
            "each": {"node_type": "loop_foreach", "items": [1, 2, 3]},
            "a": say("a {{ item }}"),
            "b": {"node_type": "condition_if", "condition": "item == 3"},
            "c": say("c {{ item }}"),
        },
        "start -> each",
        "each.loop -> a",
        "a -> b",
        "b.true -> c",
        "c -> each",
        "b.false -> each",
    )

    async def scenario() -> list[str]:
        world = World()
        old = await world.run(raw)
        await again(world, old, "c")
        return world.outside.messages()

    assert simulate(scenario()) == ["a 1", "a 2", "a 3", "c 3", "c 3"]


def test_a_reused_sub_workflow_still_names_its_child() -> None:
    from tests.engine.test_subworkflows import CHILD, adding, calling

    raw = document(
        {
            "sub": calling(variables={"a": 1, "b": 2}),
            "t": {"node_type": "data_transform", "transformations": {"x": "1 / n"}},
        },
        "start -> sub",
        "sub -> t",
    )

    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        world.publish(adding(), CHILD)
        old = await world.run(raw, variables={"n": 0})
        return old, await again(world, old, n=1)

    old, new = simulate(scenario())
    assert new["status"] == "completed"
    assert new["node_states"]["sub"]["reused"]
    assert (
        new["node_states"]["sub"]["child_execution_id"]
        == old["node_states"]["sub"]["child_execution_id"]
    )
    assert new["node_states"]["sub"]["input_data"] == old["node_states"]["sub"]["input_data"]


def test_a_node_whose_branch_lost_a_race_is_no_origin() -> None:
    raw = document(
        {
            "par": {"node_type": "flow_parallel", "execution_type": "any_first"},
            "a": say("a"),
            "b1": say("b1"),
            "b2": say("b2"),
            "m": {"node_type": "flow_merge", "mode": "any"},
        },
        "start -> par",
        "par -> a",
        "par -> b1",
        "b1 -> b2",
        "a -> m",
        "b2 -> m",
    )

    async def scenario() -> list[str]:
        world = World()
        world.outside.answers["a"] = after(0.5)
        world.outside.answers["b2"] = after(5)
        old = await world.run(raw)
        with pytest.raises(ValueError, match="lost a race"):
            await again(world, old, "b1")
        await again(world, old, "par")
        return world.outside.messages()

    assert simulate(scenario()).count("b1") == 2


def test_a_loop_that_goes_on_began_with_the_execution_it_goes_on_in() -> None:
    """Three seconds lie between the executions, in which nothing of the second one ran."""
    raw = document(
        {"each": {"node_type": "loop_foreach", "items": [1]}, "a": say("a"), "b": say("b")},
        "start -> each",
        "each.loop -> a",
        "a -> b",
    )

    async def scenario() -> JsonObject:
        world = World()
        world.outside.answers["b"] = after(0.25)
        old = await world.run(raw)
        await asyncio.sleep(3)
        new = await again(world, old, "b")
        report = await world.engine.get_execution_report(new["execution_id"])
        assert report is not None
        return report

    report = simulate(scenario())
    state, metrics = report["state"], report["metrics"]
    steps = {step["step_key"]: step for step in state["steps"]}
    assert {key: step["reused"] for key, step in steps.items()} == {
        "start": True, "each[0].a": True, "each[0].b": False, "each": False,
    }  # fmt: skip
    each, began = steps["each"], steps["each[0].b"]["started_at"]
    assert each["started_at"] == each["attempts"][0]["started_at"] == began
    assert each["duration_seconds"] == each["attempts"][0]["duration_seconds"]
    assert 0.25 <= each["duration_seconds"] <= state["execution_time_seconds"]
    assert metrics["slowest_node_time_seconds"] <= state["execution_time_seconds"]
    own = [bar for bar in report["timeline"]["bars"] if bar["node_id"] in ("each", "b")]
    assert len(own) == 2
    for bar in own:
        assert bar["phases"][0]["from"] >= state["start_time"]
        assert bar["phases"][-1]["phase"] == "running"
        assert bar["phases"][-1]["from"] == began


def test_what_a_reused_race_beat_was_over_before() -> None:
    """It is shown as it was; what was cut off with the execution before begins now."""
    raw = document(
        {
            "race": {"node_type": "flow_parallel", "execution_type": "any_first"},
            "quick": say("quick"),
            "slow": say("slow"),
            "join": {"node_type": "flow_merge", "mode": "any"},
            "last": say("last"),
        },
        "start -> race",
        "race -> quick",
        "race -> slow",
        "quick -> join",
        "slow -> join",
        "join -> last",
    )

    async def scenario() -> tuple[JsonObject, JsonObject]:
        world = World()
        world.outside.answers |= {"slow": after(60), "quick": after(0.5), "last": after(1)}
        old = await world.run(raw)
        await asyncio.sleep(3)
        return old, await again(world, old, "last")

    old, new = simulate(scenario())
    before = {step["step_key"]: step for step in old["steps"]}["slow"]
    slow = {step["step_key"]: step for step in new["steps"]}["slow"]
    assert (before["status"], before["reused"]) == ("cancelled", False)
    assert slow == {**before, "reused": True}
    last = {step["step_key"]: step for step in new["steps"]}["last"]
    assert (last["reused"], last["started_at"] >= new["start_time"]) == (False, True)
