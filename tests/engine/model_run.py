"""Holds the engine against the model for as many seeds as wanted.

    python -m tests.engine.model_run --seeds 10000 --from 5000 --ways run,crash

Prints each seed that fails, with the smallest document found that still does, and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter

from tests.engine.model_harness import Case, case_of
from tests.engine.model_shrink import disagrees, shrink
from tests.engine.model_values import Disagreement
from tests.engine.model_ways import WAYS, examine


def report(case: Case, problem: Disagreement, ways: tuple[str, ...]) -> str:
    """What to print about a case that failed."""
    small = shrink(case, lambda smaller: disagrees(smaller, ways))
    try:
        examine(small, ways)
    except Disagreement as smallest:
        problem = smallest
    document = json.dumps(small.raw, indent=1, ensure_ascii=False)
    start = {**small.start(), "trigger_node_id": small.trigger}
    return f"seed {case.seed}: {problem}\n{document}\n{start}\n{small.limits}"


def main() -> int:
    """Runs the seeds; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first")
    parser.add_argument("--ways", default=",".join(WAYS), help="how to run each")
    options = parser.parse_args()
    ways = tuple(options.ways.split(","))
    outcomes: Counter[str] = Counter()
    for seed in range(options.first, options.first + options.seeds):
        case = case_of(seed)
        try:
            ended = examine(case, ways).ended
            outcomes[ended.status if ended else "timed out"] += 1
        except Disagreement as problem:
            outcomes["disagreed"] += 1
            print(report(case, problem, ways), flush=True)
    print(dict(outcomes))
    return 1 if outcomes["disagreed"] else 0


if __name__ == "__main__":
    sys.exit(main())
