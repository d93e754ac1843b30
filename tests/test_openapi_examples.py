"""The examples of the OpenAPI document are what the service answers, and what the document says
that it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from app import create_app
from config import Config
from controllers.examples import recorded
from controllers.openapi import Provider
from tests.markdown import differences
from tests.raid_story import told
from tests.teller import Teller

AGAIN = "tell it anew, and look at what has changed: python -m tests.raid_story"

_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\"\s,}]*")
_RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def document() -> Any:
    app = create_app(Config())
    return json.loads(json.dumps(Provider(app, app.extensions["QUART_SCHEMA"]).schema()))


@pytest.fixture(scope="module")
def examples() -> Any:
    return recorded()


@pytest.fixture
async def story(tmp_path: Path) -> Any:
    async with told(tmp_path) as story:
        yield story


def operations(document: Any) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def contents(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each first media type of each request and answer, and where it is."""
    for operation in operations(document):
        places = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for place, described in places.items():
            for media in list(described.get("content", {}).values())[:1]:
                yield f"{operation['operationId']} {place}", media


def test_the_document_is_openapi(document: Any) -> None:
    validator = jsonschema_rs.Draft202012Validator(OPENAPI_31)

    assert [str(each) for each in validator.iter_errors(document)] == []


def test_every_body_has_an_example(document: Any) -> None:
    unshown = [where for where, media in contents(document) if "example" not in media]

    assert unshown == ["readiness 503"]  # an ending service, which the story does not see


def test_every_example_is_of_its_schema(document: Any) -> None:
    wrong = []
    for where, media in contents(document):
        schema = {**media["schema"], "components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        found = validator.iter_errors(media["example"]) if "example" in media else ()
        wrong += [f"{where}{each.instance_path}: {each.message}" for each in found]

    assert wrong == []


def test_an_event_is_of_the_schema_of_its_data(document: Any) -> None:
    streams = [media for _, media in contents(document) if "contentSchema" in str(media)]

    assert len(streams) == 2
    for media in streams:
        schema = media["schema"]["properties"]["data"]["contentSchema"]
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.validate(whole, json.loads(media["example"]["data"]))


def test_ids_are_of_version_7_and_instants_are_in_utc(examples: Any) -> None:
    text = json.dumps(examples)

    assert set(_UUID.findall(text)) == {"7"}
    instants = _INSTANT.findall(text)
    assert instants
    assert [each for each in instants if not _RFC3339_UTC.match(each)] == []


async def test_the_service_answers_what_is_recorded(story: Teller, examples: Any) -> None:
    wrong = list(differences(comparable(examples), comparable(story.told)))

    assert wrong == [], AGAIN
    documented(story)


def documented(story: Teller) -> None:
    """Every header that came, of those that tell something, stands in the document, and those
    which it promises came."""
    telling = {"location", "etag", "idempotent-replayed", "retry-after", "www-authenticate"}
    described = {each["operationId"]: each["responses"] for each in operations(story.document)}
    seen: set[str] = set()
    for (operation, status), came in story.headers.items():
        said = described[operation][str(status)]["headers"]
        promised = {name.lower() for name, header in said.items() if header.get("required")}
        assert promised <= came, f"{operation} {status}"
        assert came & telling <= {name.lower() for name in said}, f"{operation} {status}"
        seen |= came
    assert seen >= {"location", "etag", "idempotent-replayed"}


def comparable(told: Any) -> Any:
    """What was told, without what is of no order: which of two nodes was slower by microseconds;
    and with the data of events as JSON."""
    copied = json.loads(json.dumps(told))
    for name in ("stream_execution", "stream_executions"):
        event = copied[name]["answers"]["200"]
        event["data"] = json.loads(event["data"])
    metrics = copied["get_metrics"]["answers"]["200"]
    for counted in (metrics["totals"], *metrics["buckets"]):
        if "slowest_nodes" in counted:
            counted["slowest_nodes"].sort(key=lambda node: str(node["node_id"]))
    return copied
