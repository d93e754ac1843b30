"""What was done and decided is found again: who, what, on what, from where, by which request."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.audit import BOUNDS, AuditFilter, AuditLog, AuditRow
from models.dal import AsyncDAL
from services.caller import ADMIN, EVERYDAY_SCOPES
from tests.controllers.conftest import COMMUNITY, OWNER, Answer, Api
from tests.controllers.test_execution_control import asking, started
from tests.controllers.test_tenants import EXECUTION_CALLS, WORKFLOW_CALLS, join
from tests.plans import vacuumed
from tests.waiting import until

OTHER = 789
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
FROM: dict[str, Any] = {"scope_base": {"client": ("203.0.113.9", 54321)}}
"""Where a request comes from, as the server says."""


@pytest.fixture
async def admin(api: Api) -> str:
    """The key of an admin of all communities."""
    return await api.new_key(OWNER, None, scopes=["admin"])


async def asked(api: Api, key: str, query: str = "") -> Answer:
    answer = await api.call("GET", f"/audit?{query}", key=key)
    assert answer.status == 200, answer.body
    return answer


async def found(api: Api, key: str, query: str, count: int = 1) -> list[dict[str, Any]]:
    """The entries, once there are so many: rows follow their request."""
    entries: list[dict[str, Any]] = []

    async def enough() -> bool:
        entries[:] = (await asked(api, key, query)).data
        return len(entries) >= count

    await until(enough)
    return entries


async def write(dal: AsyncDAL, count: int, **same: Any) -> None:
    """Writes entries an hour apart."""
    await AuditLog(dal).append(
        [
            AuditRow(BEGAN + timedelta(hours=hour), "AUDIT", f"do_{hour % 3}", "SUCCESS", **same)
            for hour in range(count)
        ]
    )


async def test_an_operation_is_found_with_everything_about_it(api: Api, admin: str) -> None:
    workflow_id = await api.stored()
    body = {"permission_type": "user", "target_id": OTHER, "can_view": True}
    headers = {"X-Request-ID": "grant-1"}
    await api.call("PUT", f"/workflows/{workflow_id}/permissions", body, headers=headers, **FROM)
    entry = (await found(api, admin, "action=grant_permissions"))[0]
    assert re.fullmatch("[0-9a-f]{64}", entry.pop("hash"))
    details = entry.pop("details")
    assert details["status"] == 200
    assert (details["target"], details["granted"]) == (f"user:{OTHER}", "can_view")
    assert details["key_id"]
    assert entry.pop("audit_id") > 0
    assert entry.pop("at") <= entry.pop("recorded_at")
    assert entry == {
        "category": "AUDIT",
        "action": "grant_permissions",
        "result": "SUCCESS",
        "community_id": COMMUNITY,
        "user_id": OWNER,
        "workflow_id": workflow_id,
        "execution_id": None,
        "request_id": "grant-1",
        "address": "203.0.113.9",
    }


async def test_denials_are_found_whatever_their_status(api: Api, admin: str) -> None:
    workflow_id = await api.stored()
    for count, community in enumerate((COMMUNITY, COMMUNITY + 1, None), start=1):
        key = await api.new_key(OTHER, community)
        await api.call("GET", f"/workflows/{workflow_id}", key=key)
        # Whatever community the key is good for: it is this one's workflow.
        query = f"user_id={OTHER}&community_id={COMMUNITY}"
        entry = (await found(api, admin, query, count))[0]
        assert (entry["category"], entry["result"]) == ("AUTHZ", "DENIED")
        assert entry["workflow_id"] == workflow_id
    await api.call("GET", "/workflows", key="wa-" + "0" * 64)
    entry = (await found(api, admin, "action=list_workflows"))[0]
    assert (entry["category"], entry["result"], entry["user_id"]) == ("AUTH", "DENIED", None)


MORE_CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/workflows/{}/permissions", None),
    ("PUT", "/workflows/{}/permissions",
     {"permission_type": "user", "target_id": 1, "can_view": True}),
    ("DELETE", "/workflows/{}/permissions", {"permission_type": "user", "target_id": 1}),
    ("GET", "/workflow-management/metrics?workflow_id={}", None),
]  # fmt: skip


@pytest.mark.parametrize("user", [OWNER, OTHER], ids=["may", "may not"])
@pytest.mark.parametrize(("method", "url", "body"), [*WORKFLOW_CALLS, *MORE_CALLS])
async def test_what_concerns_a_workflow_concerns_its_community(
    api: Api, dal: AsyncDAL, method: str, url: str, body: Any, user: int
) -> None:
    """Done or denied, also by a credential that is good for several communities."""
    workflow_id = await api.stored()
    await join(dal, OTHER, COMMUNITY)
    key = await api.new_key(user, None, (ADMIN,) if user == OWNER else EVERYDAY_SCOPES)
    answer = await api.call(method, url.format(workflow_id), body, key=key)
    assert (answer.status == 403) is (user == OTHER), answer.body
    line = api.log.getvalue().splitlines()[-1]
    assert f" community={COMMUNITY} user={user} " in line
    assert f" workflow_id={workflow_id} " in line


@pytest.mark.parametrize("user", [OWNER, OTHER], ids=["may", "may not"])
@pytest.mark.parametrize(("method", "url", "body"), EXECUTION_CALLS)
async def test_what_concerns_an_execution_concerns_its_community(
    api: Api, dal: AsyncDAL, method: str, url: str, body: Any, user: int
) -> None:
    workflow_id = await api.stored(**asking())
    execution_id = (await started(api, workflow_id)).data["execution_id"]
    await join(dal, OTHER, COMMUNITY)
    key = await api.new_key(user, None)
    answer = await api.call(method, url.format(execution_id), body, key=key)
    assert (answer.status == 403) is (user == OTHER), answer.body
    line = api.log.getvalue().splitlines()[-1]
    assert f" community={COMMUNITY} user={user} " in line
    for name in (f" workflow_id={workflow_id} ", f" execution_id={execution_id} "):
        assert name in line


async def test_what_a_request_claims_is_not_whom_it_concerned(api: Api) -> None:
    workflow_id = await api.stored()
    stranger = await api.new_key(OTHER, COMMUNITY + 1)
    body = {"community_id": COMMUNITY + 1}
    answer = await api.call("POST", f"/workflows/{workflow_id}/execute", body, key=stranger)
    assert answer.status == 404
    assert f" AUTHZ community={COMMUNITY} user={OTHER} " in api.log.getvalue().splitlines()[-1]


async def test_pages_go_on_where_the_last_one_ended_while_rows_are_added(
    api: Api, admin: str, dal: AsyncDAL
) -> None:
    await write(dal, 25, user_id=OTHER)
    seen: list[int] = []
    cursor = ""
    while True:
        answer = await asked(api, admin, f"user_id={OTHER}&limit=10{cursor}")
        seen += [entry["audit_id"] for entry in answer.data]
        pagination = answer.body["meta"]["pagination"]
        if not pagination["has_next"]:
            break
        cursor = f"&cursor={pagination['next_cursor']}"
        await write(dal, 1, user_id=OTHER)
    assert len(seen) == 25
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    ("query", "hours"),
    [
        ("", range(48)),
        ("action=do_1", range(1, 48, 3)),
        ("from=2026-01-02", range(24, 48)),
        ("to=2026-01-01", range(24)),
        ("from=2026-01-01T05:00:00Z&to=2026-01-01T07:00:00Z", range(5, 8)),
        ("from=2026-01-01T05:00:00%2B01:00&to=2026-01-01T07:00:00", range(4, 8)),
        ("from=2026-01-03", range(0)),
        ("to=2025-12-31", range(0)),
        ("to=9999-12-31", range(48)),
        ("action=do_9", range(0)),
        (f"community_id={COMMUNITY}", range(0)),
    ],
)
@pytest.mark.parametrize("late", [True, False])
async def test_a_list_is_narrowed(
    api: Api, admin: str, dal: AsyncDAL, query: str, hours: range, late: bool
) -> None:
    await write(dal, 48, user_id=OTHER)
    if not late:
        async with dal.transaction() as tx:
            await tx.execute("SET LOCAL session_replication_role = replica")
            await tx.execute("UPDATE audit_log SET recorded_at = at WHERE user_id = $1", OTHER)
    answer = await asked(api, admin, f"user_id={OTHER}&limit=100&{query}")
    expected = [BEGAN + timedelta(hours=hour) for hour in reversed(hours)]
    assert [datetime.fromisoformat(entry["at"]) for entry in answer.data] == expected


async def test_what_was_recorded_late_is_found_by_when_it_happened(
    api: Api, admin: str, dal: AsyncDAL
) -> None:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    log = AuditLog(dal)
    for at in (now, now - 3 * hour, now - 2 * hour, now):
        await log.append([AuditRow(at, "AUDIT", "x", "SUCCESS")])
    since, until = ((now - each * hour).isoformat() for each in (2.5, 1.5))
    query = f"action=x&from={since}&to={until}".replace("+", "%2B")
    assert len((await asked(api, admin, query)).data) == 1


async def test_an_entry_is_found_by_the_instant_that_it_shows(
    api: Api, admin: str, dal: AsyncDAL
) -> None:
    at = BEGAN + timedelta(microseconds=155_987)
    await AuditLog(dal).append([AuditRow(at, "AUDIT", "x", "SUCCESS")])
    shown = (await asked(api, admin, "action=x")).data[0]["at"]
    found = (await asked(api, admin, f"action=x&from={shown}&to={shown}")).data
    assert [entry["at"] for entry in found] == [shown]


async def test_an_admin_of_one_community_sees_that_one(api: Api, admin: str, dal: AsyncDAL) -> None:
    await write(dal, 3, user_id=OTHER, community_id=COMMUNITY)
    await write(dal, 4, user_id=OTHER, community_id=COMMUNITY + 1)
    await write(dal, 5, user_id=OTHER)
    bound = await api.new_key(OWNER, COMMUNITY, scopes=["admin"])
    mine = f"user_id={OTHER}"
    assert len((await asked(api, admin, mine)).data) == 12
    assert len((await asked(api, bound, mine)).data) == 3
    assert len((await asked(api, bound, f"{mine}&community_id={COMMUNITY}")).data) == 3
    assert (await asked(api, bound, f"{mine}&community_id={COMMUNITY + 1}")).data == []
    page = await asked(api, admin, f"{mine}&limit=1")
    cursor = page.body["meta"]["pagination"]["next_cursor"]
    stolen = await api.call("GET", f"/audit?{mine}&cursor={cursor}", key=bound)
    assert (stolen.status, stolen.code) == (400, "INVALID_CURSOR")


async def test_the_log_is_for_admins(api: Api) -> None:
    answer = await api.call("GET", "/audit")
    assert (answer.status, answer.body["details"]) == (403, {"scope": "admin"})


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("community_id=x", "/community_id"),
        ("user_id=-1", "/user_id"),
        ("action=", "/action"),
        ("from=yesterday", "/from"),
        ("from=2026-02-30", "/from"),
        ("to=99999-01-01", "/to"),
        ("to=20260101", "/to"),
        ("from=2026-01-02&to=2026-01-01", "/to"),
        ("since=2026-01-02", "/since"),
        ("page=2", "/page"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(
    api: Api, admin: str, query: str, path: str
) -> None:
    answer = await api.call("GET", f"/audit?{query}", key=admin)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.body["details"][0]["path"] == path


async def test_every_list_is_read_along_an_index(dal: AsyncDAL) -> None:
    log = AuditLog(dal)
    await _fill(dal)
    narrow = [
        AuditFilter(),
        AuditFilter(community_id=7),
        AuditFilter(user_id=7),
        AuditFilter(action="do_7"),
        AuditFilter(community_id=7, action="do_7"),
    ]
    for each in narrow:
        for lowest, highest in ((None, None), (None, 15_000), (10_000, 10_100)):
            query = log.query(each, lowest, highest, 21)
            plan = await _plan(dal, query.sql, *query.args)
            assert "Seq Scan" not in plan, plan
            assert _read(plan) < 2_000, plan
    for since, before in ((BEGAN, None), (None, BEGAN), (BEGAN, BEGAN + timedelta(hours=3))):
        plan = await _plan(dal, BOUNDS, since, before)
        assert "Seq Scan" not in plan, plan
        assert _read(plan) < 100, plan


async def _fill(dal: AsyncDAL) -> None:
    """Twenty thousand rows, two hundred of each community, user and action."""
    async with dal.transaction() as tx:
        await tx.execute("SET LOCAL session_replication_role = replica")
        await tx.execute(
            "INSERT INTO audit_log (at, recorded_at, category, action, result, community_id, "
            "user_id, hash) SELECT $1::timestamptz + n * interval '1 minute', "
            "$1::timestamptz + n * interval '1 minute', 'AUDIT', 'do_' || n % 100, 'SUCCESS', "
            "n % 100, n % 100, '' FROM generate_series(1, 20000) AS n",
            BEGAN,
        )
    await vacuumed(dal, "audit_log")


async def _plan(dal: AsyncDAL, sql: str, *args: Any) -> str:
    rows = await dal.fetch(f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {sql}", *args)
    return "\n".join(row[0] for row in rows)


def _read(plan: str) -> int:
    """How many rows were looked at, those that a filter dropped as well."""
    kept = re.findall(r"actual rows=([\d.]+)", plan)
    dropped = re.findall(r"Rows Removed by Filter: (\d+)", plan)
    return sum(round(float(each)) for each in kept + dropped)


async def test_the_line_of_an_operation_has_its_address(api: Api, log: io.StringIO) -> None:
    await api.call("GET", "/status", **FROM)
    assert "address=203.0.113.9" in log.getvalue().splitlines()[-1]
