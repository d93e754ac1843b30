"""`python -m simulation --seeds N --from S [--json]`: N seeds from S on, and a report on them.

Without `--json`, a failing seed tells its story on stderr. The exit code is 1 if any fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor

from simulation.report import Report, story
from simulation.run import Run, run_seed
from simulation.sweep import sweep

SHOWN_STORIES = 5
SEEDS_AT_ONCE = 8


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (200)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--json", action="store_true", help="nothing but the report")
    parser.add_argument("--jobs", type=int, help="processes to share the work (one per core)")
    parser.add_argument("--no-sweep", action="store_true", help="leave the crash points out")
    chosen = parser.parse_args()
    report, seeds = Report(), range(chosen.first, chosen.first + chosen.seeds)
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for run in pool.map(_run, seeds, chunksize=SEEDS_AT_ONCE):
            report.add(run)
            if run.charges and len(report.failing) <= SHOWN_STORIES and not chosen.json:
                print(story(run), file=sys.stderr)
    answer, failed = report.as_json(), bool(report.failing)
    if not chosen.no_sweep:
        points, problems = sweep()
        answer["crash_points"] = {"points": points, "problems": problems}
        failed = failed or bool(problems)
    print(json.dumps(answer, indent=1))
    return 1 if failed else 0


def _run(seed: int) -> Run:
    """One seed; its story only if somebody may want to hear it."""
    run = run_seed(seed)
    run.results.clear()
    if not run.charges:
        run.story.clear()
    return run


if __name__ == "__main__":
    sys.exit(main())
