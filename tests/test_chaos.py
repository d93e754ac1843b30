"""The service under faults, for a few seconds; `make chaos` does it for as long as one likes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from chaos.check import Judge, Result, Run, recoveries
from chaos.faults import KINDS, Fault, plan
from chaos.run import Plan, run
from chaos.sink import Call
from chaos.workflows import Workload, with_ids, workloads
from engine.context import Limits
from engine.validation import Report, validate

BRIEF = (Fault("backends", 0.5, 1), Fault("kill", 0.7, 2), Fault("freeze", 2.0, 3))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_nothing_is_lost_or_wrong_among_faults() -> None:
    report = await run(Plan(seed=7, seconds=5.0, faults=list(BRIEF), processes=2, patience=20.0))
    assert report.verdict.problems == []
    assert report.faults == {"backends": 1, "freeze": 1, "kill": 1}
    assert report.acknowledged > 0


@pytest.mark.parametrize("workload", workloads("http://127.0.0.1:1"), ids=lambda w: w.name)
def test_every_workload_is_a_valid_workflow(workload: Workload) -> None:
    ids = {each.name: str(uuid4()) for each in workloads("http://127.0.0.1:1")}
    report: Report = validate(with_ids(workload.document, ids), Limits())
    assert report.is_valid, report.as_json()


def test_the_same_seed_breaks_the_same_things() -> None:
    assert plan(random.Random(3), 60) == plan(random.Random(3), 60)
    assert plan(random.Random(3), 60) != plan(random.Random(4), 60)


def test_a_plan_of_some_length_has_every_kind_of_fault() -> None:
    assert {fault.kind for fault in plan(random.Random(1), 30)} == set(KINDS)


# The judge: what it must not overlook

WORKFLOW, EXECUTION = "w", "e"
DOCUMENT: Any = {"nodes": {"send": {"node_type": "action_webhook"}}}
RIGHT = Result(output=1, counts=(1, 1), steps={"send": "sent"})
TAKEN = Call(f"{EXECUTION}:send", EXECUTION, "send", 1, taken=True)


def ended(**changes: Any) -> Run:
    fields: dict[str, Any] = {
        "execution_id": EXECUTION, "workflow_id": WORKFLOW, "n": 1, "status": "completed",
        "error_code": None, "result": RIGHT, "moments": [],
    }  # fmt: skip
    return Run(**{**fields, **changes})


def judged(
    *runs: Run, calls: tuple[Call, ...] = (TAKEN,), at_most_once: bool = False
) -> tuple[int, int, int]:
    """How much is lost, wrong and repeated when `EXECUTION` was acknowledged."""
    excused = frozenset({"OUTCOME_UNKNOWN"})
    workload = Workload("w", DOCUMENT, excused=excused, at_most_once=at_most_once)
    judge = Judge({WORKFLOW: workload}, {(WORKFLOW, 1): RIGHT})
    found = {run.execution_id: run for run in runs}
    verdict = judge.judge(found, {EXECUTION}, list(calls))
    return verdict.lost, verdict.wrong, verdict.repeated_effects


def test_what_is_as_expected_is_right() -> None:
    assert judged(ended()) == (0, 0, 0)


def test_a_missing_execution_is_lost() -> None:
    assert judged(calls=()) == (1, 0, 0)


def test_an_execution_that_does_not_end_is_lost() -> None:
    assert judged(ended(status="running")) == (1, 0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"result": Result(output=2, counts=(1, 1), steps={"send": "sent"})},
        {"result": Result(output=1, counts=(2, 1), steps={"send": "sent"})},
        {"result": Result(output=1, counts=(1, 1), steps={"send": "lost"})},
        {"status": "failed", "error_code": "NODE_FAILED"},
        {"defects": ["send is recorded twice"]},
        {"n": 2, "result": RIGHT, "status": "cancelled"},
    ],
)
def test_an_execution_that_is_not_as_without_faults_is_wrong(changes: dict[str, Any]) -> None:
    lost, wrong, _ = judged(ended(**changes))
    assert lost == 0
    assert wrong >= 1


def test_an_excused_failure_is_right() -> None:
    failed = ended(status="failed", error_code="OUTCOME_UNKNOWN")
    assert judged(failed) == (0, 0, 0)


def test_a_repeated_effect_is_counted() -> None:
    assert judged(ended(), calls=(TAKEN, TAKEN, TAKEN)) == (0, 0, 2)


def test_a_repeated_effect_is_wrong_where_it_may_happen_once() -> None:
    assert judged(ended(), calls=(TAKEN, TAKEN), at_most_once=True) == (0, 1, 1)


def test_another_key_for_the_same_step_is_wrong() -> None:
    other = Call("another", EXECUTION, "send", 1, taken=True)
    assert judged(ended(), calls=(TAKEN, other)) == (0, 1, 1)


def test_a_recorded_step_without_its_effect_is_wrong() -> None:
    assert judged(ended(), calls=()) == (0, 1, 0)


def test_an_effect_of_an_execution_that_was_never_committed_is_wrong() -> None:
    ghost = Call("ghost:send", "ghost", "send", 1, taken=True)
    assert judged(ended(), calls=(TAKEN, ghost)) == (0, 1, 0)


def test_recovery_is_the_time_from_the_kill_to_the_next_record() -> None:
    moments = [NOW + timedelta(seconds=second) for second in (-1, 2, 3)]
    kills = [(NOW, [EXECUTION, "gone"])]
    assert recoveries({EXECUTION: ended(moments=moments)}, kills) == [2.0]
