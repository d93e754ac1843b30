"""Trying a document in a `World`, and reading the report."""

from __future__ import annotations

from typing import Any

from engine.context import JsonObject
from tests.engine.world import World

_ASKED = ("mocks", "signals", "assertions", "expected_status")


async def rehearse(world: World, raw: JsonObject, **asked: Any) -> JsonObject:
    """The report of a dry run. What is no part of the trial is a field of the context."""
    trial = {name: asked.pop(name) for name in _ASKED if name in asked}
    context = await world.context(raw, **asked)
    graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
    return await world.engine.dry_run(graph, context, **trial)


def entries(report: JsonObject) -> dict[str, JsonObject]:
    """The entries of a trace, by step key."""
    return {entry["step_key"]: entry for entry in report["trace"]}
