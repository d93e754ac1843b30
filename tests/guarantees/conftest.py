"""A PostgreSQL of one's own, the only kind that a test may crash, and a stage."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.database import Database
from tests.guarantees.stage import Stage, staged


@pytest.fixture
async def crashable() -> AsyncIterator[Database]:
    """A server with the schema, for this test alone."""
    home = Path(tempfile.mkdtemp(prefix="guarantee-"))
    database = await Database.join(home / "data")
    yield database
    await database.stop()
    shutil.rmtree(home)


@pytest.fixture
async def stage(own_database: Database, tmp_path: Path) -> AsyncIterator[Stage]:
    """Real processes on a database of their own."""
    async with staged(own_database, tmp_path) as stage:
        yield stage
