"""An evening of a Twitch channel that is raided, told to a running service: every operation is
called once with something that a community would ask.

`python -m tests.raid_story` writes what was answered to `controllers/examples.json`, from where the
OpenAPI document takes it; `tests/test_openapi_examples.py` tells the story again and demands the
same. The one rule: each call waits for what it tells of, so that it is answered alike every time.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from controllers.examples import RECORDED
from tests.processes import cluster, free_port, ready
from tests.raid_refusals import refuse
from tests.raid_world import COMMUNITY, MISSPELT, MODERATOR, RAID, SONG, raid_by
from tests.receiver import answers, receiver
from tests.teller import Teller


async def tell(story: Teller) -> None:
    """All of it, in order."""
    for about in ("health", "readiness", "status"):
        await story.call(about)
    raid = await _workflows(story)
    execution = await _executions(story, raid)
    await _control(story)
    await _failure(story, raid)
    await _management(story, raid, execution)
    await _live(story, raid, execution)
    hook = await _webhooks(story, raid)
    await _alerts(story, raid, hook)
    await story.call("delete_webhook", webhook_id=hook)
    await _community(story)
    await _api_keys(story)
    await _permissions(story, raid)
    of_raid = f"action=publish_workflow&community_id={COMMUNITY}&limit=1"
    await story.until("list_audit", lambda got: bool(got["data"]), query=of_raid)
    await story.call("list_audit", query=of_raid)
    await refuse(story, raid, execution)


async def _workflows(story: Teller) -> str:
    made = await story.call("create_workflow", RAID, query="publish=true")
    raid = str(made["data"]["workflow_id"])
    await story.call("list_workflows", query=f"community_id={COMMUNITY}&tag=raid")
    await story.call("get_workflow", workflow_id=raid)
    edit = {"description": f"{RAID['description']} Mind the lurkers.", "version": 1}
    await story.call("update_workflow", edit, workflow_id=raid)
    await story.call("validate_workflow", {"tags": ["raid", "twitch", "chat"]}, workflow_id=raid)
    await story.call("validate_definition", MISSPELT)
    await story.call("publish_workflow", workflow_id=raid)
    await story.call("list_workflow_versions", workflow_id=raid)
    await story.call("get_workflow_version", workflow_id=raid, number=2)
    trial = {
        "community_id": COMMUNITY,
        "variables": {"raider": "waddlequeen", "viewers": 25},
        "mocks": {"shout_out": {"output": {"message_id": "m-1"}, "duration_seconds": 2}},
        "assertions": [{"expression": "points == 40", "message": "Each raider gets 40 points"}],
    }
    await story.call("test_workflow", trial, workflow_id=raid)
    return raid


async def _executions(story: Teller, raid: str) -> str:
    """The id of an execution that completed."""
    asked = raid_by("waddlequeen", 25)
    begun = await story.call("execute_workflow", asked, workflow_id=raid)
    await _ended(story, begun["data"]["execution_id"])
    done = await story.call("execute_workflow", asked, query="wait=30", workflow_id=raid)
    execution = str(done["data"]["execution_id"])
    both = [raid_by("pingu", 12), {**raid_by("skipper", 4), "trigger_node_id": "shout_out"}]
    batch = await story.call("execute_workflow_batch", {"items": both}, workflow_id=raid)
    await _ended(story, batch["data"]["items"][0]["execution_id"])
    await story.call("get_execution", query="include_metrics=true", execution_id=execution)
    await story.call("get_execution_steps", execution_id=execution)
    await story.call("get_execution_step", execution_id=execution, step_key="shout_out")
    await story.call("list_executions", query="status=completed", workflow_id=raid)
    return execution


async def _control(story: Teller) -> None:
    made = await story.call("create_workflow", SONG, query="publish=true")
    song = made["data"]["workflow_id"]
    first, second = [await _parked(story, song) for _ in range(2)]
    by = {"by": "waddlequeen"}
    await story.call("signal_execution", by, execution_id=first, name="approved")
    await story.call("pause_execution", execution_id=second)
    await story.call("resume_execution", execution_id=second)
    await story.call("cancel_execution", execution_id=second)


async def _parked(story: Teller, workflow_id: str) -> str:
    begun = await story.call(
        "execute_workflow", {"community_id": COMMUNITY}, workflow_id=workflow_id
    )
    execution = str(begun["data"]["execution_id"])
    await story.until(
        "get_execution", lambda got: got["data"]["status"] == "waiting", execution_id=execution
    )
    return execution


async def _failure(story: Teller, raid: str) -> None:
    """A raid by nobody cannot be shared; told how many there were, it can."""
    failed = await story.call(
        "execute_workflow", raid_by("nobody", 0), query="wait=30", workflow_id=raid
    )
    execution = failed["data"]["execution_id"]
    again = {"from": "failed", "variables": {"viewers": 8}}
    retried = await story.call("retry_execution", again, execution_id=execution)
    await _ended(story, retried["data"]["execution_id"])


async def _management(story: Teller, raid: str, execution: str) -> None:
    failed = f"community_id={COMMUNITY}&status=failed&sort_by=created&order=desc"
    await story.call("list_managed_executions", query=failed)
    await story.call("get_managed_execution", execution_id=execution)
    await story.call("get_managed_steps", execution_id=execution)
    await story.call("get_managed_step", execution_id=execution, step_key="shout_out")
    today = f"bucket=day&from={datetime.now(UTC):%Y-%m-%d}"
    await story.call("get_metrics", query=f"workflow_id={raid}&{today}")


async def _live(story: Teller, raid: str, execution: str) -> None:
    await story.first_event("stream_execution", query="last_event_id=2", execution_id=execution)
    await story.call("stream_execution", query="last_event_id=5", execution_id=execution)

    async def another() -> None:
        await story.call("execute_workflow", raid_by("rico", 3), query="wait=30", workflow_id=raid)

    await story.first_event("stream_executions", another, query=f"workflow_id={raid}")


async def _webhooks(story: Teller, raid: str) -> str:
    """The id of a webhook of the shout-out's."""
    wanted = {
        "url": story.hook,
        "events": ["execution.completed", "execution.failed"],
        "community_id": COMMUNITY,
        "workflow_id": raid,
    }
    made = await story.call("create_webhook", wanted)
    hook = str(made["webhook_id"])
    of_raid = f"community_id={COMMUNITY}&workflow_id={raid}"
    await story.call("list_webhooks", query=of_raid)
    await story.call("get_webhook", webhook_id=hook)
    await story.call("update_webhook", {"events": ["execution.completed"]}, webhook_id=hook)
    await story.call("rotate_webhook_secret", {"overlap_seconds": 3600}, webhook_id=hook)
    await story.call("execute_workflow", raid_by("kowalski", 16), query="wait=30", workflow_id=raid)
    await _delivered(story, hook)
    page = await story.call("list_webhook_deliveries", webhook_id=hook)
    delivery = page["deliveries"][0]["delivery_id"]
    await story.call("replay_webhook_delivery", webhook_id=hook, delivery_id=delivery)
    await _delivered(story, hook)
    await story.call("replay_delivery", delivery_id=delivery)
    await _delivered(story, hook)
    return hook


