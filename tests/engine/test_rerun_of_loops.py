"""Retries of loops whose iterations overlap."""

from __future__ import annotations

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
