"""Which signals an execution can take: judged when they are sent, so that a misspelt name or a
payload that no node would take is its sender's error and not a wait that never ends."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from engine.context import Json
from engine.errors import SignalReused, SignalUnknown, WorkflowEngineException
from engine.graph import Graph
from engine.nodes.waiting import PayloadProblem, Wait
from engine.records import Letter


class SignalUnfit(WorkflowEngineException):
    """The signal's payload does not fit the schema of the node that waits for it."""

    code = "VALIDATION_ERROR"

    def __init__(self, name: str, problems: list[PayloadProblem]) -> None:
        first = problems[0]
        where = f" at {first.path}" if first.path else ""
        super().__init__(f"The signal {name!r} does not fit{where}: {first.message}")
        self.problems = problems


def refuse_reuse(letters: Iterable[Letter], sent: Letter) -> None:
    """Passes unless another signal among the letters has the id of the one sent. Raises
    `SignalReused`."""
    for letter in letters:
        if letter.letter_id == sent.letter_id:
            same = orjson.dumps(letter.payload) == orjson.dumps(sent.payload)
            if letter.name != sent.name or not same:
                raise SignalReused


def signal_names(graph: Graph) -> list[str]:
    """The names of the signals that nodes of this graph wait for, in its order."""
    return list(dict.fromkeys(wait.signal for wait in _waits(graph)))


def check_signal(graph: Graph, name: str, payload: Json) -> None:
    """Passes if a node of the graph waits for this signal and takes this payload. Raises
    `SignalUnknown`, `SignalUnfit` with the problems of the first node that waits for it."""
    waits = [wait for wait in _waits(graph) if wait.signal == name]
    if not waits:
        known = signal_names(graph)
        raise SignalUnknown(
            f"No node of this workflow waits for a signal {name!r}; "
            f"its signals are {', '.join(known) or 'none'}.",
            signals=known,
        )
    judged = [wait.problems(payload) for wait in waits]
    if all(judged):
        raise SignalUnfit(name, judged[0])


def _waits(graph: Graph) -> list[Wait]:
    return [n.handler for n in graph.nodes if n.node_type == "flow_wait" and n.enabled]
