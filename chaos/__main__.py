"""`python -m chaos --minutes M [--seed N]`: breaks the service for M minutes, prints a report."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import sys

from chaos.faults import APART, plan
from chaos.run import Plan, run

PROCESSES = 3
SHOWN_PROBLEMS = 40
LONGEST_PROBLEM = 1_000


def main() -> int:
    """The command: 1 if anything was lost or wrong."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults and load last")
    parser.add_argument("--seed", type=int, help="makes the same faults again (random)")
    parser.add_argument(
        "--processes", type=int, default=PROCESSES, help=f"of the service ({PROCESSES})"
    )
    parser.add_argument(
        "--apart",
        type=float,
        nargs=2,
        default=list(APART),
        metavar=("LEAST", "MOST"),
        help=f"seconds between two faults ({APART[0]:g} {APART[1]:g})",
    )
    chosen = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    seconds = chosen.minutes * 60
    least, most = chosen.apart
    faults = plan(random.Random(seed), seconds, (least, most))
    report = asyncio.run(run(Plan(seed, seconds, faults, chosen.processes)))
    for problem in report.verdict.problems[-SHOWN_PROBLEMS:]:
        print(problem[:LONGEST_PROBLEM], file=sys.stderr)
    command = f"python -m chaos --minutes {chosen.minutes:g} --seed {seed}"
    if chosen.processes != PROCESSES:
        command += f" --processes {chosen.processes}"
    if (least, most) != APART:
        command += f" --apart {least:g} {most:g}"
    print(json.dumps({"command": command, **report.as_json()}, indent=1))
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
