"""What every operation has in common: a name for the log, errors as answers, documentation.

Its one rule: an operation is recorded once, under its name, whichever way it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

from pydantic import BaseModel
from quart import Response
from quart_schema import document_querystring, document_request, document_response

from controllers.answers import ErrorAnswer
from controllers.described import DESCRIPTION_ATTRIBUTE, Description
from controllers.errors import handle_execution_errors
from controllers.operation import event_of, operation
from controllers.requests import read_query
from controllers.responses import Failure
from controllers.schemas import NoQuery
from controllers.state import state

ABANDONED = 499
"""The status in the log of a request whose client went away, as nginx has it."""

P = ParamSpec("P")
Handler = Callable[P, Awaitable[Response]]

ACTION_ATTRIBUTE = "_action"
ALWAYS = (400, 401, 403, 429, 500, 503)
"""What every operation behind the gate may answer besides its own."""


def async_endpoint(
    action: str,
    *,
    answers: Mapping[int, Any],
    errors: tuple[int, ...] = (),
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    says: Description | None = None,
) -> Callable[[Handler[P]], Handler[P]]:
    """Makes a handler an operation named `action`.

    `answers` and `errors` are the statuses it may have, for the documentation; so are `query`
    and `body`, which the handler reads itself, and `says`. Without `query`, any parameter is
    refused.
    """

    def decorate(handler: Handler[P]) -> Handler[P]:
        @handle_execution_errors
        @wraps(handler)
        async def endpoint(*args: P.args, **kwargs: P.kwargs) -> Response:
            if query is None:
                read_query(NoQuery)
            try:
                return await handler(*args, **kwargs)
            except asyncio.CancelledError:
                _record_abandoned(action)
                raise

        setattr(endpoint, ACTION_ATTRIBUTE, action)
        setattr(endpoint, DESCRIPTION_ATTRIBUTE, says or Description())
        _document(endpoint, answers, errors, query, body)
        return endpoint

    return decorate


def _record_abandoned(action: str) -> None:
    """There is nobody left to answer, but what was done was done."""
    current = operation()
    current.failure = Failure(ABANDONED, "CLIENT_CLOSED_REQUEST", "The client went away.")
    state().audit.record(event_of(current, action, ABANDONED))


def _document(
    endpoint: Handler[P],
    answers: Mapping[int, Any],
    errors: tuple[int, ...],
    query: type[BaseModel] | None,
    body: type[BaseModel] | None,
) -> None:
    if query is not None:
        document_querystring(query)(endpoint)
    statuses = {*ALWAYS, *errors}
    if body is not None:
        document_request(body)(endpoint)
        statuses |= {413, 415}
    for status, model in answers.items():
        document_response(model, status)(endpoint)
    for status in sorted(statuses - set(answers)):
        document_response(ErrorAnswer, status)(endpoint)
