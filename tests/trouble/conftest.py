"""A service and a database of its own, which is broken on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.trouble.world import Trouble, troubled


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Trouble]:
    """A running service with one published workflow, and its database."""
    async with troubled(tmp_path) as world:
        yield world
