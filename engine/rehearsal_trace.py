"""What a dry run has seen of one execution: an entry for each step that began and is over.

Its one rule: what has left would have left. An effect that was cut off while it was under way has
an entry too, `cancelled`, for its request was on its way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from engine import step_log
from engine.context import Json, JsonObject, Outcome
from engine.effects import idempotency_key
from engine.scopes import Step


class Child(Protocol):
    """The execution that a step has started."""

    def cancel(self) -> None:
        """Ends it as cancelled."""
        ...

    def as_json(self) -> JsonObject:
        """What became of it."""
        ...


@dataclass(slots=True)
class Scene:
    """A step that has begun: since when, what it said, what it was given and would send. It waits
    for its `child` if that is `attached`."""

    since: datetime
    logs: list[JsonObject] = field(default_factory=list)
    given: Json = None
    would_send: JsonObject | None = None
    child: Child | None = None
    attached: bool = False


class Trace:
    """The trace of one execution. `execution` is the reserved object."""

    def __init__(self, execution: JsonObject) -> None:
        self._execution = execution
        self._scenes: dict[str, Scene] = {}
        self._entries: list[tuple[JsonObject, Child | None]] = []
        self.results: JsonObject = {}
        """`{"output", "port", "error"}` of each node's last step to finish."""

    def begins(self, step: Step, now: datetime) -> None:
        """A step begins, or goes on."""
        if step.key not in self._scenes:
            self._scenes[step.key] = Scene(now)

    def scene(self, step: Step) -> Scene:
        """The scene of a step that has begun and is not over."""
        return self._scenes[step.key]

    def waits(self, step: Step, outcome: Outcome, now: datetime) -> None:
        """A step waits for a time, a signal, or both."""
        self._log(step, now, "info", step_log.waiting(outcome.output, outcome.wake_at))

    def retries(self, step: Step, outcome: Outcome, now: datetime) -> None:
        """An attempt has failed, and there will be another."""
        assert outcome.error is not None
        assert outcome.wake_at is not None
        message = step_log.retrying(outcome.attempt, outcome.error.message, outcome.wake_at)
        self._log(step, now, "warning", message)

    def finished(self, step: Step, outcome: Outcome, given: Json, now: datetime) -> None:
        """A step is over."""
        error = outcome.error
        if error is not None:
            self._log(step, now, "error", error.message)
        else:
            self._log(step, now, "info", step_log.finished(outcome.port))
        self.results[step.node.node_id] = {
            "output": outcome.output,
            "port": outcome.port,
            "error": error.as_json() if error else None,
        }
        self._add(
            step,
            now,
            status="failed" if error else "completed",
            attempt=outcome.attempt,
            input=given,
            output=outcome.output,
            port=outcome.port,
            error=error.message if error else None,
            error_type=error.type if error else None,
        )

    def cancelled(self, step: Step, now: datetime) -> None:
        """A step has become pointless; so has the child that it waits for."""
        scene = self._scenes.get(step.key)
        if scene is None or scene.would_send is None:
            self._scenes.pop(step.key, None)
            return
        if scene.child is not None and scene.attached:
            scene.child.cancel()
        self._add(step, now, status="cancelled", attempt=step.attempt, input=scene.given)

    def as_json(self) -> list[JsonObject]:
        """The entries, in the order in which the steps were over."""
        return [
            entry if child is None else {**entry, "child": child.as_json()}
            for entry, child in self._entries
        ]

    def _add(self, step: Step, now: datetime, *, status: str, **what: Json) -> None:
        scene = self._scenes.pop(step.key)
        entry: JsonObject = {
            "step_key": step.key,
            "node_id": step.node.node_id,
            "node_type": step.node.node_type,
            "status": status,
            "duration_seconds": (now - scene.since).total_seconds(),
            "attempt": step.attempt,
            "input": None,
            "output": None,
            "port": None,
            "logs": scene.logs,
            "error": None,
            "error_type": None,
            **what,
        }
        if scene.would_send is not None:
            entry["would_send"] = scene.would_send
            if step.node.family == "effect":
                entry["idempotency_key"] = idempotency_key(self._execution, step)
        self._entries.append((entry, scene.child))

    def _log(self, step: Step, now: datetime, level: str, message: str) -> None:
        self._scenes[step.key].logs.append(step_log.line(now, level, message))
