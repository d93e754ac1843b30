"""The running service under fuzzing, 2,000 cases; `make fuzz` tries as many as one likes."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

from fuzz.checks import UNSAYABLE
from fuzz.run import SETTINGS, Report, fuzz
from fuzz.service import started

CASES = 2_000
SEED = 7


async def test_two_thousand_cases_find_nothing(tmp_path: Path) -> None:
    async with started(tmp_path) as service:
        report = await fuzz(service, tmp_path, CASES, SEED)

    print(json.dumps({"cases": report.cases, "seed": report.seed}))
    assert report.failures == [], "\n".join(report.texts)[-20_000:]
    assert report.server_errors == {}
    assert report.cases >= CASES
    assert len(report.calls) >= 55, "most operations were asked"
    shown = report.calls["GET /api/v1/workflows/executions/{execution_id}"]
    assert shown["200"] > 2, "what there is was asked for"


def test_an_answer_of_the_server_s_own_fault_fails_the_run_whatever_the_checks_say() -> None:
    rehearsal = {"POST /api/v1/workflows/{workflow_id}/test": {"504": 1}}
    calls = {"GET /a": {"200": 3, "503": 1}, "GET /b": {"404": 2}, **rehearsal}
    report = Report(1, calls=calls)

    assert report.server_errors == {"GET /a": 1}
    assert not report.passed


def test_whatever_is_left_out_says_why() -> None:
    settings = SETTINGS.read_text(encoding="utf-8").splitlines()
    tables = [line for line in settings if line.startswith(("[[operations", "[checks"))]
    reasons = [
        after for before, after in pairwise(settings) if before in tables and after.startswith("# ")
    ]

    assert len(reasons) == len(tables)
    assert all(each.why and re.compile(each.message) for each in UNSAYABLE)
