"""The envelope that every answer of the API travels in.

Its one rule: one shape for success, one for failure, and every instant in it is RFC 3339 in UTC
with milliseconds and `Z`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any

import orjson
from quart import Response

from engine.context import Json, JsonObject
from engine.moments import rfc3339

JSON = "application/json"
PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is answered and logged. `denied`: it is a security decision."""

    status: int
    code: str
    message: str
    details: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    denied: bool = False

    def response(self) -> Response:
        """`{"success": false, "message", "error_code", "details"}`."""
        return _answer(self.body(), JSON, self.status, self.headers)

    def body(self) -> bytes:
        """The envelope as it is sent."""
        return _dumps({"success": False, "message": self.message, **self._what()})

    def problem(self, request_id: str) -> Response:
        """The same as problem details (RFC 9457), for clients that ask for them."""
        try:
            title = HTTPStatus(self.status).phrase
        except ValueError:
            title = self.code
        fields = {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": self.message,
            "request_id": request_id,
            **self._what(),
        }
        return _answer(_dumps(fields), PROBLEM, self.status, self.headers)

    def _what(self) -> JsonObject:
        return {
            "error_code": self.code,
            "details": {} if self.details is None else self.details,
        }


def success(
    data: Json,
    message: str,
    *,
    status: int = 200,
    meta: JsonObject | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`{"success": true, "message", "data", "meta"}`."""
    body = {"success": True, "message": message, "data": data, "meta": meta or {}}
    return plain(body, status=status, headers=headers)


def listed(rows: Json, message: str, *, size: int, cursor: str | None) -> Response:
    """A page of `size` rows at most of a list that goes on at `cursor`, unless that is None."""
    pagination = {"per_page": size, "has_next": cursor is not None, "next_cursor": cursor}
    return success(rows, message, meta={"pagination": pagination})


def onward(cursor: str | None) -> JsonObject:
    """How a list without the envelope says that it goes on at `cursor`, unless that is None."""
    return {"has_more": cursor is not None, "next_cursor": cursor}


def plain(body: Json, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer without the envelope."""
    return _answer(_dumps(body), JSON, status, headers)


def _dumps(body: Json) -> bytes:
    return orjson.dumps(body, default=_written, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _answer(
    body: bytes, content_type: str, status: int, headers: Mapping[str, str] | None
) -> Response:
    response = Response(body, status=status, content_type=content_type)
    if headers:
        response.headers.update(dict(headers))
    return response


def _written(value: Any) -> Json:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")
