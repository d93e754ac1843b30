"""Variables that concurrent branches set: which value wins is a matter of luck.

The one rule: a pair is reported only if nothing keeps the two apart, neither an order nor a
router that sends an execution to one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.context import JsonObject
from engine.regions import Regions
from engine.static_names import locals_set, variables_set
from engine.static_order import Order, marks

_MAX_PAIRS = 20_000

Writers = dict[tuple[str, str | None], list[str]]
"""(variable, loop whose iterations have it, None for the execution's) -> the nodes that set it."""


@dataclass(frozen=True, slots=True)
class Clash:
    """Two nodes that may run side by side set one variable."""

    variable: str
    earlier: str
    later: str


@dataclass(frozen=True, slots=True)
class SelfClash:
    """A node in a loop's body sets a variable of the execution, and its iterations run side by
    side."""

    variable: str
    node_id: str
    loop: str


def parallel_writes(
    nodes: Mapping[str, JsonObject], order: Order, regions: Regions
) -> Iterator[Clash]:
    """Finds variables set on concurrent branches, in a graph whose regions are sound.

    Two nodes are concurrent if neither comes before the other and no router stands between them,
    sending an execution to one or to the other.
    """
    contested = {key: ids for key, ids in _writers(nodes, regions).items() if len(ids) > 1}
    if not contested:
        return
    bits = marks(node_id for ids in contested.values() for node_id in ids)
    tracked = tuple(bits)
    earlier_than = order.before({order.end(node_id): bit for node_id, bit in bits.items()})
    budget = _MAX_PAIRS
    for (name, _), ids in contested.items():
        before = 0
        for later in sorted(ids, key=order.rank.__getitem__):
            left = before & ~earlier_than[later]
            while left and budget > 0:
                lowest = left & -left
                earlier = tracked[lowest.bit_length() - 1]
                left ^= lowest
                budget -= 1
                if not order.exclusive(earlier, later):
                    yield Clash(name, earlier, later)
                    break
            before |= bits[later]


def races_of_iterations(nodes: Mapping[str, JsonObject], regions: Regions) -> Iterator[SelfClash]:
    """Finds variables of the execution that are set in iterations running side by side."""
    for node_id, node in nodes.items():
        loop = regions.owner[node_id]
        if loop is None or not node["enabled"]:
            continue
        concurrency = nodes[loop]["config"].get("concurrency")
        if isinstance(concurrency, int) and concurrency > 1:
            for name in dict.fromkeys(variables_set(node)):
                yield SelfClash(name, node_id, loop)


def _writers(nodes: Mapping[str, JsonObject], regions: Regions) -> Writers:
    found: Writers = {}
    for node_id, node in nodes.items():
        if not node["enabled"]:
            continue
        for name in dict.fromkeys(variables_set(node)):
            found.setdefault((name, None), []).append(node_id)
        for name in dict.fromkeys(locals_set(node)):
            found.setdefault((name, regions.owner[node_id]), []).append(node_id)
    return found
