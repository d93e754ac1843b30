"""What ended and how nodes did, bucket by bucket: added up from roll-ups, and kept in mind.

Its one rule: what a tally counts is not changed once it has been given out, for reports share it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from models.histograms import Histogram

MOST_REMEMBERED = 20_000
"""How many statuses and nodes of buckets may be in mind, of all reports. One of a node has a
quarter of a kilobyte, one of a status four times as much."""


@dataclass(slots=True)
class Ends:
    """What ended with one status, and the durations of it."""

    executions: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    tokens: float = 0.0
    durations: Histogram = field(default_factory=Histogram)

    def add(self, other: Ends) -> None:
        """Adds what another one counts."""
        self.executions += other.executions
        self.seconds += other.seconds
        self.cost += other.cost
        self.tokens += other.tokens
        self.durations += other.durations


@dataclass(slots=True)
class NodeRuns:
    """How a node did."""

    node_type: str
    runs: int = 0
    failures: int = 0
    seconds: float = 0.0
    longest_seconds: float = 0.0

    def add(self, other: NodeRuns) -> None:
        """Adds what another one counts of the same node."""
        self.node_type = max(self.node_type, other.node_type)
        self.runs += other.runs
        self.failures += other.failures
        self.seconds += other.seconds
        self.longest_seconds = max(self.longest_seconds, other.longest_seconds)


NodeKey = tuple[str, str]
"""Workflow and node."""


@dataclass(slots=True)
class Tally:
    """What ended, by status, and how nodes did, in one bucket or in all of them."""

    ends: dict[str, Ends] = field(default_factory=dict)
    nodes: dict[NodeKey, NodeRuns] = field(default_factory=dict)
    told: Any = None
    """For who reports: what was made of it."""

    @property
    def size(self) -> int:
        """How many statuses and nodes it has."""
        return len(self.ends) + len(self.nodes)

    def add(self, other: Tally) -> None:
        """Adds what another one counts. Only for who has made it."""
        for status, ends in other.ends.items():
            self.ends.setdefault(status, Ends()).add(ends)
        for key, runs in other.nodes.items():
            self.add_runs(key, runs)

    def add_runs(self, key: NodeKey, runs: NodeRuns) -> None:
        """Adds runs of a node, which stay as they are."""
        known = self.nodes.get(key)
        if known is None:
            self.nodes[key] = replace(runs)
        else:
            known.add(runs)


@dataclass(frozen=True, slots=True)
class Tallies:
    """The tallies of all buckets in which there is something, by their start, and their total."""

    buckets: Mapping[datetime, Tally]
    total: Tally

    @property
    def size(self) -> int:
        """How many statuses and nodes they have."""
        return self.total.size + sum(each.size for each in self.buckets.values())

    def plus(self, other: Tallies) -> Tallies:
        """What both count. Where only one has something it is the same tally."""
        if not other.buckets:
            return self
        buckets = dict(self.buckets)
        for start, tally in other.buckets.items():
            here = buckets.get(start)
            buckets[start] = tally if here is None else _sum((here, tally))
        return Tallies(buckets, _sum((self.total, other.total)))


def tallied(ended: Iterable[Any], nodes: Iterable[Any]) -> Tallies:
    """Tallies of rows as `rollup_sql` says they are."""
    by_start: dict[float, Tally] = {}
    for start, status, executions, seconds, cost, tokens, lowest_bin, sent, bins, times in ended:
        tally = by_start.get(start)
        if tally is None:
            tally = by_start[start] = Tally()
        ends = tally.ends.get(status)
        if ends is None:
            ends = tally.ends[status] = Ends()
        ends.executions += executions
        ends.seconds += seconds
        ends.cost += cost
        ends.tokens += tokens
        if sent is not None:
            ends.durations.add_sent(lowest_bin, sent)
        else:
            for bin_number, count in zip(bins, times, strict=True):
                ends.durations.add(bin_number, count)
    for start, workflow_id, node_id, node_type, runs, failures, seconds, longest in nodes:
        tally = by_start.get(start)
        if tally is None:
            tally = by_start[start] = Tally()
        key = workflow_id, node_id
        known = tally.nodes.get(key)
        each = NodeRuns(node_type, runs, failures, seconds, longest)
        if known is None:
            tally.nodes[key] = each
        else:
            known.add(each)
    buckets = {datetime.fromtimestamp(start, UTC): by_start[start] for start in sorted(by_start)}
    return Tallies(buckets, _sum(buckets.values()))


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for each in tallies:
        total.add(each)
    return total


class Remembered:
    """Tallies by what they are of, each for as long as its state is the same. Those that were asked
    for last stay."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._size = 0
        self._known: OrderedDict[object, tuple[object, Tallies]] = OrderedDict()

    def get(self, key: object, state: object) -> Tallies | None:
        """What is known of a key, unless that was in another state."""
        known = self._known.get(key)
        if known is None or known[0] != state:
            return None
        self._known.move_to_end(key)
        return known[1]

    def put(self, key: object, state: object, tallies: Tallies) -> None:
        """Keeps them in mind, unless they are too many for that."""
        self._drop(key)
        if 1 + tallies.size > self._most:
            return
        self._known[key] = (state, tallies)
        self._size += 1 + tallies.size
        while self._size > self._most:
            self._drop(next(iter(self._known)))

    def _drop(self, key: object) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self._size -= 1 + known[1].size
