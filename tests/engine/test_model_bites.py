"""The model has to notice: whoever tampers with what an engine recorded is caught, and what is
printed of a failure is small."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.records import StepRow
from tests.engine.model_harness import Case, Run, case_of, check, run_through
from tests.engine.model_run import report
from tests.engine.model_shrink import shrink
from tests.engine.model_values import Disagreement

SEED = 3


def a_run() -> Run:
    """An execution of some length that completes, with a variable set along the way."""
    for seed in range(SEED, 1000):
        run = run_through(case_of(seed))
        writes = [row for row in run.rows[:-1] if row.kind == "finished" and row.variables]
        if run.state["status"] == "completed" and len(run.rows) > 8 and writes:
            return run
    raise AssertionError("no seed gives such a run")


def the_last(run: Run, wanted: Callable[[StepRow], object]) -> int:
    return max(number for number, row in enumerate(run.rows) if wanted(row))


@pytest.mark.parametrize("part", ["", "_expressions", "_nodes", "_shape", "_values"])
def test_the_model_knows_nothing_of_the_engine(part: str) -> None:
    source = (Path(__file__).parent / f"model{part}.py").read_text(encoding="utf-8")
    modules = {n.module or "" for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)}
    assert not {m for m in modules if m.partition(".")[0] == "engine"}


def test_an_execution_that_nobody_tampered_with_agrees() -> None:
    assert check(a_run()).path


@pytest.mark.parametrize(
    "change",
    [
        {"output": {"made": "up"}},
        {"port": "nowhere"},
        {"status": "failed"},
        {"attempt": 7},
        {"variables": {"unheard": "of"}},
        {"step_key": "nobody"},
    ],
    ids=str,
)
def test_a_record_that_says_something_else_is_noticed(change: dict[str, object]) -> None:
    run = a_run()
    number = the_last(run, lambda row: row.kind == "finished" and row.variables)
    run.rows[number] = replace(run.rows[number], **change)  # type: ignore[arg-type]  # by name
    with pytest.raises(Disagreement):
        check(run)


def test_a_step_that_did_not_run_is_noticed() -> None:
    run = a_run()
    del run.rows[-1]
    with pytest.raises(Disagreement, match="to run"):
        check(run)


def test_a_step_that_ran_twice_is_noticed() -> None:
    run = a_run()
    run.rows.append(run.rows[-1])
    with pytest.raises(Disagreement, match="all is over"):
        check(run)


def test_a_step_that_ran_before_its_predecessor_is_noticed() -> None:
    run = a_run()
    run.rows[0], run.rows[1] = run.rows[1], run.rows[0]
    with pytest.raises(Disagreement):
        check(run)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "failed"),
        ("final_output", "made up"),
        ("final_variables", {}),
        ("error_code", "DOWN"),
        ("execution_path", []),
        ("total_cost", 1_000),
    ],
)
def test_an_execution_that_shows_something_else_is_noticed(name: str, value: object) -> None:
    run = a_run()
    run.state[name] = value
    with pytest.raises(Disagreement):
        check(run)


def test_shrinking_leaves_nothing_but_what_fails() -> None:
    def has_a_loop(case: Case) -> bool:
        return any(n["node_type"] == "loop_foreach" for n in case.document["nodes"].values())

    case = next(case for case in map(case_of, range(SEED, 1000)) if has_a_loop(case))
    small = shrink(case, has_a_loop)
    assert len(small.raw["nodes"]) == 2
    assert small.raw["connections"] == []


def test_a_failure_prints_its_seed_and_a_document() -> None:
    case = case_of(SEED)
    printed = report(case, Disagreement("they differ"), ())
    assert printed.startswith(f"seed {SEED}: they differ")
    assert '"node_type"' in printed
