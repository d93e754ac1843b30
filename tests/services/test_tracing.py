"""Executions as traces: what is written, when, and below what."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from engine.context import ExecutionContext, ExecutionStatus, Kind
from engine.records import Batch, StoredExecution
from engine.trace_context import span_id, traced
from services.tracing import Tracer, start_tracing
from tests.store_contract import NOW, a_context, a_step, created, progress_of

REMOTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
COMPLETED, FAILED, WAITING, PENDING = (
    ExecutionStatus.COMPLETED,
    ExecutionStatus.FAILED,
    ExecutionStatus.WAITING,
    ExecutionStatus.PENDING,
)
END = NOW + timedelta(seconds=2)


class Written:
    """A tracer, and the spans that it has written."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer = Tracer(SimpleSpanProcessor(self._exporter), Resource.create({}))

    def spans(self) -> dict[str, ReadableSpan]:
        found = self._exporter.get_finished_spans()
        assert len({span.name for span in found}) == len(found)
        return {span.name: span for span in found}


@pytest.fixture
def written() -> Written:
    return Written()


def a_traced(header: str | None = REMOTE, **changes: Any) -> ExecutionContext:
    context = a_context(**changes)
    return a_context(
        execution_id=context.execution_id,
        metadata=traced(context.metadata, context.execution_id, header),
    )


def over(context: ExecutionContext, status: ExecutionStatus = COMPLETED, **more: Any) -> Batch:
    ended = progress_of(context, status, end_time=END, held=False, **more)
    return Batch(updates={context.execution_id: ended})


def did(context: ExecutionContext, seq: int, **more: Any) -> Any:
    return a_step(context, seq, completed_at=NOW + timedelta(seconds=1), **more)


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """The trace, the span and its parent, in hexadecimal digits."""
    parent = f"{span.parent.span_id:016x}" if span.parent else None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


def nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000


def test_an_execution_is_a_span_below_the_callers_and_its_steps_are_below_it(
    written: Written,
) -> None:
    context = a_traced()
    written.tracer.flushed(created((context, progress_of(context))), 0.1)
    written.tracer.flushed(Batch(steps=[did(context, 2)]), 0.1)
    written.tracer.flushed(over(context), 0.1)

    spans = written.spans()
    own = span_id(context.execution_id)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    execution, step = spans["workflow a workflow"], spans["data_variable_set node2"]
    assert ids(execution) == (trace, own, "00f067aa0ba902b7")
    assert execution.parent is not None
    assert execution.parent.is_remote
    assert ids(step) == (trace, span_id(context.execution_id, "node2"), own)
    assert (execution.start_time, execution.end_time) == (nanoseconds(NOW), nanoseconds(END))
    assert step.attributes is not None
    assert step.attributes["workflow.execution.id"] == context.execution_id
    assert step.attributes["workflow.step.key"] == "node2"
    assert execution.status.status_code is StatusCode.UNSET


def test_one_that_nobody_has_called_for_begins_a_trace(written: Written) -> None:
    context = a_traced(None)
    written.tracer.flushed(created((context, progress_of(context))), 0.1)
    written.tracer.flushed(over(context), 0.1)

    (execution,) = written.spans().values()

    assert execution.parent is None


def test_nothing_is_written_before_it_has_ended(written: Written) -> None:
    context = a_traced()
    open_step = a_step(context, 2, kind=Kind.WAITING, status="waiting", completed_at=None)
    written.tracer.flushed(created((context, progress_of(context))), 0.1)
    written.tracer.flushed(Batch(steps=[open_step]), 0.1)

    assert written.spans() == {}


def test_failures_are_said_to_be_failures(written: Written) -> None:
    context = a_traced()
    error = {"message": "no", "type": "X"}
    failed = did(context, 2, status="failed", error=error, error_type="X")
    written.tracer.flushed(created((context, progress_of(context))), 0.1)
    end = over(context, FAILED, error_message="it broke", error_code="X")
    end.steps = [failed]
    written.tracer.flushed(end, 0.1)

    for span, words in zip(written.spans().values(), ("no", "it broke"), strict=True):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == words
        assert span.attributes is not None
        assert span.attributes["error.type"] == "X"


def test_processes_that_run_one_after_the_other_write_one_tree() -> None:
    first, second, context = Written(), Written(), a_traced()
    first.tracer.flushed(created((context, progress_of(context))), 0.1)
    first.tracer.flushed(Batch(steps=[did(context, 2)]), 0.1)
    parked = progress_of(context, WAITING, held=False)
    first.tracer.flushed(Batch(updates={context.execution_id: parked}), 0.1)
    second.tracer.claimed([StoredExecution(context, parked)])
    second.tracer.flushed(Batch(steps=[did(context, 3)]), 0.1)
    second.tracer.flushed(over(context), 0.1)
    late = over(context)  # what the first one still had on its way, and was refused nothing for
    first.tracer.flushed(late, 0.1)

    (before,) = first.spans().values()
    after = second.spans()
    execution = after["workflow a workflow"]
    for step in (before, after["data_variable_set node3"]):
        assert ids(step)[0] == ids(execution)[0]
        assert ids(step)[2] == ids(execution)[1]


@pytest.mark.parametrize("header", [REMOTE[:-1] + "0", "nonsense"])
def test_what_is_not_to_be_recorded_is_not(written: Written, header: str) -> None:
    context = a_context(metadata={"traceparent": header})
    batch = created((context, progress_of(context)))
    batch.steps = [did(context, 2)]
    written.tracer.flushed(batch, 0.1)
    written.tracer.flushed(over(context), 0.1)

    assert written.spans() == {}


def test_what_a_retry_took_over_is_in_the_trace_of_the_first_try(written: Written) -> None:
    context = a_traced()
    batch = created((context, progress_of(context)))
    batch.steps = [did(context, 2, details={"reused": "another"}), did(context, 3)]
    written.tracer.flushed(batch, 0.1)

    assert list(written.spans()) == ["data_variable_set node3"]


def test_one_that_others_run_is_theirs_to_write(written: Written) -> None:
    context = a_traced()
    waits = progress_of(context, PENDING, start_time=None)
    written.tracer.flushed(created((context, waits)), 0.1)
    written.tracer.flushed(over(context), 0.1)

    assert written.spans() == {}


def test_spans_can_be_printed() -> None:
    stream, context = io.StringIO(), a_traced()
    tracer = start_tracing("console", name="a module", version="1", stream=stream)
    batch = created((context, progress_of(context, COMPLETED, end_time=END, held=False)))
    tracer.flushed(batch, 0.1)
    tracer.close()

    assert '"service.name": "a module"' in stream.getvalue()
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in stream.getvalue()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(RuntimeError, match=r"OTEL_TRACES_EXPORTER=otlp.*extra `tracing`"):
        start_tracing("otlp", name="a", version="1", stream=io.StringIO())
