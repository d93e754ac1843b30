"""Edges and arms: when a node is ready, when it dies, when a merge has enough."""

from __future__ import annotations

import itertools
import sys

import pytest

from engine.context import Limits
from engine.frontier import chosen
from engine.graph import OutEdge
from tests.engine.folding import (
    FORK,
    NODE,
    OFF,
    Fold,
    check,
    each,
    error,
    merge,
)

# Edges


@pytest.mark.parametrize(
    ("port", "left_by", "leaves"),
    [
        ("output", "output", True),
        ("output", "error", False),
        ("a", "*", True),
        ("error", "*", False),
        ("error", "error", True),
        ("true", "false", False),
    ],
)
def test_which_edges_a_node_leaves_by(port: str, left_by: str, leaves: bool) -> None:
    assert chosen(OutEdge("c1", port, 0, None), left_by) is leaves


def test_a_node_runs_once_all_its_edges_are_settled_and_one_is_live() -> None:
    fold = Fold(
        {"a": NODE, "b": check(), "c": NODE, "join": NODE},
        "start -> a",
        "start -> b",
        "start -> c",
        "a -> join",
        "b.true -> join",
        "c -> join",
    )
    assert fold.run("start") == ["a", "b", "c"]
    assert fold.run("a") == []
    assert fold.run("c") == []
    assert fold.finish("b", port="false") == ["join"]
    assert list(fold.state.arms_of(fold.step("join"))) == ["a", "c"]
    assert fold.state.operations == 5


def test_a_node_all_of_whose_edges_die_is_skipped_and_its_own_edges_die() -> None:
    fold = Fold(
        {"a": check(), "b": NODE, "c": NODE, "d": NODE, "join": NODE},
        "start -> a",
        "a.true -> b",
        "b -> c",
        "c -> join",
        "a.false -> d",
        "d -> join",
    )
    fold.run("start")
    assert fold.finish("a", port="false") == ["d"]
    assert fold.skipped == ["b", "c"]
    assert fold.run("d") == ["join"]
    assert list(fold.state.arms_of(fold.step("join"))) == ["d"]


def test_a_node_reached_twice_by_one_node_counts_both_edges() -> None:
    fold = Fold({"a": check(), "b": NODE}, "start -> a", "a.true -> b", "a.false -> b")
    fold.run("start")
    assert fold.finish("a", "A", port="false") == ["b"]
    assert fold.state.arms_of(fold.step("b")) == {"a": "A"}


def test_an_edge_whose_conditional_is_false_is_dead() -> None:
    fold = Fold({"a": NODE, "b": NODE}, "start -> a if x", "start -> b if y")
    dead = fold.graph.by_id["start"].all_out[0].connection_id
    assert fold.finish("start", dead_edges=(dead,)) == ["b"]
    assert fold.skipped == ["a"]


def test_all_ports_are_all_but_error() -> None:
    fold = Fold(
        {"fork": FORK, "a": NODE, "b": NODE, "mend": NODE},
        "start -> fork",
        "fork.a -> a",
        "fork.b -> b",
        "fork.error -> mend",
    )
    fold.run("start")
    assert fold.finish("fork", port="*") == ["a", "b"]
    assert fold.skipped == ["mend"]


def test_a_disabled_node_is_skipped_and_does_not_count_as_a_step() -> None:
    fold = Fold({"off": OFF, "a": NODE, "b": NODE}, "start -> off", "start -> b", "off -> a")
    assert fold.run("start") == ["b"]
    assert fold.skipped == ["off", "a"]
    assert fold.state.operations == 2


def test_a_chain_of_dead_nodes_may_be_longer_than_the_stack() -> None:
    names = [f"n{number}" for number in range(1200)]
    fold = Fold(
        {"a": check(), **dict.fromkeys(names, NODE)},
        "start -> a",
        "a.true -> n0",
        *(f"{one} -> {other}" for one, other in itertools.pairwise(names)),
        limits=Limits(max_workflow_nodes=2000),
    )
    assert len(names) > sys.getrecursionlimit()
    fold.run("start")
    fold.finish("a", port="false")
    assert fold.skipped == names
    assert fold.ended() == ("completed", {"a": None})


