"""The atlas: what events say after journals that went the same way before.

Theory of operation
-------------------
*Ways.* Executions of one version mostly take the same few ways through it, and what an event says
of status and progress follows from which records there were, never from their values. So every
beginning of a journal is a `Waypoint`, and one leads on to the next by the `Mark` of a record: all
that the fold reads of it. A waypoint keeps what the fold said there. Who tells a journal goes from
one to the next (`Guide`) and folds nothing.

*Where no way leads on* the guide folds the marks behind it, as far as it has not yet, then the new
one, and draws the waypoint for whoever comes next. What it says is the same on the map and off it.

*Bounded.* A journal adds at most `MOST_DRAWN` waypoints; beyond them it is folded record by record,
as all would be without maps: so are the late iterations of a long loop, and the steps of a wide
fan-out, which hardly ever end in the same order twice. A map of `MOST_OF_A_MAP` is begun anew, so
that nothing which came once keeps out what comes often; and an atlas with more than
`MOST_WAYPOINTS` forgets the maps that were not used for longest. Beside that each journal that is
being told keeps its own way.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache

import orjson

from engine.context import ExecutionStatus, Kind, Outcome, StepError
from engine.graph import Graph
from engine.progress import how_far
from engine.records import StepRow
from engine.state import ExecutionState
from engine.step_log import Budget, Room, item_count

MOST_DRAWN = 500
MOST_OF_A_MAP = 1_000
MOST_WAYPOINTS = 10_000
"""A waypoint has one or two kilobytes."""
_COUNTED_EVERY = 100
"""After so many journals the waypoints of all maps are counted, for those in use grow."""

PlainMark = tuple[str, str | None]
"""Step key and port of a step that finished at its first attempt, without an error, and with
nothing to say beside its values."""

OtherMark = tuple[str, Kind, str | None, int, tuple[str, ...], bool | None]
"""Step key, kind, port, number of a loop's items, edges whose conditional was false; whether its
error is fatal, None without one."""

Mark = PlainMark | OtherMark
"""What the fold reads of a record, as far as status and progress depend on it."""


def mark_of(row: StepRow) -> Mark:
    """The mark of a record."""
    details, error = row.details, row.error
    if (
        not details
        and error is None
        and row.kind is Kind.FINISHED
        and row.attempt == 1
        and row.wake_at is None
    ):
        return row.step_key, row.port
    return (
        row.step_key,
        row.kind,
        row.port,
        item_count(row.output) if row.kind is Kind.ENTERED else 0,
        tuple(details.get("dead_edges") or ()) if details else (),
        None if error is None else bool(error.get("fatal")),
    )


def is_plain(mark: Mark) -> bool:
    """Whether it is a `PlainMark`."""
    return len(mark) == 2


class Waypoint:
    """Where journals with the same marks stand: their `status`, how many nodes are `settled`,
    `saying` both as an event does; and whether the logs had `room` for the last record."""

    __slots__ = ("before", "blanks", "mark", "onward", "room", "saying", "settled", "status")

    def __init__(
        self, before: Waypoint | None, mark: Mark | None, state: ExecutionState, room: Room
    ) -> None:
        self.before = before
        self.mark = mark
        self.onward: dict[Mark, Waypoint] = {}
        self.status = _status(state)
        self.settled = state.settled_count()
        self.saying = saying(self.status, self.settled, state.graph)
        self.room = room
        self.blanks: bytes | None = None
        """For who tells: the event of a plain record, with blanks for what only it has."""


class Map:
    """The waypoints of a version's executions that one trigger starts. `size` is how many."""

    def __init__(self, graph: Graph, trigger_node_id: str, most: int = MOST_OF_A_MAP) -> None:
        self.graph = graph
        self.trigger_node_id = trigger_node_id
        self.size = 0
        self._most = most
        self.beginning = Waypoint(None, None, self.begun(), Room.ENOUGH)

    def begun(self) -> ExecutionState:
        """The state before the first record."""
        state = ExecutionState(self.graph, {}, self.trigger_node_id)
        state.start()
        return state

    def draw(self, found: Waypoint) -> None:
        """Adds a waypoint behind the one before it."""
        assert found.before is not None
        assert found.mark is not None
        if self.size >= self._most:
            self.beginning.onward.clear()
            self.size = 0
        self.size += 1
        found.before.onward[found.mark] = found


