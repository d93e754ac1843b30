"""What is told of a journal: the same along a map, beyond it, and without one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from engine import atlas
from engine.atlas import Atlas, Map
from engine.context import ExecutionStatus, Json, JsonObject, Kind, Outcome
from engine.graph import Graph
from engine.moments import rfc3339
from engine.records import StatusChange, StepRow, outcome_of
from engine.state import ExecutionState
from engine.step_log import MOST_OF_A_STEP, Budget
from engine.telling import End, LiveEvent, Subject, Telling
from tests.engine.folding import NODE, Fold, again
from tests.engine.model_harness import Run, case_of, run_through
from tests.engine.world import WORKFLOW_ID

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
MAPS = {"tiny": 1, "too small": 7, "large": 1_000}
"""How many waypoints a map has."""


def subject(trigger: str, session: str | None = None) -> Subject:
    return Subject("e", WORKFLOW_ID, 1, 1, 1, "api", trigger, session, NOW)


def told(on: Map, rows: list[StepRow], end: End) -> list[LiveEvent]:
    return Telling(subject(on.trigger_node_id), on).tell(rows, end)


class Oracle:
    """Tells the long way: folds every record with all of its values."""

    def __init__(self, graph: Graph, trigger: str) -> None:
        self.state = ExecutionState(graph, {}, trigger)
        self.state.start()
        self.lines = Budget()
        self.first: dict[str, datetime] = {}

    def tell(self, rows: list[StepRow], end: End) -> Iterator[JsonObject]:
        yield self.event(1, "pending", NOW)
        for row in rows:
            values = {"output": _value(row.output), "variables": _value(row.variables)}
            self.state.apply(outcome_of(replace(row, **values)))
            at = max(row.completed_at or row.started_at, NOW)
            yield self.event(row.seq, self.status(), at) | {"node": self.node(row)}
        yield self.event(end.seq, str(end.status), end.at)

    def status(self) -> str:
        steps = self.state.open_steps()
        return "waiting" if steps and all(step.waiting for step in steps) else "running"

    def event(self, seq: int, status: str, at: datetime) -> JsonObject:
        total = self.state.graph.enabled_count
        settled = total if status == "completed" else self.state.settled_count()
        return {
            "type": "execution_update",
            "execution_id": "e",
            "workflow_id": WORKFLOW_ID,
            "status": status,
            "progress": {
                "current_step": settled,
                "total_steps": total,
                "percentage": math.floor(Fraction(1000 * settled, total) + Fraction(1, 2)) / 10,
            },
            "seq": seq,
            "timestamp": rfc3339(at),
        }

    def node(self, row: StepRow) -> JsonObject:
        began, over = self.first.setdefault(row.step_key, row.started_at), row.completed_at
        return {
            "step_key": row.step_key,
            "node_id": row.node_id,
            "node_type": row.node_type,
            "status": row.status,
            "attempt": row.attempt,
            "port": row.port,
            "started_at": rfc3339(began),
            "completed_at": rfc3339(over) if over else None,
            "duration_seconds": (over - began).total_seconds() if over else None,
            "error": row.error["message"] if row.error else None,
            "error_type": row.error_type,
            "wake_at": rfc3339(row.wake_at) if row.wake_at else None,
            "reused": "reused" in (row.details or {}),
            "logs": self.lines.take(row),
        }


def _value(value: Json) -> Json:
    return json.loads(value) if isinstance(value, bytes) else value


def _end(run: Run) -> End:
    seq = run.rows[-1].seq + 1 if run.rows else 2
    return End(seq, ExecutionStatus(run.state["status"]), NOW + timedelta(days=60))


@pytest.mark.parametrize("group", range(8))
def test_what_is_told_is_what_the_fold_says_wherever_the_map_ends(group: int) -> None:
    for seed in range(group * 16, group * 16 + 16):
        case = case_of(seed)
        atlases = {name: Atlas(most_of_a_map=most) for name, most in MAPS.items()}
        for order in (0, 1, 0, 0):
            run = run_through(case, order)
            expected = list(Oracle(case.graph, case.trigger).tell(run.rows, _end(run)))
            for name, each in atlases.items():
                events = told(each.map(case.graph, case.trigger), run.rows, _end(run))
                bodies = [json.loads(event.body) for event in events]
                assert bodies == expected, f"seed {seed}, order {order}, map: {name}"
                assert [event.status for event in events] == [b["status"] for b in bodies]
                assert [event.seq for event in events] == [b["seq"] for b in bodies]


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """What was folded."""
    folded: list[Outcome] = []

    class Counted(ExecutionState):
        def apply(self, outcome: Outcome) -> Any:
            folded.append(outcome)
            return super().apply(outcome)

    monkeypatch.setattr(atlas, "ExecutionState", Counted)
    return folded


def chain(nodes: int) -> Graph:
    names = [f"n{number}" for number in range(nodes)]
    edges = [f"{one} -> {other}" for one, other in zip(["start", *names], names, strict=False)]
    return Fold(dict.fromkeys(names, NODE), *edges).graph


def row(seq: int, step: str, kind: Kind = Kind.FINISHED, **more: Any) -> StepRow:
    values: dict[str, Any] = {"status": "completed", "attempt": 1, "started_at": NOW, **more}
    if kind is Kind.FINISHED:
        values = {"completed_at": NOW + timedelta(seconds=seq), "port": "output", **values}
    return StepRow("e", seq, step, step.rsplit(".")[-1], "data_variable_set", kind, **values)


def journal(nodes: int) -> list[StepRow]:
    steps = ["start", *(f"n{number}" for number in range(nodes))]
    return [row(seq, step) for seq, step in enumerate(steps, start=2)]


def test_who_goes_where_one_has_gone_before_folds_nothing(folds: list[Outcome]) -> None:
    graph, rows = chain(10), journal(10)
    on, end = Map(graph, "start"), End(13, ExecutionStatus.COMPLETED, NOW)
    first = told(on, rows, end)
    assert len(folds) == len(rows)
    assert told(on, rows, end) == first
    assert len(folds) == len(rows)


def test_who_leaves_a_way_folds_each_record_once(folds: list[Outcome]) -> None:
    graph, rows = chain(10), journal(10)
    on, end = Map(graph, "start"), End(9, ExecutionStatus.FAILED, NOW)
    told(on, rows[:7], end)
    folds.clear()
    error = {"message": "It broke.", "type": "DOWN", "attempts": 1}
    other = replace(rows[6], status="failed", port=None, error=error, error_type="DOWN")
    *_, last, _ = told(on, [*rows[:6], other], end)
    assert len(folds) == 7
    assert json.loads(last.body)["node"]["error"] == "It broke."


def test_two_that_draw_a_map_in_turn_fold_each_record_once_at_most(folds: list[Outcome]) -> None:
    graph, rows = chain(40), journal(40)
    on = Map(graph, "start")
    one, other = (Telling(subject("start"), on) for _ in range(2))
    for number in range(0, len(rows), 2):
        one.tell(rows[: number + 1], None)
        other.tell(rows[: number + 2], None)
        one.tell(rows[: number + 2], None)
    assert len(folds) <= 2 * len(rows)
    assert one.seq == other.seq == rows[-1].seq


def drawn(on: Map) -> int:
    """How many waypoints are on the map."""
    places, found = [on.beginning], 0
    while places:
        place = places.pop()
        places += place.onward.values()
        found += 1
    return found - 1


def test_one_journal_draws_so_much_and_no_more(
    folds: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atlas, "MOST_DRAWN", 4)
    graph, rows = chain(10), journal(10)
    on, end = Map(graph, "start"), End(13, ExecutionStatus.COMPLETED, NOW)
    first = told(on, rows, end)
    assert drawn(on) == on.size == 4
    assert told(on, rows, end) == first
    assert drawn(on) == on.size == 8
    assert len(folds) == 2 * len(rows)


def test_what_came_once_does_not_keep_out_what_comes_often(folds: list[Outcome]) -> None:
    graph, rows = chain(10), journal(10)
    on, end = Map(graph, "start", 30), End(13, ExecutionStatus.COMPLETED, NOW)
    for odd in range(7):
        told(on, [*rows[:4], *(replace(each, port=f"odd {odd}") for each in rows[4:])], end)
        assert drawn(on) <= 30
    for _ in range(2):  # in the first, the map may be begun anew
        told(on, rows, end)
    folds.clear()
    told(on, rows, end)
    assert folds == []


def test_an_atlas_forgets_the_maps_that_were_not_used_for_longest() -> None:
    graphs = [replace(chain(10), version=version) for version in range(3)]
    kept = Atlas(most=20)
    first, second = (kept.map(graph, "start") for graph in graphs[:2])
    for on in (first, second):
        told(on, journal(10), End(13, ExecutionStatus.COMPLETED, NOW))
    assert kept.map(graphs[0], "start") is first
    kept.map(graphs[2], "start")
    assert kept.map(graphs[0], "start") is first
    assert kept.map(graphs[1], "start") is not second


def test_maps_in_use_do_not_outgrow_the_atlas_either() -> None:
    graphs = [replace(chain(10), version=version) for version in range(3)]
    kept = Atlas(most=20)
    maps = [kept.map(graph, "start") for graph in graphs]
    for on in maps:
        told(on, journal(10), End(13, ExecutionStatus.COMPLETED, NOW))
    for _ in range(100):
        assert kept.map(graphs[2], "start") is maps[2]
    assert kept.map(graphs[0], "start") is not maps[0]


def test_each_trigger_of_a_version_has_its_map() -> None:
    one = {"node_type": "trigger_command", "command": "!go"}
    two = {"node_type": "trigger_event", "config": {"event_type": "raid"}}
    graph = Fold({"start": one, "other": two, "n": NODE}, "start -> n", "other -> n").graph
    kept = Atlas()
    begun = [kept.map(graph, trigger) for trigger in ("start", "other")]
    assert [on.trigger_node_id for on in begun] == ["start", "other"]


def test_numbers_that_are_no_records_say_how_the_last_one_left_it() -> None:
    rows = [
        row(2, "start"),
        StatusChange("e", 3, ExecutionStatus.PAUSED, NOW),
        row(5, "n0"),
    ]
    telling = Telling(subject("start"), Map(chain(2), "start"))
    events = [json.loads(event.body) for event in telling.tell(rows, None)]
    assert [(event["seq"], event["status"]) for event in events] == [
        (1, "pending"), (2, "running"), (3, "paused"), (4, "running"), (5, "running")
    ]  # fmt: skip
    assert ["node" in event for event in events] == [False, True, False, False, True]
    assert [event["progress"]["current_step"] for event in events] == [0, 1, 1, 1, 2]


def test_a_loop_that_a_retry_goes_on_with_began_when_it_went_on() -> None:
    old, own = NOW - timedelta(hours=1), NOW + timedelta(seconds=1)
    graph = Fold(
        {"each": {"node_type": "loop_foreach", "config": {"items": [1]}}, "n": NODE},
        "start -> each", "each.loop -> n",
    ).graph  # fmt: skip
    reused = {"reused": "another"}
    rows = [
        replace(row(2, "start"), started_at=old, completed_at=old, details=reused),
        replace(row(3, "each", Kind.ENTERED, output=[1]), started_at=old, details=reused),
        replace(row(4, "each[0].n"), node_id="n", started_at=own, completed_at=own),
        replace(row(5, "each"), started_at=own, completed_at=own + timedelta(seconds=2)),
    ]
    on, end = Map(graph, "start"), End(6, ExecutionStatus.COMPLETED, own)
    nodes = [json.loads(event.body)["node"] for event in told(on, rows, end)[1:-1]]
    assert [node["reused"] for node in nodes] == [True, True, False, False]
    assert [node["started_at"] for node in nodes] == [rfc3339(at) for at in (old, old, own, own)]
    assert nodes[-1]["duration_seconds"] == 2


@pytest.mark.parametrize(
    "port",
    [
        'a"quoted"',
        '"started_at":"0001-01-01T00:00:00.000Z"',
        "Bär \u2028 \\ 😀",
        "100 %b %d %%",
        None,
    ],
)
def test_no_name_is_taken_for_a_moment(port: str | None) -> None:
    rows = [row(2, "start"), row(3, "n0", port=port)]
    on, end = Map(chain(1), "start"), End(4, ExecutionStatus.COMPLETED, NOW)
    for _ in range(3):
        node = json.loads(told(on, rows, end)[2].body)["node"]
        assert (node["step_key"], node["port"]) == ("n0", port)
        assert node["started_at"] == rfc3339(NOW)
        assert node["completed_at"] == node["logs"][0]["timestamp"] == "2026-11-27T12:00:03.000Z"
        assert node["duration_seconds"] == 3.0


def test_lines_are_cut_at_the_same_record_on_the_map_and_off_it() -> None:
    graph = Fold({"loop": again(), "n": NODE}, "start -> loop", "loop.body -> n").graph
    rows = [row(2, "start")]
    for number in range(MOST_OF_A_STEP + 5):
        rows.append(row(2 * number + 3, "loop", Kind.ITERATE, status="running"))
        rows.append(row(2 * number + 4, f"loop[{number}].n"))
    end = End(len(rows) + 2, ExecutionStatus.CANCELLED, NOW)
    on = Map(graph, "start", 150)
    first = told(on, rows, end)
    assert told(on, rows, end) == first == told(Map(graph, "start"), rows, end)
    logs = [json.loads(event.body)["node"]["logs"] for event in first[1:-1]]
    of_loop = logs[1::2]
    assert [len(lines) for lines in of_loop] == [1] * (MOST_OF_A_STEP + 1) + [0] * 4
    assert of_loop[MOST_OF_A_STEP][0]["cut"]
