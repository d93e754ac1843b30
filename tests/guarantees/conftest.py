"""A PostgreSQL of one's own: the only kind that a test may crash."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.database import Database


@pytest.fixture
async def crashable() -> AsyncIterator[Database]:
    """A server with the schema, for this test alone."""
    home = Path(tempfile.mkdtemp(prefix="guarantee-"))
    database = await Database.join(home / "data")
    yield database
    await database.stop()
    shutil.rmtree(home)
