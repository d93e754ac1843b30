"""The workflow endpoints: created, read, edited, published, archived, validated."""

from __future__ import annotations

import re

import pytest

from engine.definition import DOCUMENT_FIELDS
from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, OWNER, Api, greeting

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_new_workflow_is_a_draft_in_canonical_form(api: Api) -> None:
    answer = await api.call("POST", "/workflows", greeting(tags=["chat"]))
    assert answer.status == 201
    assert answer.body["success"] is True
    data = answer.data
    assert data["status"] == "draft"
    assert (data["version"], data["published_version"]) == (1, None)
    assert (data["created_by"], data["community_id"]) == (OWNER, COMMUNITY)
    assert data["nodes"]["greet"]["node_id"] == "greet"
    assert data["tags"] == ["chat"]
    assert INSTANT.fullmatch(data["created_at"])
    assert answer.headers["location"] == f"/api/v1/workflows/{data['workflow_id']}"
    assert answer.headers["etag"] == '"1"'


async def test_publish_on_creation_makes_version_one_active(api: Api) -> None:
    answer = await api.call("POST", "/workflows?publish=true", greeting())
    assert (answer.data["status"], answer.data["published_version"]) == ("active", 1)


async def test_what_was_answered_may_be_sent_back(api: Api) -> None:
    workflow_id = await api.stored(publish=False)
    read = await api.call("GET", f"/workflows/{workflow_id}")
    written = await api.call("PUT", f"/workflows/{workflow_id}", read.data)
    assert written.status == 200, written.body
    assert written.data["nodes"] == read.data["nodes"]


async def test_a_part_of_a_document_changes_that_part(api: Api) -> None:
    workflow_id = await api.stored(publish=False)
    answer = await api.call("PUT", f"/workflows/{workflow_id}", {"description": "Says hello."})
    assert answer.status == 200
    assert answer.data["description"] == "Says hello."
    assert (answer.data["name"], answer.data["version"]) == ("Greet", 2)
    assert set(answer.data["nodes"]) == {"start", "greet"}


@pytest.mark.parametrize("form", ["header", "body"])
async def test_an_edit_of_a_stale_version_is_a_conflict(api: Api, form: str) -> None:
    workflow_id = await api.stored(publish=False)
    first = {"name": "One"} | ({"version": 1} if form == "body" else {})
    headers = {"If-Match": '"1"'} if form == "header" else {}
    url = f"/workflows/{workflow_id}"
    assert (await api.call("PUT", url, first, headers=headers)).status == 200
    again = await api.call("PUT", url, first, headers=headers)
    assert (again.status, again.code) == (409, "VERSION_CONFLICT")
    assert again.body["details"] == {"current_version": 2}


async def test_an_edit_is_live_only_once_it_is_published(api: Api) -> None:
    workflow_id = await api.stored()
    await api.call("PUT", f"/workflows/{workflow_id}", {"name": "Edited"})
    versions = await api.call("GET", f"/workflows/{workflow_id}/versions")
    assert [(one["version"], one["live"]) for one in versions.data] == [(1, True)]
    published = await api.call("POST", f"/workflows/{workflow_id}/publish")
    assert published.data["published_version"] == 2
    first = await api.call("GET", f"/workflows/{workflow_id}/versions/1")
    assert (first.data["document"]["name"], first.data["live"]) == ("Greet", False)


@pytest.mark.parametrize("number", ["3", "0", "x", "-1", "99999999999"])
async def test_a_version_that_does_not_exist_is_not_found(api: Api, number: str) -> None:
    workflow_id = await api.stored()
    answer = await api.call("GET", f"/workflows/{workflow_id}/versions/{number}")
    assert (answer.status, answer.code) == (404, "WORKFLOW_NOT_FOUND")


async def test_deleting_archives_and_publishing_brings_back(api: Api) -> None:
    workflow_id = await api.stored()
    assert (await api.call("DELETE", f"/workflows/{workflow_id}")).data["status"] == "archived"
    assert (await api.call("GET", "/workflows")).data == []
    archived = await api.call("GET", "/workflows?status=archived")
    assert [row["workflow_id"] for row in archived.data] == [workflow_id]
    run = await api.call("POST", f"/workflows/{workflow_id}/execute", {"community_id": COMMUNITY})
    assert (run.status, run.code) == (409, "WORKFLOW_NOT_ACTIVE")
    back = await api.call("POST", f"/workflows/{workflow_id}/publish")
    assert back.data["status"] == "active"


async def test_a_draft_may_be_unfinished_but_not_be_published(api: Api) -> None:
    workflow_id = await api.stored(publish=False, nodes={}, connections=[])
    answer = await api.call("POST", f"/workflows/{workflow_id}/publish")
    assert (answer.status, answer.code) == (422, "INVALID_DEFINITION")
    assert "NO_NODES" in {issue["code"] for issue in answer.body["details"]["errors"]}


