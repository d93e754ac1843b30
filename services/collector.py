"""Python's cycle collector, set up for a process that holds much and makes little garbage.

Theory of operation
-------------------
What executions in flight and open streams hold is freed by reference counts. The collector's
default is made for small programs: with a thousand streams it looked through everything every
second, for 200 ms each time, in which nothing else happened, and found nothing (a sixth of a busy
process's time, and most of the tail of its latencies). What is there once the service has started
stays, so it is frozen: not looked through again. The young are looked through when there are many,
by when most of them are gone; all of them seldom. Cycles that requests leave are still found.

Its one rule: nothing here changes what is freed, only when it is looked for.
"""

from __future__ import annotations

import gc

YOUNG = 10_000
"""How many objects more than before make the collector look through the youngest."""
MIDDLE = 10
"""How many such looks make it look through those that survived one."""
OLD = 100
"""How many of these make it look through everything that is not frozen, if that has grown by a
quarter as well."""


def settle() -> None:
    """Called once, when everything that stays has been loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
