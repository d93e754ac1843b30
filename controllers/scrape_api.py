"""Blueprint `scrape_api`: `GET /metrics`, for Prometheus.

Its one rule: the page asks for no API key, but it is not for everybody: with `METRICS_TOKEN` for
who shows that, without one for the machine that the service runs on. A request that somebody
else's proxy has passed on does not count as the machine's own.
"""

from __future__ import annotations

import ipaddress
import time
from hmac import compare_digest

from quart import Blueprint, Quart, Response, request
from quart_schema import hide

from controllers.endpoint import async_endpoint
from controllers.errors import Unauthorized
from controllers.operation import operation
from controllers.state import state
from services.scrape import CONTENT_TYPE

blueprint = Blueprint("scrape_api", __name__)

_PASSED_ON = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


@blueprint.get("/metrics")
@hide
@async_endpoint("scrape", answers={})
async def scrape() -> Response:
    """Shows this process's metrics in Prometheus's text format. Needs `METRICS_TOKEN` as a
    bearer token if one is set, else to be asked from the service's own machine."""
    _admit(state().metrics_token)
    return Response(await state().scrape.page(), content_type=CONTENT_TYPE)


def add_http_meter(app: Quart) -> None:
    """Counts every answer by its method, route and status."""

    @app.after_request
    async def count(response: Response) -> Response:
        rule = request.url_rule
        seconds = time.perf_counter() - operation().started
        state().scrape.http.answered(
            request.method, None if rule is None else rule.rule, response.status_code, seconds
        )
        return response


def _admit(token: str | None) -> None:
    """Raises `Unauthorized`."""
    if token is not None:
        kind, _, shown = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not compare_digest(shown.strip().encode(), token.encode()):
            raise Unauthorized("Send METRICS_TOKEN as a Bearer token.")
    elif not _from_here():
        raise Unauthorized(
            "Only the service's own machine may ask; set METRICS_TOKEN to let others."
        )


def _from_here() -> bool:
    if any(name in request.headers for name in _PASSED_ON):
        return False
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
