"""How the engine behaves in one process: numbers that the composition root hands down."""

from __future__ import annotations

from dataclasses import dataclass

_WORTH_KEEPING = 4
"""With less room than this none is kept for others."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine behaves in this process; times in seconds."""

    name: str = "worker"
    runs: bool = True
    """Whether executions run here, or are only accepted for others to run."""
    max_concurrent_executions: int = 200
    max_pending_executions: int = 10_000
    lease_seconds: float = 10.0
    poll_seconds: float = 1.0
    shutdown_grace_seconds: float = 20.0
    max_concurrent_per_community: int | None = None
    """How many executions of one community run at once, on all workers together; None: any."""
    max_pending_per_community: int | None = None
    """How many of one community may wait to be claimed; None: as many as of all together."""
    max_history_bytes_per_community: int | None = None
    """How many bytes its executions may keep before no more are started; None: any."""
    commit_patience_seconds: float = 5.0
    """How long a caller waits for the commit of what it submitted."""
    max_recoveries: int = 5

    @property
    def most_of_one_community(self) -> int:
        """How many executions of one community run in this process at most: a tenth of the room
        is kept for the others, so that they need not wait for one of them to end."""
        most = self.max_concurrent_executions
        return most if most < _WORTH_KEEPING else most - max(most // 10, 1)
