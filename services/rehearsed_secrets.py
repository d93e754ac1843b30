"""What a dry run says of the secrets that it would send.

Its one rule: it looks whether they are there and may go where they would, and opens none.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.context import JsonObject
from engine.sealed import places_of
from services.vault import Vault


async def warn_of_secrets(report: JsonObject, community_id: int, vault: Vault) -> None:
    """Adds to the logs of each step of a dry run why its request could not carry a secret. Costs
    nothing where no step has any. Raises `StoreUnavailable`."""
    steps = [(step, {place.name for place in places_of(step["input"])}) for step in _sealed(report)]
    if not steps:
        return
    why_not = await vault.judge(community_id, set().union(*(names for _, names in steps)))
    for step, names in steps:
        now = step["logs"][-1]["timestamp"]
        reasons = (why_not(name, step["input"]["url"]) for name in sorted(names))
        step["logs"] += [
            {"timestamp": now, "level": "warning", "message": why} for why in reasons if why
        ]


def _sealed(report: JsonObject) -> Iterator[JsonObject]:
    """The steps that are over and whose requests carry secrets, also those of child executions."""
    for step in report.get("trace", ()):
        # What was never rendered has another node's output as its input, whatever that may hold.
        rendered = "would_send" in step and step["node_type"] == "action_webhook"
        if rendered and step["logs"] and places_of(step["input"]):
            yield step
        if step.get("child"):
            yield from _sealed(step["child"])
