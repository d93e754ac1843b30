"""The memory store keeps the contract."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic

import pytest

from engine.memory_store import MemoryStore
from tests.family_contract import FamilyContract
from tests.queue_contract import QueueContract
from tests.store_contract import Kill, StoreContract


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return monotonic()


class TestMemoryStore(StoreContract, FamilyContract, QueueContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore(WallClock())

    @pytest.fixture
    def kill(self, store: MemoryStore) -> Kill:
        async def killed(worker_id: str) -> None:
            store.kill(worker_id)

        return killed