def test_each_iteration_settles_the_edges_of_its_body_anew() -> None:
    fold = Fold(
        {"each": each(concurrency=2), "a": NODE, "b": NODE, "join": NODE},
        "start -> each",
        "each.loop -> a",
        "each.loop -> b",
        "a -> join",
        "b -> join",
    )
    fold.run("start")
    fold.enter("each", 1, 2)
    assert fold.run("each[0].a") == []
    assert fold.run("each[1].b") == []
    assert fold.run("each[1].a") == ["each[1].join"]
    assert fold.run("each[0].b") == ["each[0].join"]


# Merging


@pytest.mark.parametrize(("mode", "arms"), [("any", 1), (1, 1), (2, 2), ("wait_all", 3)])
def test_a_merge_runs_once_as_many_arms_as_it_wants_have_arrived(
    mode: int | str, arms: int
) -> None:
    fold = Fold(
        {"a": NODE, "b": NODE, "c": NODE, "join": merge(mode)},
        "start -> a",
        "start -> b",
        "start -> c",
        "a -> join",
        "b -> join",
        "c -> join",
    )
    fold.run("start")
    ready = [fold.run(name) for name in "abc"]
    assert ready == [["join"] if number == arms else [] for number in (1, 2, 3)]
    assert fold.cancelled == []
    assert fold.state.operations == 5


def test_a_merge_that_can_no_longer_have_enough_runs_with_what_there_is() -> None:
    fold = Fold(
        {"a": check(), "b": check(), "c": NODE, "join": merge(2)},
        "start -> a",
        "start -> b",
        "start -> c",
        "a.true -> join",
        "b.true -> join",
        "c -> join",
    )
    fold.run("start")
    assert fold.finish("a", port="false") == []
    assert fold.run("c") == []
    assert fold.finish("b", port="false") == ["join"]


def test_a_merge_none_of_whose_arms_lives_is_skipped() -> None:
    fold = Fold({"a": check(), "join": merge("any")}, "start -> a", "a.true -> join")
    fold.run("start")
    assert fold.finish("a", port="false") == []
    assert fold.skipped == ["join"]


def test_a_disabled_merge_is_skipped_when_its_quorum_is_there_and_only_once() -> None:
    fold = Fold(
        {**dict.fromkeys("abc", NODE), "join": {**merge("any"), "enabled": False}, "tail": NODE},
        "start -> a",
        "start -> b",
        "start -> c",
        "a -> join",
        "b -> join",
        "join -> tail",
        "c -> tail",
    )
    fold.run("start")
    assert fold.run("a") == []
    assert fold.skipped == ["join"]
    assert fold.run("b") == []
    assert fold.skipped == ["join"]
    assert fold.run("c") == ["tail"]
    assert list(fold.state.arms_of(fold.step("tail"))) == ["c"]


def test_a_loop_that_a_merge_leads_to_starts_by_its_own_phase() -> None:
    fold = Fold({"join": merge("any"), "each": each()}, "start -> join", "join -> each")
    fold.run("start")
    assert fold.run("join") == ["each"]
    assert fold.step("each").phase == "enter"


# Once it is over


def test_after_the_limit_nothing_more_is_settled() -> None:
    fold = Fold(
        {"a": NODE, "b": NODE, "off": OFF, "fork": FORK},
        "start -> a",
        "start -> b",
        "start -> off",
        "start -> fork",
        limits=Limits(max_total_operations=2),
    )
    fold.run("start")
    assert fold.failure().step_key == "b"
    assert fold.skipped == []
    assert fold.cancelled == ["a"]
    assert fold.state.operations == 3


def test_failing_cancels_inner_iterations_as_well() -> None:
    fold = Fold(
        {"each": each(concurrency=2), "x": NODE, "a": NODE},
        "start -> each",
        "start -> a",
        "each.loop -> x",
    )
    fold.run("start")
    fold.enter("each", 1, 2)
    fold.fail("a")
    assert fold.failure() == error("a")
    assert fold.cancelled == ["each", "each[0].x", "each[1].x"]
    assert sorted(fold.state.lost) == ["each", "each[0].x", "each[1].x"]
    assert fold.state.root.active == 0
