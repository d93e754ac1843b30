"""Traces: an execution is a span, its steps are the spans below it, in OpenTelemetry's terms.

Its one rule: a span is written once what it tells of is durable, and never before. Its ids follow
from the execution and the step (`engine/trace_context.py`), so an execution that several processes
have run one after the other is one tree.

OpenTelemetry is an optional dependency, and imported only when traces are wanted.
"""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from engine.context import ExecutionContext
from engine.records import Batch, Progress, StepRow, StoredExecution
from engine.trace_context import TraceParent, parent_of, span_id
from models.execution_store import Reaped

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import SpanContext, Status

_MOST_KNOWN = 50_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Tracer:
    """Writes the spans of what this process makes durable (`models.metered_store.Meter`)."""

    def __init__(self, processor: SpanProcessor, resource: Resource) -> None:
        self._processor = processor
        self._resource = resource
        self._known: OrderedDict[str, ExecutionContext] = OrderedDict()
        """The traced executions that run here."""

    def flushed(self, batch: Batch, seconds: float) -> None:
        """See `Meter.flushed`."""
        for context, progress in batch.created.values():
            if progress.held or progress.end_time is not None:
                self._know(context)
        for row in batch.steps:
            of = self._known.get(row.execution_id)
            reused = row.details and "reused" in row.details
            if of is not None and row.completed_at is not None and not reused:
                self._write_step(of, row, row.completed_at)
        for _, progress in batch.created.values():
            self._moved(progress)
        for progress in batch.updates.values():
            self._moved(progress)

    def claimed(self, executions: Sequence[StoredExecution]) -> None:
        """See `Meter.claimed`."""
        for one in executions:
            self._know(one.context)

    def cancelled(self) -> None:
        """See `Meter.cancelled`. What nobody runs has no process that knows its trace."""

    def reaped(self, dead: Reaped) -> None:
        """See `Meter.reaped`. Whoever takes the executions over goes on with their traces."""

    def close(self) -> None:
        """Sends what has not been sent yet."""
        self._processor.shutdown()

    def _know(self, context: ExecutionContext) -> None:
        parent = parent_of(context)
        if parent is None or not parent.sampled:
            return
        self._known[context.execution_id] = context
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    def _moved(self, progress: Progress) -> None:
        if progress.held:
            return
        context = self._known.pop(progress.execution_id, None)
        if context is not None and progress.end_time is not None:
            self._write_execution(context, progress, progress.end_time)

    def _write_execution(
        self, context: ExecutionContext, progress: Progress, ended: datetime
    ) -> None:
        parent = _parent(context)
        self._write(
            f"workflow {context.workflow_name}",
            parent.trace_id,
            span_id(context.execution_id),
            None if parent.is_origin else parent,
            progress.start_time or context.created_at,
            ended,
            {
                "workflow.id": context.workflow_id,
                "workflow.version": context.workflow_version,
                "workflow.execution.id": context.execution_id,
                "workflow.execution.status": str(progress.status),
                "workflow.trigger_source": context.trigger_source,
                "workflow.community.id": context.community_id,
                **({"error.type": progress.error_code} if progress.error_code else {}),
            },
            progress.error_message if progress.status == "failed" else None,
        )

    def _write_step(self, context: ExecutionContext, row: StepRow, ended: datetime) -> None:
        parent = _parent(context)
        failed = row.status == "failed"
        self._write(
            f"{row.node_type} {row.node_id}",
            parent.trace_id,
            span_id(context.execution_id, row.step_key),
            TraceParent(parent.trace_id, span_id(context.execution_id)),
            row.started_at,
            ended,
            {
                "workflow.execution.id": context.execution_id,
                "workflow.step.key": row.step_key,
                "workflow.node.id": row.node_id,
                "workflow.node.type": row.node_type,
                "workflow.step.attempt": row.attempt,
                **({"error.type": row.error_type} if row.error_type else {}),
            },
            str(row.error["message"]) if failed and isinstance(row.error, dict) else None,
        )

    def _write(
        self,
        name: str,
        trace_id: str,
        own_id: str,
        parent: TraceParent | None,
        started: datetime,
        ended: datetime,
        attributes: dict[str, str | int],
        failure: str | None,
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=_context(trace_id, own_id, remote=False),
                parent=None
                if parent is None
                else _context(parent.trace_id, parent.span_id, remote=parent.span_id != own_id),
                resource=self._resource,
                attributes=attributes,
                status=_status(failure),
                start_time=_nanoseconds(started),
                end_time=_nanoseconds(max(ended, started)),
                instrumentation_scope=InstrumentationScope("workflow_core"),
            )
        )


def start_tracing(exporter: str, *, name: str, version: str, stream: TextIO) -> Tracer:
    """A tracer that sends spans by OTLP (`otlp`: where to, say the variables that OpenTelemetry
    itself reads) or prints them to `stream` (`console`). Raises `RuntimeError` if what that needs
    is not installed."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import (
            BatchSpanProcessor,
            ConsoleSpanExporter,
            SimpleSpanProcessor,
        )

        resource = Resource.create({"service.name": name, "service.version": version})
        if exporter == "console":
            console = ConsoleSpanExporter(
                out=stream, formatter=lambda span: f"{span.to_json(indent=None)}\n"
            )
            return Tracer(SimpleSpanProcessor(console), resource)
        otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as missing:
        raise RuntimeError(
            f"OTEL_TRACES_EXPORTER={exporter} needs the packages of the extra `tracing` "
            f"(pyproject.toml): {missing}"
        ) from missing
    return Tracer(BatchSpanProcessor(otlp.OTLPSpanExporter()), resource)


def _parent(context: ExecutionContext) -> TraceParent:
    parent = parent_of(context)
    assert parent is not None  # or it would not be known
    return parent


def _context(trace_id: str, own_id: str, *, remote: bool) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(own_id, 16), is_remote=remote, trace_flags=flags)


def _status(failure: str | None) -> Status:
    from opentelemetry.trace import Status, StatusCode

    return Status() if failure is None else Status(StatusCode.ERROR, failure)


def _nanoseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
