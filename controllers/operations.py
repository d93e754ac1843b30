"""Blueprint `operations`: is it alive, is it ready, what is it.

Its one rule: `/health` asks nobody, so that a database that is away does not get a living process
killed; `/healthz` asks everyone.
"""

from __future__ import annotations

from quart import Blueprint, Response

from controllers import answers
from controllers.auth import ANY_SCOPE, auth_required
from controllers.endpoint import async_endpoint
from controllers.responses import plain, success
from controllers.state import state
from services.health import Readiness

blueprint = Blueprint("operations", __name__)


@blueprint.get("/health")
@async_endpoint("health", answers={200: answers.Health})
async def health() -> Response:
    """Says that the process lives."""
    about = state().health
    return plain({"status": "ok", "module": about.name, "version": about.version})


@blueprint.get("/healthz")
@async_endpoint("readiness", answers={200: answers.Health, 503: answers.Health})
async def readiness() -> Response:
    """Says whether requests should come here: 503 while a part is missing or the service is
    stopping."""
    found = await state().health.readiness()
    body = {"status": _verdict(found), "checks": _checks(found)}
    return plain(body, status=200 if found.ready else 503)


@blueprint.get("/api/v1/status")
@async_endpoint("status", answers={200: answers.Answer[answers.Health]})
@auth_required(ANY_SCOPE)
async def status() -> Response:
    """Says what runs here and how its parts are."""
    about = state().health
    found = await about.readiness()
    data = {
        "status": _verdict(found),
        "module": about.name,
        "version": about.version,
        "checks": _checks(found),
    }
    return success(data, "Status")


def _verdict(found: Readiness) -> str:
    if found.draining:
        return "draining"
    return "ok" if found.ready else "unavailable"


def _checks(found: Readiness) -> dict[str, bool]:
    return {
        "database": found.database,
        "migrations": found.migrations,
        "engine": found.engine,
    }
