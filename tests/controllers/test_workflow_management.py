"""The second interface: lists with every filter, order and page; details; steps."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controllers.listing_queries import ManagedQuery
from controllers.live_filters import filter_of
from models.dal import AsyncDAL
from services.clock import new_id
from services.execution_service import LONGEST_SOUGHT
from services.live_filters import LiveFilter
from tests.controllers.conftest import COMMUNITY, OWNER, Answer, Api, greeting
from tests.controllers.test_auth import bearer, token
from tests.controllers.test_tenants import grant
from tests.listed import Row, row, uuid_of, write, write_workflows

EMPTY = {
    "executions": [],
    "total": 0,
    "page": 1,
    "page_size": 20,
    "has_more": False,
    "next_cursor": None,
}
ITEM = {
    "id", "execution_id", "execution_name", "workflow_id", "workflow_template_id",
    "workflow_name", "status", "created", "started_at", "start_time", "completed_at", "end_time",
    "duration", "total_duration", "triggered_by", "user_id", "community_id", "session_id",
    "progress", "steps_completed", "steps_failed", "total_cost", "tokens_used", "error",
}  # fmt: skip
DETAILS = ITEM | {
    "input_parameters", "steps", "steps_total", "steps_next_cursor", "step_results",
    "final_result", "error_details", "performance_data", "timeline",
}  # fmt: skip
LIST = "/workflow-management/executions"
HELLO = {"community_id": COMMUNITY, "variables": {"username": "Ada"}}
FLOW = uuid_of(77)
NEWCOMER = OWNER + 1000
CREATED = datetime(2026, 1, 1, 1, 2, 3, 155_987, UTC)


async def listed(api: Api, key: str | None = None, **query: Any) -> Answer:
    return await api.call("GET", f"{LIST}?{urlencode(query, doseq=True)}", key=key)


async def ids(api: Api, **query: Any) -> list[str]:
    answer = await listed(api, **query)
    assert answer.status == 200, answer.body
    return [each["execution_id"] for each in answer.body["executions"]]


async def history(dal: AsyncDAL, count: int = 60, user: int = OWNER) -> list[Row]:
    """Executions of one workflow, of the owner of the tests."""
    rng = random.Random(3)
    await write_workflows(dal, [FLOW], COMMUNITY, user)
    rows = [row(rng, FLOW, COMMUNITY, user) for _ in range(count)]
    await write(dal, rows)
    return rows


async def executed(api: Api, **changes: Any) -> str:
    workflow_id = await api.stored(**changes)
    ran = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", HELLO)
    assert ran.status == 200, ran.body
    return str(ran.data["execution_id"])


# What a list is


async def test_a_new_user_with_a_jwt_sees_an_empty_list(api: Api) -> None:
    await executed(api)
    for claims in ({}, {"communityId": COMMUNITY}):
        headers = bearer(token(sub=str(NEWCOMER), **claims))
        del headers["X-API-Key"]
        answer = await api.call("GET", LIST, key="", headers=headers)
        assert (answer.status, answer.body) == (200, EMPTY)


async def test_a_new_user_with_a_key_sees_an_empty_list(api: Api) -> None:
    await executed(api)
    for community in (None, COMMUNITY, COMMUNITY + 1):
        key = await api.new_key(NEWCOMER, community)
        assert (await listed(api, key)).body == EMPTY
        headers = {"Authorization": f"Bearer {key}"}
        assert (await api.call("GET", LIST, key="", headers=headers)).body == EMPTY


async def test_a_list_takes_the_scope_to_read_executions(api: Api) -> None:
    answer = await listed(api, await api.new_key(scopes=["workflows:read"]))
    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")
    assert (await api.call("GET", LIST, key="", headers={})).status == 401


async def test_an_item_is_complete_and_true(api: Api) -> None:
    execution_id = await executed(api)
    state = (await api.call("GET", f"/workflows/executions/{execution_id}")).data
    [item] = (await listed(api)).body["executions"]
    assert item.keys() == ITEM
    same = {
        "id": "execution_id", "workflow_template_id": "workflow_id", "created": "created_at",
        "started_at": "start_time", "completed_at": "end_time", "error": "error_message",
        "duration": "execution_time_seconds", "total_duration": "execution_time_seconds",
    }  # fmt: skip
    assert item == {name: state[same.get(name, name)] for name in ITEM}


async def test_a_pending_execution_has_neither_times_nor_progress(api: Api, dal: AsyncDAL) -> None:
    rows = await history(dal)
    pending = next(each for each in rows if each["status"] == "pending")
    [item] = (await listed(api, status="pending", page_size=1)).body["executions"]
    assert (item["start_time"], item["end_time"], item["duration"]) == (None, None, None)
    assert item["progress"] == {"current_step": 0, "total_steps": 0, "percentage": 0.0}
    assert pending["status"] == item["status"]


async def test_viewers_see_what_they_may_view_and_others_do_not(api: Api, dal: AsyncDAL) -> None:
    execution_id = await executed(api)
    [item] = (await listed(api)).body["executions"]
    viewer = await api.new_key(NEWCOMER)
    assert (await listed(api, viewer)).body == EMPTY
    await grant(dal, item["workflow_id"], "user", NEWCOMER, "can_execute")
    assert (await listed(api, viewer)).body == EMPTY
    await grant(dal, item["workflow_id"], "community", COMMUNITY, "can_view")
    assert await ids(api, key=viewer) == [execution_id]
    await dal.execute("DELETE FROM workflow_permissions")
    assert (await listed(api, viewer)).body == EMPTY


async def test_only_admins_list_the_executions_of_another_user(api: Api) -> None:
    execution_id = await executed(api)
    neighbour = await api.new_key(NEWCOMER)
    answer = await listed(api, neighbour, user_id=OWNER)
    assert (answer.status, answer.code) == (403, "PERMISSION_DENIED")
    assert (await listed(api, neighbour, user_id=NEWCOMER)).body == EMPTY
    assert await ids(api, user_id=OWNER) == [execution_id]
    for community, found in ((None, 1), (COMMUNITY, 1), (COMMUNITY + 1, 0)):
        admin = await api.new_key(NEWCOMER, community, scopes=["admin"])
        assert (await listed(api, admin, user_id=OWNER)).body["total"] == found


async def test_what_was_cancelled_while_it_waited_took_as_long_wherever_it_is_shown(
    api: Api,
) -> None:
    nodes = {
        "start": greeting()["nodes"]["start"],
        "wait": {"node_type": "flow_wait", "config": {"signal": "go"}},
    }
    connections = [{"from_node_id": "start", "to_node_id": "wait"}]
    workflow_id = await api.stored(nodes=nodes, connections=connections)
    as_long: dict[float, list[str]] = {}  # newest first; two may take the same microseconds
    for _ in range(15):
        started = await api.call("POST", f"/workflows/{workflow_id}/execute", HELLO)
        url = f"/workflows/executions/{started.data['execution_id']}"
        while (await api.call("GET", url)).data["status"] != "waiting":
            pass
        assert (await api.call("POST", f"{url}/cancel")).status == 200
        details = (await api.call("GET", f"{url}?include_metrics=true")).data
        took = details["execution_time_seconds"]
        assert details["metrics"]["total_duration_seconds"] == took
        as_long[took] = [details["execution_id"], *as_long.get(took, [])]
        assert await ids(api, min_duration=took, max_duration=took) == as_long[took]
        [item] = (await listed(api, page_size=1, sort_by="created:desc")).body["executions"]
        assert (item["duration"], item["total_duration"]) == (took, took)


# Filters, orders, pages


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"status": "failed"}, lambda each: each["status"] == "failed"),
        (
            {"status": "failed,running"},
            lambda each: each["status"] in ("failed", "running"),
        ),
        (
            {"status": ["failed", "running,failed"]},
            lambda each: each["status"] in ("failed", "running"),
        ),
        ({"trigger_source": "api"}, lambda each: each["trigger_source"] == "api"),
        ({"session_id": "s-1"}, lambda each: each["session_id"] == "s-1"),
        ({"execution_name": "import"}, lambda each: each["execution_name"] == "import"),
        ({"error_code": "TIMEOUT"}, lambda each: each["error_code"] == "TIMEOUT"),
        (
            {"min_duration": 1, "max_duration": "2.0"},
            lambda each: 1 <= (each["execution_time_seconds"] or 0) <= 2,
        ),
        (
            {"start_date": "2026-01-01T01:00:00Z"},
            lambda each: each["created"].hour >= 1,
        ),
        (
            {"end_date": "2026-01-01T02:00:00+01:00"},
            lambda each: (each["created"].hour, each["created"].minute) <= (1, 0),
        ),
        ({"start_date": "2026-01-01", "end_date": "2026-01-01"}, lambda each: True),
        ({"start_date": "2026-01-02"}, lambda each: False),
        ({"end_date": "2025-12-31"}, lambda each: False),
        ({"workflow_id": FLOW}, lambda each: True),
        ({"workflow_template_id": FLOW}, lambda each: True),
        ({"workflow_id": uuid_of(78)}, lambda each: False),
        ({"community_id": COMMUNITY}, lambda each: True),
        ({"community_id": COMMUNITY + 1}, lambda each: False),
        ({"q": "NIGHT"}, lambda each: "night" in _texts(each)),
        ({"q": "100%"}, lambda each: "100%" in _texts(each)),
        (
            {"q": "night", "status": "failed", "min_duration": 0, "trigger_source": "api"},
            lambda each: (
                "night" in _texts(each)
                and each["status"] == "failed"
                and each["execution_time_seconds"] is not None
                and each["trigger_source"] == "api"
            ),
        ),
    ],
)
async def test_a_filter_leaves_what_it_says(
    api: Api, dal: AsyncDAL, query: dict[str, Any], wanted: Any
) -> None:
    rows = await history(dal)
    for order in ("created", "started_at", "completed_at", "total_duration"):
        answer = await listed(api, **query, sort_by=order, page_size=100)
        found = {each["execution_id"] for each in answer.body["executions"]}
        assert found == {each["execution_id"] for each in rows if wanted(each)}
        assert answer.body["total"] == len(found)


def _texts(each: Row) -> str:
    parts = (each["execution_name"], each["workflow_name"], each["error_message"])
    return " ".join(part for part in parts if part).lower()


@pytest.mark.parametrize("written", [19, 23, 24, 26])
async def test_an_end_reaches_to_the_end_of_what_is_written(
    api: Api, dal: AsyncDAL, written: int
) -> None:
    """Whole seconds, milliseconds, a tenth of one, and microseconds of an instant that is kept to
    the microsecond."""
    rows = await history(dal, 1)
    await dal.execute("UPDATE workflow_executions SET created = $1", CREATED)
    end = f"{CREATED:%Y-%m-%dT%H:%M:%S.%f}"[:written]
    assert await ids(api, start_date=end, end_date=f"{end}Z") == [rows[0]["execution_id"]]
    later = CREATED + timedelta(microseconds=10 ** (26 - max(written, 20)))
    await dal.execute("UPDATE workflow_executions SET created = $1", later)
    assert await ids(api, start_date=end, end_date=end) == []


async def test_an_execution_is_found_by_the_instant_that_it_shows(api: Api) -> None:
    execution_id = await executed(api)
    [item] = (await listed(api)).body["executions"]
    shown = item["created"]
    assert await ids(api, start_date=shown, end_date=shown) == [execution_id]


@pytest.mark.parametrize("name", ["session_id", "trigger_source"])
async def test_as_long_a_text_as_execute_takes_is_found_and_a_longer_one_is_refused(
    api: Api, name: str
) -> None:
    workflow_id = await api.stored()
    url = f"/workflows/{workflow_id}/execute"
    texts = [each * LONGEST_SOUGHT for each in ("a", "b")]
    made = [
        (await api.call("POST", url, {**HELLO, "metadata": {name: each}})).data["execution_id"]
        for each in texts
    ]
    assert [await ids(api, **{name: each}) for each in texts] == [[each] for each in made]
    refused = await api.call("POST", url, {**HELLO, "metadata": {name: "x" * (LONGEST_SOUGHT + 1)}})
    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")
    [problem] = refused.body["details"]
    assert problem["path"] == f"/metadata/{name}"
    assert problem["message"] == "must have at most 1024 characters, not 1025"
    assert filter_of({name: texts[0]}) == LiveFilter(**{name: texts[0]})


@pytest.mark.parametrize("end", ["9999-12-31", "9999-12-31T23:59:59Z", "9999-12-31T23:59-05:00"])
async def test_an_end_may_be_the_last_that_there_is(api: Api, dal: AsyncDAL, end: str) -> None:
    rows = await history(dal, 1)
    assert await ids(api, end_date=end) == [rows[0]["execution_id"]]
    assert await ids(api, start_date=end) == []
    assert len(await ids(api, start_date="0001-01-01T00:00:00+01:00")) == 1


async def test_a_plus_that_was_not_escaped_is_still_an_offset(api: Api) -> None:
    answer = await api.call("GET", f"{LIST}?start_date=2026-01-01T02:00:00+01:00")
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("query", "column", "descending"),
    [
        ("", "created", True),
        ("order=asc", "created", False),
        ("sort_by=created:asc", "created", False),
        ("sort_by=started_at", "start_time", True),
        ("sort_by=start_time:desc", "start_time", True),
        ("sort_by=start_time:asc&order=asc", "start_time", False),
        ("sort_by=completed_at&order=asc", "end_time", False),
        ("sort_by=end_time", "end_time", True),
        ("sort_by=total_duration", "total_duration", True),
        ("sort_by=duration:asc", "total_duration", False),
    ],
)
async def test_an_order_is_what_it_says(
    api: Api, dal: AsyncDAL, query: str, column: str, *, descending: bool
) -> None:
    await history(dal)
    answer = await api.call("GET", f"{LIST}?page_size=100&{query}")
    values = [each[column] for each in answer.body["executions"]]
    there = [value for value in values if value is not None]
    missing = [None] * (len(values) - len(there))
    assert there == sorted(there, reverse=descending)
    assert values == ([*missing, *there] if descending else [*there, *missing])


async def test_pages_by_number_and_by_cursor_are_the_same(api: Api, dal: AsyncDAL) -> None:
    await history(dal, 50)
    whole = await ids(api, page_size=100)
    by_number = [await ids(api, page_size=20, page=number) for number in (1, 2, 3, 4)]
    assert by_number == [whole[:20], whole[20:40], whole[40:], []]
    answer = await listed(api, limit=20)
    seen, pages = [answer.body], 1
    while answer.body["has_more"]:
        answer = await listed(api, limit=20, cursor=answer.body["next_cursor"])
        seen.append(answer.body)
        pages += 1
    assert [each["execution_id"] for body in seen for each in body["executions"]] == whole
    assert [body["page"] for body in seen] == [1, 2, 3]
    assert {body["total"] for body in seen} == {50}
    assert seen[-1]["next_cursor"] is None


async def test_a_page_may_change_its_size_along_the_cursor(api: Api, dal: AsyncDAL) -> None:
    await history(dal, 30)
    whole = await ids(api, page_size=100)
    first = await listed(api, page=2, page_size=5)
    second = await ids(api, cursor=first.body["next_cursor"], limit=7)
    assert second == whole[10:17]


async def test_nobody_is_shown_twice_or_left_out_while_rows_are_added(
    api: Api, dal: AsyncDAL
) -> None:
    before = {each["execution_id"] for each in await history(dal, 40)}
    rng = random.Random(9)
    for order in ("created", "started_at", "completed_at", "total_duration"):
        answer, seen = await listed(api, limit=7, sort_by=order), []
        known = set(before)
        while True:
            seen += [each["execution_id"] for each in answer.body["executions"]]
            if not answer.body["has_more"]:
                break
            fresh = [row(rng, FLOW, COMMUNITY, OWNER) for _ in range(3)]
            await write(dal, fresh)
            before |= {each["execution_id"] for each in fresh}
            cursor = answer.body["next_cursor"]
            answer = await listed(api, limit=7, sort_by=order, cursor=cursor)
        assert len(seen) == len(set(seen))
        assert known <= set(seen)


# What is refused


@pytest.mark.parametrize(
    ("query", "path", "said"),
    [
        ("colour=red", "/colour", "unknown query parameter; known: status, workflow_id"),
        ("statuss=failed", "/statuss", "unknown query parameter"),
        ("status=done", "/status", "known: pending, running"),
        ("status=failed&status=done", "/status", "unknown status 'done'"),
        ("sort_by=cost", "/sort_by", "must be one of created, started_at"),
        ("sort_by=created:up", "/sort_by", "created:desc"),
        ("sort_by=status", "/sort_by", "must be one of"),
        ("order=up", "/order", "'asc' or 'desc'"),
        ("sort_by=created:asc&order=desc", "/order", "contradicts sort_by"),
        ("start_date=yesterday", "/start_date", "2026-01-31"),
        ("end_date=2026-02-30", "/end_date", "2026-01-31"),
        ("start_date=2026-02-02&end_date=2026-02-01", "/start_date", "not be after end_date"),
        ("end_date=20261128", "/end_date", "2026-01-31"),
        ("end_date=2026-W48-6", "/end_date", "2026-01-31"),
        ("page=0", "/page", "greater than or equal to 1"),
        ("page=-1", "/page", "greater than or equal to 1"),
        ("page=x", "/page", "must be an integer"),
        (f"page=1{'0' * 30}", "/page", "less than or equal to 9223372036854775807"),
        ("page_size=0", "/page_size", "greater than or equal to 1"),
        ("page_size=101", "/page_size", "less than or equal to 100"),
        ("limit=1000000000", "/limit", "less than or equal to 100"),
        ("limit=5&page_size=6", "/page_size", "contradicts limit"),
        ("page=1&cursor=x", "/page", "either cursor or page"),
        ("page=1&page=2", "/page", "more than once"),
        ("min_duration=2&max_duration=1", "/min_duration", "not be more than max_duration"),
        ("min_duration=-1", "/min_duration", "greater than or equal to 0"),
        ("max_duration=nan", "/max_duration", "finite number"),
        ("max_duration=long", "/max_duration", "must be a number"),
        ("workflow_id=x", "/workflow_id", "must be a UUID"),
        ("workflow_id=", "/workflow_id", "must be a UUID"),
        (f"workflow_id={FLOW}&workflow_template_id={uuid_of(1)}", "/workflow_id", "contradicts"),
        ("community_id=x", "/community_id", "must be an integer"),
        ("user_id=-1", "/user_id", "greater than or equal to 0"),
        ("q=", "/q", "at least 1 character"),
        (f"q={'x' * 256}", "/q", "at most 255 characters"),
        ("session_id=%00", "/session_id", "U+0000"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(api: Api, query: str, path: str, said: str) -> None:
    answer = await api.call("GET", f"{LIST}?{query}")
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR"), answer.body
    [problem] = answer.body["details"]
    assert problem["path"] == path
    assert said in problem["message"]


@pytest.mark.parametrize("text", ["%ED%A0%80", "%FF", "%25", "_", "%5C", "'", "%F0%9F%8E%89"])
async def test_any_text_may_be_looked_for(api: Api, text: str) -> None:
    for name in ("q", "session_id", "execution_name", "error_code", "trigger_source"):
        answer = await api.call("GET", f"{LIST}?{name}={text}")
        assert (answer.status, answer.body) == (200, EMPTY)


PARAMETERS = sorted(ManagedQuery.model_fields)
VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(str),
    st.dates().map(str),
    st.uuids().map(str),
    st.sampled_from(
        ["created:asc", "duration", "failed", "failed,completed", "9999-12-31", "desc"]
    ),
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(query=st.dictionaries(st.sampled_from(PARAMETERS), VALUES, max_size=5))
async def test_no_query_is_too_much_for_it(api: Api, query: dict[str, str]) -> None:
    answer = await listed(api, **query)
    if answer.status == 400 and answer.code == "VALIDATION_ERROR":
        for problem in answer.body["details"]:
            assert problem["path"].removeprefix("/") in query
    else:
        assert answer.status in (200, 400, 403), answer.body


async def test_every_wrong_parameter_is_named_at_once(api: Api) -> None:
    answer = await api.call("GET", f"{LIST}?page=0&limit=1000000000&order=up")
    assert {each["path"] for each in answer.body["details"]} == {"/page", "/limit", "/order"}


async def test_a_cursor_is_good_for_one_list_and_one_caller(api: Api, dal: AsyncDAL) -> None:
    await history(dal, 30)
    mine = (await listed(api, limit=5, status="completed,failed")).body["next_cursor"]
    again = await listed(api, limit=5, status="completed,failed", cursor=mine)
    assert again.status == 200
    workflow = await api.call("GET", f"/workflows/{FLOW}/executions?per_page=5")
    of_workflow = workflow.body["meta"]["pagination"]["next_cursor"]
    unbound, admin = await api.new_key(OWNER, None), await api.new_key(scopes=["admin"])
    other = await api.new_key(NEWCOMER)
    foreign: list[dict[str, Any]] = [
        {"cursor": mine},
        {"cursor": mine, "status": "completed"},
        {"cursor": mine, "status": "completed,failed", "q": "x"},
        {"cursor": mine, "status": "completed,failed", "order": "asc"},
        {"cursor": mine, "status": "completed,failed", "sort_by": "started_at"},
        {"cursor": of_workflow},
        {"cursor": mine, "status": "completed,failed", "key": unbound},
        {"cursor": mine, "status": "completed,failed", "key": admin},
        {"cursor": mine, "status": "completed,failed", "key": other},
        {"cursor": ""},
        {"cursor": "x" * 5000},
        {"cursor": "é"},
        {"cursor": f"{mine}="},
    ]
    for query in foreign:
        answer = await listed(api, **query)
        assert (answer.status, answer.code) == (400, "INVALID_CURSOR"), query
    crossed = await api.call("GET", f"/workflows/{FLOW}/executions?per_page=5&cursor={mine}")
    assert (crossed.status, crossed.code) == (400, "INVALID_CURSOR")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(change=st.data())
async def test_a_changed_cursor_is_refused(api: Api, dal: AsyncDAL, change: st.DataObject) -> None:
    if not await dal.fetchval("SELECT EXISTS (SELECT 1 FROM workflow_executions)"):
        await history(dal, 10)
    cursor = str((await listed(api, limit=5)).body["next_cursor"])
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    place = change.draw(st.integers(0, len(cursor) - 1))
    new = change.draw(st.sampled_from(alphabet))
    how = change.draw(st.sampled_from(("replace", "insert", "remove", "cut", "any")))
    changed = {
        "replace": cursor[:place] + new + cursor[place + 1 :],
        "insert": cursor[:place] + new + cursor[place:],
        "remove": cursor[:place] + cursor[place + 1 :],
        "cut": cursor[:place],
        "any": change.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=60)),
    }[how].replace("\x00", "")
    answer = await listed(api, limit=5, cursor=changed)
    if changed == cursor:
        assert answer.status == 200
    else:
        assert (answer.status, answer.code) == (400, "INVALID_CURSOR")


# Details


async def test_details_are_the_item_and_everything_about_it(api: Api) -> None:
    execution_id = await executed(api)
    [item] = (await listed(api)).body["executions"]
    answer = await api.call("GET", f"{LIST}/{execution_id}")
    found = answer.body
    assert answer.status == 200
    assert found.keys() == DETAILS
    assert {name: found[name] for name in ITEM} == item
    assert found["input_parameters"] == {"username": "Ada"}
    assert [step["step_key"] for step in found["steps"]] == ["start", "greet"]
    assert found["steps_total"] == 2
    assert found["step_results"].keys() == {"start", "greet"}
    assert found["final_result"] == {"greet": found["step_results"]["greet"]}
    assert found["error_details"] is None
    assert found["performance_data"]["nodes_executed"] == 2
    assert [bar["step_key"] for bar in found["timeline"]["bars"]] == ["start", "greet"]
    for bar in found["timeline"]["bars"]:
        assert [phase["phase"] for phase in bar["phases"]] == ["queued", "running"]
        assert bar["committed_at"] >= bar["phases"][-1]["to"]


async def test_a_failure_says_what_failed_and_where(api: Api) -> None:
    nodes = {
        "start": greeting()["nodes"]["start"],
        "share": {"node_type": "data_transform", "config": {"transformations": {"x": "1 / 0"}}},
    }
    connections = [{"from_node_id": "start", "to_node_id": "share"}]
    execution_id = await executed(api, nodes=nodes, connections=connections)
    found = (await api.call("GET", f"{LIST}/{execution_id}")).body
    assert found["status"] == "failed"
    assert found["error_details"]["step_key"] == "share"
    assert found["error_details"]["node_id"] == "share"
    assert found["error_details"]["message"] == found["error"]
    assert found["step_results"].keys() == {"start"}


async def test_large_values_are_cut_and_whole_at_their_step(api: Api) -> None:
    text = "é" * 6_000
    nodes = {
        "start": greeting()["nodes"]["start"],
        "grow": {"node_type": "data_variable_set", "config": {"variables": {"big": "{{ text }}"}}},
    }
    connections = [{"from_node_id": "start", "to_node_id": "grow"}]
    workflow_id = await api.stored(nodes=nodes, connections=connections)
    body = {"community_id": COMMUNITY, "variables": {"text": text}}
    ran = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", body)
    url = f"{LIST}/{ran.data['execution_id']}"
    found = (await api.call("GET", url)).body
    paged = (await api.call("GET", f"{url}/steps?limit=1")).body
    second = (await api.call("GET", f"{url}/steps?cursor={paged['next_cursor']}")).body
    for cut in (
        found["input_parameters"],
        found["final_result"],
        found["steps"][1]["output_data"],
        second["steps"][0]["output_data"],
    ):
        assert cut["truncated"] is True
        assert cut["bytes"] > 12_000
        assert text[:500] in cut["preview"]
        assert len(cut["preview"]) == 1_000
    for first in (LIST, "/workflows/executions"):
        whole = await api.call("GET", f"{first}/{ran.data['execution_id']}/steps/grow")
        step = whole.body if first == LIST else whole.data
        assert step["output_data"]["big"] == text


async def test_an_unknown_step_is_404(api: Api) -> None:
    execution_id = await executed(api)
    for url in (LIST, "/workflows/executions"):
        for key in ("nothing", "start/greet", quote("each[0].send"), "%ED%A0%80", "%FF"):
            answer = await api.call("GET", f"{url}/{execution_id}/steps/{key}")
            assert (answer.status, answer.code) == (404, "STEP_NOT_FOUND")


@pytest.mark.parametrize("node", ["/lead", "//lead", "/", "z/", "/z//", "q//r", "a/steps/b", ".."])
@pytest.mark.parametrize("safe", ["", "/"])
async def test_a_step_is_read_wherever_the_slashes_of_its_key_are(
    api: Api, node: str, safe: str
) -> None:
    nodes = {"start": greeting()["nodes"]["start"], node: greeting()["nodes"]["greet"]}
    connections = [{"from_node_id": "start", "to_node_id": node}]
    execution_id = await executed(api, nodes=nodes, connections=connections)
    for interface in ("/workflows/executions", LIST):
        url = f"{interface}/{execution_id}/steps"
        answer = await api.call("GET", f"{url}/{quote(node, safe=safe)}")
        assert answer.status == 200, answer.body
        assert answer.body.get("data", answer.body)["node_id"] == node
        listed = await api.call("GET", f"{url}/")
        assert listed.body.get("steps", listed.body.get("data"))[0]["node_id"] == "start"


@pytest.mark.parametrize("path", ["", "/steps", "/steps/start"])
async def test_details_of_what_is_out_of_reach_are_like_unknown_ones(api: Api, path: str) -> None:
    execution_id = await executed(api)
    stranger = await api.new_key(NEWCOMER, COMMUNITY + 1)
    seen = [
        await api.call("GET", f"{LIST}/{name}{path}", key=stranger)
        for name in (execution_id, new_id(), "no-uuid")
    ]
    assert [(answer.status, answer.code) for answer in seen] == [(404, "EXECUTION_NOT_FOUND")] * 3
    assert seen[0].body == seen[1].body == seen[2].body
    neighbour = await api.new_key(NEWCOMER)
    denied = await api.call("GET", f"{LIST}/{execution_id}{path}", key=neighbour)
    assert (denied.status, denied.code) == (403, "PERMISSION_DENIED")


# Steps by pages


async def looped(api: Api, times: int) -> str:
    """The id of an execution with two steps for each of so many iterations, and two more."""
    nodes = {
        "start": greeting()["nodes"]["start"],
        "each": {"node_type": "loop_foreach", "config": {"items": "numbers"}},
        "one": {"node_type": "data_variable_set", "config": {"variables": {"x": "{{ item }}"}}},
        "two": {"node_type": "data_variable_set", "config": {"variables": {"y": "{{ item }}"}}},
    }
    connections = [
        {"from_node_id": "start", "to_node_id": "each"},
        {"from_node_id": "each", "to_node_id": "one", "from_port_name": "loop"},
        {"from_node_id": "one", "to_node_id": "two"},
    ]
    workflow_id = await api.stored(nodes=nodes, connections=connections)
    body = {"community_id": COMMUNITY, "variables": {"numbers": list(range(times))}}
    ran = await api.call("POST", f"/workflows/{workflow_id}/execute?wait=10", body)
    assert ran.data["status"] == "completed", ran.data["error_message"]
    return str(ran.data["execution_id"])


async def test_steps_are_paged_whatever_the_size_of_a_page(api: Api) -> None:
    execution_id = await looped(api, 20)
    whole = (await api.call("GET", f"{LIST}/{execution_id}/steps?limit=1000")).body
    keys = [step["step_key"] for step in whole["steps"]]
    assert len(keys) == len(set(keys)) == whole["total"] == 42
    for size in (1, 7, 41, 42):
        seen: list[Any] = []
        cursor = ""
        while True:
            url = f"{LIST}/{execution_id}/steps?limit={size}{cursor}"
            page = (await api.call("GET", url)).body
            seen += page["steps"]
            assert page["total"] == 42
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == whole["steps"]


async def test_a_loop_that_a_retry_goes_on_with_is_the_same_in_every_view(api: Api) -> None:
    old = await looped(api, 2)
    retried = await api.call("POST", f"/workflows/executions/{old}/retry", {"from": "two"})
    url = f"/workflows/executions/{retried.data['execution_id']}"
    while (state := (await api.call("GET", url)).data)["status"] != "completed":
        pass
    shown = {step["step_key"]: step for step in state["steps"]}["each"]
    assert state["created_at"] <= state["start_time"] <= shown["started_at"]
    assert shown["reused"] is False
    whole = (await api.call("GET", f"{url}/steps?limit=1000")).data
    one = (await api.call("GET", f"{url}/steps/each")).data
    first = await api.call("GET", f"{url}/steps?limit=1")
    cursor = first.body["meta"]["next_cursor"]
    rest = (await api.call("GET", f"{url}/steps?limit=1000&cursor={cursor}")).data
    assert first.data + rest == whole
    assert whole[-1] == one
    assert {name: one[name] for name in shown} == shown


async def test_open_steps_come_last(api: Api) -> None:
    nodes = {
        "start": greeting()["nodes"]["start"],
        "wait": {"node_type": "flow_wait", "config": {"signal": "go"}},
        "greet": greeting()["nodes"]["greet"],
    }
    connections = [
        {"from_node_id": "start", "to_node_id": "wait"},
        {"from_node_id": "start", "to_node_id": "greet"},
    ]
    workflow_id = await api.stored(nodes=nodes, connections=connections)
    started = await api.call("POST", f"/workflows/{workflow_id}/execute", HELLO)
    url = f"{LIST}/{started.data['execution_id']}"
    while (await api.call("GET", url)).body["status"] != "waiting":
        pass
    details = (await api.call("GET", url)).body
    keys = [step["step_key"] for step in details["steps"]]
    assert keys == ["start", "greet", "wait"]
    seen: list[str] = []
    cursor = ""
    for _ in keys:
        page = (await api.call("GET", f"{url}/steps?limit=1{cursor}")).body
        seen += [step["step_key"] for step in page["steps"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == keys
    assert page["next_cursor"] is None
    bar = next(bar for bar in details["timeline"]["bars"] if bar["step_key"] == "wait")
    assert [phase["phase"] for phase in bar["phases"]] == ["queued", "waiting"]
    assert bar["phases"][-1]["to"] is None
    waiting = (await api.call("GET", f"{url}/steps/wait")).body
    assert waiting["status"] == "waiting"


async def test_a_step_that_was_cut_off_has_its_place_among_the_pages(api: Api) -> None:
    nodes = {
        "start": greeting()["nodes"]["start"],
        "one": {"node_type": "flow_wait", "config": {"signal": "one"}},
        "two": {"node_type": "flow_wait", "config": {"signal": "two"}},
    }
    connections = [
        {"from_node_id": "start", "to_node_id": "one"},
        {"from_node_id": "start", "to_node_id": "two"},
    ]
    workflow_id = await api.stored(nodes=nodes, connections=connections)
    started = await api.call("POST", f"/workflows/{workflow_id}/execute", HELLO)
    execution_id = started.data["execution_id"]
    url = f"{LIST}/{execution_id}"
    while (await api.call("GET", url)).body["status"] != "waiting":
        pass
    await api.call("POST", f"/workflows/executions/{execution_id}/cancel")
    details = (await api.call("GET", url)).body
    seen: list[Any] = []
    cursor = ""
    for _ in details["steps"]:
        page = (await api.call("GET", f"{url}/steps?limit=1{cursor}")).body
        seen += page["steps"]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == details["steps"]
    assert page["next_cursor"] is None
    assert [step["status"] for step in seen] == ["completed", "cancelled", "cancelled"]
    assert {step["completed_at"] for step in seen[1:]} == {details["end_time"]}
    assert (await api.call("GET", f"{url}/steps/two")).body == seen[-1]


async def test_a_step_cursor_is_good_for_one_execution_and_caller(api: Api, dal: AsyncDAL) -> None:
    one, other = await executed(api), await executed(api)
    page = (await api.call("GET", f"{LIST}/{one}/steps?limit=1")).body
    cursor = page["next_cursor"]
    assert (await api.call("GET", f"{LIST}/{one}/steps?cursor={cursor}")).status == 200
    admin = await api.new_key(NEWCOMER, scopes=["admin"])
    for execution_id, key in ((other, None), (one, admin)):
        answer = await api.call("GET", f"{LIST}/{execution_id}/steps?cursor={cursor}", key=key)
        assert (answer.status, answer.code) == (400, "INVALID_CURSOR")
