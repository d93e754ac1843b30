"""The other half of the raid story: what the service refuses, operation by operation."""

from __future__ import annotations

from typing import Any

from tests.raid_world import COMMUNITY, MISSPELT, RAID, SONG, raid_by
from tests.teller import Teller

UNKNOWN = "01a203e2-c040-75bd-a705-acc30a6210d0"
OTHER_COMMUNITY = 8
NOT_FOUND_QUERIES = {
    "get_metrics": f"workflow_id={UNKNOWN}",
    "revoke_permissions": "permission_type=role&target_id=vip",
    "stream_executions": f"workflow_id={UNKNOWN}",
}
OF_A_WORKFLOW = ("create_webhook", "create_alert")
"""What has a workflow in its body."""
ANY_SCOPE = ("status", "validate_definition", "cancel_execution", "pause_execution")
"""What a key for cancelling may call."""


async def refuse(story: Teller, raid: str, ended: str) -> None:
    """Everything that is refused; `ended` is a completed execution of the workflow `raid`, which
    is archived in the end."""
    await _repeated(story, raid, ended)
    await _conflicts(story, raid, ended)
    await _definitions(story, raid)
    await story.call("archive_workflow", workflow_id=raid)
    asked = raid_by("waddlequeen", 25)
    await story.call("execute_workflow", asked, workflow_id=raid, refused=409)
    await story.call("execute_workflow_batch", {"items": [asked]}, workflow_id=raid, refused=409)
    await _everywhere(story)


async def _repeated(story: Teller, raid: str, ended: str) -> None:
    """The same request twice is answered twice; another one under its key is not."""
    one, other = raid_by("private", 2), raid_by("private", 3)
    for body, refused in ((one, 0), (one, 0), (other, 422)):
        this = {"workflow_id": raid, "refused": refused}
        await story.call("execute_workflow", body, once="raid-7", **this)
        await story.call("execute_workflow_batch", {"items": [body]}, once="raids-7", **this)
        again = {"from": "start", "variables": body["variables"]}
        await story.call(
            "retry_execution", again, once="again-7", execution_id=ended, refused=refused
        )
    made = await story.call("create_workflow", SONG, query="publish=true")
    song = made["data"]["workflow_id"]
    begun = await story.call("execute_workflow", {"community_id": COMMUNITY}, workflow_id=song)
    signal = {"execution_id": begun["data"]["execution_id"], "name": "approved", "once": "song-7"}
    for by, refused in (("pingu", 0), ("skipper", 422)):
        await story.call("signal_execution", {"by": by}, refused=refused, **signal)
    silent = {"community_id": COMMUNITY}
    await story.call("test_workflow", silent, workflow_id=song, refused=504)


async def _conflicts(story: Teller, raid: str, ended: str) -> None:
    for control in ("cancel_execution", "pause_execution", "resume_execution"):
        await story.call(control, execution_id=ended, refused=409)
    await story.call("signal_execution", execution_id=ended, name="approved", refused=409)
    await story.call("retry_execution", {"from": "failed"}, execution_id=ended, refused=409)
    late = {"tags": ["late"], "version": 1}
    await story.call("update_workflow", late, workflow_id=raid, refused=409)
    stale = {"If-Match": '"1"'}
    await story.call("publish_workflow", workflow_id=raid, sent=stale, refused=409)
    keys = await story.call("list_api_keys", query=f"community_id={COMMUNITY}")
    revoked = keys["data"][-1]["key_id"]
    await story.call("rotate_api_key", key_id=revoked, refused=409)


async def _definitions(story: Teller, raid: str) -> None:
    """A document that is wrong, and a draft that is not finished."""
    await story.call("create_workflow", MISSPELT, refused=422)
    connections = {"connections": MISSPELT["connections"]}
    await story.call("update_workflow", connections, workflow_id=raid, refused=422)
    trial = {"community_id": COMMUNITY, "definition": MISSPELT}
    await story.call("test_workflow", trial, workflow_id=raid, refused=422)
    draft = await story.call("create_workflow", {**RAID, "nodes": {}, "connections": []})
    await story.call("publish_workflow", workflow_id=draft["data"]["workflow_id"], refused=422)


async def _everywhere(story: Teller) -> None:
    """A parameter that no operation knows, a key with another scope, and what is not there."""
    bound = await _key(story, "admin")
    other = await _key(story, "executions:cancel")
    for operations in list(story.document["paths"].values()):
        for described in operations.values():
            name, responses = described["operationId"], described["responses"]
            asked = _asked(story, described)
            query = NOT_FOUND_QUERIES.get(name, "")
            if "404" in responses:
                sent = bound if asked.get("community_id") == OTHER_COMMUNITY else None
                await story.call(name, query=query, sent=sent, refused=404, **asked)
            await story.call(name, query="colour=purple", refused=400, **asked)
            if described["operationId"] not in ANY_SCOPE and "403" in responses:
                await story.call(name, query=query, sent=other, refused=403, **asked)


async def _key(story: Teller, scope: str) -> dict[str, str]:
    wanted = {"name": scope, "community_id": COMMUNITY, "scopes": [scope]}
    made = await story.call("create_api_key", wanted)
    return {"X-API-Key": made["data"]["key"]}


def _asked(story: Teller, described: dict[str, Any]) -> dict[str, Any]:
    """A request for what does not exist, which is right in all else."""
    named = {
        "community_id": OTHER_COMMUNITY,
        "user_id": 456,
        "number": 1,
        "name": "approved",
        "secret_name": "song_service_token",
        "step_key": "shout_out",
    }
    parts = [each["name"] for each in described["parameters"] if each["in"] == "path"]
    asked = {part: named.get(part, UNKNOWN) for part in parts}
    request = story.asked.get(described["operationId"])
    if described["operationId"] in OF_A_WORKFLOW:
        request = {**request, "workflow_id": UNKNOWN}
    return {**asked, "body": request} if request is not None else asked
