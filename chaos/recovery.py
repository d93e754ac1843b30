"""How long what a stopped process held took to go on.

Its one rule: an execution has gone on when something more of it is recorded. Those that may have
waited for something else than a process are left out: who waits for a caller's signal, for a timer
or for a child, or was paused.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from chaos.check import Run
from chaos.faults import Blow
from engine.context import JsonObject


def recoveries(
    runs: Mapping[str, Run], blows: Iterable[Blow], left_out: set[str]
) -> dict[str, list[float]]:
    """By kind of blow, in order, the seconds from the blow to the next record of each execution
    that the process held."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for blow in blows:
        for execution_id in set(blow.held) - left_out:
            run = runs.get(execution_id)
            later = [moment for moment in run.moments if moment > blow.at] if run else []
            if later:
                seconds[blow.kind].append((later[0] - blow.at).total_seconds())
    return {kind: sorted(found) for kind, found in seconds.items()}


ALONE_SECONDS = 3.0


def alone(blows: Iterable[Blow], moments: Iterable[datetime]) -> list[Blow]:
    """The blows that came while everything else was up, with no other fault for `ALONE_SECONDS`
    before and after. The plan decides that, not how long the recovery took."""
    times = sorted(moments)
    quiet = timedelta(seconds=ALONE_SECONDS)
    return [
        blow
        for blow in blows
        if blow.settled and sum(abs(blow.at - moment) < quiet for moment in times) <= 1
    ]


def quantiles(ordered: list[float]) -> JsonObject:
    """How many, the median, the 99th percentile and the longest."""
    if not ordered:
        return {"n": 0}
    return {
        "n": len(ordered),
        "p50": _percentile(ordered, 0.50),
        "p99": _percentile(ordered, 0.99),
        "max": round(ordered[-1], 3),
    }


def _percentile(ordered: list[float], share: float) -> float:
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)
