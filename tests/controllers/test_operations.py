"""Health, readiness, status, and the API's own description."""

from __future__ import annotations

import pytest

from composition import Running
from engine.errors import StoreUnavailable
from tests.controllers.conftest import Api

NOBODY = " "


async def test_health_asks_nobody(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*args: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("services.health.is_current", away)
    answer = await api.call("GET", "//health", key=NOBODY)
    assert (answer.status, answer.body["status"]) == (200, "ok")


async def test_readiness_is_200_while_every_part_is_there(api: Api) -> None:
    answer = await api.call("GET", "//healthz", key=NOBODY)
    assert answer.status == 200
    assert answer.body["checks"] == {"database": True, "migrations": True, "engine": True}


async def test_readiness_is_503_without_the_database(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("services.health.is_current", away)
    answer = await api.call("GET", "//healthz", key=NOBODY)
    assert (answer.status, answer.body["checks"]["database"]) == (503, False)


async def test_readiness_is_503_from_the_moment_it_drains(api: Api, service: Running) -> None:
    service.engine.wind_down()
    answer = await api.call("GET", "//healthz", key=NOBODY)
    assert (answer.status, answer.body["status"]) == (503, "draining")


async def test_status_tells_callers_what_runs_here(api: Api) -> None:
    answer = await api.call("GET", "/status")
    assert answer.data["module"] == "workflow_core_module"
    assert answer.data["status"] == "ok"


async def test_the_page_takes_everything_from_here(api: Api) -> None:
    page = await api.call("GET", "//docs", key=NOBODY)
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.body
    assert "https://" not in page.body
    for asset in ("setup.js", "swagger-ui.css", "swagger-ui-bundle.js"):
        assert f"/docs/{asset}" in page.body
        answer = await api.call("GET", f"//docs/{asset}", key=NOBODY)
        assert answer.status == 200
        assert answer.body


async def test_the_document_describes_every_operation(api: Api) -> None:
    document = (await api.call("GET", "//openapi.json", key=NOBODY)).body
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"apiKey", "bearer"}
    operations = [
        (path, operation)
        for path, methods in document["paths"].items()
        for operation in methods.values()
    ]
    names = [operation["operationId"] for _, operation in operations]
    assert len(names) == len(set(names))
    for path, operation in operations:
        assert operation["summary"], path
        statuses = set(operation["responses"])
        assert statuses & {"200", "201", "202"}, path
        assert ("401" in statuses) == path.startswith("/api"), path
    execute = document["paths"]["/api/v1/workflows/{workflow_id}/execute"]["post"]
    assert {"200", "202", "404", "409", "413", "415", "503"} <= set(execute["responses"])
    assert execute["requestBody"]["content"]["application/json"]["schema"]["examples"]


async def test_every_reference_of_the_document_leads_somewhere(api: Api) -> None:
    document = (await api.call("GET", "//openapi.json", key=NOBODY)).body
    schemas = document["components"]["schemas"]

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [one for item in value.values() for one in references(item)]
        if isinstance(value, list):
            return [one for item in value for one in references(item)]
        return []

    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas
