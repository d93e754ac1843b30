"""The HTTP request: rendered, sent, judged by its status.

Its one rule: what `render` gives is the request as it will leave, but for the `Idempotency-Key`
header, which belongs to the step and not to the configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

from engine.context import Json, JsonObject
from engine.errors import StepFailure
from engine.expressions import Budget, Env, Overlay, Template, compile_template
from engine.issues import pointer, shown
from engine.nodes.base import EffectIO, Field, Finding, NodeSpec, Result, options
from engine.nodes.checks import check_written, url_problem, written
from engine.nodes.delay import LONGEST_SECONDS
from engine.nodes.http_request import (
    check_headers,
    check_params,
    encoded_body,
    has_header,
    header,
    headers_of,
    labelled,
    params_of,
)
from engine.nodes.usage import USAGE, check_usage, reported_usage
from engine.ports import HttpClient, HttpResponse, SecretUse
from engine.sealed import PARTS, StandIns, places_of
from engine.secret_names import SECRETS
from engine.trace_context import TRACEPARENT

RETRYABLE = frozenset({408, 425, 429})
"""Statuses below 500 that ask to be tried again."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

SHOWN_CHARACTERS = 2000
"""How much of an unwelcome answer is kept with the error."""

_NO_HOST = "a request that carries secrets goes to the host of its `url`: it cannot set `Host`"

_DELAY = re.compile(r"[0-9]+(\.[0-9]+)?")
"""RFC 9110 knows whole seconds only, but chat platforms send fractions too."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One HTTP request."""

    method: str
    url: Template
    headers: Template
    params: Template
    body: Template
    timeout_seconds: float | None
    expected_status: Json
    output_variable: str | None
    usage: JsonObject | None
    secrets: tuple[str, ...] = ()

    def render(self, env: Env, budget: Budget) -> JsonObject:
        """The request, sealed if it carries secrets. Raises `StepFailure` when it could not be
        sent."""
        url = self.url.render(env, budget)
        if not isinstance(url, str):
            raise StepFailure("BAD_URL", f"`url` must give a string, not {url!r:.80}")
        url = url.strip()
        if problem := url_problem(url):
            raise StepFailure("BAD_URL", f"Cannot request {url!r:.200}: {problem}")
        stand_ins = StandIns(self.secrets, env.uuid()) if self.secrets else None
        if stand_ins is not None:
            env = Overlay(env, {SECRETS: stand_ins.values})
        headers = headers_of(self.headers.render(env, budget))
        plain = self.body.render(env, budget)
        body = encoded_body(headers, plain)
        rendered: JsonObject = {
            "method": self.method,
            "url": url,
            "headers": labelled(headers, body),
            "params": params_of(self.params.render(env, budget), "params"),
            "body": body,
            "expected_status": self.expected_status,
        }
        if self.timeout_seconds is not None:
            rendered["timeout_seconds"] = self.timeout_seconds
        if stand_ins is None:
            return rendered
        if has_header(headers, "Host"):
            raise StepFailure("BAD_CONFIG", _NO_HOST)
        return stand_ins.seal(rendered, form=body is not plain)

    async def perform(self, rendered: JsonObject, io: EffectIO) -> Json:
        headers: dict[str, str] = rendered["headers"]
        if not has_header(headers, "Idempotency-Key"):
            headers = {**headers, "Idempotency-Key": io.idempotency_key}
        if io.trace and not has_header(headers, TRACEPARENT):
            headers = {**headers, **io.trace}
        response = await _client(rendered, io).request(
            rendered["method"],
            rendered["url"],
            headers=headers,
            params=rendered["params"] or None,
            body=rendered["body"],
            timeout_seconds=min(
                rendered.get("timeout_seconds", io.timeout_seconds), io.timeout_seconds
            ),
        )
        if not expects(rendered["expected_status"])(response.status):
            raise _unexpected(rendered, response)
        return {
            "status": response.status,
            "headers": dict(response.headers),
            "body": response.body,
        }

    def conclude(self, rendered: JsonObject, output: Json) -> Result:
        variables = {self.output_variable: output} if self.output_variable else None
        body = output.get("body") if isinstance(output, dict) else None
        usage = reported_usage(body, self.usage)
        return Result(output=output, variables=variables, usage=usage)


def _client(rendered: JsonObject, io: EffectIO) -> HttpClient:
    """Who sends the request: whoever can fill in its secrets, if it carries any. Raises
    `StepFailure`."""
    places = places_of(rendered)
    if not places:
        return io.http
    if io.carrying is None:
        raise StepFailure("SECRETS_UNAVAILABLE", "there are no secrets here")
    return io.carrying(SecretUse(io.execution["community_id"], places, io.may_act))


def _unexpected(rendered: JsonObject, response: HttpResponse) -> StepFailure:
    """The failure for a status nobody expected."""
    host = urlsplit(rendered["url"]).hostname
    return StepFailure(
        "HTTP_STATUS",
        f"{rendered['method']} {host} answered {response.status}, "
        f"expected {_show_expected(rendered['expected_status'])}",
        retryable=response.status in RETRYABLE or response.status >= 500,
        retry_after=retry_after(response.headers),
        uncertain=is_uncertain(response.status),
        details={"status": response.status, "body": _shortened(response.body)},
    )


def is_uncertain(status: int) -> bool:
    """Whether a request that was answered so may have taken effect. 503 says that it has not."""
    return status >= 500 and status != 503


