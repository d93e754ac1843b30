"""Scopes and loops in progress: what lies in what, and what a loop remembers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from engine.scopes import LoopRun, Phase, Scope, Step, inside, lane_is_full
from tests.engine.folding import NODE, Fold, again, each


def a_loop(items: list[Any] | None = None) -> LoopRun:
    """A loop that has just started, at the root."""
    fold = Fold({"each": each(), "a": NODE}, "start -> each", "each.loop -> a")
    return LoopRun(Step("each", fold.graph.by_id["each"], fold.state.root), items)


def given(output: Any) -> dict[str, Any]:
    return {"output": output, "port": "output", "error": None}


def test_an_iteration_lies_within_its_scope_and_all_around_it_and_in_no_other() -> None:
    root = Scope("", None, None, -1, None)
    outer = Scope("outer[0].", root, None, 0, "x")
    inner = Scope("outer[0].inner[1].", outer, None, 1, "y")
    beside = Scope("outer[1].", root, None, 1, "z")
    for around in (root, outer, inner):
        assert inner.within(around) is True
    assert inner.within(beside) is False
    assert outer.within(inner) is False
    assert root.within(outer) is False


def test_what_is_inside_a_run_of_a_loop_is_in_one_of_its_iterations() -> None:
    loop, other = a_loop(), a_loop()
    root = Scope("", None, None, -1, None)
    iteration = Scope("each[0].", root, loop, 0, 1)
    deeper = Scope("each[0].more[0].", iteration, other, 0, 2)
    assert inside(iteration, loop) is True
    assert inside(deeper, loop) is True
    assert inside(deeper, other) is True
    assert inside(iteration, other) is False
    assert inside(root, loop) is False
    assert inside(None, loop) is False


def test_scopes_share_nothing() -> None:
    one, other = (Scope("", None, None, 0, None) for _ in range(2))
    one.locals["x"] = 1
    one.gone.add(1)
    one.results["a"] = given(1)
    one.tails["a"] = 1
    assert (other.locals, other.gone, other.results, other.tails) == ({}, set(), {}, {})
    assert (other.settled, other.arms, other.active) == ({}, {}, 0)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_of_each_node_the_last_iteration_is_remembered_whichever_was_faster(
    order: tuple[int, ...],
) -> None:
    loop = a_loop()
    ran = {0: {"a": given("a0"), "b": given("b0")}, 1: {"a": given("a1")}, 2: {"c": given("c2")}}
    for index in order:
        loop.keep(index, ran[index])
    assert loop.last_results() == {"a": given("a1"), "b": given("b0"), "c": given("c2")}


@pytest.mark.parametrize(
    ("items", "outputs", "result"),
    [
        ([1, 2, 3], {2: "c", 0: "a", 1: None}, ["a", None, "c"]),
        ([], {}, []),
        (None, {2: "c", 0: "a", 1: "b"}, {"iterations": 3, "last": "c"}),
        (None, {0: "a"}, {"iterations": 1, "last": "a"}),
        (None, {}, {"iterations": 0, "last": None}),
    ],
)
def test_a_loop_gives_its_results_in_the_order_of_its_iterations(
    items: list[Any] | None, outputs: dict[int, Any], result: Any
) -> None:
    loop = a_loop(items)
    loop.outputs.update(outputs)
    assert loop.result() == result


def test_a_loop_s_phases_are_these() -> None:
    fold = Fold(
        {"each": each(), "more": again(), "a": NODE},
        "start -> each",
        "each -> more",
        "each.loop -> a",
    )
    phases = [fold.step("start").phase]
    fold.run("start")
    phases.append(fold.step("each").phase)
    fold.enter("each")
    phases.append(fold.step("each").phase)
    fold.run("each")
    phases.append(fold.step("more").phase)
    assert phases == ["run", "enter", "finish", "test"]
    assert set(phases) == set(get_args(Phase))


def test_a_lane_is_full_when_as_many_as_it_takes_are_busy_in_it() -> None:
    lane, other = ("fan", 2), ("wide", 3)
    step, beside, elsewhere = in_lanes(lane), in_lanes(lane, other), in_lanes(other)
    assert lane_is_full(step, []) is False
    assert lane_is_full(step, [beside, elsewhere, elsewhere]) is False
    assert lane_is_full(step, [beside, beside]) is True
    assert lane_is_full(step, [beside, beside, beside]) is True
    assert lane_is_full(in_lanes(other, lane), [beside, in_lanes(lane)]) is True
    assert lane_is_full(in_lanes(), [beside, beside, beside]) is False


def in_lanes(*lanes: tuple[str, int]) -> Step:
    """A step whose node is in these lanes."""
    node = replace(Fold({"a": NODE}, "start -> a").graph.by_id["a"], lanes=lanes)
    return Step("a", node, Scope("", None, None, -1, None))