async def _delivered(story: Teller, hook: str) -> None:
    await story.until(
        "list_webhook_deliveries",
        lambda got: [each["status"] for each in got["deliveries"]] == ["delivered"],
        webhook_id=hook,
    )


async def _alerts(story: Teller, raid: str, hook: str) -> None:
    wanted = {
        "community_id": COMMUNITY,
        "workflow_id": raid,
        "condition": {"metric": "failures", "threshold": 1, "window_seconds": 60},
        "notify": [hook],
    }
    made = await story.call("create_alert", wanted)
    alert = made["alert_id"]
    await story.call("execute_workflow", raid_by("nobody", 0), query="wait=30", workflow_id=raid)
    await story.until("get_alert", lambda got: got["state"] == "firing", alert_id=alert)
    await story.call("get_alert", alert_id=alert)
    await story.call("list_alerts", query=f"community_id={COMMUNITY}")
    await story.call("list_alert_history", alert_id=alert)
    await story.call("update_alert", {"enabled": False}, alert_id=alert)
    await story.call("delete_alert", alert_id=alert)


async def _community(story: Teller) -> None:
    someone = {"community_id": COMMUNITY, "user_id": MODERATOR}
    await story.call("set_member", {"roles": ["member", "moderator"]}, **someone)
    await story.call("list_members", query="role=moderator", community_id=COMMUNITY)
    await story.call("get_member", **someone)
    await story.call("remove_member", query="role=moderator", **someone)
    token = {"community_id": COMMUNITY, "secret_name": "song_service_token"}
    value = {"value": "example-token-of-a-song-service", "allowed_hosts": ["songs.example.org"]}
    await story.call("set_secret", value, **token)
    await story.call("list_secrets", community_id=COMMUNITY)
    await story.call("get_secret", **token)
    await story.call("remove_secret", **token)


async def _api_keys(story: Teller) -> None:
    wanted = {
        "name": "stream overlay",
        "community_id": COMMUNITY,
        "scopes": ["workflows:read", "executions:read"],
        "expires_days": 90,
    }
    made = await story.call("create_api_key", wanted)
    key = made["data"]["key_id"]
    await story.call("list_api_keys", query=f"community_id={COMMUNITY}")
    await story.call("get_api_key", key_id=key)
    await story.call("rotate_api_key", {"grace_seconds": 3600}, key_id=key)
    await story.call("revoke_api_key", key_id=key)


async def _permissions(story: Teller, raid: str) -> None:
    target = {"permission_type": "role", "target_id": "moderator"}
    granted = {**target, "can_view": True, "can_execute": True}
    await story.call("grant_permissions", granted, workflow_id=raid)
    await story.call("list_permissions", workflow_id=raid)
    named = "&".join(f"{name}={value}" for name, value in target.items())
    await story.call("revoke_permissions", query=named, workflow_id=raid)


async def _ended(story: Teller, execution: str) -> None:
    await story.until(
        "get_execution", lambda got: bool(got["data"]["end_time"]), execution_id=execution
    )


@asynccontextmanager
async def told(home: Path) -> AsyncIterator[Teller]:
    """A service of its own, started in `home`, to which the story has been told."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with receiver(answers(204)) as hook, cluster(home) as service:
        await service.start(PORT=str(port), SHUTDOWN_GRACE_SECONDS="1")
        async with aiohttp.ClientSession() as http:
            await ready(http, url)
        async with aiohttp.ClientSession(headers={"X-API-Key": service.key()}) as http:
            async with http.get(f"{url}/openapi.json") as answer:
                document = await answer.json()
            story = Teller(http, url, document, hook.url)
            await tell(story)
            yield story


async def _record() -> None:
    with tempfile.TemporaryDirectory() as home:
        async with told(Path(home)) as story:
            text = json.dumps(story.told, indent=1, ensure_ascii=False)
            RECORDED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_record())
