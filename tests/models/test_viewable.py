"""The two ways of asking which workflows somebody may view give the same answer."""

from __future__ import annotations

import random
from dataclasses import replace

from models.dal import AsyncDAL
from models.permissions import VIEWABLE, Permissions, Viewer
from models.workflows import WorkflowFilter, Workflows
from services.clock import new_id
from tests.controllers.test_tenants import grant, join
from tests.listed import uuid_of, write_workflows
from tests.plans import vacuumed

COMMUNITIES = (1, 2, 3)
USERS = (10, 11, 12, 13)
ROLES = ("mod", "vip")
FLOWS = {community: [uuid_of(10 * community + n) for n in range(4)] for community in COMMUNITIES}
VIEWERS = [
    Viewer(user, community, roles, everything)
    for user in USERS
    for community in (None, *COMMUNITIES)
    for roles in ((), ("mod",), ROLES)
    for everything in (False, True)
    if community is not None or not roles
]


async def arranged(dal: AsyncDAL, seed: int) -> None:
    """Workflows, memberships and grants, by seed."""
    rng = random.Random(seed)
    await dal.execute("DELETE FROM workflow_permissions")
    await dal.execute("DELETE FROM community_members")
    await dal.execute("DELETE FROM workflows")
    for community, flows in FLOWS.items():
        for flow in flows:
            await write_workflows(dal, [flow], community, rng.choice((10, 99)))
    for _ in range(rng.randrange(5)):
        await join(dal, rng.choice(USERS), rng.choice(COMMUNITIES), new_id()[-4:])
    for user in USERS[1:3]:
        await join(dal, user, rng.choice(COMMUNITIES), rng.choice(ROLES))
    for flow in rng.sample([each for flows in FLOWS.values() for each in flows], 8):
        kind = rng.choice(("user", "role", "community"))
        target = {
            "user": rng.choice(USERS),
            "role": rng.choice(ROLES),
            "community": rng.choice(COMMUNITIES),
        }[kind]
        await grant(dal, flow, kind, target, rng.choice(("can_view", "can_view", "can_edit")))


async def test_both_ways_see_the_same_workflows(dal: AsyncDAL) -> None:
    permissions, workflows = Permissions(dal), Workflows(dal)
    some = False
    for seed in range(12):
        await arranged(dal, seed)
        for viewer in VIEWERS:
            rows = await workflows.list(viewer, WorkflowFilter(), limit=100)
            expected = {row.workflow_id: row.community_id for row in rows}
            found = await permissions.viewable_ids(viewer)
            assert sorted(found) == sorted(expected), (seed, viewer)
            some = some or 0 < len(found) < 12
            for community in COMMUNITIES:
                narrowed = await permissions.viewable_ids(viewer, community_id=community)
                wanted = {name for name, where in expected.items() if where == community}
                assert set(narrowed) == wanted
            flow = FLOWS[1][0]
            one = await permissions.viewable_ids(viewer, workflow_id=flow)
            assert one == ((flow,) if flow in expected else ())
    assert some


async def test_what_others_own_is_not_read(dal: AsyncDAL) -> None:
    await dal.execute(
        "INSERT INTO workflows (workflow_id, community_id, name, document, created_by)"
        " SELECT gen_random_uuid(), i % 50, 'w', '{}', i % 1000"
        " FROM generate_series(1, 20000) i"
    )
    await dal.execute(
        "INSERT INTO workflow_permissions (permission_id, workflow_id, permission_type, target_id,"
        " can_view, granted_by) SELECT gen_random_uuid(), workflow_id, 'user',"
        " (created_by + 1)::text, true, 1 FROM workflows"
    )
    await vacuumed(dal, "workflows", "workflow_permissions", "community_members")
    async with dal.acquire() as connection:
        plan = await connection.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS) {VIEWABLE}", 7, None, [], None, None
        )
    text = "\n".join(line[0] for line in plan)
    assert "Seq Scan on workflow" not in text, text
    viewer = Viewer(7)
    assert len(await Permissions(dal).viewable_ids(viewer)) == 40
    assert len(await Permissions(dal).viewable_ids(replace(viewer, community_id=7))) == 20
