"""Handing letters to executions in memory.

Its one rule: however many letters come at once, an execution's are fetched by one query at a time,
and only those it has not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.ports import ExecutionStore
from engine.records import Letter


class Recipient(Protocol):
    """An execution in memory."""

    @property
    def letters_read(self) -> int:
        """How many letters it has been handed."""
        ...

    def deliver(self, letters: list[Letter]) -> None:
        """Takes letters; some may be known."""
        ...


class PostOffice:
    """Fetches and hands over. `recipient` gives an execution that runs here, None for others."""

    def __init__(self, store: ExecutionStore, recipient: Callable[[str], Recipient | None]) -> None:
        self._store = store
        self._recipient = recipient
        self._fetching: dict[str, bool] = {}
        """The executions whose letters are being fetched -> whether more have come meanwhile."""

    async def deliver(self, execution_id: str) -> None:
        """Hands over what has come; asked again meanwhile, it looks once more. Raises what the
        store raises."""
        if execution_id in self._fetching:
            self._fetching[execution_id] = True
            return
        self._fetching[execution_id] = True
        try:
            while self._fetching[execution_id]:
                self._fetching[execution_id] = False
                await self._fetch(execution_id)
        finally:
            del self._fetching[execution_id]

    async def _fetch(self, execution_id: str) -> None:
        recipient = self._recipient(execution_id)
        if recipient is None:
            return
        letters = await self._store.letters(execution_id, recipient.letters_read)
        if letters:
            recipient.deliver(letters)