async def test_a_wrong_document_is_refused_and_nothing_is_stored(api: Api, dal: AsyncDAL) -> None:
    wrong = greeting(connections=[{"from_node_id": "start", "to_node_id": "gret"}])
    answer = await api.call("POST", "/workflows", wrong)
    assert (answer.status, answer.code) == (422, "INVALID_DEFINITION")
    issue = answer.body["details"]["errors"][0]
    assert issue["code"] == "UNKNOWN_NODE_IN_CONNECTION"
    assert "greet" in str(issue["hint"])
    assert await dal.fetchval("SELECT count(*) FROM workflows") == 0


@pytest.mark.parametrize(
    ("changes", "path"),
    [({"name": 5}, "/name"), ({"community_id": "x"}, "/community_id"), ({"tags": 1}, "/tags")],
)
async def test_a_wrong_type_is_a_validation_error_at_its_place(
    api: Api, changes: dict[str, object], path: str
) -> None:
    answer = await api.call("POST", "/workflows", greeting(**changes))
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.body["details"][0]["path"] == path


async def test_an_answer_has_every_field_and_sent_back_it_changes_nothing(
    api: Api, dal: AsyncDAL
) -> None:
    nodes = greeting()["nodes"]
    nodes["greet"] |= {"retry": {"max_attempts": 2}}
    workflow_id = await api.stored(nodes=nodes)
    url = f"/workflows/{workflow_id}"
    document = "SELECT document::text FROM workflows WHERE workflow_id = $1"
    before = await dal.fetchval(document, workflow_id)

    shown = (await api.call("GET", url)).data
    again = (await api.call("PUT", url, shown)).data

    assert shown.keys() >= DOCUMENT_FIELDS
    assert {name for name in DOCUMENT_FIELDS if shown[name] is None} == {
        "description", "entity_id", "trigger_type", "trigger_config", "max_execution_time_seconds",
        "max_parallel_executions", "retention_days", "error_workflow_id",
    }  # fmt: skip
    assert shown["nodes"]["greet"]["retry"] == {
        "max_attempts": 2,
        "backoff": "exponential",
        "initial_seconds": 1,
        "max_seconds": 60,
        "jitter": True,
    }
    assert again | {"version": 1, "updated_at": shown["updated_at"]} == shown
    assert await dal.fetchval(document, workflow_id) == before


async def test_validating_answers_200_whatever_it_finds(api: Api) -> None:
    good = await api.call("POST", "/workflows/validate", greeting())
    assert (good.status, good.data["is_valid"]) == (200, True)
    bad = await api.call("POST", "/workflows/validate", {"nodes": 7})
    assert (bad.status, bad.data["is_valid"]) == (200, False)
    workflow_id = await api.stored(publish=False, nodes={}, connections=[])
    stored = await api.call("POST", f"/workflows/{workflow_id}/validate")
    assert (stored.status, stored.data["is_valid"]) == (200, False)


async def test_validating_with_a_body_judges_the_edit_that_it_would_make(api: Api) -> None:
    workflow_id = await api.stored()
    url = f"/workflows/{workflow_id}"
    wrong = {"connections": [{"from_node_id": "start", "to_node_id": "gret"}]}

    for body in (wrong, greeting(**wrong)):
        told = await api.call("POST", f"{url}/validate", body)
        assert (told.status, told.data["is_valid"]) == (200, False)
        [error] = told.data["errors"]
        assert error["path"] == "/connections/0/to_node_id"
    for body in ({}, {"description": "changed"}, greeting(name="Other")):
        told = await api.call("POST", f"{url}/validate", body)
        assert (told.status, told.data["is_valid"]) == (200, True)
    shown = await api.call("GET", url)
    assert (shown.data["version"], shown.data["name"]) == (1, greeting()["name"])


async def test_validating_with_a_body_finds_what_putting_it_would_refuse(api: Api) -> None:
    workflow_id = await api.stored()
    wrong = {"tags": [1], "nodes": 7}

    told = await api.call("POST", f"/workflows/{workflow_id}/validate", wrong)
    refused = await api.call("PUT", f"/workflows/{workflow_id}", wrong)

    assert (told.status, refused.status) == (200, 400)
    places = [error["path"] for error in told.data["errors"]]
    assert places == [problem["path"] for problem in refused.body["details"]]


async def test_a_body_for_another_community_is_validated_for_no_workflow(api: Api) -> None:
    workflow_id = await api.stored()
    body = greeting(community_id=COMMUNITY + 1)

    told = await api.call("POST", f"/workflows/{workflow_id}/validate", body)

    assert (told.status, told.code) == (404, "WORKFLOW_NOT_FOUND")


