"""The OpenAPI document and the page that shows it.

Its one rule: both are made from what is installed. The document comes from the handlers'
declarations, the page's scripts from a package; nothing is fetched from elsewhere.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from quart import Blueprint, Quart, Response, current_app, send_file
from quart_schema import APIKeySecurityScheme, HttpSecurityScheme, Info, QuartSchema, hide
from quart_schema.openapi import OpenAPIProvider
from werkzeug.routing import BaseConverter, Rule

from controllers.auth import PUBLIC
from controllers.described import PROBLEM_SCHEMA, complete, failure_schema, path_of, path_part
from controllers.endpoint import ACTION_ATTRIBUTE
from controllers.examples import add_examples, recorded
from controllers.responses import JSON

OPENAPI_PATH = "/openapi.json"
ASSETS_PACKAGE = "flask_swagger_ui"

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>WaddleBot Workflow Core</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. The document itself is at /openapi.json.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/setup.js"></script>
</body>
</html>
"""

SETUP = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""

ABOUT = """Stores, runs and shows workflows.

Two more addresses are no operations of this document:

* `GET /metrics`: what the process has counted, in Prometheus's text format, for the service's own
  machine or for `Authorization: Bearer <METRICS_TOKEN>`.
* `GET /api/v1/workflow-management/executions/ws`: a WebSocket with the events of
  `/api/v1/workflow-management/executions/stream`. The credential comes as a header or as the first
  message, `{"token": "…"}`; then `{"subscribe": {…the stream's filters…}}`. It answers
  `{"type": "subscribed"}`, `{"type": "execution_update", …}`, `{"type": "resync"}`,
  `{"type": "heartbeat"}` and `{"type": "error", "error_code", "message", "details"}`.

Failures come as `application/problem+json` (RFC 9457) to those who accept that."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

_DAY = 86_400

blueprint = Blueprint("docs", __name__, url_prefix="/docs")


class Provider(OpenAPIProvider):
    """quart-schema's document, completed by `described.py`."""

    def schema(self) -> dict[str, Any]:
        document = super().schema()
        schemas = {"ErrorAnswer": failure_schema(), "ProblemDetails": PROBLEM_SCHEMA}
        document["components"]["schemas"] |= schemas
        examples = recorded()
        for operations in document["paths"].values():
            for operation in operations.values():
                add_examples(operation, examples)
        return document

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        paths, components = super().build_paths(rule)
        operations: dict[str, Any] = next(iter(paths.values()))
        handler = self._app.view_functions[rule.endpoint]
        for operation in operations.values():
            complete(operation, handler, public=rule.rule in PUBLIC)
        return {path_of(rule): operations}, components

    def build_path_parameter(self, name: str, converter: BaseConverter) -> dict[str, Any]:
        return path_part(name)

    def operation_id(self, method: str, path: str, func: Any) -> str | None:
        return str(getattr(func, ACTION_ATTRIBUTE, func.__name__))


class Documentation(QuartSchema):
    """quart-schema, writing the document once: strangers may ask for it, and it takes a third of a
    second, in which nobody else is served."""

    _written: bytes | None = None

    @hide
    async def openapi(self) -> Response:
        """The document."""
        if self._written is None:
            self._written = current_app.json.dumps(self.openapi_provider.schema()).encode()
        return Response(self._written, content_type=JSON)


def add_openapi(app: Quart, version: str) -> None:
    """Serves `/openapi.json` and `/docs`."""
    Documentation(
        app,
        openapi_path=OPENAPI_PATH,
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        info=Info(
            title="WaddleBot Workflow Core",
            version=version,
            description=ABOUT,
        ),
        security_schemes={
            "apiKey": APIKeySecurityScheme(name="X-API-Key", in_="header"),
            "bearer": HttpSecurityScheme(scheme="bearer", bearer_format="wa-… key or JWT"),
        },
        security=[{"apiKey": []}, {"bearer": []}],
        conversion_preference="pydantic",
        openapi_provider_class=Provider,
    )
    app.register_blueprint(blueprint)


@blueprint.get("")
@hide
async def page() -> Response:
    """The API's documentation as a page."""
    return _local(PAGE, "text/html; charset=utf-8")


@blueprint.get("/setup.js")
@hide
async def setup() -> Response:
    """What starts the page."""
    return _local(SETUP, "text/javascript; charset=utf-8")


@blueprint.get("/swagger-ui-bundle.js")
@hide
async def script() -> Response:
    """Swagger UI's script, as installed."""
    return await _asset("swagger-ui-bundle.js")


@blueprint.get("/swagger-ui.css")
@hide
async def style() -> Response:
    """Swagger UI's style sheet, as installed."""
    return await _asset("swagger-ui.css")


async def _asset(name: str) -> Response:
    return await send_file(_assets() / name, cache_timeout=_DAY, conditional=True)


def _assets() -> Path:
    """Where the package keeps them; found without importing it."""
    spec = find_spec(ASSETS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {ASSETS_PACKAGE} is not installed")
    return Path(spec.submodule_search_locations[0]) / "dist"


def _local(text: str, content_type: str) -> Response:
    response = Response(text, content_type=content_type)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
