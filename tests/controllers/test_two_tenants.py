"""Two tenants with a thousand executions each: whatever anybody asks for, in any combination, they
never see, count or page into what is not theirs."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.dal import AsyncDAL
from tests.controllers.conftest import Api
from tests.controllers.test_tenants import grant, join
from tests.listed import CODES, NAMES, SOURCES, STATUSES, Row, row, uuid_of, write, write_workflows

EACH = 1_000
COMMUNITIES = (501, 502)
OWNERS = (601, 602)
GUEST = 700
"""Works in both communities: may view one workflow of each, and has started some of their own."""

FLOWS = {
    community: [uuid_of(community * 10 + number) for number in range(3)]
    for community in COMMUNITIES
}
SHARED = {community: flows[0] for community, flows in FLOWS.items()}
ALL_FLOWS = [flow for flows in FLOWS.values() for flow in flows]

DATES = ("2026-01-01", "2026-01-01T01:00:00Z", "2026-01-01T02:30:00Z", "2026-01-02")
queries = st.fixed_dictionaries(
    {},
    optional={
        "status": st.lists(st.sampled_from(STATUSES), min_size=1, max_size=3),
        "workflow_id": st.sampled_from(ALL_FLOWS),
        "community_id": st.sampled_from(COMMUNITIES),
        "user_id": st.sampled_from((*OWNERS, GUEST)),
        "start_date": st.sampled_from(DATES),
        "end_date": st.sampled_from(DATES),
        "trigger_source": st.sampled_from(SOURCES),
        "session_id": st.just("s-1"),
        "execution_name": st.sampled_from([name for name in NAMES if name]),
        "error_code": st.sampled_from(CODES),
        "min_duration": st.sampled_from((0, 1)),
        "max_duration": st.sampled_from((1, 2)),
        "q": st.sampled_from(("night", "broke", "%")),
        "sort_by": st.sampled_from(("created", "started_at", "completed_at", "total_duration")),
        "order": st.sampled_from(("asc", "desc")),
        "page": st.integers(1, 3),
        "page_size": st.sampled_from((1, 20, 100)),
    },
)
PEOPLE: dict[str, tuple[int, int | None, bool]] = {
    "an owner": (OWNERS[0], None, False),
    "an owner, bound": (OWNERS[0], COMMUNITIES[0], False),
    "the other owner": (OWNERS[1], COMMUNITIES[1], False),
    "a guest": (GUEST, None, False),
    "a guest in one community": (GUEST, COMMUNITIES[0], False),
    "an admin of one community": (GUEST, COMMUNITIES[1], True),
    "an owner out of place": (OWNERS[0], COMMUNITIES[1], False),
    "a stranger": (999, None, False),
}


def theirs(each: Row, user: int, community: int | None, *, admin: bool) -> bool:
    """Whether an execution is within somebody's reach, by the book."""
    if community not in (None, each["community_id"]):
        return False
    if admin or each["user_id"] == user:
        return True
    if community == COMMUNITIES[1] and each["workflow_id"] == SHARED[community]:
        return True  # it is granted to the community that this credential is good for
    if user == GUEST:
        return each["workflow_id"] in SHARED.values()
    return user in OWNERS and each["community_id"] == COMMUNITIES[OWNERS.index(user)]


class World:
    """The two tenants, made once for all examples of a test."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.keys: dict[str, str] = {}

    async def make(self, api: Api, dal: AsyncDAL) -> None:
        if self.rows:
            return
        rng = random.Random(11)
        for community, owner in zip(COMMUNITIES, OWNERS, strict=True):
            flows = FLOWS[community]
            await write_workflows(dal, flows, community, owner)
            await join(dal, GUEST, community)
            kind = "user" if community == COMMUNITIES[0] else "community"
            target = GUEST if kind == "user" else community
            await grant(dal, SHARED[community], kind, target, "can_view")
            rows = [
                row(rng, rng.choice(flows), community, rng.choice((owner, owner, GUEST)))
                for _ in range(EACH)
            ]
            await write(dal, rows)
            self.rows |= {each["execution_id"]: each for each in rows}
        for name, (user, community, admin) in PEOPLE.items():
            scopes = {"scopes": ["admin"]} if admin else {}
            self.keys[name] = await api.new_key(user, community, **scopes)


async def world_of(api: Api, dal: AsyncDAL) -> World:
    """The world of a test; it is kept with the test's app."""
    world: World = api.app.extensions.setdefault("two_tenants", World())
    await world.make(api, dal)
    return world


async def asked(api: Api, key: str, query: dict[str, Any]) -> Any:
    return await api.call(
        "GET", f"/workflow-management/executions?{urlencode(query, True)}", key=key
    )


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(who=st.sampled_from(sorted(PEOPLE)), query=queries)
async def test_g14_nobody_sees_what_is_not_theirs(
    api: Api, dal: AsyncDAL, who: str, query: dict[str, Any]
) -> None:
    kept = await world_of(api, dal)
    user, community, admin = PEOPLE[who]
    reach = {name for name, each in kept.rows.items() if theirs(each, user, community, admin=admin)}
    answer = await asked(api, kept.keys[who], query)
    if answer.status == 403:
        assert query.get("user_id") not in (None, user)
        assert not admin
        return
    if answer.status == 400:
        assert query.keys() >= {"start_date", "end_date"} or query.keys() >= {
            "min_duration",
            "max_duration",
        }
        return
    assert answer.status == 200, answer.body
    seen: list[str] = []
    for _ in range(4):
        body = answer.body
        seen += [each["execution_id"] for each in body["executions"]]
        assert body["total"] <= len(reach)
        if body["next_cursor"] is None:
            break
        following = {name: value for name, value in query.items() if name != "page"}
        answer = await asked(api, kept.keys[who], following | {"cursor": body["next_cursor"]})
    assert set(seen) <= reach
    assert len(seen) == len(set(seen))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(who=st.sampled_from(sorted(PEOPLE)), other=st.sampled_from(sorted(PEOPLE)), query=queries)
async def test_g14_a_cursor_opens_nothing_for_somebody_else(
    api: Api, dal: AsyncDAL, who: str, other: str, query: dict[str, Any]
) -> None:
    kept = await world_of(api, dal)
    query = {name: value for name, value in query.items() if name != "page"} | {"page_size": 1}
    mine = await asked(api, kept.keys[who], query)
    if who == other or mine.status != 200 or mine.body["next_cursor"] is None:
        return
    taken = await asked(api, kept.keys[other], query | {"cursor": mine.body["next_cursor"]})
    assert taken.status in (400, 403), taken.body


async def test_g14_everybody_is_told_as_much_as_there_is_for_them(api: Api, dal: AsyncDAL) -> None:
    world = await world_of(api, dal)
    for name, (user, community, admin) in PEOPLE.items():
        reach = {
            execution_id
            for execution_id, each in world.rows.items()
            if theirs(each, user, community, admin=admin)
        }
        answer = await asked(api, world.keys[name], {"page_size": 100})
        assert answer.body["total"] == len(reach), name
        seen = {each["execution_id"] for each in answer.body["executions"]}
        while answer.body["next_cursor"]:
            query = {"limit": 100, "cursor": answer.body["next_cursor"]}
            answer = await asked(api, world.keys[name], query)
            seen |= {each["execution_id"] for each in answer.body["executions"]}
        assert seen == reach, name
