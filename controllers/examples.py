"""The examples of the OpenAPI document.

Its one rule: nobody types an answer. What the service answers is recorded from a running one, by
`python -m tests.raid_story`, and the tests tell that story again and compare; failures that no
story can bring about are written by the table that answers them (`errors.py`).
"""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from controllers.described import FAILURE
from controllers.errors import Unauthorized, failure_of
from controllers.requests import JSON_WANTED
from controllers.responses import JSON
from engine.errors import StoreUnavailable
from services.errors import (
    DeliveryPending,
    Denied,
    RateLimited,
    TooManyAlerts,
    TooManyGrants,
    TooManySecrets,
    TooManyWebhooks,
)

RECORDED = Path(__file__).with_name("examples.json")

_REQUEST_ID = "01a21e8e-a2f2-77b8-8edf-2d629cc685cf"
_EVERYWHERE: dict[int, Exception] = {
    401: Unauthorized(),
    403: Denied(),
    413: RequestEntityTooLarge(),
    415: UnsupportedMediaType(JSON_WANTED),
    429: RateLimited(1),
    500: RuntimeError(),
    503: StoreUnavailable(),
}
_CONFLICTS: dict[str, Exception] = {
    "create_alert": TooManyAlerts(),
    "create_webhook": TooManyWebhooks(),
    "grant_permissions": TooManyGrants(),
    "replay_delivery": DeliveryPending(),
    "replay_webhook_delivery": DeliveryPending(),
    "set_secret": TooManySecrets(),
}
"""409 of operations that would have to be called a hundred times, or in the right moment."""

Examples = dict[str, dict[str, Any]]
"""By operation: its `request`, if it has a body, and its `answers` by status."""


def recorded() -> Examples:
    """What was recorded."""
    examples: Examples = json.loads(RECORDED.read_text(encoding="utf-8"))
    return examples


def add_examples(operation: dict[str, Any], examples: Examples) -> None:
    """Puts an example beside each schema of an operation."""
    name = operation["operationId"]
    told = examples.get(name, {})
    if "request" in told:
        _show(operation["requestBody"], told["request"])
    for status, described in operation["responses"].items():
        answer = told.get("answers", {}).get(str(status))
        if answer is None:
            answer = _unrecorded(name, int(status), described)
        if answer is not None:
            _show(described, answer)


def _unrecorded(name: str, status: int, described: dict[str, Any]) -> Any:
    """The failure of this status that the table writes. None if there is none."""
    content = described.get("content", {}).get(JSON, {})
    if content.get("schema", {}).get("$ref") != FAILURE:
        return None
    error = _CONFLICTS.get(name) if status == HTTPStatus.CONFLICT else _EVERYWHERE.get(status)
    return None if error is None else json.loads(failure_of(error, _REQUEST_ID).body())


def _show(described: dict[str, Any], example: Any) -> None:
    """An example is of the first media type: failures have a second one, of another shape."""
    media = next(iter(described["content"].values()))
    media["example"] = example
