"""What became of the executions, compared with what becomes of them without faults.

Its one rule: it reads the tables and the sink, and believes nothing that the service says.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from chaos.database import Database
from chaos.faults import Blow
from chaos.promises import Promises
from chaos.sink import Call
from chaos.workflows import Workload
from engine.context import Json
from engine.settings import EngineSettings

ENDED = frozenset({"completed", "failed", "cancelled"})

LATE_SECONDS = 0.5
"""How long after the answer to a cancellation a call may still be read by the sink: both pass
through sockets of one machine, and which of them is read first is chance."""

_EXECUTIONS = """
SELECT execution_id::text AS execution_id, workflow_id::text AS workflow_id, status, error_code,
       execution_name, parent_execution_id::text AS parent,
       error_message, final_output, input_parameters, nodes_executed, steps_completed, end_time,
       recoveries, worker_id IS NOT NULL AS held,
       ARRAY(SELECT seq FROM workflow_events v WHERE v.execution_id = e.execution_id) AS pauses
  FROM workflow_executions e WHERE workflow_id = ANY($1::uuid[])
"""

_STEPS = """
SELECT s.execution_id::text AS execution_id, s.seq, s.step_key, s.node_id, s.kind, s.status,
       s.port, s.output_data, s.error, coalesce(s.completed_at, s.started_at) AS at
  FROM workflow_steps s JOIN workflow_executions e USING (execution_id)
 WHERE e.workflow_id = ANY($1::uuid[]) ORDER BY s.execution_id, s.seq
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What can be compared of an execution: its numbers, its output, its finished steps."""

    output: Json
    counts: tuple[int, int]
    steps: dict[str, Json]


@dataclass(slots=True)
class Run:
    """One execution as it stands in the tables."""

    execution_id: str
    workflow_id: str
    n: int
    status: str
    error_code: str | None
    result: Result
    moments: list[datetime]
    """When something of it was recorded, in order."""
    defects: list[str] = field(default_factory=list)
    """What is wrong with its journal in itself."""
    facts: str = ""
    name: str | None = None
    parent: str | None = None


async def read(database: Database, workflow_ids: Iterable[str]) -> dict[str, Run]:
    """Every execution of these workflows, by its id."""
    wanted = list(workflow_ids)
    steps: dict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in await database.fetch(_STEPS, wanted):
        steps[row["execution_id"]].append(row)
    rows = await database.fetch(_EXECUTIONS, wanted)
    return {row["execution_id"]: _run(row, steps[row["execution_id"]]) for row in rows}


def _run(row: asyncpg.Record, steps: list[asyncpg.Record]) -> Run:
    finished = [step for step in steps if step["kind"] == "finished"]
    result = Result(
        output=_parsed(row["final_output"]),
        counts=(row["nodes_executed"], row["steps_completed"]),
        steps={step["step_key"]: _outcome(step) for step in finished},
    )
    moments = [step["at"] for step in steps]
    if row["end_time"] is not None:
        moments.append(row["end_time"])
    return Run(
        execution_id=row["execution_id"],
        workflow_id=row["workflow_id"],
        n=_parsed(row["input_parameters"])["n"],
        status=row["status"],
        error_code=row["error_code"],
        result=result,
        moments=sorted(moments),
        defects=_defects(finished, steps, row["pauses"]),
        facts=f"status {row['status']}, {row['error_code']}: {row['error_message']},"
        f" held {row['held']}, taken over {row['recoveries']} times",
        name=row["execution_name"],
        parent=row["parent"],
    )


def _defects(
    finished: list[asyncpg.Record], steps: list[asyncpg.Record], pauses: list[int]
) -> list[str]:
    twice = [key for key, n in Counter(step["step_key"] for step in finished).items() if n > 1]
    defects = [f"{key} is recorded twice" for key in twice]
    numbers = sorted([step["seq"] for step in steps] + pauses)
    if numbers != list(range(2, len(numbers) + 2)):  # 1 is the start, which has no record
        defects.append(f"its records and pauses are numbered {numbers}")
    return defects


def _outcome(step: asyncpg.Record) -> Json:
    names = ("node_id", "status", "port")
    documents = ("output_data", "error")
    return [*(step[name] for name in names), *(_parsed(step[name]) for name in documents)]


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


@dataclass(slots=True)
class Verdict:
    """What was found. `problems` has a line for each thing that is lost or wrong."""

    lost: int = 0
    wrong: int = 0
    repeated_effects: int = 0
    problems: list[str] = field(default_factory=list)

    def lose(self, problem: str) -> None:
        """Notes an execution that was promised and did not end."""
        self.lost += 1
        self.problems.append(f"lost: {problem}")

    def blame(self, problem: str) -> None:
        """Notes something that should never be."""
        self.wrong += 1
        self.problems.append(f"wrong: {problem}")


@dataclass(frozen=True, slots=True)
class Judge:
    """Knows what should have become of an execution: `workloads` by workflow id, and `expected`
    by workflow id and `n`."""

    workloads: dict[str, Workload]
    expected: dict[tuple[str, int], Result]

    def judge(
        self,
        runs: dict[str, Run],
        promises: Promises,
        calls: list[Call],
        blows: Sequence[Blow] = (),
    ) -> Verdict:
        """Looks at everything. An execution that nobody was promised must be right as well."""
        verdict = Verdict()
        for execution_id in promises.acknowledged - runs.keys():
            verdict.lose(f"{execution_id} is not in the database")
        for complaint in promises.complaints:
            verdict.blame(complaint)
        for run in runs.values():
            self._judge_run(run, runs, promises, blows, verdict)
        _judge_keys(runs, promises, verdict)
        _judge_cancels(runs, promises, calls, verdict)
        self._judge_effects(runs, calls, verdict)
        return verdict

    def _judge_run(
        self,
        run: Run,
        runs: dict[str, Run],
        promises: Promises,
        blows: Sequence[Blow],
        verdict: Verdict,
    ) -> None:
        workload = self.workloads[run.workflow_id]
        name = f"{workload.name} {run.execution_id}"
        if run.status not in ENDED:
            promised = run.execution_id in promises.acknowledged
            blame = verdict.lose if promised else verdict.blame
            blame(f"{name} does not end: {run.facts}")
            return
        for defect in run.defects:
            verdict.blame(f"{name}: {defect}")
        if run.status == "cancelled" and _may_be_cancelled(run, runs, promises):
            return
        if run.status != "completed":
            poisoned = run.error_code == "WORKER_LOST" and _was_poison(run, blows)
            if run.error_code not in workload.excused and not poisoned:
                verdict.blame(f"{name}: {run.facts}")
            return
        expected = self.expected[run.workflow_id, run.n]
        if run.result != expected:
            verdict.blame(f"{name} differs: {_difference(run.result, expected)}")

    def _judge_effects(self, runs: dict[str, Run], calls: list[Call], verdict: Verdict) -> None:
        taken: Counter[tuple[str, str]] = Counter()
        for call in calls:
            if call.key != f"{call.execution}:{call.step}":
                verdict.blame(f"{call.step} of {call.execution} came with the key {call.key!r}")
            run = runs.get(call.execution)
            if run is None:
                verdict.blame(f"{call.key} had an effect, but is not in the database")
            elif run.n != call.n:
                verdict.blame(f"{call.key} came with n = {call.n}, but it has {run.n}")
            taken[call.execution, call.step] += call.taken
        verdict.repeated_effects = sum(count - 1 for count in taken.values() if count > 1)
        for run in runs.values():
            self._judge_effects_of(run, taken, verdict)

    def _judge_effects_of(
        self, run: Run, taken: Counter[tuple[str, str]], verdict: Verdict
    ) -> None:
        workload = self.workloads[run.workflow_id]
        for step in run.result.steps:
            node = workload.document["nodes"][step.rpartition(".")[2]]
            if node["node_type"] != "action_webhook":
                continue
            count = taken[run.execution_id, step]
            if count == 0 and run.status == "completed":
                verdict.blame(f"{run.execution_id}:{step} is recorded, but had no effect")
            if count > 1 and workload.at_most_once:
                verdict.blame(f"{run.execution_id}:{step} happened {count} times, at most once")


def _was_poison(run: Run, blows: Iterable[Blow]) -> bool:
    """Whether whoever held it was stopped more than `max_recoveries` times with nothing recorded
    in between: then it must be given up (G6), for nobody can tell it from what kills its worker."""
    *before, end = run.moments
    hits = [blow.at for blow in blows if run.execution_id in blow.held and blow.at <= end]
    in_a_row = sum(not before or at > before[-1] for at in hits)
    return in_a_row > EngineSettings().max_recoveries


def _may_be_cancelled(run: Run, runs: dict[str, Run], promises: Promises) -> bool:
    """Whether somebody asked for its end, or for that of one above it."""
    while run.execution_id not in promises.cancels_asked:
        above = runs.get(run.parent) if run.parent is not None else None
        if above is None:
            return False
        run = above
    return True


def _judge_keys(runs: dict[str, Run], promises: Promises, verdict: Verdict) -> None:
    """Each key stands for one execution, which carries it as its name; the same in all answers."""
    started: dict[str, set[str]] = defaultdict(set)
    for run in runs.values():
        if run.name is not None:
            started[run.name].add(run.execution_id)
    for key, named in promises.keyed.items():
        if len(named) > 1:
            verdict.blame(f"the answers with the key {key} name {sorted(named)}")
        if len(started[key]) > 1:
            verdict.blame(f"the key {key} has started {sorted(started[key])}")
        if not named <= started[key]:
            verdict.blame(f"the key {key} stands for {named}, but has started {started[key]}")


def _judge_cancels(
    runs: dict[str, Run], promises: Promises, calls: list[Call], verdict: Verdict
) -> None:
    """What was said to be cancelled is, and has no effect any more."""
    for execution_id in promises.cancelled:
        run = runs.get(execution_id)
        if run is not None and run.status != "cancelled":
            verdict.blame(f"{execution_id} was said to be cancelled: {run.facts}")
    for call in calls:
        said = promises.cancelled.get(call.execution)
        if said is not None and call.at > said + LATE_SECONDS:
            late = call.at - said
            verdict.blame(f"{call.key} had an effect {late:.1f} s after it was cancelled")


def _difference(found: Result, expected: Result) -> str:
    if found.output != expected.output:
        return f"output {found.output}, expected {expected.output}"
    if found.counts != expected.counts:
        return f"counts {found.counts}, expected {expected.counts}"
    keys = sorted(
        key
        for key in found.steps.keys() | expected.steps.keys()
        if found.steps.get(key) != expected.steps.get(key)
    )
    shown = [(found.steps.get(key), expected.steps.get(key)) for key in keys]
    return f"steps {keys}, as found and expected: {shown}"
