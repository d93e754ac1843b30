"""The service under faults, for a few seconds; `make chaos` does it for as long as one likes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from chaos.check import LATE_SECONDS, Judge, Result, Run
from chaos.database import Database
from chaos.faults import KINDS, Blow, Fault, plan
from chaos.promises import Promises
from chaos.recovery import alone, quantiles, recoveries
from chaos.run import Plan, run
from chaos.sink import Call
from chaos.watch import SETTING, LateWrites, install, late_writes
from chaos.workflows import Workload, with_ids, workloads
from engine.context import Limits
from engine.records import Batch
from engine.validation import Report, validate
from models.dal import AsyncDAL
from models.embedded import EmbeddedPostgres
from models.execution_rows import flush_statement
from models.execution_store import PostgresExecutionStore
from models.migrate import migrate
from tests.conftest import database_named
from tests.store_contract import FIRST, SECOND, a_context, a_step, created, progress_of

BRIEF = (Fault("backends", 0.5, 1), Fault("kill", 0.7, 2), Fault("freeze", 2.0, 3))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_nothing_is_lost_or_wrong_among_faults() -> None:
    report = await run(Plan(seed=7, seconds=5.0, faults=list(BRIEF), processes=2, patience=20.0))
    assert report.verdict.problems == []
    assert report.faults == {"backends": 1, "freeze": 1, "kill": 1}
    assert report.promises.acknowledged
    assert report.late.attempted == report.late.refused


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
    *runs: Run,
    calls: tuple[Call, ...] = (TAKEN,),
    at_most_once: bool = False,
    blows: tuple[Blow, ...] = (),
    **promised: Any,
) -> tuple[int, int, int]:
    """How much is lost, wrong and repeated when `EXECUTION` was acknowledged, and the rest was
    `promised`."""
    excused = frozenset({"OUTCOME_UNKNOWN"})
    workload = Workload("w", DOCUMENT, excused=excused, at_most_once=at_most_once)
    judge = Judge({WORKFLOW: workload}, {(WORKFLOW, 1): RIGHT})
    found = {run.execution_id: run for run in runs}
    verdict = judge.judge(found, Promises({EXECUTION}, **promised), list(calls), blows)
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


@pytest.mark.parametrize(
    ("blows_before", "blows_after", "wrong"), [(0, 6, 0), (0, 5, 1), (4, 5, 1)]
)
def test_an_execution_is_given_up_after_six_blows_without_progress_and_not_before(
    blows_before: int, blows_after: int, wrong: int
) -> None:
    recorded, end = NOW, NOW + timedelta(minutes=1)
    lost = ended(status="failed", error_code="WORKER_LOST", moments=[recorded, end])
    seconds = [*range(-blows_before, 0), *range(1, 1 + blows_after)]
    blows = tuple(Blow("kill", NOW + timedelta(seconds=s), [EXECUTION], True) for s in seconds)
    assert judged(lost, blows=blows) == (0, wrong, 0)


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


CANCELLED = ended(status="cancelled", result=Result(None, (0, 0), {}))


def test_what_was_said_to_be_cancelled_and_is_is_right() -> None:
    promised: Any = {"cancels_asked": {EXECUTION}, "cancelled": {EXECUTION: 1.0}}
    assert judged(CANCELLED, **promised) == (0, 0, 0)


def test_what_was_said_to_be_cancelled_and_goes_on_is_wrong() -> None:
    promised: Any = {"cancels_asked": {EXECUTION}, "cancelled": {EXECUTION: 1.0}}
    assert judged(ended(), **promised) == (0, 1, 0)


def test_an_effect_after_the_answer_to_its_cancellation_is_wrong() -> None:
    promised: Any = {"cancels_asked": {EXECUTION}, "cancelled": {EXECUTION: 1.0}}
    late = Call(f"{EXECUTION}:send", EXECUTION, "send", 1, taken=True, at=1.1 + LATE_SECONDS)
    assert judged(CANCELLED, calls=(late,), **promised) == (0, 1, 0)


def test_an_end_that_nobody_asked_for_is_wrong() -> None:
    assert judged(CANCELLED) == (0, 1, 0)


def test_a_child_may_be_cancelled_with_its_parent() -> None:
    parent = ended(execution_id="p", status="cancelled")
    child = ended(status="cancelled", parent="p")
    assert judged(parent, child, cancels_asked={"p"}) == (0, 0, 0)


def test_a_key_that_has_started_its_execution_is_right() -> None:
    assert judged(ended(name="k"), keyed={"k": {EXECUTION}}) == (0, 0, 0)


def test_a_key_that_nobody_has_answered_may_have_started_nothing() -> None:
    assert judged(ended(), keyed={"k": set()}) == (0, 0, 0)


def test_a_key_that_has_started_two_executions_is_wrong() -> None:
    other = ended(execution_id="other", name="k")
    calls = (TAKEN, Call("other:send", "other", "send", 1, taken=True))
    assert judged(ended(name="k"), other, calls=calls, keyed={"k": {EXECUTION}}) == (0, 1, 0)


def test_two_answers_with_one_key_that_name_two_executions_are_wrong() -> None:
    _, wrong, _ = judged(ended(name="k"), keyed={"k": {EXECUTION, "other"}})
    assert wrong > 0


def test_a_complaint_is_wrong() -> None:
    assert judged(ended(), complaints=["nobody has answered"]) == (0, 1, 0)


def test_recovery_is_the_time_from_the_blow_to_the_next_record() -> None:
    moments = [NOW + timedelta(seconds=second) for second in (-1, 2, 3)]
    blows = [
        Blow("kill", NOW, [EXECUTION, "gone"], True),
        Blow("freeze", NOW, ["left out"], True),
    ]
    runs = {EXECUTION: ended(moments=moments), "left out": ended(moments=moments)}
    assert recoveries(runs, blows, {"left out"}) == {"kill": [2.0]}


def test_a_blow_is_alone_if_all_else_was_up_and_no_other_fault_came_near() -> None:
    moments = [NOW + timedelta(seconds=second) for second in (0, 2.9, 10, 20)]
    blows = [Blow("kill", moment, [], moment != moments[3]) for moment in moments]
    assert alone(blows, moments) == [blows[2]]


def test_quantiles_are_of_what_there_is() -> None:
    assert quantiles([]) == {"n": 0}
    assert quantiles([1.0, 2.0, 3.0]) == {"n": 3, "p50": 2.0, "p99": 3.0, "max": 3.0}


# The watch: what it must not overlook


class TestWatch:
    """A process writes, with its worker alive or dead, through the fence or past it."""

    @pytest.fixture
    async def database(self, server_url: str) -> AsyncIterator[Database]:
        """A database of its own on the server of all tests: only its address is used."""
        name = f"watched_{uuid4().hex}"
        connection = await asyncpg.connect(server_url)
        await connection.execute(f"CREATE DATABASE {name}")
        server: Any = None
        database = Database(EmbeddedPostgres(database_named(server_url, name), server))
        await migrate(database.server.dsn)
        await install(database)
        yield database
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()

    @pytest.mark.parametrize(
        ("dead", "fence", "attempted", "refused"),
        [(False, "alive", 0, 0), (True, "alive", 1, 1), (True, "dead", 1, 0)],
        ids=["alive", "refused", "got through"],
    )
    async def test_a_late_flush_is_seen_whether_or_not_the_fence_holds(
        self, database: Database, dead: bool, fence: str, attempted: int, refused: int
    ) -> None:
        context = a_context()
        async with AsyncDAL(database.url(SETTING, 8070), min_size=1, max_size=3) as dal:
            store = PostgresExecutionStore(dal)
            await store.register(FIRST, "host:8070", 60)
            await store.flush(FIRST, created((context, progress_of(context))))
            if dead:
                await dal.execute("UPDATE engine_workers SET state = 'dead'")
            batch = Batch(steps=[a_step(context)])
            statement, arguments = flush_statement(FIRST, batch)
            broken = statement.replace("state = 'alive'", f"state = '{fence}'")
            await dal.fetchval(broken, *arguments)
            await store.close()

        assert await late_writes(database) == LateWrites(attempted, refused)

    async def test_a_step_of_an_execution_that_another_process_holds_is_late(
        self, database: Database
    ) -> None:
        context = a_context()
        async with (
            AsyncDAL(database.url(SETTING, 8070), min_size=1, max_size=3) as mine,
            AsyncDAL(database.url(SETTING, 8071), min_size=1, max_size=3) as theirs,
        ):
            first, second = PostgresExecutionStore(mine), PostgresExecutionStore(theirs)
            await first.register(FIRST, "host:8070", 60)
            await second.register(SECOND, "host:8071", 60)
            await first.flush(FIRST, created((context, progress_of(context))))
            await second.flush(SECOND, Batch(steps=[a_step(context)]))
            await first.close()
            await second.close()

        assert await late_writes(database) == LateWrites(1, 0)
