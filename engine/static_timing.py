"""Whether what an expression reads can be there by the time it is evaluated.

Said only of a graph whose regions are sound, and only where no execution could have it but by
luck: a node that comes before, though it may not have run, is no finding. The one rule: no more
work than the graph is large, however many expressions read however many names; beyond the bounds
below the answer is that it may be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from engine.regions import Regions
from engine.static_names import Mention, Names
from engine.static_order import Order, marks

_MAX_PAIRS = 20_000
_MAX_TRACKED = 10_000


class Timing:
    """Whether what an expression reads can be there when it is evaluated."""

    def __init__(
        self, names: Names, regions: Regions, order: Order, mentions: Sequence[Mention]
    ) -> None:
        self._names = names
        self._order = order
        self._owner = regions.owner
        self._top = _outermost(regions)
        self._pairs = _MAX_PAIRS
        roots = dict.fromkeys(m.path[0] for m in mentions)
        read = [name for name in roots if name in names.setters and name not in names.always]
        setters = dict.fromkeys(w for n in read for w in names.setters[n] if names.enabled(w))
        self._tracked = tuple(setters)[:_MAX_TRACKED]
        self._setter = marks(self._tracked)
        self._later = order.behind(self._setter)
        self._all = {name: self._mask(names.setters[name]) for name in read}
        self._by_loop = self._in_loops()
        asked = [m.path[1] for m in mentions if m.path[0] == "nodes" and len(m.path) > 1]
        self._asked = marks([n for n in dict.fromkeys(asked) if n in names.nodes][:_MAX_TRACKED])
        self._earlier = order.before({order.end(n): bit for n, bit in self._asked.items()})
        self.updated = {
            m.path[0]
            for m in mentions
            if m.node_id in names.writers.get(m.path[0], ()) and names.lag(m) == 0
        }
        """Variables that one of their setters reads: the first value must come from outside."""

    def ran(self, node_id: str, mention: Mention) -> bool:
        """Whether a node may have a result that the mention can see."""
        if node_id == mention.node_id:
            return mention.moment == "leave"
        bit = self._asked.get(node_id)
        return bit is None or bool(self._earlier[mention.node_id] & bit)

    def may_be_set(self, mention: Mention) -> bool:
        """Whether some node may have set the mentioned variable before it is read."""
        name, reader = mention.path[0], mention.node_id
        setters = self._all[name]
        if setters is None:
            return True
        own = self._setter.get(reader, 0) & setters
        if own and self._names.lag(mention) <= 0:
            return True
        setters &= ~own
        if setters & self._by_loop.get(self._loop_around(mention), 0):
            return True
        return any(self._may_precede(each, reader) for each in self._bits(setters, reader))

    def _may_precede(self, setter: str, reader: str) -> bool:
        self._pairs -= 1
        return self._pairs < 0 or not self._order.exclusive(setter, reader)

    def _bits(self, setters: int, reader: str) -> Iterator[str]:
        """The setters that do not come after the reader."""
        left = setters & ~self._later[reader]
        while left:
            lowest = left & -left
            yield self._tracked[lowest.bit_length() - 1]
            left ^= lowest

    def _mask(self, setters: Iterable[str]) -> int | None:
        """The setters as bits; None if there are too many to keep track of."""
        mask = 0
        for node_id in setters:
            if self._names.enabled(node_id):
                bit = self._setter.get(node_id)
                if bit is None:
                    return None
                mask |= bit
        return mask

    def _in_loops(self) -> dict[str, int]:
        """For each outermost loop, the setters in it: an earlier iteration may have run them."""
        found: dict[str, int] = {}
        for node_id, bit in self._setter.items():
            loop = self._top.get(self._owner[node_id] or "")
            if loop is not None:
                found[loop] = found.get(loop, 0) | bit
        return found

    def _loop_around(self, mention: Mention) -> str:
        node_id = mention.node_id
        within = node_id if mention.moment != "run" and node_id in self._top else None
        return self._top.get(within or self._owner[node_id] or "", "")


def _outermost(regions: Regions) -> dict[str, str]:
    """Each loop with a body -> the outermost loop around it, perhaps itself."""
    loops = {owner for owner in regions.owner.values() if owner is not None}
    found: dict[str, str] = {}
    for loop in sorted(loops, key=regions.depth.__getitem__):
        owner = regions.owner[loop]
        found[loop] = loop if owner is None else found[owner]
    return found
