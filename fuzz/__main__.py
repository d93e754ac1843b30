"""`python -m fuzz --cases N [--seed S]`: fuzzes a fresh service with N cases, prints a summary."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.run import Report, fuzz
from fuzz.service import started

CASES = 20_000


def main() -> int:
    """The command: 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help=f"how many at least ({CASES})")
    parser.add_argument("--seed", type=int, help="makes the same cases again (random)")
    chosen = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    report = asyncio.run(_run(chosen.cases, seed))
    for text in report.texts:
        print(text, file=sys.stderr)
    print(json.dumps(report.as_json(), indent=1))
    return 0 if report.passed else 1


async def _run(cases: int, seed: int) -> Report:
    with TemporaryDirectory(prefix="fuzz-") as directory:
        home = Path(directory)
        async with started(home) as service:
            return await fuzz(service, home, cases, seed)


if __name__ == "__main__":
    sys.exit(main())
