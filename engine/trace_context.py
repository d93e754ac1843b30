"""Where an execution stands in a trace: W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context).

An execution that is traced carries `traceparent` in its metadata: the span that it belongs below.
Its one rule: ids follow from the execution and the step, so every process that takes the
execution over means the same spans. Nothing here records anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from engine.context import ExecutionContext, Json, JsonObject

TRACEPARENT = "traceparent"

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A span of a trace, in hexadecimal digits, and the trace's flags."""

    trace_id: str
    span_id: str
    flags: int = _SAMPLED

    @property
    def sampled(self) -> bool:
        """Whether whoever began the trace wants it recorded."""
        return bool(self.flags & _SAMPLED)

    @property
    def is_origin(self) -> bool:
        """Whether it is no span, but stands for the beginning of a trace of our own."""
        return self.span_id == self.trace_id[16:]

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parsed(given: Json) -> TraceParent | None:
    """The header's value; None for what is none, which the standard wants ignored."""
    found = _FORM.fullmatch(given) if isinstance(given, str) else None
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    if given.startswith("00") and found[4]:
        return None
    return TraceParent(found[1], found[2], int(found[3], 16))


def parent_of(context: ExecutionContext) -> TraceParent | None:
    """The span that an execution belongs below; None if it is not traced."""
    return parsed(context.metadata.get(TRACEPARENT))


def origin(execution_id: str) -> TraceParent:
    """The beginning of a trace that this execution is the first in."""
    trace_id = _digits(f"trace:{execution_id}", 16)
    return TraceParent(trace_id, trace_id[16:])


def span_id(execution_id: str, step_key: str | None = None) -> str:
    """The id of an execution's span, or of a step's."""
    return _digits(f"span:{execution_id}:{step_key or ''}", 8)


def traced(metadata: JsonObject, execution_id: str, header: str | None) -> JsonObject:
    """The metadata of an execution that is to be traced: below what the request's header names, or
    its metadata, else in a trace of its own."""
    parent = parsed(header) or parsed(metadata.get(TRACEPARENT)) or origin(execution_id)
    return {**metadata, TRACEPARENT: str(parent)}


def passed_on(context: ExecutionContext, step_key: str | None = None) -> Mapping[str, str]:
    """What tells somebody else that they work for this step, or for this execution: a header, or a
    part of metadata. Nothing if the execution is not traced."""
    parent = parent_of(context)
    if parent is None:
        return {}
    own = span_id(context.execution_id, step_key)
    return {TRACEPARENT: str(TraceParent(parent.trace_id, own, parent.flags))}


def _digits(name: str, size: int) -> str:
    return hashlib.blake2b(name.encode(), digest_size=size).hexdigest()