class Atlas:
    """The maps of the versions that were told last."""

    def __init__(self, most: int = MOST_WAYPOINTS, most_of_a_map: int = MOST_OF_A_MAP) -> None:
        self._most = most
        self._most_of_a_map = most_of_a_map
        self._maps: OrderedDict[tuple[str, int, str], Map] = OrderedDict()
        self._asked = 0

    def map(self, graph: Graph, trigger_node_id: str) -> Map:
        """The map of this version from this trigger on. A version never changes."""
        key = (graph.workflow_id, graph.version, trigger_node_id)
        found = self._maps.get(key)
        self._asked += 1
        if found is None or self._asked % _COUNTED_EVERY == 0:
            self._forget()
        if found is None:
            found = Map(graph, trigger_node_id, self._most_of_a_map)
        self._maps[key] = found  # also if it was the one forgotten
        self._maps.move_to_end(key)
        return found

    def _forget(self) -> None:
        """Drops the maps that were not used for longest, until there is room for another."""
        size = sum(1 + each.size for each in self._maps.values())
        while self._maps and size >= self._most:
            _, oldest = self._maps.popitem(last=False)
            size -= 1 + oldest.size


class Guide:
    """Leads one journal along a map, and beyond."""

    def __init__(self, on: Map) -> None:
        self.here = on.beginning
        self.known = True
        """Whether a journal had come by here before."""
        self._map = on
        self._left = MOST_DRAWN
        """How many waypoints it may still draw."""
        self._folded = on.beginning
        """How far the state has come, if there is one."""
        self._state: ExecutionState | None = None
        self._lines = Budget()

    def follow(self, mark: Mark) -> Waypoint:
        """Where the journal stands after the next record."""
        ahead = self.here.onward.get(mark)
        self.known = ahead is not None
        self.here = ahead or self._explore(mark)
        return self.here

    def _explore(self, mark: Mark) -> Waypoint:
        if self._state is None:
            self._state = self._map.begun()
        behind: list[Mark] = []
        place = self.here
        while place is not self._folded:
            assert place.mark is not None
            assert place.before is not None
            behind.append(place.mark)
            place = place.before
        for passed in reversed(behind):
            self._fold(self._state, passed)
        room = self._fold(self._state, mark)
        kept = self._left > 0
        found = Waypoint(self.here if kept else None, mark, self._state, room)
        if kept:
            self._left -= 1
            self._map.draw(found)
        self._folded = found
        return found

    def _fold(self, state: ExecutionState, mark: Mark) -> Room:
        state.apply(_outcome(mark))
        return self._lines.spend(mark[0])


def saying(status: str, settled: int, graph: Graph) -> bytes:
    """Status and progress as JSON, to stand inside an object."""
    return _saying(status, settled, graph.enabled_count)


@lru_cache(maxsize=1_000)
def _saying(status: str, settled: int, total: int) -> bytes:
    return orjson.dumps({"status": status, "progress": how_far(status, settled, total)})[1:-1]


def _status(state: ExecutionState) -> str:
    """`waiting` where all that is open waits, else `running`."""
    steps = state.open_steps()
    if steps and all(step.waiting for step in steps):
        return str(ExecutionStatus.WAITING)
    return str(ExecutionStatus.RUNNING)


def _outcome(mark: Mark) -> Outcome:
    """An outcome that the fold takes as it took the record's."""
    if len(mark) == 2:
        step_key, port = mark
        return Outcome(step_key=step_key, kind=Kind.FINISHED, port=port)
    step_key, kind, port, items, dead_edges, fatal = mark
    failed = None if fatal is None else StepError("", "", "", step_key, fatal=fatal)
    return Outcome(
        step_key=step_key,
        kind=kind,
        port=port,
        output=[None] * items if kind is Kind.ENTERED else None,
        error=failed,
        dead_edges=dead_edges,
    )