def _shortened(body: Json) -> Json:
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return body if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def retry_after(headers: dict[str, str]) -> float | None:
    """The server's wish in seconds (RFC 9110 §10.2.3): a number, or a date, which is read
    against the server's own `Date` so that its clock need not agree with ours."""
    wish = header(headers, "Retry-After")
    if wish is None:
        return None
    wish = wish.strip()
    if _DELAY.fullmatch(wish):
        return float(wish)
    date = header(headers, "Date")
    if date is None:
        return None
    try:
        ahead = parsedate_to_datetime(wish) - parsedate_to_datetime(date)
    except (ValueError, TypeError):
        # No date, or one with and one without a time zone.
        return None
    return max(0.0, ahead.total_seconds())


def expects(value: Json) -> Callable[[int], bool]:
    """A test for a status by `expected_status`: `"2xx"`, `200`, `[200, 404]`, `"200,404"`,
    `"200-204"`.

    Raises `ValueError` naming the part that is none of these.
    """
    ranges = [_status_range(part) for part in _status_parts(value)]
    if not ranges:
        raise ValueError("no status at all")
    return lambda status: any(low <= status <= high for low, high in ranges)


def _status_parts(value: Json) -> list[Json]:
    parts = value if isinstance(value, list) else [value]
    split: list[Json] = []
    for part in parts:
        split.extend(part.split(",") if isinstance(part, str) else [part])
    return split


def _status_range(part: Json) -> tuple[int, int]:
    text = str(part).strip().lower()
    low, dash, high = text.partition("-")
    if dash:
        ends = _status_range(low)[0], _status_range(high)[1]
        if ends[0] <= ends[1]:
            return ends
    if len(text) == 3 and text[0] in "12345" and not isinstance(part, float):
        if text[1:] == "xx":
            return int(text[0]) * 100, int(text[0]) * 100 + 99
        if text.isascii() and text.isdecimal():
            return int(text), int(text)
    named = f"{part!r:.80}" if isinstance(part, str) else shown(part)
    raise ValueError(f"{named} is not a status like 200 or 2xx")


def _show_expected(value: Json) -> str:
    return " or ".join(str(part).strip() for part in _status_parts(value))


FIELDS = (
    Field("url", ("string",), "template", required=True),
    Field("method", ("string",), default="POST", choices=METHODS),
    Field("headers", ("object",), "template", default={}, secrets=True),
    Field("params", ("object",), "template", default={}, secrets=True),
    Field("body", kind="template", aliases=("body_template",), secrets=True),
    Field("timeout_seconds", ("number",), minimum=0.001, maximum=LONGEST_SECONDS),
    Field("output_variable", ("string",)),
    Field("expected_status", ("string", "integer", "array"), default="2xx"),
    USAGE,
    Field("test_output"),
)


def _compile(config: JsonObject) -> Webhook:
    config = options(FIELDS, config)
    timeout = config.get("timeout_seconds")
    headers, params, body = parts = [compile_template(config.get(name)) for name in PARTS]
    return Webhook(
        config["method"],
        compile_template(config["url"]),
        headers,
        params,
        body,
        None if timeout is None else float(timeout),
        config["expected_status"],
        config.get("output_variable"),
        config.get("usage"),
        tuple(dict.fromkeys(p[1] for part in parts for p in part.paths if p[0] == SECRETS)),
    )


def _normalise(config: JsonObject) -> JsonObject:
    """Writes the method in capitals."""
    method = config.get("method")
    return config | {"method": method.strip().upper()} if isinstance(method, str) else config


def _check(config: JsonObject) -> Sequence[Finding]:
    return [
        *_check_url(config.get("url")),
        *check_headers(config.get("headers")),
        *check_params(config.get("params")),
        *_check_expected(config.get("expected_status")),
        *check_written([("/output_variable", config.get("output_variable"))]),
        *check_usage(config),
    ]


def _check_url(url: Json) -> list[Finding]:
    """Judges a URL without templates whole, and the scheme of one whose beginning is fixed."""
    if not isinstance(url, str) or not url:
        return []
    fixed, _, templated = url.partition("{{")
    if templated and "://" not in fixed:
        return []
    problem = url_problem(fixed.strip()) if not templated else _scheme_problem(fixed)
    if problem is None:
        return []
    hint = "Write a whole address, like https://api.example.com/v1/users"
    return [Finding("BAD_URL", f"{url!r:.200} cannot be requested: {problem}", "/url", hint)]


def _scheme_problem(fixed: str) -> str | None:
    parts: SplitResult = urlsplit(fixed.partition("://")[0].strip() + "://host")
    return None if parts.scheme in {"http", "https"} else "it is neither http nor https"


def _check_expected(value: Json) -> list[Finding]:
    """Judges each part where it lies. What has no form that holds statuses, its type is told of."""
    found: list[Finding] = []
    for path, part in _expected_parts(value):
        try:
            expects(part)
        except ValueError as error:
            hint = 'Write "2xx", 200, [200, 404] or "2xx,404"'
            found.append(Finding("VALIDATION", f"`expected_status`: {error}", path, hint))
    return found


def _expected_parts(value: Json) -> list[tuple[str, Json]]:
    """Where each part lies, and what it allows when it stands alone."""
    if value is None or isinstance(value, dict):
        return []
    if isinstance(value, list) and value:
        return [(pointer("/expected_status", at), [part]) for at, part in enumerate(value)]
    return [("/expected_status", value)]


WEBHOOK = NodeSpec(
    type="action_webhook",
    family="effect",
    summary="Sends an HTTP request; gives status, headers and body.",
    fields=FIELDS,
    compile=_compile,
    normalise=_normalise,
    check=_check,
    sets=lambda config: written(config, "output_variable"),
    default_timeout_seconds=10,
)
