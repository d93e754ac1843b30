"""Adding up what ended, and keeping it in mind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from models.tallies import Ends, NodeRuns, Remembered, Tallies, Tally, tallied

HOUR = datetime(2026, 11, 27, 16, tzinfo=UTC)


def ended(status: str, executions: int, hours: int = 0) -> tuple[Any, ...]:
    start = (HOUR + timedelta(hours=hours)).timestamp()
    return start, status, executions, 1.5, 0.25, 3.0, None, None, [4], [executions]


def ran(node: str, runs: int, longest: float, hours: int = 0) -> tuple[Any, ...]:
    start = (HOUR + timedelta(hours=hours)).timestamp()
    return start, "w", node, "t", runs, 1, 2.0, longest


def test_rows_are_added_up_by_bucket_status_and_node() -> None:
    tallies = tallied(
        [ended("failed", 2, 1), ended("completed", 3), ended("completed", 4)],
        [ran("a", 5, 1.0), ran("b", 6, 2.0), ran("a", 7, 0.5, 1)],
    )

    first, second = tallies.buckets.values()
    assert list(tallies.buckets) == [HOUR, HOUR + timedelta(hours=1)]
    assert (first.ends["completed"].executions, first.ends["completed"].seconds) == (7, 3.0)
    assert first.ends["completed"].durations.counts()[5] == 7
    assert list(second.ends) == ["failed"]
    assert {status: each.executions for status, each in tallies.total.ends.items()} == {
        "completed": 7, "failed": 2
    }  # fmt: skip
    assert tallies.total.nodes["w", "a"] == NodeRuns("t", 12, 2, 4.0, 1.0)
    assert tallies.size == (1 + 2) + (1 + 1) + (2 + 2)


def test_a_sum_changes_neither_of_its_parts_and_shares_what_only_one_has() -> None:
    gathered = tallied([ended("completed", 3), ended("completed", 1, 1)], [ran("a", 5, 1.0, 1)])
    live = tallied([ended("completed", 2, 1)], [ran("a", 1, 9.0, 1)])
    before, after = gathered.buckets.values()

    both = gathered.plus(live)

    assert both.buckets[HOUR] is before
    mixed = both.buckets[HOUR + timedelta(hours=1)]
    assert mixed.ends["completed"].executions == 3
    assert mixed.ends["completed"].durations.counts()[5] == 3
    assert mixed.nodes["w", "a"] == NodeRuns("t", 6, 2, 4.0, 9.0)
    assert both.total.ends["completed"].executions == 6
    assert (after.ends["completed"].executions, after.nodes["w", "a"].runs) == (1, 5)
    assert after.ends["completed"].durations.counts()[5] == 1
    assert gathered.total.ends["completed"].executions == 4
    assert gathered.plus(tallied([], [])) is gathered


def some(nodes: int) -> Tallies:
    tally = Tally({"failed": Ends(1)}, {("w", str(n)): NodeRuns("t") for n in range(nodes)})
    return Tallies({}, tally)


def test_what_is_in_mind_is_forgotten_with_its_state_and_for_want_of_room() -> None:
    mind = Remembered(most=20)
    small, large = some(3), some(30)
    mind.put("a", 1, small)
    assert (mind.get("a", 1), mind.get("a", 2), mind.get("b", 1)) == (small, None, None)

    mind.put("a", 2, large)  # not kept, and what was known of it is old
    assert (mind.get("a", 1), mind.get("a", 2)) == (None, None)

    for key in "abcd":  # five each, so one has to go
        mind.put(key, 1, some(3))
        assert mind.get("a", 1) is not None
    mind.put("e", 1, some(3))
    assert [key for key in "abcde" if mind.get(key, 1)] == ["a", "c", "d", "e"]
    mind.put("e", 2, some(3))
    assert [key for key in "acde" if mind.get(key, 2 if key == "e" else 1)] == ["a", "c", "d", "e"]
