"""What is measured of this process: what counts, and what writes traces if any are wanted.

Its one rule: they are told the same, by the store, of what is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread
from typing import TextIO

from engine.engine import WorkflowEngine
from engine.records import Batch, StoredExecution
from models.backlog import Backlogs
from models.execution_store import Reaped
from models.metered_store import Meter
from services.meters import EngineMeter, HttpMeter
from services.scrape import Scrape
from services.tracing import Tracer, start_tracing

_PATIENCE_SECONDS = 3.0


class Telemetry:
    """The meters of one process (`models.metered_store.Meter`)."""

    def __init__(self, tracer: Tracer | None) -> None:
        self._counts = EngineMeter()
        self._tracer = tracer
        self._meters: tuple[Meter, ...] = (self._counts,)
        if tracer is not None:
            self._meters = (self._counts, tracer)

    @property
    def traces(self) -> bool:
        """Whether executions are traced."""
        return self._tracer is not None

    def scrape(self, engine: WorkflowEngine, backlogs: Backlogs, process: str | None) -> Scrape:
        """The page of the counts."""
        return Scrape(engine, self._counts, HttpMeter(), backlogs, process=process)

    async def close(self) -> None:
        """Sends the spans that have not been sent yet, if that can be done soon: whoever takes
        them must not keep this process from its end."""
        tracer, loop, closed = self._tracer, asyncio.get_running_loop(), asyncio.Event()
        if tracer is None:
            return

        def close() -> None:
            tracer.close()
            with suppress(RuntimeError):  # nobody waits any more: the loop is closed
                loop.call_soon_threadsafe(closed.set)

        Thread(target=close, name="traces", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await closed.wait()

    def flushed(self, batch: Batch, seconds: float) -> None:
        """See `Meter.flushed`."""
        for meter in self._meters:
            meter.flushed(batch, seconds)

    def claimed(self, executions: Sequence[StoredExecution]) -> None:
        """See `Meter.claimed`."""
        for meter in self._meters:
            meter.claimed(executions)

    def cancelled(self) -> None:
        """See `Meter.cancelled`."""
        for meter in self._meters:
            meter.cancelled()

    def reaped(self, dead: Reaped) -> None:
        """See `Meter.reaped`."""
        for meter in self._meters:
            meter.reaped(dead)


def start_telemetry(exporter: str, *, name: str, version: str, stream: TextIO) -> Telemetry:
    """Starts to measure; `exporter` is where traces go, `none` for nowhere. Raises as
    `start_tracing`."""
    if exporter == "none":
        return Telemetry(None)
    return Telemetry(start_tracing(exporter, name=name, version=version, stream=stream))
