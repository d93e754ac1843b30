"""The OpenAPI document says what the service does. `tests/test_fuzz.py` holds the two together;
here stands what was once wrong, and what no check of a fuzzer looks at."""

from __future__ import annotations

from typing import Any

import pytest

from tests.controllers.conftest import Api, greeting

API = "/api/v1"


@pytest.fixture
async def document(api: Api) -> Any:
    return (await api.call("GET", "//openapi.json", key="")).body


@pytest.mark.parametrize("prefix", ["workflows", "workflow-management"])
async def test_a_path_with_two_placeholders_has_both(document: Any, prefix: str) -> None:
    path = f"{API}/{prefix}/executions/{{execution_id}}/steps/{{step_key}}"

    assert [each["name"] for each in document["paths"][path]["get"]["parameters"]] == [
        "execution_id",
        "step_key",
    ]


async def test_no_query_parameter_may_be_null(document: Any) -> None:
    schemas = [
        parameter["schema"]
        for operations in document["paths"].values()
        for operation in operations.values()
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
    ]

    assert schemas
    assert not [each for each in schemas if {"type": "null"} in each.get("anyOf", [])]
    assert not [each for each in schemas if each.get("default", ...) is None]


async def test_every_route_with_a_limit_documents_the_refusal(document: Any) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            limited = path.startswith(API)
            assert ("429" in operation["responses"]) == limited, path
            headers = operation["responses"]["400"]["headers"]
            assert ("RateLimit-Remaining" in headers) == limited, path


async def test_failures_are_documented_in_both_of_their_forms(document: Any) -> None:
    refused = document["paths"][f"{API}/workflows"]["get"]["responses"]["400"]

    assert set(refused["content"]) == {"application/json", "application/problem+json"}


async def test_streams_are_documented_as_streams(document: Any) -> None:
    follow = document["paths"][f"{API}/workflows/executions/{{execution_id}}/events"]["get"]

    assert set(follow["responses"]["200"]["content"]) == {"text/event-stream"}
    assert "content" not in follow["responses"]["204"]
    assert "Last-Event-ID" in {each["name"] for each in follow["parameters"]}


async def test_headers_that_are_read_are_documented(document: Any) -> None:
    paths = document["paths"]
    reads = {
        f"{API}/workflows/{{workflow_id}}/execute": ("post", "Idempotency-Key"),
        f"{API}/workflows/{{workflow_id}}/execute/batch": ("post", "Idempotency-Key"),
        f"{API}/workflows/executions/{{execution_id}}/retry": ("post", "Idempotency-Key"),
        f"{API}/workflows/executions/{{execution_id}}/signals/{{name}}": (
            "post",
            "Idempotency-Key",
        ),
        f"{API}/workflows/{{workflow_id}}": ("put", "If-Match"),
        f"{API}/workflows/{{workflow_id}}/publish": ("post", "If-Match"),
    }
    for path, (method, header) in reads.items():
        assert header in {each["name"] for each in paths[path][method]["parameters"]}, path


async def test_a_body_that_may_be_left_out_may_not_be_null(api: Api, document: Any) -> None:
    admin = await api.new_key(scopes=["admin"])
    made = await api.call(
        "POST", "/api-keys", {"name": "a", "scopes": ["workflows:read"]}, key=admin
    )
    path = f"/api-keys/{made.data['key_id']}/rotate"
    json_type = {"Content-Type": "application/json"}

    refused = await api.call("POST", path, key=admin, data="null", headers=json_type)
    nothing = await api.call("POST", path, key=admin)

    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")
    assert nothing.status == 201
    documented = document["paths"][f"{API}/api-keys/{{key_id}}/rotate"]["post"]
    assert documented["requestBody"]["required"] is False


async def test_an_integer_may_be_written_with_a_point_as_json_schema_has_it(api: Api) -> None:
    admin = await api.new_key(scopes=["admin"])
    body = {"name": "a", "scopes": ["workflows:read"], "expires_days": 30.0}

    whole = await api.call("POST", "/api-keys", body, key=admin)
    broken = await api.call("POST", "/api-keys", {**body, "expires_days": 30.5}, key=admin)

    assert whole.status == 201
    assert broken.status == 400
    assert broken.body["details"][0]["path"] == "/expires_days"


async def test_a_workflow_cannot_be_of_a_community_that_no_request_could_name(api: Api) -> None:
    admin = await api.new_key(community=None, scopes=["admin"])

    refused = await api.call("POST", "/workflows", greeting(community_id=-5), key=admin)

    assert refused.status == 400
    assert refused.body["details"][0]["path"] == "/community_id"


async def test_a_workflow_may_be_sent_back_as_it_was_answered(api: Api, document: Any) -> None:
    """The document allows what the service does: it passes over what only it sets."""
    workflow_id = await api.stored()
    answered = (await api.call("GET", f"/workflows/{workflow_id}")).data
    content = document["paths"][f"{API}/workflows/{{workflow_id}}"]["put"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]

    assert schema["additionalProperties"] is False
    assert answered.keys() <= schema["properties"].keys()
    assert (await api.call("PUT", f"/workflows/{workflow_id}", answered)).status == 200
