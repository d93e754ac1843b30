"""How the engine behaves in one process: numbers that the composition root hands down."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine behaves in this process; times in seconds."""

    name: str = "worker"
    max_concurrent_executions: int = 200
    max_pending_executions: int = 10_000
    lease_seconds: float = 10.0
    poll_seconds: float = 1.0
    shutdown_grace_seconds: float = 20.0
    commit_patience_seconds: float = 5.0
    """How long a caller waits for the commit of what it submitted."""
    max_recoveries: int = 5
