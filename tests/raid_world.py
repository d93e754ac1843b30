"""What the community of the raid story has: its workflows, and what it asks of them."""

from __future__ import annotations

from typing import Any

COMMUNITY = 7
MODERATOR = 456
RAID = {
    "name": "Raid shout-out",
    "description": "Sends chat to whoever raids us, and shares out a thousand points.",
    "community_id": COMMUNITY,
    "tags": ["raid", "twitch"],
    "nodes": {
        "raid": {
            "node_type": "trigger_event",
            "config": {"event_type": "raid", "platforms": ["twitch"]},
        },
        "shout_out": {
            "node_type": "action_chat_message",
            "config": {"message": "Go and follow {{ raider }}: https://twitch.tv/{{ raider }}"},
        },
        "share": {
            "node_type": "data_transform",
            "config": {"transformations": {"points": "1000 // viewers"}},
        },
    },
    "connections": [
        {"from_node_id": "raid", "to_node_id": "shout_out"},
        {"from_node_id": "shout_out", "to_node_id": "share"},
    ],
}
SONG = {
    "name": "Song request",
    "community_id": COMMUNITY,
    "nodes": {
        "song": {"node_type": "trigger_command", "config": {"command": "!song"}},
        "approval": {"node_type": "flow_wait", "config": {"signal": "approved"}},
    },
    "connections": [{"from_node_id": "song", "to_node_id": "approval"}],
}
MISSPELT = {
    "name": "Raid shout-out",
    "community_id": COMMUNITY,
    "nodes": {
        "raid": {"node_type": "trigger_event", "config": {"event_type": "raid"}},
        "shout_out": {
            "node_type": "action_chat_message",
            "config": {"message": "Welcome, {{ raider }}!"},
        },
    },
    "connections": [{"from_node_id": "raid", "to_node_id": "shoutout"}],
}


def raid_by(raider: str, viewers: int) -> dict[str, Any]:
    """A request that starts the shout-out."""
    return {
        "community_id": COMMUNITY,
        "variables": {"raider": raider, "viewers": viewers},
        "metadata": {"trigger_source": "event", "platform": "twitch", "session_id": "stream-42"},
        "execution_name": f"raid by {raider}",
    }
