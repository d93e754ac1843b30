"""What flushes tell those who watch: in this process directly, in others by one notification.

Its one rule: a flush that nobody watches does nothing here but look at two attributes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from engine.records import Batch
from models import live_sql as sql
from models.dal import AsyncDAL
from models.live import hint_payload


class Watcher(Protocol):
    """Who watches in this process."""

    def flushing(self, batch: Batch) -> None:
        """This batch is on its way: what it creates may be run elsewhere, and be heard of, before
        it is known here that it is durable."""
        ...

    def left_off(self, batch: Batch) -> None:
        """It has arrived, or not, or nobody knows."""
        ...

    def flushed(self, batch: Batch) -> None:
        """This batch is durable."""
        ...

    def unsure(self) -> None:
        """Whether a batch is durable will never be known here."""
        ...


class LiveFeed:
    """The feed of one process, `process_id`. `watcher` is there while it has open streams."""

    def __init__(self, dal: AsyncDAL, process_id: str) -> None:
        self.process_id = process_id
        self.watcher: Watcher | None = None
        self._dal = dal
        self._telling: dict[str, bool] = {}
        """The workers of this process: whether their flushes notify. One tells from its first
        moment on, until its first look has said that nobody listens."""
        self._silent = 0
        """How many flushes are on their way that notify nobody."""
        self._none_silent = asyncio.Event()
        self._none_silent.set()

    @property
    def workers(self) -> list[str]:
        """The living workers of this process."""
        return list(self._telling)

    def joined(self, worker_id: str) -> None:
        """A worker was registered."""
        self._telling[worker_id] = True

    def left(self, worker_id: str) -> None:
        """A worker was released."""
        self._telling.pop(worker_id, None)

    async def watched(self, worker_id: str, *, elsewhere: bool) -> None:
        """A worker has looked whether another process watches. That it tells stands in its row
        only once no flush is on its way that does not."""
        if self._telling.get(worker_id) in (None, elsewhere):
            return
        if elsewhere:
            self._telling[worker_id] = True
            await self._none_silent.wait()
        await self._dal.execute(sql.TELL, worker_id, elsewhere)
        self._telling[worker_id] = elsewhere

    @contextmanager
    def carried(self, worker_id: str, batch: Batch) -> Iterator[tuple[str, str] | None]:
        """The channel and the notification that a flush carries along, for as long as it is on
        its way; None if nobody listens or nothing of it has a number."""
        watcher = self.watcher
        if watcher is None:
            with self._told_elsewhere(worker_id, batch) as tell:
                yield tell
            return
        watcher.flushing(batch)
        try:
            with self._told_elsewhere(worker_id, batch) as tell:
                yield tell
        finally:
            watcher.left_off(batch)

    @contextmanager
    def _told_elsewhere(self, worker_id: str, batch: Batch) -> Iterator[tuple[str, str] | None]:
        if self._telling.get(worker_id):
            payload = hint_payload(self.process_id, batch)
            yield None if payload is None else (sql.CHANNEL, payload)
            return
        self._silent += 1
        self._none_silent.clear()
        try:
            yield None
        finally:
            self._silent -= 1
            if not self._silent:
                self._none_silent.set()

    def flushed(self, batch: Batch) -> None:
        """A flush is durable."""
        if self.watcher is not None:
            self.watcher.flushed(batch)

    def unsure(self) -> None:
        """A flush was refused by the fence; one before it may have been written or not."""
        if self.watcher is not None:
            self.watcher.unsure()
