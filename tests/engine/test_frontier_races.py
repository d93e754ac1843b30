"""Races: who wins, what loses, and what goes on in spite of it."""

from __future__ import annotations

import pytest

from engine.context import JsonObject
from tests.engine.folding import NODE, OFF, RACE, Fold, check, each, merge


def race(*edges: str, mode: int | str = "wait_all", **nodes: JsonObject) -> Fold:
    """`a1 -> a2` and `b` race from a fork to `join`; both have started."""
    fold = Fold(
        {
            "fork": RACE,
            "a1": NODE,
            "a2": NODE,
            "b": NODE,
            "join": merge(mode),
            "tail": NODE,
            **nodes,
        },
        "start -> fork",
        "fork.a -> a1",
        "a1 -> a2",
        "a2 -> join",
        "fork.b -> b",
        "b -> join",
        "join -> tail",
        *edges,
    )
    fold.run("start")
    fold.finish("fork", port="*")
    return fold


def cancelled_nodes(fold: Fold) -> list[str]:
    return [fold.graph.nodes[n].node_id for n in sorted(fold.state.cancelled_nodes)]


@pytest.mark.parametrize("mode", ["wait_all", "any", 2])
def test_the_first_branch_to_reach_the_join_wins(mode: int | str) -> None:
    fold = race(mode=mode)
    assert fold.ready == ["a1", "b"]
    assert fold.run("b") == ["join"]
    assert fold.cancelled == ["a1"]
    assert fold.active == ["join"]
    assert fold.skipped == ["a2"]
    assert cancelled_nodes(fold) == ["a1"]
    assert list(fold.state.lost) == ["a1"]
    assert fold.state.arms_of(fold.step("join")) == {"b": "b"}
    assert fold.run("join") == ["tail"]


def test_a_long_branch_wins_only_once_it_has_reached_the_join() -> None:
    fold = race()
    assert fold.run("a1") == ["a2"]
    assert fold.cancelled == []
    assert fold.run("a2") == ["join"]
    assert fold.cancelled == ["b"]
    assert fold.skipped == []
    assert fold.run("join", "tail") == []
    assert fold.ended() == ("completed", {"tail": "tail"})


def test_a_loser_s_late_outcome_changes_nothing() -> None:
    fold = race()
    fold.run("b")
    assert fold.run("a1") == []
    assert fold.state.path == ["start", "fork", "b"]
    assert fold.active == ["join"]


def test_what_a_loser_has_done_already_stays_done() -> None:
    fold = race("a1 -> side", side=NODE)
    assert fold.run("a1") == ["a2", "side"]
    assert fold.run("b") == ["join"]
    assert fold.cancelled == ["a2", "side"]
    assert fold.skipped == []
    assert fold.state.root.results["a1"]["output"] == "a1"


def test_what_hangs_on_a_loser_and_on_something_else_goes_on_with_that() -> None:
    fold = race("start -> mid", "mid -> both", "a1 -> both", "a2 -> both", mid=NODE, both=NODE)
    assert fold.active == ["mid", "a1", "b"]
    assert fold.run("b") == ["join"]
    assert fold.skipped == ["a2"]
    assert fold.run("mid") == ["both"]
    assert fold.state.input_of(fold.step("both")) == "mid"


@pytest.mark.parametrize(("port", "dead"), [("false", NODE), ("false", OFF), ("true", OFF)])
def test_what_had_died_in_a_losing_branch_does_not_die_twice(port: str, dead: JsonObject) -> None:
    fold = race(
        "fork.a -> check",
        "check.true -> d",
        "check.false -> w",
        "check.true -> w",
        "w -> join",
        "d -> join",
        "d -> both",
        "start -> mid",
        "mid -> both",
        check=check(),
        d=dead,
        w=NODE,
        mid=NODE,
        both=NODE,
    )
    assert fold.finish("check", port=port) == ["w"]
    assert fold.skipped == ["d"]
    assert fold.run("b") == ["join"]
    assert "both" not in fold.skipped
    assert fold.run("mid") == ["both"]


def test_a_losing_loop_is_cancelled_with_its_iterations() -> None:
    fold = Fold(
        {
            "fork": RACE,
            "each": each(concurrency=2),
            "inner": each(),
            "x": NODE,
            "b": NODE,
            "join": merge(),
        },
        "start -> fork",
        "fork.a -> each",
        "each.loop -> inner",
        "inner.loop -> x",
        "each -> join",
        "fork.b -> b",
        "b -> join",
    )
    fold.run("start")
    fold.finish("fork", port="*")
    fold.enter("each", 1, 2)
    fold.enter("each[0].inner", 3)
    assert fold.run("b") == ["join"]
    assert fold.active == ["join"]
    assert sorted(fold.cancelled) == [
        "each",
        "each[0].inner",
        "each[0].inner[0].x",
        "each[1].inner",
    ]
    assert cancelled_nodes(fold) == ["each", "inner", "x"]
    assert fold.state.root.active == 1
    fold.run("join")
    assert fold.ended() == ("completed", {"join": "join"})


def test_a_loop_beside_the_race_is_left_alone() -> None:
    fold = race("start -> each", "each.loop -> x", each=each(), x=NODE)
    fold.enter("each", 1)
    assert fold.run("b") == ["join"]
    assert fold.cancelled == ["a1"]
    assert fold.active == ["each", "each[0].x", "join"]


