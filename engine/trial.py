"""What a dry run is asked: what the world answers, what it says by itself, and what must hold.

Its one rule: all of it is judged before anything runs. Whoever sends a trial that cannot mean what
it says is told every fault of it, where it is and what would be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.context import Json, JsonObject
from engine.errors import StepFailure
from engine.expressions import Expression, ExpressionSyntaxError, compile_expression
from engine.graph import Graph, Node
from engine.issues import Findings, Issue, listed, pointer, shown
from engine.nodes.delay import LONGEST_SECONDS

MOST_ASSERTIONS = 100
MOST_SIGNALS = 100

_ERROR_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_STATUSES = ("completed", "failed")
_ANSWER = '{"output": …} or {"error": "…"}, with "duration_seconds" beside it if it takes time'
_ERROR = '"…" or {"message": "…", "type": "HTTP_STATUS", "retryable": true}'


class TrialRefused(ValueError):
    """The trial cannot be what its sender means; `issues` say why."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        first = issues[0]
        super().__init__(f"{first.path}: {first.message}")
        self.issues = tuple(issues)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the world does with one call: after `seconds` it gives `output`, or fails."""

    output: Json = None
    failure: StepFailure | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal that comes once, so many seconds after the start."""

    name: str
    payload: Json = None
    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Assertion:
    """What must be true in the end; `message` says so in words."""

    expression: Expression
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """What a dry run is asked. `mocks` are the answers to a node's calls, one after the other;
    the last one answers further calls."""

    mocks: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict)
    signals: tuple[Signal, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    expected_status: Literal["completed", "failed"] = "completed"


def read_trial(
    graph: Graph,
    *,
    mocks: Json = None,
    signals: Json = None,
    assertions: Json = None,
    expected_status: Json = "completed",
) -> Trial:
    """The trial of a graph that a request describes; null leaves a part out. Raises
    `TrialRefused`."""
    found = Findings()
    answers = _mocks(mocks, graph, found)
    coming = _signals(signals, graph, found)
    held = _assertions(assertions, found)
    if expected_status not in _STATUSES:
        message = f'must be "completed" or "failed", not {shown(expected_status)}'
        found.shape(message, "/expected_status")
    if found.issues:
        raise TrialRefused(found.issues)
    return Trial(answers, coming, held, expected_status)


# Mocks


def _mocks(mocks: Json, graph: Graph, found: Findings) -> dict[str, tuple[Answer, ...]]:
    if mocks is None:
        return {}
    if not isinstance(mocks, dict):
        found.shape(f"must be an object of node ids, not {shown(mocks)}", "/mocks")
        return {}
    effects = [n.node_id for n in graph.nodes if n.family in ("effect", "subworkflow")]
    answers: dict[str, tuple[Answer, ...]] = {}
    for node_id, mock in mocks.items():
        path = pointer("/mocks", node_id)
        if node_id not in effects:
            message = (
                f"{node_id!r} is not an action of this workflow; its actions are {listed(effects)}"
            )
            found.shape(message, path, hint=found.nearest.hint(node_id, effects))
        elif mock == []:
            found.shape("must have at least one answer", path, hint=f"Write {_ANSWER}")
        elif isinstance(mock, list):
            calls = [_answer(one, pointer(path, i), found) for i, one in enumerate(mock)]
            answers[node_id] = tuple(calls)
        else:
            answers[node_id] = (_answer(mock, path, found),)
    return answers


def _answer(mock: Json, path: str, found: Findings) -> Answer:
    """One answer; a meaningless one if it is reported."""
    if not isinstance(mock, dict) or ("output" in mock) == ("error" in mock):
        found.shape(f"must be {_ANSWER}, or a list of those, one per call", path)
        return Answer()
    _refuse_unknown(mock, ("output", "error", "duration_seconds"), path, found)
    seconds = _seconds(mock, "duration_seconds", path, found)
    if "error" not in mock:
        return Answer(output=mock["output"], seconds=seconds)
    return Answer(failure=_failure(mock["error"], pointer(path, "error"), found), seconds=seconds)


def _failure(error: Json, path: str, found: Findings) -> StepFailure:
    said = {"message": error} if isinstance(error, str) else error
    if not isinstance(said, dict) or not isinstance(said.get("message"), str):
        found.shape(f"must be {_ERROR}", path)
        return StepFailure("MOCKED_ERROR", "")
    _refuse_unknown(said, ("message", "type", "retryable"), path, found)
    kind, retryable = said.get("type", "MOCKED_ERROR"), said.get("retryable", True)
    if not isinstance(kind, str) or not _ERROR_TYPE.fullmatch(kind):
        hint = "Write an error type like HTTP_STATUS"
        found.shape(f"must be a name in capitals, not {shown(kind)}", f"{path}/type", hint=hint)
    if not isinstance(retryable, bool):
        found.shape(f"must be true or false, not {shown(retryable)}", f"{path}/retryable")
    return StepFailure(str(kind), said["message"], retryable=retryable is True)


# Signals


def _signals(signals: Json, graph: Graph, found: Findings) -> tuple[Signal, ...]:
    if signals is None:
        return ()
    waits: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.node_type == "flow_wait" and node.enabled:
            waits.setdefault(node.handler.signal, []).append(node)
    if isinstance(signals, dict):
        told = [(pointer("/signals", k), "", k, v, 0.0) for k, v in signals.items()]
    elif isinstance(signals, list):
        told = [one for i, s in enumerate(signals) if (one := _written(s, i, found)) is not None]
    else:
        hint = 'Write [{"name": "approved", "payload": {…}, "after_seconds": 60}]'
        found.shape(f"must be a list or an object, not {shown(signals)}", "/signals", hint=hint)
        return ()
    if len(signals) > MOST_SIGNALS:
        found.shape(f"must have at most {MOST_SIGNALS} signals", "/signals")
        return ()
    for path, below, name, payload, _ in told:
        if name not in waits:
            _refuse_signal(name, path + ("/name" if below else ""), waits, found)
        else:
            _check_payload(waits[name], payload, path + below, found)
    return tuple(Signal(name, payload, after) for _, _, name, payload, after in told)


_Told = tuple[str, str, str, Json, float]
"""A signal's place, that of its payload below it, its name, its payload, when it comes."""


def _written(signal: Json, index: int, found: Findings) -> _Told | None:
    path = f"/signals/{index}"
    if not isinstance(signal, dict) or not isinstance(signal.get("name"), str):
        hint = 'Write {"name": "approved", "payload": {…}, "after_seconds": 60}'
        found.shape("must be an object with the signal's `name`", path, hint=hint)
        return None
    _refuse_unknown(signal, ("name", "payload", "after_seconds"), path, found)
    after = _seconds(signal, "after_seconds", path, found)
    return path, "/payload", signal["name"], signal.get("payload"), after


def _refuse_signal(name: str, path: str, waits: Mapping[str, list[Node]], found: Findings) -> None:
    known = f"it waits for {listed(waits)}" if waits else "none of its nodes waits for a signal"
    message = f"{name!r} is not a signal of this workflow; {known}"
    found.shape(message, path, hint=found.nearest.hint(name, waits))


def _check_payload(nodes: Sequence[Node], payload: Json, path: str, found: Findings) -> None:
    """Reports a payload that none of these nodes would take, with the first one's reasons."""
    reasons = [node.handler.problems(payload) for node in nodes]
    if not all(reasons):
        return
    for problem in reasons[0]:
        message = f"{nodes[0].node_id!r} would not take it: {problem.message}"
        found.shape(message, path + problem.path)


# Assertions


def _assertions(assertions: Json, found: Findings) -> tuple[Assertion, ...]:
    if assertions is None:
        return ()
    if not isinstance(assertions, list) or not 1 <= len(assertions) <= MOST_ASSERTIONS:
        hint = 'Write [{"expression": "final_output.total == 3", "message": "…"}]'
        found.shape(
            f"must be a list of 1 to {MOST_ASSERTIONS} assertions", "/assertions", hint=hint
        )
        return ()
    held = (_assertion(one, f"/assertions/{i}", found) for i, one in enumerate(assertions))
    return tuple(one for one in held if one is not None)


def _assertion(given: Json, path: str, found: Findings) -> Assertion | None:
    if not isinstance(given, dict) or not isinstance(given.get("expression"), str):
        hint = 'Write {"expression": "final_output.total == 3", "message": "…"}'
        found.shape("must be an object with an `expression`, a string", path, hint=hint)
        return None
    _refuse_unknown(given, ("expression", "message"), path, found)
    message = given.get("message")
    if message is not None and not isinstance(message, str):
        found.shape(f"must be a string, not {shown(message)}", f"{path}/message")
        return None
    try:
        return Assertion(compile_expression(given["expression"]), message)
    except ExpressionSyntaxError as error:
        place = f"{error.message} (line {error.line}, column {error.column})"
        found.shape(place, f"{path}/expression", hint=error.hint)
        return None


# All of them


def _refuse_unknown(given: JsonObject, known: Sequence[str], path: str, found: Findings) -> None:
    for name in given:
        if name not in known:
            message = f"unknown field; known: {', '.join(known)}"
            found.shape(message, pointer(path, name[:64]), hint=found.nearest.hint(name, known))


def _seconds(given: JsonObject, name: str, path: str, found: Findings) -> float:
    value = given.get(name, 0)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and math.isfinite(value) and 0 <= value <= LONGEST_SECONDS:
        return float(value)
    message = f"must be a number of seconds from 0 to 30 days, not {shown(value)}"
    found.shape(message, f"{path}/{name}")
    return 0.0
