"""Many seeds, and what they say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from engine.context import JsonObject
from simulation.run import Run

STORY_LINES = 60


class Report:
    """Adds runs up."""

    def __init__(self) -> None:
        self.seeds = 0
        self.executions = 0
        self.failing: list[int] = []
        self._faults: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._recoveries: dict[str, list[float]] = {}

    def add(self, run: Run) -> None:
        """One more run."""
        self.seeds += 1
        self.executions += run.executions
        self._faults.update(run.faults)
        self._broken.update(charge.guarantee for charge in run.charges)
        self._sums.update(
            lost=run.lost,
            wrong=run.wrong,
            repeated=run.repeated,
            refused=run.refused,
            uncertain=run.uncertain,
        )
        for fault, seconds in run.recoveries.items():
            self._recoveries.setdefault(fault, []).extend(seconds)
        if run.charges:
            self.failing.append(run.seed)

    def as_json(self) -> JsonObject:
        """The report."""
        return {
            "seeds": self.seeds,
            "executions": self.executions,
            "faults": dict(sorted(self._faults.items())),
            "lost": self._sums["lost"],
            "wrong": self._sums["wrong"],
            "repeated_effects": self._sums["repeated"],
            "zombie_writes_refused": self._sums["refused"],
            "outcomes_unknown": self._sums["uncertain"],
            "recovery_seconds": {
                fault: _quantiles(seconds) for fault, seconds in self._recoveries.items()
            },
            "promises_broken": dict(sorted(self._broken.items())),
            "failing_seeds": self.failing,
        }


def story(run: Run) -> str:
    """What is wrong with a run, and how it came to it."""
    guilty = [f"  {charge}" for charge in run.charges[:10]]
    return "\n".join(
        [
            f"seed {run.seed}: {len(run.charges)} promises broken; faults {dict(run.faults)}",
            *guilty,
            *_told(run),
        ]
    )


def _told(run: Run) -> Iterable[str]:
    """The lines about whoever is accused; without any, the last ones."""
    names = {word.strip(",:")[-4:] for c in run.charges for word in c.what.split() if "-" in word}
    about = [line for line in run.story if any(name in line for name in names if name.isdigit())]
    return (about or run.story)[-STORY_LINES:]


def _quantiles(seconds: list[float]) -> JsonObject:
    ordered = sorted(seconds)
    if not ordered:
        return {"n": 0}
    return {
        "n": len(ordered),
        "p50": round(ordered[len(ordered) // 2], 3),
        "p99": round(ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)], 3),
        "max": round(ordered[-1], 3),
    }
