"""All that is asked of one random document: `examine` raises `Disagreement` if it is not so.

Its one rule: every way holds the engine against the same model.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from tests.engine.model import Model
from tests.engine.model_harness import (
    Case,
    Run,
    check,
    check_rehearsal,
    run_through,
    taken_over,
)
from tests.engine.model_orders import check_fold, check_other_orders

WAYS = ("run", "fold", "order", "crash", "rehearsal")
"""Run to the end; folded again; run while others are faster; cut off by a crash and taken over;
tried without effects."""


def examine(case: Case, ways: Iterable[str] = WAYS) -> Model:
    """Tries a document in these ways. Returns the model of its run."""
    wanted = set(ways)
    run = run_through(case)
    model = check(run)
    if "fold" in wanted:
        check_fold(run, model)
    if "order" in wanted:
        check_other_orders(run, model, range(1, 2))
    if "crash" in wanted:
        check(taken_over(run, where_to_cut(run)))
    # Steps count when they become ready, and a rehearsal does not tell when loops are entered.
    told = case.limits.max_total_operations == 1000 and not case.shape.breaks_while_asking()
    if "rehearsal" in wanted and told:
        check_rehearsal(case)
    return model


def where_to_cut(run: Run) -> int:
    """After how many records a crash happens."""
    return random.Random(f"cut {run.case.seed}").randint(0, len(run.rows))
