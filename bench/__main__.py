"""`python -m bench [--quick] [--only w5]`: measures, prints a table, and with `--save` writes
`bench/results/<date>.json`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    memory,
    w1_trigger,
    w2_throughput,
    w3_forty,
    w4_fan_out,
    w5_lists,
    w6_parked,
    w7_live,
    w8_scale,
    w9_idle,
)
from bench.measure import Figure, table
from bench.world import World, world

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to measure: `rows` are the sizes of W5's histories."""

    quick: bool
    only: frozenset[str]
    rows: tuple[int, ...]

    @property
    def rounds(self) -> int:
        """How often each workload is measured."""
        return 3 if self.quick else 7

    @property
    def executions(self) -> int:
        """How many executions a round of throughput has."""
        return 500 if self.quick else 2_000


WORKLOADS: dict[str, Callable[[World, Chosen], Awaitable[list[Figure]]]] = {
    "w1": lambda world, chosen: w1_trigger.run(world, chosen.rounds),
    "w2": lambda world, chosen: w2_throughput.run(world, chosen.rounds, chosen.executions),
    "w3": lambda world, chosen: w3_forty.run(world, chosen.rounds),
    "w4": lambda world, chosen: w4_fan_out.run(world, chosen.rounds),
    "w5": lambda world, chosen: w5_lists.run(world, chosen.rounds, chosen.rows),
    "w6": lambda world, chosen: w6_parked.run(
        world, w6_parked.QUICK if chosen.quick else w6_parked.FULL
    ),
    "w7": lambda world, chosen: w7_live.run(world, chosen.rounds, chosen.executions),
    "w8": lambda world, chosen: w8_scale.run(world, chosen.rounds, chosen.executions),
    "w9": lambda world, chosen: w9_idle.run(
        world, w9_idle.SHORT if chosen.quick else w9_idle.MINUTE
    ),
    "memory": lambda world, chosen: memory.run(world, 1 if chosen.quick else 3),
}


async def measure(chosen: Chosen) -> tuple[list[Figure], str]:
    """The workloads asked for; with `quick`, fewer rounds of smaller ones."""
    figures: list[Figure] = []
    async with world() as running:
        for name, workload in WORKLOADS.items():
            if not chosen.only or name in chosen.only:
                figures += await workload(running, chosen)
        version = await running.dal.fetchval("SHOW server_version")
    return figures, f"Python {platform.python_version()}, PostgreSQL {version}"


def _chosen(given: argparse.Namespace) -> Chosen:
    rows: tuple[int, ...] = w5_lists.QUICK if given.quick else w5_lists.SIZES
    if given.rows:
        rows = tuple(int(size) for size in given.rows.split(","))
    return Chosen(given.quick, frozenset(given.only or ()), rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer, smaller rounds")
    parser.add_argument("--only", action="append", choices=sorted(WORKLOADS), help="this workload")
    parser.add_argument("--rows", help="sizes of W5's histories, such as 10000,1000000,10000000")
    parser.add_argument("--save", action="store_true", help="write bench/results/<date>.json")
    given = parser.parse_args()
    chosen = _chosen(given)
    figures, versions = asyncio.run(measure(chosen))
    machine = f"{os.cpu_count()} cores, {versions}"
    print(f"{machine}; fsync and synchronous_commit on; medians, in turn with their floors\n")
    print(table(figures))
    if given.save:
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
