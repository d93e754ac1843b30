"""The cycle collector, in a process of its own: its settings are the whole process's."""

from __future__ import annotations

import subprocess
import sys

SETTLED = """
import gc, weakref
from services import collector

class Ring:
    def __init__(self):
        self.itself = self

collector.settle()
rings = [weakref.ref(Ring()) for _ in range(3 * collector.YOUNG)]
print(gc.isenabled(), gc.get_freeze_count() > 1_000, sum(ring() is None for ring in rings) > 0)
"""


def test_what_stays_is_not_looked_through_again_and_cycles_are_still_found() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "True", "True"]