@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [
        (b"{", "INVALID_JSON", 400),
        (b'{"name": "a", "name": "b"}', "INVALID_JSON", 400),
        (b"[]", "VALIDATION_ERROR", 400),
        (b'"x"', "VALIDATION_ERROR", 400),
        (b"null", "VALIDATION_ERROR", 400),
    ],
)
async def test_a_body_that_is_no_object_is_refused_where_a_stored_workflow_is_validated(
    api: Api, sent: bytes, code: str, status: int
) -> None:
    workflow_id = await api.stored()
    headers = {"X-API-Key": api.key, "Content-Type": "application/json"}

    url = f"/api/v1/workflows/{workflow_id}/validate"
    response = await api.client.post(url, data=sent, headers=headers)

    assert response.status_code == status
    assert (await response.get_json())["error_code"] == code


async def test_a_list_is_walked_by_cursor_without_gap_or_repeat(api: Api) -> None:
    made = [await api.stored(publish=False, name=f"W{number}") for number in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await api.call("GET", f"/workflows?limit=2{cursor}")
        seen += [row["workflow_id"] for row in page.data]
        pagination = page.body["meta"]["pagination"]
        assert pagination["total"] == 5
        if pagination["next_cursor"] is None:
            break
        cursor = f"&cursor={pagination['next_cursor']}"
    assert seen == made[::-1]


async def test_a_list_is_walked_by_page_number(api: Api) -> None:
    for number in range(3):
        await api.stored(publish=False, name=f"W{number}")
    last = await api.call("GET", "/workflows?page=2&per_page=2")
    assert [row["name"] for row in last.data] == ["W0"]
    pagination = last.body["meta"]["pagination"]
    assert (pagination["total_pages"], pagination["has_next"]) == (2, False)
    assert pagination["has_prev"] is True


@pytest.mark.parametrize(("first", "begins"), [("limit=4", 1), ("page=2&per_page=4", 2)])
async def test_pages_are_counted_along_cursors_from_wherever_they_begin(
    api: Api, first: str, begins: int
) -> None:
    made = [await api.stored(publish=False, name=f"W{number}") for number in range(9)]
    page = await api.call("GET", f"/workflows?{first}")
    seen, told = list(page.data), [page.body["meta"]["pagination"]]
    while cursor := told[-1]["next_cursor"]:
        page = await api.call("GET", f"/workflows?limit=4&cursor={cursor}")
        seen += page.data
        told.append(page.body["meta"]["pagination"])
    counted = [(each["page"], each["has_prev"]) for each in told]
    assert counted == [(number, number > 1) for number in range(begins, 4)]
    assert [row["workflow_id"] for row in seen] == made[::-1][(begins - 1) * 4 :]


async def test_two_names_of_the_size_of_a_page_may_not_contradict_each_other(api: Api) -> None:
    await api.stored(publish=False)
    for query in ("limit=3&per_page=7", "limit=20&per_page=7", "limit=7&per_page=20"):
        answer = await api.call("GET", f"/workflows?{query}")
        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
        [problem] = answer.body["details"]
        assert problem["path"] == "/per_page"
        assert problem["message"] == "contradicts limit, which is another name for it"
    for query, size in (("limit=7&per_page=7", 7), ("limit=3", 3), ("per_page=3", 3), ("", 20)):
        answer = await api.call("GET", f"/workflows?{query}")
        assert answer.body["meta"]["pagination"]["per_page"] == size


async def test_a_version_may_be_written_as_any_whole_number(api: Api) -> None:
    workflow_id = await api.stored()
    url = f"/workflows/{workflow_id}"
    edited = await api.call("PUT", url, {"description": "new", "version": 1.0})
    assert (edited.status, edited.data["version"]) == (200, 2)
    assert (await api.call("PUT", url, {"description": "newer", "version": 1.0})).status == 409
    for wrong in (1.5, True, "1"):
        answer = await api.call("PUT", url, {"description": "newer", "version": wrong})
        assert (answer.status, answer.body["details"][0]["path"]) == (400, "/version")


async def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    for number in range(2):
        await api.stored(publish=False, name=f"W{number}")
    page = await api.call("GET", "/workflows?limit=1")
    cursor = page.body["meta"]["pagination"]["next_cursor"]
    for query in (f"search=x&cursor={cursor}", "cursor=rubbish", "cursor="):
        answer = await api.call("GET", f"/workflows?{query}")
        assert (answer.status, answer.code) == (400, "INVALID_CURSOR")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("search=raid", ["Raid 100%"]),
        ("search=100%25", ["Raid 100%"]),
        ("search=%25", ["Raid 100%"]),
        ("search=friendly", ["Hello"]),
        ("tag=fun", ["Hello"]),
        ("entity_id=9", ["Raid 100%"]),
        ("status=active", ["Raid 100%"]),
        ("status=active,draft", ["Raid 100%", "Hello"]),
        ("community_id=123", ["Raid 100%", "Hello"]),
        ("community_id=124", []),
    ],
)
async def test_a_list_is_narrowed(api: Api, query: str, names: list[str]) -> None:
    await api.stored(publish=False, name="Hello", description="A friendly word", tags=["fun"])
    await api.stored(name="Raid 100%", entity_id=9)
    answer = await api.call("GET", f"/workflows?{query}")
    assert [row["name"] for row in answer.data] == names
