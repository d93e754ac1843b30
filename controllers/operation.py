"""The operation that a request is: what the log line and the audit row will say about it.

Its one rule: one `Operation` per request, kept in Quart's `g`, filled in as the request is
understood and recorded once, at its end.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from quart import g, has_request_context, has_websocket_context, request, websocket

from controllers.address import NOWHERE
from controllers.responses import Failure
from services.allowances import Standing
from services.audit import Event
from services.caller import Caller
from services.clock import new_id

REQUEST_ID_HEADER = "X-Request-ID"

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SERVER_ERROR = 500


@dataclass(slots=True)
class Operation:
    """What is known about the current request so far."""

    request_id: str
    started: float
    address: str = NOWHERE
    caller: Caller | None = None
    community_id: int | None = None
    workflow_id: str | None = None
    execution_id: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    cause: Exception | None = None
    standing: Standing | None = None


def request_id(sent: str) -> str:
    """The id of a request: the one the client sent, if it is a usable one, else a new one."""
    return sent if _REQUEST_ID.fullmatch(sent) else new_id()


def begin() -> Operation:
    """Starts the request's operation."""
    asking = websocket if has_websocket_context() else request
    sent = asking.headers.get(REQUEST_ID_HEADER, "")
    current = Operation(request_id=request_id(sent), started=time.perf_counter())
    g.operation = current
    return current


def operation() -> Operation:
    """The current request's operation."""
    current: Operation = g.operation
    return current


def note(
    *,
    community_id: int | None = None,
    workflow_id: str | None = None,
    execution_id: str | None = None,
    **notes: Any,
) -> None:
    """Adds what the handler has learnt; None leaves what is known."""
    current = operation()
    current.community_id = current.community_id if community_id is None else community_id
    current.workflow_id = workflow_id or current.workflow_id
    current.execution_id = execution_id or current.execution_id
    current.notes |= notes


def judged(
    *, community_id: int, workflow_id: str | None = None, execution_id: str | None = None
) -> None:
    """As `note`, of what a permission is asked on, be it given or not. What a request claims to
    concern counts less. Outside of a request nobody needs to know."""
    if has_request_context() or has_websocket_context():
        note(community_id=community_id, workflow_id=workflow_id, execution_id=execution_id)


def _reason(failed: Failure) -> str:
    """Why, for a log that masks whatever stands behind `secret:` and its like: the place that a
    message begins with gets no colon there, for what follows is our own words."""
    problems = failed.details
    first = problems[0] if isinstance(problems, list) and problems else None
    place = first.get("path") if isinstance(first, dict) else None
    if place and failed.message.startswith(f"{place}: "):
        return f"{place} {failed.message.removeprefix(f'{place}: ')}"
    return failed.message


def event_of(current: Operation, action: str, status: int) -> Event:
    """The event that an operation is. A refusal for want of permission is AUTHZ whatever status
    hides it, one for want of a credential AUTH, a failure of the service ERROR."""
    caller, failed = current.caller, current.failure
    details: dict[str, Any] = {
        "status": status,
        "duration_ms": round((time.perf_counter() - current.started) * 1000, 1),
        **current.notes,
    }
    if failed is not None:
        details |= {"error_code": failed.code, "reason": _reason(failed)}
    if caller is not None and caller.key_id is not None:
        details["key_id"] = caller.key_id
    bound = None if caller is None else caller.community_id
    values: dict[str, Any] = {
        "action": action,
        "community_id": bound if current.community_id is None else current.community_id,
        "user_id": None if caller is None else caller.user_id,
        "workflow_id": current.workflow_id,
        "execution_id": current.execution_id,
        "request_id": current.request_id,
        "address": current.address,
        "details": details,
    }
    if failed is None:
        return Event("AUDIT", result="SUCCESS", **values)
    if failed.denied:
        return Event("AUTH" if caller is None else "AUTHZ", result="DENIED", **values)
    if failed.status >= _SERVER_ERROR:
        return Event("ERROR", result="FAILURE", **values)
    return Event("AUDIT", result="FAILURE", **values)
