"""What a process counts about its engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from engine.context import ExecutionStatus, Kind
from engine.records import Batch, StoredExecution
from models.execution_store import Reaped
from services.meters import Distribution, EngineMeter
from tests.store_contract import NOW, a_context, a_step, created, progress_of

COMPLETED, FAILED, WAITING = (
    ExecutionStatus.COMPLETED,
    ExecutionStatus.FAILED,
    ExecutionStatus.WAITING,
)


def test_a_value_counts_for_the_bound_that_it_does_not_exceed() -> None:
    values = Distribution((1, 2, 5))
    for value in (0, 1, 1.5, 2, 5, 5.1, 99):
        values.add(value)
    assert values.counts == [2, 2, 1, 2]
    assert values.total == 113.6


def test_only_ends_count_as_ends() -> None:
    meter = EngineMeter()
    contexts = [a_context() for _ in range(4)]
    end = {"end_time": NOW + timedelta(seconds=3), "held": False}
    batch = created(
        (contexts[0], progress_of(contexts[0], COMPLETED, **end)),
        (contexts[1], progress_of(contexts[1])),
    )
    batch.updates = {
        contexts[2].execution_id: progress_of(contexts[2], FAILED, **end),
        contexts[3].execution_id: progress_of(contexts[3], WAITING, held=False),
    }

    meter.flushed(batch, 0.004)

    assert meter.ended == {"completed": 1, "failed": 1}
    assert (sum(meter.executions.counts), meter.executions.total) == (2, 6.0)
    assert (sum(meter.rows.counts), meter.rows.total) == (1, 4)
    assert meter.flushes.total == 0.004


def test_steps_count_when_they_end_and_where_they_ran() -> None:
    meter, context = EngineMeter(), a_context()
    took = {"completed_at": NOW + timedelta(seconds=2)}
    rows = [
        a_step(context, 2, node_type="action_http", **took),
        a_step(context, 3, kind=Kind.WAITING, status="waiting", completed_at=None),
        a_step(context, 4, details={"usage": {"cost": 1}}, **took),
        a_step(context, 5, details={"reused": "another execution"}, **took),
    ]

    meter.flushed(Batch(steps=rows), 0.001)

    counts = {name: (sum(each.counts), each.total) for name, each in meter.steps.items()}
    assert counts == {"action_http": (1, 2.0), "data_variable_set": (1, 2.0)}


def test_an_execution_tells_once_how_long_it_waited_for_its_start() -> None:
    meter, context = EngineMeter(), a_context()
    late = progress_of(context, start_time=NOW + timedelta(seconds=7), claims=1)
    first = StoredExecution(context, late)

    meter.claimed([first])
    meter.claimed([replace(first, progress=replace(late, claims=2))])
    meter.claimed([replace(first, recoveries=1), replace(first, steps=[a_step(context)])])
    meter.flushed(created((a_context(), progress_of(context, start_time=None))), 0.001)

    assert (sum(meter.queue.counts), meter.queue.total) == (1, 7.0)


def test_what_ends_outside_of_a_flush_counts_too() -> None:
    meter = EngineMeter()

    meter.cancelled()
    meter.reaped(Reaped(failed=2, freed=5))

    assert (meter.ended, meter.recovered) == ({"cancelled": 1, "failed": 2}, 5)
