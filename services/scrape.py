"""The page that Prometheus reads: this process's counts, and what waits in the database.

Its one rule: the page is always there, in bounded time. What the database does not tell within a
second is left out, and `workflow_database_up` says so.

Every process counts for itself and is read by itself. Processes behind one address tell themselves
apart by the label `process` (`METRICS_PROCESS`), so that their counts stay series of their own,
whichever of them answers. What the database knows is the same on each, and has no such label.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector

from engine.engine import WorkflowEngine
from engine.errors import WorkflowEngineException
from models.backlog import Backlog, Backlogs
from services.cache import TtlCache
from services.meters import STATUSES, Distribution, EngineMeter, HttpMeter

CONTENT_TYPE = CONTENT_TYPE_LATEST
FRESH_SECONDS = 1.0
"""For how long what the database said is said again."""
PATIENCE_SECONDS = 1.0
"""How long the database is waited for."""


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    """What stands on one page, as a collector of the library."""

    families: list[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


class Scrape:
    """Writes the page. `process` is the value of the label that tells this process apart."""

    def __init__(
        self,
        engine: WorkflowEngine,
        meter: EngineMeter,
        http: HttpMeter,
        backlogs: Backlogs,
        *,
        process: str | None = None,
    ) -> None:
        self.http = http
        self._engine = engine
        self._meter = meter
        self._backlogs = backlogs
        self._process = process
        self._system = ProcessCollector(registry=CollectorRegistry())
        self._cache: TtlCache[str, Backlog] = TtlCache(ttl_seconds=FRESH_SECONDS, capacity=1)

    async def page(self) -> bytes:
        """The page, in Prometheus's text format."""
        backlog = await self._backlog()
        own = [*self._counts(), *self._http(), *self._system.collect()]
        if self._process is not None:
            for family in own:
                _label(family, self._process)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Page([*own, *_waiting(backlog)]))
        return generate_latest(registry)

    async def _backlog(self) -> Backlog | None:
        """What the database says, None if it does not in time. A look that is late goes on by
        itself: whoever asks meanwhile waits for that one and makes no other."""
        asking = asyncio.ensure_future(self._cache.get("backlog", self._backlogs.look))
        done, _ = await asyncio.wait({asking}, timeout=PATIENCE_SECONDS)
        if not done:
            asking.cancel()
            return None
        try:
            return asking.result()
        except WorkflowEngineException:
            return None

    def _counts(self) -> Iterator[Metric]:
        meter = self._meter
        ended = CounterMetricFamily(
            "workflow_executions", "Executions that this process has ended.", labels=["status"]
        )
        for status in STATUSES:
            ended.add_metric([status], meter.ended[status])
        yield ended
        yield _histogram(
            "workflow_execution_seconds", "From an execution's start to its end.", meter.executions
        )
        yield _histograms(
            "workflow_step_seconds",
            "How long a step's last attempt took.",
            ["node_type"],
            {(node_type,): each for node_type, each in sorted(meter.steps.items())},
        )
        yield _histogram(
            "workflow_queue_seconds", "From an execution's acceptance to its start.", meter.queue
        )
        yield _histogram(
            "workflow_journal_flush_seconds",
            "How long a commit of the journal took.",
            meter.flushes,
        )
        yield _histogram(
            "workflow_journal_batch_rows", "Rows that one commit of the journal wrote.", meter.rows
        )
        yield GaugeMetricFamily(
            "workflow_in_flight", "Executions that this process runs.", self._engine.in_flight
        )
        yield CounterMetricFamily(
            "workflow_recoveries",
            "Executions that this process has freed from workers that died.",
            meter.recovered,
        )
        yield CounterMetricFamily(
            "workflow_lease_lost", "Leases that this process has lost.", self._engine.leases_lost
        )

    def _http(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "workflow_http_requests",
            "Requests that this process has answered.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), count in sorted(self.http.requests.items()):
            requests.add_metric([method, route, str(status)], count)
        yield requests
        yield _histograms(
            "workflow_http_request_seconds",
            "From a request's arrival to its answer's beginning.",
            ["method", "route"],
            dict(sorted(self.http.seconds.items())),
        )


def _waiting(backlog: Backlog | None) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "workflow_database_up",
        "Whether the database answered in time.",
        0 if backlog is None else 1,
    )
    if backlog is None:
        return
    yield GaugeMetricFamily(
        "workflow_pending", "Executions that wait to be claimed, of all processes.", backlog.pending
    )
    yield GaugeMetricFamily(
        "workflow_parked", "Executions that wait outside of memory.", backlog.parked
    )
    yield GaugeMetricFamily(
        "workflow_oldest_pending_seconds",
        "Since when the oldest pending execution has been accepted.",
        backlog.oldest_pending_seconds,
    )


def _histogram(name: str, text: str, values: Distribution) -> Metric:
    return _histograms(name, text, [], {(): values})


def _histograms(
    name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], Distribution]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for label_values, each in values.items():
        bounds = [*(str(float(bound)) for bound in each.bounds), "+Inf"]
        counts = accumulate(each.counts)
        family.add_metric(
            list(label_values), list(zip(bounds, counts, strict=True)), sum_value=each.total
        )
    return family


def _label(family: Metric, process: str) -> None:
    family.samples = [
        sample._replace(labels={**sample.labels, "process": process}) for sample in family.samples
    ]
