"""`python -m bench [--quick]`: measures, prints a table, and writes `bench/results/<date>.json`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from bench import w1_trigger, w2_throughput, w3_forty, w6_parked, w7_live, w8_scale
from bench.measure import Figure, table
from bench.world import world

RESULTS = Path(__file__).parent / "results"


async def measure(*, quick: bool) -> tuple[list[Figure], str]:
    """All workloads; with `quick`, fewer rounds of smaller ones."""
    rounds = 3 if quick else 7
    async with world() as running:
        figures = await w1_trigger.run(running, rounds)
        figures += await w2_throughput.run(running, rounds, 500 if quick else 2_000)
        figures += await w3_forty.run(running, rounds)
        figures += await w6_parked.run(running, w6_parked.QUICK if quick else w6_parked.FULL)
        figures += await w7_live.run(running, rounds, 500 if quick else 2_000)
        figures += await w8_scale.run(running, rounds, 500 if quick else 2_000)
        version = await running.dal.fetchval("SHOW server_version")
    return figures, f"Python {platform.python_version()}, PostgreSQL {version}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer, smaller rounds")
    parser.add_argument("--save", action="store_true", help="write bench/results/<date>.json")
    chosen = parser.parse_args()
    figures, versions = asyncio.run(measure(quick=chosen.quick))
    machine = f"{os.cpu_count()} cores, {versions}"
    print(f"{machine}; fsync and synchronous_commit on; medians, in turn with their floors\n")
    print(table(figures))
    if chosen.save:
        RESULTS.mkdir(exist_ok=True)
        now = datetime.now(UTC)
        file = RESULTS / f"{now:%Y-%m-%d}.json"
        report = {
            "at": now.isoformat(timespec="seconds"),
            "machine": machine,
            "quick": chosen.quick,
            "figures": [figure.as_json() for figure in figures],
        }
        file.write_text(json.dumps(report, indent=1) + "\n")
        print(f"\n{file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")


if __name__ == "__main__":
    main()
