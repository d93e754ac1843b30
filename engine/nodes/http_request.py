"""The parts of an HTTP request as they leave: headers, query parameters and body, as text.

The rule: what cannot be sent is refused here, when it is rendered, and where it is fixed already
when the definition is judged; nothing that passes changes the message around it.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode

from engine.context import Json, JsonObject
from engine.errors import StepFailure
from engine.issues import pointer, shown
from engine.nodes.base import Finding

CONNECTION_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that describe the connection: an author who sets them could smuggle a request."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
"""A header's name (RFC 9110 §5.6.2)."""

_FORM = "application/x-www-form-urlencoded"

Params = dict[str, str | list[str]]


def headers_of(value: Json) -> dict[str, str]:
    """Headers as text; a null leaves its name out. Raises `StepFailure`."""
    headers: dict[str, str] = {}
    for name, item in _object(value, "headers").items():
        if item is None:
            continue
        headers[name] = _text(item, f"headers.{name}")
        problem = header_problem(name) or _value_problem(name, headers[name])
        if problem is not None:
            raise StepFailure("BAD_CONFIG", problem)
    return headers


def header_problem(name: str) -> str | None:
    """Why a header of this name cannot be sent; None if it can."""
    if not _TOKEN.match(name):
        return f"{name!r:.80} cannot be the name of a header"
    if name.lower() in CONNECTION_HEADERS:
        return f"the header {name!r} is set by the service"
    return None


def _value_problem(name: str, text: str) -> str | None:
    if text.isprintable():
        return None
    return f"the header {name!r:.80} contains a line break or another control character"


def params_of(value: Json, key: str) -> Params:
    """Query parameters as text. A list gives its name once for each item; a null, or an empty
    list, leaves it out. Raises `StepFailure`."""
    params: Params = {}
    for name, item in _object(value, key).items():
        if isinstance(item, list):
            texts = [_text(each, f"{key}.{name}") for each in item if each is not None]
            if texts:
                params[name] = texts
        elif item is not None:
            params[name] = _text(item, f"{key}.{name}")
    return params


def _object(value: Json, key: str) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise StepFailure("BAD_CONFIG", f"`{key}` must be an object, not {value!r:.80}")
    return value


def _text(value: Json, name: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise StepFailure("BAD_CONFIG", f"`{name}` must be text or a number, not {value!r:.80}")


def encoded_body(headers: dict[str, str], body: Json) -> Json:
    """The body as it will leave: an object is a form where the author's type says so."""
    kind = (header(headers, "Content-Type") or "").partition(";")[0].strip().lower()
    if kind != _FORM or not isinstance(body, dict):
        return body
    return urlencode(params_of(body, "body"), doseq=True)


def labelled(headers: dict[str, str], body: Json) -> dict[str, str]:
    """Says that a textual body is JSON when it is and the author gave no type: that is what
    templates like `'{"name": "{{ name }}"}'` mean."""
    if not isinstance(body, str) or has_header(headers, "Content-Type"):
        return headers
    if not body.lstrip().startswith(("{", "[")):
        return headers
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return headers
    return {**headers, "Content-Type": "application/json"}


def has_header(headers: dict[str, str], wanted: str) -> bool:
    """Whether there is a header of this name, in any case of its letters."""
    return any(name.lower() == wanted.lower() for name in headers)


def header(headers: dict[str, str], wanted: str) -> str | None:
    """The header of this name, in any case of its letters; None if there is none."""
    matching = (value for name, value in headers.items() if name.lower() == wanted.lower())
    return next(matching, None)


def check_headers(headers: Json) -> list[Finding]:
    """Judges names, which are never templates, and the values that are fixed."""
    if not isinstance(headers, dict):
        return []
    hint = 'For example {"Authorization": "Bearer {{ token }}"}'
    found: list[Finding] = []
    for name, value in headers.items():
        fixed = isinstance(value, str) and "{{" not in value
        problem = header_problem(name) or (_value_problem(name, value) if fixed else None)
        if isinstance(value, dict | list):
            problem = f"the header {name!r:.80} must be text or a number, not {shown(value)}"
        if problem is not None:
            found.append(Finding("VALIDATION", problem, pointer("/headers", name), hint))
    return found


def check_params(params: Json) -> list[Finding]:
    """Judges the values: what lies deeper than a list cannot be written into an address."""
    if not isinstance(params, dict):
        return []
    hint = 'For example {"page": 2, "tag": ["a", "b"]}'
    return [
        Finding(
            "VALIDATION",
            f"the parameter {name!r:.80} must be text, a number or a list of them, "
            f"not {shown(value)}",
            pointer("/params", name),
            hint,
        )
        for name, value in params.items()
        if any(isinstance(each, dict | list) for each in _items(value))
    ]


def _items(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]
