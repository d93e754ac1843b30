"""Who may run something again."""

from __future__ import annotations

import pytest

from models.dal import AsyncDAL
from tests.controllers.conftest import COMMUNITY, OWNER, Api, api, log, service
from tests.controllers.test_execution_control import (
    STRANGER,
    flow,
    once,
    picky,
    retry,
    started,
)
from tests.controllers.test_tenants import grant, join
from tests.waiting import until

__all__ = ["api", "log", "service"]


@pytest.mark.parametrize("still_member", [True, False])
async def test_who_may_not_execute_any_more_may_not_retry(
    api: Api, dal: AsyncDAL, still_member: bool
) -> None:
    workflow_id = await api.stored(**picky())
    await join(dal, STRANGER, COMMUNITY)
    await grant(dal, workflow_id, "user", STRANGER, "can_execute", "can_view")
    api.key = await api.new_key(user=STRANGER, community=None)
    answer = await started(api, workflow_id, 5, n=1, ok=False)
    execution_id = answer.data["execution_id"]
    await once(api, execution_id, "failed")
    await dal.execute("DELETE FROM workflow_permissions")
    if not still_member:
        await dal.execute("DELETE FROM community_members")

    async def refused() -> bool:  # once this process has forgotten what it knew
        return (await started(api, workflow_id, 0, n=1, ok=False)).status in (403, 404)

    await until(refused)
    again = await retry(api, execution_id, {"from": "start", "variables": {"ok": True, "n": 9}})
    assert again.status in (403, 404), again.body


@pytest.mark.parametrize("sees", [False, True])
async def test_who_may_edit_but_not_view_learns_nothing_by_a_retry(
    api: Api, dal: AsyncDAL, sees: bool
) -> None:
    """It has a copy of what was recorded: so it stays that of whoever may see that."""
    workflow_id = await api.stored(**picky())
    answer = await started(api, workflow_id, 5, n="secret", ok=False)
    execution_id = answer.data["execution_id"]
    await join(dal, STRANGER, COMMUNITY)
    await grant(dal, workflow_id, "user", STRANGER, "can_edit", *(["can_view"] if sees else []))
    editor = await api.new_key(user=STRANGER, community=None)
    again = await retry(api, execution_id, {"variables": {"ok": True}}, key=editor)
    assert again.status == 202, again.body
    assert "secret" not in str(again.body)
    url = f"/workflows/executions/{again.data['execution_id']}"
    assert (await api.call("GET", url, key=editor)).status == (200 if sees else 403)
    state = await once(api, again.data["execution_id"], "completed")
    assert state["user_id"] == (STRANGER if sees else OWNER)


async def test_a_child_may_not_be_run_again_by_who_may_not_execute_its_workflow(
    api: Api, dal: AsyncDAL
) -> None:
    """The publisher of the parent reaches the child's workflow; its user does not, so that the
    parent alone decides what the child is given."""
    child = await api.stored(**picky())
    parent = await api.stored(
        **flow(
            {
                "sub": {
                    "node_type": "flow_subworkflow",
                    "config": {"workflow_id": child, "variables": {"n": 1, "ok": True}},
                }
            },
            "start -> sub",
        )
    )
    await join(dal, STRANGER, COMMUNITY)
    await grant(dal, parent, "user", STRANGER, "can_execute", "can_view")
    api.key = await api.new_key(user=STRANGER, community=None)
    answer = await started(api, parent, 5)
    state = await once(api, answer.data["execution_id"], "completed", "failed")
    assert state["status"] == "completed", state["error_message"]
    child_id = state["node_states"]["sub"]["child_execution_id"]
    assert (await started(api, child, 0, n=1, ok=True)).status in (403, 404)
    again = await retry(api, child_id, {"from": "start", "variables": {"n": 666, "ok": True}})
    assert again.status in (403, 404), again.body
