"""Whether the service is well: reachable database, current schema, running engine.

Its one rule: an answer comes in bounded time and names what is wrong without showing how the
inside looks.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.engine import WorkflowEngine
from engine.errors import WorkflowEngineException
from models.dal import AsyncDAL
from models.migrate import is_current


@dataclass(frozen=True, slots=True)
class Readiness:
    """What was found. `draining`: the service was told to stop."""

    database: bool
    migrations: bool
    engine: bool
    draining: bool

    @property
    def ready(self) -> bool:
        """Whether requests should come here."""
        return self.database and self.migrations and self.engine and not self.draining


class HealthService:
    """Looks after the parts that can fail. `name` and `version` are the module's."""

    def __init__(self, dal: AsyncDAL, engine: WorkflowEngine, *, name: str, version: str) -> None:
        self._dal = dal
        self._engine = engine
        self.name = name
        self.version = version

    @property
    def draining(self) -> bool:
        """Whether the service was told to stop."""
        return self._engine.departure.begun

    async def readiness(self) -> Readiness:
        """How the parts are at this moment."""
        database, migrations = True, False
        try:
            migrations = await is_current(self._dal)
        except WorkflowEngineException:
            database = False
        return Readiness(
            database=database,
            migrations=migrations,
            engine=self._engine.ready,
            draining=self.draining,
        )