def test_the_fork_itself_may_win() -> None:
    fold = Fold(
        {"fork": RACE, "a": NODE, "b": NODE, "join": merge(), "tail": NODE},
        "start -> fork",
        "fork.a -> a",
        "fork.now -> join",
        "fork.b -> b",
        "a -> join",
        "b -> join",
        "join -> tail",
    )
    fold.run("start")
    assert fold.finish("fork", port="*") == ["join"]
    assert fold.cancelled == ["a"]
    assert fold.skipped == ["b"]
    assert fold.run("join") == ["tail"]


def test_an_arm_from_outside_the_race_decides_nothing() -> None:
    fold = race("start -> late", "late -> join", late=NODE)
    assert fold.run("late") == []
    assert fold.cancelled == []
    assert fold.run("b") == ["join"]
    assert fold.state.arms_of(fold.step("join")) == {"late": "late", "b": "b"}


def test_an_arm_from_outside_that_comes_last_lets_the_join_run() -> None:
    fold = Fold(
        {"fork": RACE, "a": check(), "b": check(), "join": merge(), "late": NODE},
        "start -> fork",
        "start -> late",
        "fork.a -> a",
        "fork.b -> b",
        "a.true -> join",
        "b.true -> join",
        "late -> join",
    )
    fold.run("start")
    fold.finish("fork", port="*")
    fold.finish("a", port="false")
    fold.finish("b", port="false")
    assert fold.run("late") == ["join"]
    assert fold.cancelled == []


def test_a_branch_that_dies_does_not_win() -> None:
    fold = race("start -> check", "check.true -> join", check=check())
    assert fold.finish("check", port="false") == []
    assert fold.cancelled == []
    fold = Fold(
        {"fork": RACE, "a": check(), "b": check(), "join": merge()},
        "start -> fork",
        "fork.a -> a",
        "fork.b -> b",
        "a.true -> join",
        "b.true -> join",
    )
    fold.run("start")
    fold.finish("fork", port="*")
    assert fold.finish("a", port="false") == []
    assert fold.active == ["b"]
    assert fold.finish("b", port="true") == ["join"]


def test_a_race_to_a_disabled_join_is_decided_and_the_join_skipped() -> None:
    fold = race(join={**merge(), "enabled": False})
    assert fold.run("b") == []
    assert fold.cancelled == ["a1"]
    assert fold.skipped == ["a2", "join", "tail"]
    assert fold.ended()[0] == "completed"


def test_a_race_within_an_iteration_leaves_the_other_iterations_alone() -> None:
    fold = Fold(
        {"each": each(concurrency=2), "fork": RACE, "a": NODE, "b": NODE, "join": merge()},
        "start -> each",
        "each.loop -> fork",
        "fork.a -> a",
        "fork.b -> b",
        "a -> join",
        "b -> join",
    )
    fold.run("start")
    fold.enter("each", 1, 2)
    fold.finish("each[0].fork", port="*")
    fold.finish("each[1].fork", port="*")
    assert fold.run("each[0].a") == ["each[0].join"]
    assert fold.cancelled == ["each[0].b"]
    assert fold.run("each[1].b") == ["each[1].join"]
    assert fold.cancelled == ["each[1].a"]
    assert cancelled_nodes(fold) == ["a", "b"]


def test_a_node_that_was_cancelled_and_runs_in_a_later_iteration_is_not_cancelled() -> None:
    fold = Fold(
        {"each": each(), "fork": RACE, "a": NODE, "b": NODE, "join": merge()},
        "start -> each",
        "each.loop -> fork",
        "fork.a -> a",
        "fork.b -> b",
        "a -> join",
        "b -> join",
    )
    fold.run("start")
    fold.enter("each", 1, 2)
    fold.finish("each[0].fork", port="*")
    fold.run("each[0].a")
    assert cancelled_nodes(fold) == ["b"]
    assert fold.run("each[0].join") == ["each[1].fork"]
    fold.finish("each[1].fork", port="*")
    assert cancelled_nodes(fold) == []


def test_two_races_may_be_decided_by_one_arrival() -> None:
    fold = Fold(
        {
            "one": RACE,
            "two": RACE,
            "a": NODE,
            "b": NODE,
            "c": NODE,
            "join": merge(),
        },
        "start -> one",
        "one.a -> a",
        "one.b -> two",
        "two.b -> b",
        "two.c -> c",
        "a -> join",
        "b -> join",
        "c -> join",
    )
    fold.run("start")
    fold.finish("one", port="*")
    fold.finish("two", port="*")
    assert fold.active == ["a", "b", "c"]
    assert fold.run("b") == ["join"]
    assert sorted(fold.cancelled) == ["a", "c"]


def test_losing_in_one_outcome_takes_back_what_it_had_made_ready() -> None:
    fold = Fold(
        {"fork": RACE, "a": NODE, "join": merge()},
        "start -> fork",
        "fork.a -> a",
        "fork.now -> join",
        "a -> join",
    )
    fold.run("start")
    assert fold.finish("fork", port="*") == ["join"]
    assert fold.cancelled == ["a"]
    assert fold.active == ["join"]
