"""Taking turns: the advisory locks of this database, but for those that are a worker's life
(`execution_store.py`) and those of migrations (`migrate.py`).

Its one rule: each purpose has locks of its own, so nobody waits for a stranger.
"""

from __future__ import annotations

from models.dal import Session

JOBS = 24386
"""The class of the locks of which there is one each: jobs that one process does at a time."""
CLAIMING, RETENTION, GATHERING, ROLLUPS = 1, 3, 5, 7

ENDINGS = 24387
"""The class that migration 7 takes its lanes from."""

TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"


async def take_turn(tx: Session, what: str, *ids: int) -> None:
    """Waits until no other transaction has this turn, such as `"webhooks"` of community 1, and
    has it until the end of `tx`. What is read after it was committed before."""
    await tx.execute(TAKE_TURN, " ".join((what, *map(str, ids))))
