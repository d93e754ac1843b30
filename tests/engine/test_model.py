"""The engine against the model: whatever the rules say of a random workflow, the engine does,
whoever is faster, wherever it is interrupted, and in a rehearsal too.

A failure names its seed and the smallest document that still fails; for more seeds than these,
`python -m tests.engine.model_run --seeds 10000 --from 5000`.
"""

from __future__ import annotations

import pytest

from tests.engine.model_harness import case_of
from tests.engine.model_run import report
from tests.engine.model_values import Disagreement
from tests.engine.model_ways import examine

GROUPS = 40
GRAPHS_PER_GROUP = 32
TURNS = ("order", "crash", "rehearsal")
"""Of these, each graph is tried in one."""


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_engine_does_what_the_rules_say(group: int) -> None:
    for seed in range(group * GRAPHS_PER_GROUP, (group + 1) * GRAPHS_PER_GROUP):
        ways = ("run", "fold", TURNS[seed % len(TURNS)])
        case = case_of(seed)
        try:
            model = examine(case, ways)
        except Disagreement as problem:
            pytest.fail(report(case, problem, ways), pytrace=False)
        assert model.path, "nothing ran"
