"""Runs schemathesis against a service until it has tried so many cases, and tells what it found.

Its one rule: the cases are counted by schemathesis and not estimated. The first round has all its
phases; if that were too few, more rounds of the random ones follow, each with the next seed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.checks import KNOWN, TALLY
from fuzz.furnished import furnish
from fuzz.service import ROOT, Service

SETTINGS = Path(__file__).with_name("schemathesis.toml")
FIRST_EXAMPLES = 4
LATER_EXAMPLES = 60
_RANDOM_PHASES = ("--phases", "fuzzing,stateful")
_SERVER_ERROR = 500
_NO_FAULT = {("POST /api/v1/workflows/{workflow_id}/test", "504")}
"""A rehearsal that would take longer than the workflow may."""


@dataclass
class Report:
    """What was tried and what was found. `calls` are requests by operation and status, of which
    there are more than cases: some checks send their own."""

    seed: int
    cases: int = 0
    rounds: int = 0
    calls: dict[str, dict[str, int]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list, repr=False)

    @property
    def server_errors(self) -> dict[str, int]:
        """Answers of 500 and above, by operation."""
        counts = {
            operation: sum(
                n
                for status, n in calls.items()
                if int(status) >= _SERVER_ERROR and (operation, status) not in _NO_FAULT
            )
            for operation, calls in self.calls.items()
        }
        return {operation: count for operation, count in counts.items() if count}

    @property
    def passed(self) -> bool:
        return not self.failures and not self.server_errors

    def as_json(self) -> dict[str, Any]:
        """The summary that is printed."""
        return {
            "seed": self.seed,
            "cases": self.cases,
            "rounds": self.rounds,
            "requests": sum(sum(calls.values()) for calls in self.calls.values()),
            "operations": self.calls,
            "server_errors": self.server_errors,
            "failures": self.failures,
            "passed": self.passed,
        }


async def fuzz(service: Service, home: Path, cases: int, seed: int) -> Report:
    """Tries at least so many cases; `home` is for what is written meanwhile. Raises
    `RuntimeError` if schemathesis breaks."""
    known = home / "known.json"
    known.write_text(json.dumps(await furnish(service)), encoding="utf-8")
    report = Report(seed)
    while report.cases < cases:
        first = report.rounds == 0
        options = () if first else _RANDOM_PHASES
        examples = FIRST_EXAMPLES if first else LATER_EXAMPLES
        await _round(service, home, report, (*options, "--max-examples", str(examples)))
    return report


async def _round(service: Service, home: Path, report: Report, options: tuple[str, ...]) -> None:
    found, tally = home / "report.json", home / "tally.json"
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(SETTINGS),
        "run",
        f"{service.url}/openapi.json",
        "--no-color",
        f"--seed={report.seed + report.rounds}",
        "--report=json",
        f"--report-json-path={found}",
        *options,
        cwd=home,
        env=os.environ
        | {
            "FUZZ_KEY": service.key,
            TALLY: str(tally),
            KNOWN: str(home / "known.json"),
            "PYTHONPATH": str(ROOT),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    text = printed.decode(errors="replace")
    if process.returncode not in (0, 1) or not found.exists():
        raise RuntimeError(f"schemathesis ended with {process.returncode}:\n{text[-4000:]}")
    _add(report, json.loads(found.read_text(encoding="utf-8")), text)
    for operation, statuses in json.loads(tally.read_text(encoding="utf-8")).items():
        counts = report.calls.setdefault(operation, {})
        for status, count in statuses.items():
            counts[status] = counts.get(status, 0) + count
    found.unlink()
    tally.unlink()


def _add(report: Report, told: dict[str, Any], text: str) -> None:
    if not told["test_cases"]["generated"]:
        raise RuntimeError(f"schemathesis made no case up:\n{text[-4000:]}")
    report.rounds += 1
    report.cases += told["test_cases"]["generated"]
    report.failures += told["failures"] + told["errors"]
    if told["failures"] or told["errors"]:
        report.texts.append(text)
