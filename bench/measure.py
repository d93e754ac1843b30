"""Rounds, medians and the table: how every figure of the benchmark is taken and shown.

Machines are noisy, so a workload and its reference run in turn, round by round, and what is
quoted is the median of the rounds and of their ratios.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

_BOUND = re.compile(r"(?P<sign><=|>=) (?P<limit>[\d.,]+)( (%|µs|ms|s|MiB|KiB))?$")

Measured = Callable[[], Awaitable[float]]


@dataclass(slots=True)
class Figure:
    """One line of the table: values per round, in `unit`."""

    workload: str
    what: str
    unit: str
    values: list[float] = field(default_factory=list)
    target: str = ""

    @property
    def middle(self) -> float:
        """The median of the rounds."""
        return median(self.values)

    @property
    def share_of_target(self) -> float | None:
        """How much of what the target allows is used: 1 is all of it, more is too much. None
        without a target that is one number."""
        bound = _BOUND.match(self.target)
        if bound is None:
            return None
        limit = float(bound["limit"].replace(",", ""))
        if bound["sign"] == ">=":
            return limit / self.middle if self.middle else None
        return self.middle / limit if limit else None

    @property
    def beside_a_peer(self) -> bool:
        """Whether it says how many times as fast as a peer ours is."""
        return self.what.startswith("ours over ") or " over ours, " in self.what

    @property
    def beside_the_default(self) -> bool:
        """Whether it says what another server does of what the default one does."""
        return " over hypercorn, " in self.what

    def as_json(self) -> dict[str, object]:
        return {
            "workload": self.workload,
            "what": self.what,
            "unit": self.unit,
            "median": self.middle,
            "min": min(self.values),
            "max": max(self.values),
            "rounds": self.values,
            "target": self.target,
        }


async def in_turn(rounds: int, **measured: Measured) -> dict[str, list[float]]:
    """Runs each measurement once per round, in turn; the first round warms up and is dropped."""
    values: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(rounds + 1):
        for name, measure in measured.items():
            value = await measure()
            if number:
                values[name].append(value)
    return values


async def seconds(work: Awaitable[object]) -> float:
    """How long awaiting takes."""
    began = perf_counter()
    await work
    return perf_counter() - began


def ratios(ours: list[float], reference: list[float]) -> list[float]:
    """Round by round, ours over the reference."""
    return [a / b for a, b in zip(ours, reference, strict=True)]


def table(figures: list[Figure]) -> str:
    """The figures as text, aligned."""
    rows: list[tuple[str, ...]] = [("workload", "what", "median", "min", "max", "target")]
    for figure in figures:
        low, high = min(figure.values), max(figure.values)
        numbers = (_number(v, figure.unit) for v in (figure.middle, low, high))
        rows.append((figure.workload, figure.what, *numbers, figure.target))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{value:.2f} ms"
    if unit == "/s":
        return f"{value:,.0f}/s" if value >= 10 else f"{value:.1f}/s"
    return f"{value:.2f}{unit}"
