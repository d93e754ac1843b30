"""The fold's rules for loops: iterations and their scopes, tests, breaks, errors, results."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import JsonObject
from tests.engine.folding import (
    BREAK,
    FORK,
    GOES_ON,
    NODE,
    Fold,
    again,
    check,
    each,
    error,
    nothing_changed,
)


def foreach(**config: Any) -> Fold:
    """A loop with one node `a` in its body, entered by nothing yet."""
    goes_on = config.pop("goes_on", False)
    fold = Fold(
        {"each": each(goes_on=goes_on, **config), "a": NODE, "next": NODE},
        "start -> each",
        "each.loop -> a",
        "a -> each",
        "each -> next",
    )
    assert fold.run("start") == ["each"]
    return fold


def result_of(fold: Fold, key: str) -> Any:
    """What the loop gives, as the engine reads it when the loop finishes."""
    loop = fold.step(key).loop
    assert loop is not None
    return loop.result()


def test_a_foreach_is_first_asked_for_its_items() -> None:
    fold = foreach()
    step = fold.step("each")
    assert (step.phase, step.loop) == ("enter", None)
    assert [s.key for s in fold.state.open_steps()] == ["each"]


def test_its_iterations_follow_each_other_each_in_a_scope_of_its_own() -> None:
    fold = foreach()
    assert fold.enter("each", "x", "y") == ["each[0].a"]
    assert fold.active == ["each", "each[0].a"]
    assert [s.key for s in fold.state.open_steps()] == ["each[0].a"]
    scope = fold.step("each[0].a").scope
    assert scope.locals == {"item": "x", "index": 0}
    assert (scope.parent, scope.index) == (fold.state.root, 0)
    assert fold.finish("each[0].a", "X", local={"own": 1}, variables={"v": 1}) == ["each[1].a"]
    assert scope.locals == {"item": "x", "index": 0, "own": 1}
    assert fold.step("each[1].a").scope.locals == {"item": "y", "index": 1}
    assert fold.step("each[1].a").scope.results == {}
    assert fold.finish("each[1].a", "Y") == ["each"]
    assert fold.step("each").phase == "finish"
    assert [s.key for s in fold.state.open_steps()] == ["each"]
    assert result_of(fold, "each") == ["X", "Y"]
    assert fold.finish("each", ["X", "Y"]) == ["next"]
    assert fold.state.path == ["start", "a", "a", "each"]
    assert fold.state.runs[fold.graph.by_id["a"].index] == 2
    assert fold.state.variables == {"v": 1}


def test_the_author_s_names_for_item_and_index_are_used() -> None:
    fold = foreach(item_variable="winner", index_variable="place")
    fold.enter("each", "Ada")
    assert fold.step("each[0].a").scope.locals == {"winner": "Ada", "place": 0}


def test_a_loop_over_nothing_finishes_at_once_and_its_body_is_skipped() -> None:
    fold = foreach()
    assert fold.enter("each") == ["each"]
    assert fold.step("each").phase == "finish"
    assert result_of(fold, "each") == []
    assert fold.skipped == []
    fold.finish("each", [])
    assert fold.skipped == ["a"]


def test_as_many_iterations_run_side_by_side_as_allowed() -> None:
    fold = foreach(concurrency=2)
    assert fold.enter("each", 1, 2, 3, 4) == ["each[0].a", "each[1].a"]
    assert fold.run("each[1].a") == ["each[2].a"]
    assert fold.run("each[0].a") == ["each[3].a"]
    assert fold.run("each[3].a") == []
    assert fold.run("each[2].a") == ["each"]
    assert result_of(fold, "each") == ["each[0].a", "each[1].a", "each[2].a", "each[3].a"]


def test_after_the_loop_nodes_shows_the_last_iteration_in_which_each_node_ran() -> None:
    fold = Fold(
        {"each": each(concurrency=2), "a": check(), "yes": NODE, "next": NODE},
        "start -> each",
        "each.loop -> a",
        "a.true -> yes",
        "each -> next",
    )
    fold.run("start")
    fold.enter("each", 1, 2)
    assert "a" not in fold.state.root.results
    fold.finish("each[1].a", "late", port="false")
    fold.finish("each[0].a", "early", port="true")
    fold.finish("each[0].yes", "y")
    loop = fold.step("each").loop
    assert loop is not None
    assert loop.last_results()["a"]["output"] == "late"
    fold.finish("each", loop.result())
    results = fold.state.root.results
    assert results["a"] == {"output": "late", "port": "false", "error": None}
    assert results["yes"]["output"] == "y"
    assert results["each"]["output"] == ["y", "late"]


@pytest.mark.parametrize(("runs", "result"), [((), None), (("a",), "A"), (("a", "b"), {"b": "B"})])
def test_the_result_of_an_iteration_is_what_ran_last_in_it(
    runs: tuple[str, ...], result: Any
) -> None:
    fold = Fold(
        {"each": each(), "a": NODE, "b": NODE},
        "start -> each",
        "each.loop -> a if runs",
        "each.loop -> b if runs",
    )
    fold.run("start")
    assert fold.enter("each", 1) == ["each"]
    assert fold.step("each").phase == "test"
    dead = tuple(
        e.connection_id
        for e in fold.graph.by_id["each"].body_out
        if fold.graph.nodes[e.target].node_id not in runs
    )
    fold.iterate("each", dead_edges=dead)
    for name in runs:
        fold.finish(f"each[0].{name}", name.upper())
    assert fold.ready == ["each"]
    assert fold.step("each").phase == "finish"
    wanted = {"a": "A", **result} if isinstance(result, dict) else result
    assert result_of(fold, "each") == [wanted]


def test_a_guarded_body_is_tested_before_each_iteration() -> None:
    fold = Fold({"each": each(concurrency=2), "a": NODE}, "start -> each", "each.loop -> a if item")
    fold.run("start")
    assert fold.enter("each", 1, 2, 3) == ["each"]
    assert fold.step("each").phase == "test"
    assert [s.key for s in fold.state.open_steps()] == ["each"]
    assert fold.iterate("each") == ["each[0].a", "each"]
    assert [s.key for s in fold.state.open_steps()] == ["each", "each[0].a"]
    assert fold.iterate("each") == ["each[1].a"]
    assert [s.key for s in fold.state.open_steps()] == ["each[0].a", "each[1].a"]
    assert fold.run("each[0].a") == ["each"]
    assert fold.run("each[1].a") == []
    dead = fold.graph.by_id["each"].body_out[0].connection_id
    assert fold.iterate("each", dead_edges=(dead,)) == ["each"]
    assert fold.step("each").phase == "finish"
    assert result_of(fold, "each") == ["each[0].a", "each[1].a", None]


def test_what_dies_at_the_entry_of_a_body_holds_up_nothing_in_it() -> None:
    fold = Fold(
        {"each": each(), "a": NODE, "b": NODE, "c": NODE, "join": NODE},
        "start -> each",
        "each.loop -> a if item",
        "each.loop -> c",
        "a -> b",
        "b -> join",
        "c -> join",
    )
    fold.run("start")
    fold.enter("each", 0)
    dead = fold.graph.by_id["each"].body_out[0].connection_id
    assert fold.iterate("each", dead_edges=(dead,)) == ["each[0].c"]
    assert fold.skipped == ["a", "b"]
    assert fold.run("each[0].c") == ["each[0].join"]


# loop_while


def test_a_while_is_tested_first_and_after_each_iteration() -> None:
    fold = Fold({"more": again(), "a": NODE}, "start -> more", "more.loop -> a")
    assert fold.run("start") == ["more"]
    step = fold.step("more")
    assert step.phase == "test"
    assert step.loop is not None
    assert (step.loop.items, step.loop.testing) == (None, True)
    assert fold.iterate("more") == ["more[0].a"]
    assert fold.state.input_of(fold.step("more[0].a")) == {"index": 0}
    assert fold.step("more[0].a").scope.locals == {"index": 0}
    assert [s.key for s in fold.state.open_steps()] == ["more[0].a"]
    assert fold.run("more[0].a") == ["more"]
    assert (step.phase, step.loop.testing) == ("test", True)
    assert fold.iterate("more") == ["more[1].a"]
    assert fold.state.input_of(fold.step("more[1].a")) == {"index": 1}
    assert fold.run("more[1].a") == ["more"]
    assert step.loop.result() == {"iterations": 2, "last": "more[1].a"}
    fold.finish("more", step.loop.result())
    assert fold.ended() == ("completed", {"more": {"iterations": 2, "last": "more[1].a"}})


def test_a_while_that_never_holds_gives_no_iteration() -> None:
    fold = Fold({"more": again(), "a": NODE}, "start -> more", "more.loop -> a")
    fold.run("start")
    assert result_of(fold, "more") == {"iterations": 0, "last": None}
    fold.finish("more", {})
    assert fold.skipped == ["a"]


def test_a_while_without_a_body_is_tested_again_at_once() -> None:
    fold = Fold({"more": again()}, "start -> more")
    fold.run("start")
    assert fold.iterate("more") == ["more"]
    assert fold.iterate("more") == ["more"]
    assert result_of(fold, "more") == {"iterations": 2, "last": None}


def test_an_iteration_of_what_is_no_loop_changes_nothing() -> None:
    fold = Fold({"a": NODE}, "start -> a")
    fold.iterate("start")
    assert nothing_changed(fold.last)
    assert fold.active == ["start"]


# Breaking


def broken() -> Fold:
    """Two iterations side by side, of which the first has reached its `loop_break`."""
    fold = Fold(
        {"each": each(concurrency=2), "a": NODE, "stop": BREAK, "behind": NODE, "next": NODE},
        "start -> each",
        "each.loop -> a",
        "a -> stop",
        "a -> behind",
        "stop -> behind",
        "each -> next",
    )
    fold.run("start")
    fold.enter("each", 1, 2, 3)
    assert fold.run("each[0].a") == ["each[0].stop"]
    return fold


def test_a_break_cancels_what_runs_beside_it_and_starts_nothing_more() -> None:
    fold = broken()
    assert fold.finish("each[0].stop", "out", port="break") == ["each"]
    assert fold.cancelled == ["each[1].a"]
    assert fold.active == ["each"]
    assert fold.step("each").phase == "finish"
    assert result_of(fold, "each") == ["out"]
    assert fold.finish("each", ["out"]) == ["next"]
    assert fold.skipped == ["behind"]
    assert list(fold.state.lost) == ["each[1].a"]
    assert fold.state.root.results["stop"]["port"] == "break"


def test_a_break_that_does_not_break_passes_on() -> None:
    fold = broken()
    assert fold.finish("each[0].stop", "in", port="output") == ["each[0].behind"]
    assert fold.active == ["each", "each[1].a", "each[0].behind"]


def test_a_break_ends_only_the_innermost_loop() -> None:
    fold = Fold(
        {"outer": each(), "inner": each(), "a": NODE, "stop": BREAK},
        "start -> outer",
        "outer.loop -> inner",
        "inner.loop -> stop",
        "stop -> a",
    )
    fold.run("start")
    assert fold.enter("outer", "x", "y") == ["outer[0].inner"]
    assert fold.enter("outer[0].inner", 1, 2) == ["outer[0].inner[0].stop"]
    assert fold.finish("outer[0].inner[0].stop", 1, port="break") == ["outer[0].inner"]
    assert fold.finish("outer[0].inner", [1]) == ["outer[1].inner"]
    assert fold.enter("outer[1].inner") == ["outer[1].inner"]
    assert fold.finish("outer[1].inner", []) == ["outer"]
    assert result_of(fold, "outer") == [[1], []]


def test_a_loop_that_was_broken_while_it_was_tested_starts_nothing() -> None:
    fold = Fold(
        {"each": each(concurrency=3), "stop": BREAK}, "start -> each", "each.loop -> stop if item"
    )
    fold.run("start")
    fold.enter("each", 1, 2, 3)
    assert fold.iterate("each") == ["each[0].stop", "each"]
    assert fold.finish("each[0].stop", 1, port="break") == []
    assert fold.iterate("each") == ["each"]
    assert fold.step("each").phase == "finish"
    assert fold.active == ["each"]
    assert result_of(fold, "each") == [1]


# Errors


def test_an_error_in_a_body_fails_the_execution() -> None:
    fold = foreach()
    fold.enter("each", 1, 2)
    assert fold.fail("each[0].a") == []
    assert fold.failure() == error("each[0].a")
    assert fold.cancelled == ["each"]


def test_a_loop_that_goes_on_gives_the_error_as_that_iteration_s_result() -> None:
    fold = Fold(
        {"each": each(goes_on=True), "fork": FORK, "a": NODE, "b": NODE},
        "start -> each",
        "each.loop -> fork",
        "fork.a -> a",
        "fork.b -> b",
    )
    fold.run("start")
    fold.enter("each", 1, 2)
    assert fold.finish("each[0].fork", port="*") == ["each[0].a", "each[0].b"]
    assert fold.fail("each[0].a") == ["each[1].fork"]
    assert fold.cancelled == ["each[0].b"]
    fold.finish("each[1].fork", port="*")
    fold.run("each[1].a", "each[1].b")
    failed: JsonObject = {"error": error("each[0].a").as_json()}
    assert result_of(fold, "each") == [failed, {"a": "each[1].a", "b": "each[1].b"}]
    assert fold.state.failed == 1
    assert not fold.state.cancelled_nodes


def test_a_failed_iteration_leaves_those_beside_it_alone() -> None:
    fold = foreach(goes_on=True, concurrency=2)
    fold.enter("each", 1, 2)
    assert fold.fail("each[1].a") == []
    assert fold.cancelled == []
    assert fold.active == ["each", "each[0].a"]
    assert fold.run("each[0].a") == ["each"]
    assert result_of(fold, "each") == ["each[0].a", {"error": error("each[1].a").as_json()}]


def test_what_nodes_gave_before_their_iteration_failed_is_kept() -> None:
    fold = Fold(
        {"each": each(goes_on=True), "a": NODE, "b": NODE},
        "start -> each",
        "each.loop -> a",
        "a -> b",
    )
    fold.run("start")
    fold.enter("each", 1)
    fold.run("each[0].a")
    fold.fail("each[0].b")
    fold.finish("each", [])
    assert fold.state.root.results["a"]["output"] == "each[0].a"
    assert "b" not in fold.state.root.results


def nested(*, outer: bool, inner: bool) -> Fold:
    """An iteration of an inner loop in one of an outer, of which some go on."""
    fold = Fold(
        {"outer": each(goes_on=outer), "inner": each(goes_on=inner), "a": NODE, "b": NODE},
        "start -> outer",
        "outer.loop -> inner",
        "outer.loop -> b",
        "inner.loop -> a",
    )
    fold.run("start")
    fold.enter("outer", "x", "y")
    fold.enter("outer[0].inner", 1, 2)
    return fold


def test_the_nearest_loop_that_goes_on_takes_an_error() -> None:
    fold = nested(outer=True, inner=True)
    assert fold.fail("outer[0].inner[0].a") == ["outer[0].inner[1].a"]
    assert fold.cancelled == []
    fold = nested(outer=True, inner=False)
    assert fold.fail("outer[0].inner[0].a") == ["outer[1].inner", "outer[1].b"]
    assert fold.cancelled == ["outer[0].inner", "outer[0].b"]
    fold = nested(outer=False, inner=False)
    fold.fail("outer[0].inner[0].a")
    assert fold.failure() == error("outer[0].inner[0].a")


def test_a_fatal_error_is_taken_by_no_loop() -> None:
    fold = nested(outer=True, inner=True)
    fold.fail("outer[0].inner[0].a", fatal=True)
    assert fold.failure().fatal


def test_a_body_node_takes_its_own_error_before_any_loop_does() -> None:
    fold = Fold({"each": each(goes_on=True), "a": GOES_ON}, "start -> each", "each.loop -> a")
    fold.run("start")
    fold.enter("each", 1)
    assert fold.fail("each[0].a") == ["each"]
    assert fold.state.failed == 1
    loop = fold.step("each").loop
    assert loop is not None
    assert loop.last_results()["a"]["port"] == "output"


def test_a_loop_s_own_error_cancels_its_iterations_and_leaves_by_port_error() -> None:
    fold = Fold(
        {"each": each(concurrency=2), "a": NODE, "slow": NODE, "mend": NODE},
        "start -> each",
        "start -> slow",
        "each.loop -> a if item",
        "each.error -> mend",
    )
    fold.run("start")
    fold.enter("each", 1, 2)
    assert fold.iterate("each") == ["each[0].a", "each"]
    assert fold.fail("each") == ["mend"]
    assert fold.cancelled == ["each[0].a"]
    assert fold.active == ["slow", "mend"]


def test_a_loop_whose_items_failed_has_nothing_to_cancel() -> None:
    fold = foreach(goes_on=True)
    assert fold.fail("each") == ["next"]
    assert fold.state.input_of(fold.step("next")) == {"error": error("each").as_json()}
    assert fold.cancelled == []


def test_an_error_beside_an_inner_loop_cancels_that_loop_too() -> None:
    fold = nested(outer=False, inner=False)
    fold.fail("outer[0].b")
    assert fold.failure() == error("outer[0].b")
    assert fold.cancelled == ["outer", "outer[0].inner", "outer[0].inner[0].a"]
    assert fold.active == []


# What counts as skipped and as cancelled


def test_a_body_node_that_runs_in_a_later_iteration_is_no_longer_skipped() -> None:
    fold = Fold(
        {"each": each(), "a": check(), "yes": NODE},
        "start -> each",
        "each.loop -> a",
        "a.true -> yes",
    )
    fold.run("start")
    fold.enter("each", 1, 2)
    fold.finish("each[0].a", port="false")
    assert fold.skipped == ["yes"]
    fold.finish("each[1].a", port="true")
    assert fold.skipped == []
    assert fold.run("each[1].yes") == ["each"]
    assert fold.skipped == []


def test_a_node_cancelled_in_one_iteration_and_not_reached_again_is_not_skipped() -> None:
    fold = Fold(
        {"each": each(goes_on=True), "a": NODE, "b": NODE, "c": NODE},
        "start -> each",
        "each.loop -> a",
        "each.loop -> b",
        "b -> c",
    )
    fold.run("start")
    fold.enter("each", 1)
    assert fold.fail("each[0].a") == ["each"]
    fold.finish("each", [])
    assert fold.skipped == ["c"]
    names = [fold.graph.nodes[n].node_id for n in fold.state.cancelled_nodes]
    assert names == ["b"]


def test_a_loop_that_is_skipped_takes_its_body_with_it() -> None:
    fold = Fold(
        {"a": check(), "outer": each(), "inner": each(), "b": NODE, "c": NODE},
        "start -> a",
        "a.true -> outer",
        "outer.loop -> inner",
        "inner.loop -> b",
        "b -> c",
    )
    fold.run("start")
    fold.finish("a", port="false")
    assert fold.skipped == ["outer", "inner", "b", "c"]
    assert fold.ended()[0] == "completed"


def test_the_body_of_a_loop_that_has_run_once_is_not_skipped_with_it() -> None:
    fold = Fold(
        {"outer": each(), "a": check(), "inner": each(), "b": NODE, "c": NODE},
        "start -> outer",
        "outer.loop -> a",
        "a.true -> inner",
        "inner.loop -> b",
        "inner.loop -> c if item",
    )
    fold.run("start")
    fold.enter("outer", 1, 2)
    fold.finish("outer[0].a", port="true")
    fold.enter("outer[0].inner", 0)
    dead = fold.graph.by_id["inner"].body_out[1].connection_id
    fold.iterate("outer[0].inner", dead_edges=(dead,))
    fold.run("outer[0].inner[0].b", "outer[0].inner")
    fold.finish("outer[1].a", port="false")
    assert "b" not in fold.skipped
    assert "c" in fold.skipped
