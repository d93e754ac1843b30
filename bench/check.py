"""`python -m bench.check`: fails when a ratio has fallen below 60 % of the committed baseline.

Only paired ratios are compared, never times, for shared machines swing by a fifth and more. What
is too low is measured again, at most three times in all, and the best of the tries counts: a slow
moment of the machine is forgiven, a slower engine is not. `--save` writes a new baseline.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from bench import w1_trigger, w2_throughput, w3_forty
from bench.measure import Figure
from bench.report import RESULTS, Report, load
from bench.world import World, machine, world
from services import collector

BASELINE = RESULTS / "baseline.json"
KEPT = 0.6
TRIES = 3
ROUNDS = 5
EXECUTIONS = 500

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """How much is left of a ratio: 1 is as good as the baseline, more is better."""

    key: Key
    before: float
    now: float
    share: float

    @property
    def enough(self) -> bool:
        return self.share >= KEPT

    def __str__(self) -> str:
        workload, what = self.key
        return f"{workload} {what}: {self.now:.2f} x, was {self.before:.2f} x ({self.share:.0%})"


def paired(figures: Iterable[Figure]) -> dict[Key, Figure]:
    """The ratios that have a target, which says whether more or less of them is better."""
    return {
        (each.workload, each.what): each
        for each in figures
        if each.unit == " x" and each.share_of_target is not None
    }


def compare(baseline: Iterable[Figure], measured: Iterable[Figure]) -> list[Kept]:
    """What is left of each ratio of the baseline. Raises `KeyError` for one that nobody measured:
    a check that has lost its subject does not pass."""
    now = paired(measured)
    kept = []
    for key, before in paired(baseline).items():
        better = now[key].middle / before.middle
        share = better if before.target.startswith(">=") else 1 / better
        kept.append(Kept(key, before.middle, now[key].middle, share))
    return kept


def best(tries: list[list[Kept]]) -> list[Kept]:
    """Of each ratio the try in which most of it was left."""
    found: dict[Key, Kept] = {}
    for kept in (each for one in tries for each in one):
        if kept.key not in found or kept.share > found[kept.key].share:
            found[kept.key] = kept
    return list(found.values())


async def measure(running: World) -> list[Figure]:
    """W1 to W3, small."""
    return [
        *await w1_trigger.run(running, ROUNDS),
        *await w2_throughput.run(running, ROUNDS, EXECUTIONS),
        *await w3_forty.run(running, ROUNDS),
    ]


async def check(baseline: Report) -> list[Kept]:
    """Measures until enough of every ratio is left, or the tries are used up."""
    tries: list[list[Kept]] = []
    async with world() as running:
        for number in range(1, TRIES + 1):
            tries.append(compare(baseline.figures, await measure(running)))
            if all(each.enough for each in best(tries)):
                break
            print(f"try {number} of {TRIES}: a ratio is below {KEPT:.0%} of the baseline")
    return best(tries)


async def _new_baseline() -> None:
    async with world() as running:
        report = Report(await machine(running), quick=True, figures=await measure(running))
    report.save(BASELINE)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    parser.add_argument("--save", action="store_true", help="write a new baseline")
    saves = parser.parse_args().save
    collector.settle()  # as the service does
    if saves:
        asyncio.run(_new_baseline())
        return
    found = asyncio.run(check(load(BASELINE)))
    for each in found:
        print(each if each.enough else f"{each}  TOO LITTLE")
    sys.exit(0 if all(each.enough for each in found) else 1)


if __name__ == "__main__":
    main()
