"""The fold's corners: conditionals, breaks, failing loops, long chains of dead nodes."""

from __future__ import annotations

import itertools

from engine.context import JsonObject
from tests.engine.test_running import each, message, ran, run, setting, status_of
from tests.engine.world import World, after, document


def test_a_conditional_sees_the_step_it_leaves_in_nodes() -> None:
    raw = document(
        {"a": setting(x=5), "b": setting(y=1)},
        "start -> a",
        "a -> b if nodes.a.output.x > 3",
    )
    assert run(raw)["final_variables"]["y"] == 1


def test_after_a_loop_a_node_shows_the_last_iteration_in_which_it_ran() -> None:
    raw = document(
        {
            "each": each(),
            "match": {"node_type": "condition_if", "config": {"condition": "item == 'b'"}},
            "found": setting(at="{{ index }}"),
            "tell": setting(seen="{{ nodes.found.output.at }}"),
        },
        "start -> each",
        "each.loop -> match",
        "match.true -> found",
        "each -> tell",
    )
    state = run(raw, variables={"names": ["a", "b", "c"]})
    assert state["status"] == "completed"
    assert state["final_variables"]["seen"] == 1
    assert status_of(state, "found") == "completed"


def test_nothing_behind_a_break_starts_even_if_it_has_other_live_arms() -> None:
    raw = document(
        {
            "each": each(),
            "a": setting(x=1),
            "stop": {"node_type": "loop_break"},
            "behind": setting(y=1),
        },
        "start -> each",
        "each.loop -> a",
        "a -> stop",
        "a -> behind",
        "stop -> behind",
    )
    state = run(raw, variables={"names": ["a", "b"]})
    assert ran(state) == ["start", "each[0].a", "each[0].stop", "each"]
    assert status_of(state, "behind") == "skipped"


def test_a_loop_that_fails_between_iterations_takes_those_that_run_with_it() -> None:
    raw = document(
        {
            "each": {**each(concurrency=2), "continue_on_error": True},
            "say": message("{{ item }}", timeout_seconds=100),
            "next": setting(done=True),
            "slow": message("slow", timeout_seconds=100),
        },
        "start -> each",
        "each.loop -> say if 1 / (2 - index) > 0",
        "each -> next",
        "start -> slow",
    )
    world = World()
    world.outside.answers = {"b": after(1), "slow": after(60), "a": after(50)}
    state = run(raw, world, variables={"names": ["a", "b", "c"]})
    assert state["status"] == "completed"
    assert state["final_variables"]["done"] is True
    assert "each[0].say" not in [
        s["step_key"] for s in state["steps"] if s["status"] != "cancelled"
    ]


def test_a_long_chain_of_disabled_nodes_is_skipped() -> None:
    names = [f"d{n}" for n in range(450)]
    nodes: dict[str, JsonObject] = {name: {**setting(x=1), "enabled": False} for name in names}
    links = [f"{a} -> {b}" for a, b in itertools.pairwise(names)]
    state = run(document(nodes, *links, *(f"start -> {name}" for name in reversed(names))))
    assert state["status"] == "completed"
    assert ran(state) == ["start"]


def test_a_step_cancelled_while_its_lane_was_full_does_not_start() -> None:
    raw = document(
        {
            "each": {
                "node_type": "loop_foreach",
                "config": {"items": [1]},
                "continue_on_error": True,
            },
            "fork": {"node_type": "flow_parallel", "config": {"max_parallel": 1}},
            "first": message("first", timeout_seconds=90),
            "second": message("second"),
            "before": setting(x=1),
            "broken": message("{{ missing }}"),
            "last": message("last"),
        },
        "start -> each",
        "each.loop -> fork",
        "fork.a -> first",
        "fork.b -> second",
        "each.loop -> before",
        "before -> broken",
        "each -> last",
    )
    world = World()
    world.outside.answers = {"first": after(50), "last": after(5)}
    state = run(raw, world)
    assert state["status"] == "completed"
    assert world.outside.messages()[-1:] == ["last"]
    assert "second" not in world.outside.messages()
