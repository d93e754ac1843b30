"""The node types: `REGISTRY` maps a type's name to its spec."""

from __future__ import annotations

from engine.nodes.actions import ACTIONS
from engine.nodes.base import NodeSpec
from engine.nodes.conditions import CONDITIONS
from engine.nodes.data import DATA
from engine.nodes.delay import DELAY
from engine.nodes.flow import FLOW
from engine.nodes.loops import LOOPS
from engine.nodes.triggers import TRIGGERS
from engine.nodes.webhook import WEBHOOK

REGISTRY: dict[str, NodeSpec] = {
    spec.type: spec
    for spec in (*TRIGGERS, *CONDITIONS, *DATA, *LOOPS, *FLOW, WEBHOOK, *ACTIONS, DELAY)
}
