"""What went wrong, as an answer: one table from errors to statuses and codes.

Its one rule: a caller learns what they did wrong and nothing about the inside. What the table
does not know is 500 `INTERNAL_ERROR`, with the request id and no other detail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import Any, ParamSpec

from quart import Response, has_request_context, request
from werkzeug.exceptions import HTTPException

from controllers.operation import operation
from controllers.responses import PROBLEM, Failure
from engine import errors as engine_errors
from engine.context import Json
from engine.json_door import JsonError
from services import errors as refusals

P = ParamSpec("P")

RETRY_AFTER_SECONDS = "1"


class Unauthorized(refusals.Refusal):
    """Send an API key as X-API-Key, or a key or JWT as Authorization: Bearer."""

    code = "UNAUTHORIZED"
    denied = True


_INSIDE = (
    engine_errors.StoreUnavailable,
    engine_errors.OutcomeUnknown,
    engine_errors.LeaseLost,
)
_RETRY = {"Retry-After": RETRY_AFTER_SECONDS}
_LOOK_AGAIN = {"Retry-After": "60"}
"""Where no time makes room but somebody may: sooner it is not worth asking."""
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="workflow-core"'}

# The first row whose type matches counts, so a kind stands before its family. A code of None is
# the error's own.
ERRORS: tuple[tuple[type[Exception], int, str | None, Mapping[str, str]], ...] = (
    (Unauthorized, 401, None, _CHALLENGE),
    (refusals.TokenRefused, 401, None, _CHALLENGE),
    (refusals.TooManyAttempts, 429, None, {}),
    (refusals.RateLimited, 429, None, {}),
    (refusals.SigningKeysUnavailable, 503, None, _RETRY),
    (refusals.WorkflowNotFound, 404, None, {}),
    (refusals.ExecutionUnknown, 404, None, {}),
    (refusals.StepUnknown, 404, None, {}),
    (refusals.VersionNotFound, 404, None, {}),
    (refusals.KeyUnknown, 404, None, {}),
    (refusals.WebhookUnknown, 404, None, {}),
    (refusals.DeliveryUnknown, 404, None, {}),
    (refusals.AlertUnknown, 404, None, {}),
    (refusals.GrantUnknown, 404, None, {}),
    (refusals.CommunityUnknown, 404, None, {}),
    (refusals.MemberUnknown, 404, None, {}),
    (refusals.SecretUnknown, 404, None, {}),
    (refusals.TooManyGrants, 409, None, {}),
    (refusals.KeyNotActive, 409, None, {}),
    (refusals.Denied, 403, None, {}),
    (refusals.WorkflowNotActive, 409, None, {}),
    (refusals.VersionConflict, 409, None, {}),
    (refusals.DeliveryPending, 409, None, {}),
    (refusals.WebhookDisabled, 409, None, {}),
    (refusals.TooManyWebhooks, 409, None, {}),
    (refusals.TooManyAlerts, 409, None, {}),
    (refusals.TooManySecrets, 409, None, {}),
    (refusals.SecretsUnavailable, 409, None, {}),
    (refusals.DefinitionRefused, 422, None, {}),
    (refusals.IdempotencyKeyReused, 422, None, {}),
    (refusals.TooManyStreams, 429, None, _RETRY),
    (refusals.TooManyWorkflows, 429, None, _LOOK_AGAIN),
    (refusals.DefinitionsTooLarge, 413, None, {}),
    (refusals.StreamsFull, 503, None, _RETRY),
    (refusals.Refusal, 400, None, {}),
    (engine_errors.ExecutionNotFound, 404, None, {}),
    (engine_errors.ExecutionNotRunning, 409, None, {}),
    (engine_errors.ExecutionNotEnded, 409, None, {}),
    (engine_errors.NothingFailed, 409, None, {}),
    (engine_errors.SignalUnknown, 404, None, {}),
    (engine_errors.SignalReused, 422, None, {}),
    (engine_errors.TooManySignals, 409, None, {}),
    (engine_errors.InvalidDefinition, 422, None, {}),
    (engine_errors.WorkflowTimeoutException, 504, None, {}),
    (engine_errors.CommunityOverloaded, 429, None, _RETRY),
    (engine_errors.CommunityFull, 413, None, {}),
    (engine_errors.Overloaded, 503, "OVERLOADED", _RETRY),
    (engine_errors.StoreUnavailable, 503, "OVERLOADED", _RETRY),
    (engine_errors.OutcomeUnknown, 503, "OUTCOME_UNKNOWN", _RETRY),
    (engine_errors.LeaseLost, 503, "OVERLOADED", _RETRY),
    (engine_errors.WorkflowEngineException, 400, None, {}),
    (PermissionError, 403, "PERMISSION_DENIED", {}),
    (JsonError, 400, "INVALID_JSON", {}),
    (ValueError, 400, "BAD_REQUEST", {}),
)

_HTTP_MESSAGES = {
    404: "There is no such route.",
    405: "This route does not take this method.",
    413: "The body is larger than this route takes.",
}

_HTTP_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "PAYLOAD_TOO_LARGE",
    414: "URI_TOO_LONG",
    415: "UNSUPPORTED_MEDIA_TYPE",
    431: "HEADERS_TOO_LARGE",
    500: "INTERNAL_ERROR",
}


def failure_of(error: Exception, request_id: str) -> Failure:
    """How an error is answered."""
    if isinstance(error, HTTPException):
        return _of_framework(error)
    for kind, status, code, headers in ERRORS:
        if isinstance(error, kind):
            return Failure(
                status=status,
                code=code or str(getattr(error, "code", "BAD_REQUEST")),
                message=_message(error),
                details=_details(error),
                headers=_headers(error, headers),
                denied=isinstance(error, PermissionError) or bool(getattr(error, "denied", False)),
            )
    return Failure(
        500, "INTERNAL_ERROR", "Something went wrong inside.", {"request_id": request_id}
    )


def handle_execution_errors(
    handler: Callable[P, Awaitable[Response]],
) -> Callable[P, Awaitable[Response]]:
    """Turns what a handler raises into the answer that the table says."""

    @wraps(handler)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return await handler(*args, **kwargs)
        except Exception as error:
            return answer_to(error)

    return guarded


def answer_to(error: Exception) -> Response:
    """The answer to an error; the current operation remembers it for the log."""
    current = operation()
    current.failure = failure_of(error, current.request_id)
    if current.failure.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        current.cause = error
    elif isinstance(error, _INSIDE):
        current.notes["cause"] = str(error)
    if _wants_problem_details():
        return current.failure.problem(current.request_id)
    return current.failure.response()


def _wants_problem_details() -> bool:
    if not has_request_context():  # the handshake of a WebSocket
        return False
    return any(kind == PROBLEM and quality > 0 for kind, quality in request.accept_mimetypes)


def _message(error: Exception) -> str:
    """What the caller reads. What the database said about itself is for the log."""
    if isinstance(error, _INSIDE):
        return (error.__doc__ or "").strip()
    return str(error)


def _details(error: Exception) -> Json:
    if isinstance(error, JsonError):
        problem: dict[str, Any] = {"path": error.path, "message": error.message}
        if error.line is not None:
            problem |= {"line": error.line, "column": error.column}
        return [problem]
    details = getattr(error, "details", None)
    return details or None


def _headers(error: Exception, headers: Mapping[str, str]) -> Mapping[str, str]:
    """The row's headers, and when to come back if the error knows."""
    if isinstance(error, refusals.TooManyAttempts | refusals.RateLimited):
        return {**headers, "Retry-After": str(error.retry_after)}
    return headers


def _of_framework(error: HTTPException) -> Failure:
    """An error that Quart found: routing, methods, sizes."""
    status = error.code or 500
    headers = {}
    methods = getattr(error, "valid_methods", None)
    if methods:
        headers["Allow"] = ", ".join(sorted(methods))
    try:
        name = HTTPStatus(status).name
    except ValueError:
        name = "HTTP_ERROR"
    code = _HTTP_CODES.get(status, name)
    message = _HTTP_MESSAGES.get(status) or error.description or name
    return Failure(status, code, message, None, headers)
