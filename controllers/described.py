"""What the OpenAPI document says besides what handlers declare as models.

Its one rule: a request that the document allows is one that the service takes, as far as JSON
Schema can say so, and an answer that the service gives is one that the document allows. `make fuzz`
holds both against the running service.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from keyword import kwlist
from typing import Any

from werkzeug.routing import Rule

from controllers.answers import ErrorAnswer
from controllers.responses import JSON, PROBLEM
from controllers.schemas import EVENT_ID, MAX_ID, MAX_TEXT
from engine.secret_names import LONGEST_NAME

FAILURE = "#/components/schemas/ErrorAnswer"
"""The schema of a failure, which every operation has a dozen of."""

DESCRIPTION_ATTRIBUTE = "_description"

_PLACEHOLDER = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")
_UUID = {"type": "string", "format": "uuid"}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
_PATH_PARTS: dict[str, dict[str, Any]] = {
    "community_id": _NUMBER,
    "user_id": _NUMBER,
    "number": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "name": {"type": "string", "minLength": 1},
    "secret_name": {
        "type": "string",
        "pattern": f"^[A-Za-z][A-Za-z0-9_]{{0,{LONGEST_NAME - 1}}}$",
        "not": {"enum": kwlist},
    },
    "step_key": {"type": "string", "minLength": 1},
}
"""What stands in a path. Everything else there is the id of something, a UUID."""

_HEADERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "description": "The same key, caller and body within a day have one effect and one answer.",
        "schema": {
            "type": "string",
            "maxLength": MAX_TEXT,
            "pattern": "^[!-~]([ -~]*[!-~])?$",
        },
    },
    "If-Match": {
        "description": "The ETag of the workflow that this is based on; another one is 409.",
        "schema": {"type": "string", "pattern": '^([*]?|(W/)?"?[0-9]{1,9}"?)$'},
    },
    "Last-Event-ID": {
        "description": "The id of the last event that was seen.",
        "schema": {"type": "string", "pattern": EVENT_ID},
    },
}
_ON_EVERY_ANSWER = {
    "X-Request-ID": {
        "description": "The request's id: the one sent, or one made for it.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_LIMITS = {
    f"RateLimit-{name}": {
        "description": f"{meaning}; absent where requests are not limited.",
        "schema": {"type": "integer", "minimum": 0},
    }
    for name, meaning in {
        "Limit": "How many requests a minute there are",
        "Remaining": "How many are left",
        "Reset": "In how many seconds all are there again",
    }.items()
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "In how many seconds to try again.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "How to prove who asks.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_SENT: dict[str, dict[str, Any]] = {
    "ETag": {
        "description": "The workflow's version, for `If-Match`.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
    },
    "Location": {
        "description": "Where that which was made is found.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Idempotent-Replayed": {
        "description": "There if an earlier request with this `Idempotency-Key` did it.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_COME_BACK = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_FAILURES = HTTPStatus.BAD_REQUEST

PROBLEM_SCHEMA = {
    "type": "object",
    "description": "Failure as problem details (RFC 9457), for those who accept them.",
    "required": ["type", "title", "status", "detail", "error_code", "request_id", "details"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error_code": {"type": "string"},
        "request_id": {"type": "string"},
        "details": {},
    },
}


def failure_schema() -> dict[str, Any]:
    """The schema that `FAILURE` names; what it refers to is in the document already."""
    schema = ErrorAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
    return {name: value for name, value in schema.items() if name != "$defs"}


@dataclass(frozen=True, slots=True)
class Description:
    """What there is to say of an operation: the request headers it reads, the headers that its
    success is sent with, whether its body may be left out, and the media type of its success if
    that is not JSON."""

    headers: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    body_optional: bool = False
    media: str = JSON


def path_of(rule: Rule) -> str:
    """The rule's path as a template. (quart-schema reads two placeholders as one if the second
    has a converter.)"""
    return _PLACEHOLDER.sub(r"{\1}", rule.rule)


def path_part(name: str) -> dict[str, Any]:
    """The parameter that stands in a path under this name."""
    schema = dict(_PATH_PARTS.get(name, _UUID))
    return {"name": name, "in": "path", "required": True, "schema": schema}


def complete(operation: dict[str, Any], handler: Callable[..., Any], *, public: bool) -> None:
    """Adds to an operation of the document what all have in common and what its handler says."""
    says: Description = getattr(handler, DESCRIPTION_ATTRIBUTE, Description())
    for parameter in operation["parameters"]:
        if parameter["in"] == "query":
            parameter["schema"] = _never_null(parameter["schema"])
    named = [{"name": name, "in": "header", **_HEADERS[name]} for name in says.headers]
    operation["parameters"] = operation["parameters"] + named
    if "requestBody" in operation:
        operation["requestBody"]["required"] = not says.body_optional
    if public:
        operation["security"] = []
        for status in (401, 403, 429):
            operation["responses"].pop(status, None)
    for status, answer in operation["responses"].items():
        answer["headers"] = _headers(int(status), says, public=public)
        _complete_answer(int(status), answer, says.media)


def _headers(status: int, says: Description, *, public: bool) -> dict[str, Any]:
    headers = _ON_EVERY_ANSWER | ({} if public else _LIMITS)
    if status in _COME_BACK:
        return headers | _RETRY_AFTER
    if status == HTTPStatus.UNAUTHORIZED:
        return headers | _CHALLENGE
    if status >= _FAILURES:
        return headers
    sent = list(says.sends)
    if status == HTTPStatus.CREATED:
        sent.append("Location")
    if "Idempotency-Key" in says.headers:
        sent.append("Idempotent-Replayed")
    return headers | {name: _SENT[name] for name in sent}


def _complete_answer(status: int, answer: dict[str, Any], media: str) -> None:
    if status >= _FAILURES:
        plain = answer["content"][JSON]
        if plain["schema"]["title"] == ErrorAnswer.__name__:
            plain["schema"] = {"$ref": FAILURE}
        answer["content"][PROBLEM] = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    elif status == HTTPStatus.NO_CONTENT:
        del answer["content"]
    elif media != JSON:
        data = {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": answer["content"][JSON]["schema"],
        }
        event = {"type": "object", "properties": {"id": {"type": "string"}, "data": data}}
        answer["content"] = {media: {"schema": {"description": "Each event.", **event}}}


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a query parameter: there is no null in a query string, only absence."""
    kept = {name: value for name, value in schema.items() if name != "anyOf"}
    if kept.get("default", ...) is None:
        del kept["default"]
    choices = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    if len(choices) == 1:
        return {**choices[0], **kept}
    return {**kept, "anyOf": choices} if choices else kept
