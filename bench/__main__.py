"""`python -m bench [--quick] [--only w5] [--save]`: measures and prints a table.

With `--save` it writes `bench/results/<date>.json` and a chart beside it; a run of chosen
workloads bears their names, so that it is not taken for a whole one. A workload that fails, or a
peer that is not installed, is a line of the report and stops nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import (
    against,
    footprint,
    memory,
    servers,
    w1_trigger,
    w2_http,
    w2_throughput,
    w3_forty,
    w4_fan_out,
    w5_lists,
    w6_parked,
    w7_live,
    w8_scale,
    w9_idle,
)
from bench.measure import Figure
from bench.report import RESULTS, Report
from bench.world import World, machine, world
from services import collector


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


Workload = Callable[[World, Chosen], Awaitable[list[Figure]]]

WORKLOADS: dict[str, Workload] = {
    "w1": lambda world, chosen: w1_trigger.run(world, chosen.rounds),
    "w2": lambda world, chosen: w2_throughput.run(world, chosen.rounds, chosen.executions),
    "http": lambda _, chosen: w2_http.run(chosen.rounds, chosen.executions),
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
    "size": lambda world, chosen: footprint.run(world, 1_000 if chosen.quick else 10_000),
}
SERVERS = "servers"
"""W1 and W2 under each server, which is installed or not."""


async def measure(chosen: Chosen) -> Report:
    """The workloads and peers asked for; with `quick`, fewer rounds of smaller ones."""
    async with world() as running:
        report = Report(await machine(running), chosen.quick)
        for name, workload in WORKLOADS.items():
            await _add(report, chosen, name, partial(workload, running, chosen))
        await _add(report, chosen, SERVERS, partial(_under_servers, report, chosen))
        for key in against.PEERS:
            await _add(report, chosen, key, partial(_beside, report, running, chosen, key))
    return report


async def _add(
    report: Report, chosen: Chosen, name: str, measured: Callable[[], Awaitable[list[Figure]]]
) -> None:
    if chosen.only and name not in chosen.only:
        return
    try:
        report.figures += await measured()
    except against.PeerUnavailable as reason:
        report.skipped.append(f"{name}: {reason}")
    except Exception as error:
        traceback.print_exc()
        report.failed = True
        report.skipped.append(f"{name}: failed, {type(error).__name__}: {error}")


async def _beside(report: Report, running: World, chosen: Chosen, key: str) -> list[Figure]:
    figures, versions = await against.run(running, key, chosen.rounds)
    report.versions |= versions
    return figures


async def _under_servers(report: Report, chosen: Chosen) -> list[Figure]:
    report.skipped += [f"{SERVERS}: {name} is not installed" for name in servers.missing()]
    figures, versions = await servers.run(chosen.rounds, chosen.executions // 2)
    report.versions |= versions
    return figures


def _chosen(given: argparse.Namespace) -> Chosen:
    rows: tuple[int, ...] = w5_lists.QUICK if given.quick else w5_lists.SIZES
    if given.rows:
        rows = tuple(int(size) for size in given.rows.split(","))
    return Chosen(given.quick, frozenset(given.only or ()), rows)


def _save(report: Report, chosen: Chosen) -> None:
    name = "-".join([f"{report.at:%Y-%m-%d}", *sorted(chosen.only)])
    for file, write in (
        (RESULTS / f"{name}.json", report.save),
        (RESULTS / f"{name}.svg", report.draw),
    ):
        write(file)
        print(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer, smaller rounds")
    names = sorted([*WORKLOADS, SERVERS, *against.PEERS])
    parser.add_argument("--only", action="append", choices=names, help="this workload or peer")
    parser.add_argument("--rows", help="sizes of W5's histories, such as 10000,1000000,10000000")
    parser.add_argument("--save", action="store_true", help="write bench/results/<date>.json")
    given = parser.parse_args()
    chosen = _chosen(given)
    collector.settle()  # as the service does
    report = asyncio.run(measure(chosen))
    print(report)
    if given.save:
        _save(report, chosen)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
