"""Folding by hand: a state over a small document, and outcomes that nobody had to compute."""

from __future__ import annotations

from typing import Any

from engine.context import JsonObject, Kind, Limits, Outcome, StepError
from engine.graph import compile_graph
from engine.scopes import Step, Transition
from engine.state import ExecutionState
from tests.engine.world import canonical, document

NODE: JsonObject = {"node_type": "data_variable_set", "config": {"variables": {"x": 1}}}
"""Any node that runs once and leaves by `output`."""
OFF: JsonObject = {**NODE, "enabled": False}
GOES_ON: JsonObject = {**NODE, "continue_on_error": True}
FORK: JsonObject = {"node_type": "flow_parallel"}
RACE: JsonObject = {"node_type": "flow_parallel", "config": {"execution_type": "any_first"}}
BREAK: JsonObject = {"node_type": "loop_break"}


def check() -> JsonObject:
    """A node with the ports `true` and `false`."""
    return {"node_type": "condition_if", "config": {"condition": True}}


def each(*, goes_on: bool = False, **config: Any) -> JsonObject:
    """A `loop_foreach`."""
    return {
        "node_type": "loop_foreach",
        "config": {"items": [], **config},
        "continue_on_error": goes_on,
    }


def again(*, goes_on: bool = False) -> JsonObject:
    """A `loop_while`."""
    return {
        "node_type": "loop_while",
        "config": {"condition": True},
        "continue_on_error": goes_on,
    }


def merge(mode: int | str = "wait_all") -> JsonObject:
    """A `flow_merge`."""
    return {"node_type": "flow_merge", "config": {"mode": mode}}


def end(**config: Any) -> JsonObject:
    """A `flow_end`."""
    return {"node_type": "flow_end", "config": config}


class Fold:
    """An execution that was started; each method gives one outcome and returns the keys of the
    steps that it made ready."""

    def __init__(
        self,
        nodes: JsonObject,
        *edges: str,
        variables: JsonObject | None = None,
        limits: Limits | None = None,
        **fields: Any,
    ) -> None:
        most = limits or Limits()
        self.graph = compile_graph(canonical(document(nodes, *edges, **fields), most), most)
        self.state = ExecutionState(self.graph, variables or {}, "start")
        self.last = self.state.start()

    @property
    def ready(self) -> list[str]:
        """What the last outcome made ready."""
        return [step.key for step in self.last.ready]

    @property
    def cancelled(self) -> list[str]:
        """What the last outcome made pointless."""
        return [step.key for step in self.last.cancelled]

    @property
    def active(self) -> list[str]:
        """What is ready, runs or waits."""
        return list(self.state.active)

    @property
    def skipped(self) -> list[str]:
        """The nodes that count as skipped."""
        return [node.node_id for node in self.graph.nodes if node.index in self.state.skipped]

    def step(self, key: str) -> Step:
        """An active step."""
        return self.state.active[key]

    def give(self, key: str, kind: Kind, **outcome: Any) -> list[str]:
        """Any outcome."""
        self.last = self.state.apply(Outcome(key, kind, **outcome))
        return self.ready

    def finish(
        self, key: str, output: Any = None, port: str = "output", **outcome: Any
    ) -> list[str]:
        """The step has run to its end."""
        return self.give(key, Kind.FINISHED, output=output, port=port, **outcome)

    def fail(self, key: str, *, fatal: bool = False, **outcome: Any) -> list[str]:
        """The step has failed for good. Its node takes that if it has a way to, all edges from
        its port `error` being live, unless `port` says otherwise."""
        node, failure = self.state.active[key].node, error(key, fatal=fatal)
        if not fatal and node.catches:
            outcome = {"port": "error", "output": failure.as_json(), **outcome}
        elif not fatal and node.continue_on_error:
            given = {"error": failure.as_json()}
            outcome = {"port": node.fallback_port, "output": given, **outcome}
        return self.give(key, Kind.FINISHED, error=failure, **outcome)

    def enter(self, key: str, *items: Any) -> list[str]:
        """The loop has its items."""
        return self.give(key, Kind.ENTERED, output=list(items))

    def iterate(self, key: str, **outcome: Any) -> list[str]:
        """The loop's test says that it goes on."""
        return self.give(key, Kind.ITERATE, **outcome)

    def run(self, *keys: str) -> list[str]:
        """These steps run to their end, one after the other, each giving its own key."""
        for key in keys:
            self.finish(key, key)
        return self.ready

    def ended(self) -> tuple[str, Any]:
        """How the execution ended, and with what output."""
        assert self.state.ended is not None
        assert self.last.ended is self.state.ended
        return self.state.ended.status, self.state.ended.output

    def failure(self) -> StepError:
        """The error by which the execution failed."""
        ended = self.state.ended
        assert ended is not None
        assert ended is self.last.ended
        assert ended.status == "failed"
        assert ended.error is not None
        return ended.error


def error(key: str, *, fatal: bool = False) -> StepError:
    """A failure of this step."""
    node_id = key.rpartition(".")[2]
    return StepError("It is down.", "DOWN", node_id, key, fatal=fatal)


def nothing_changed(transition: Transition) -> bool:
    """Whether an outcome had no effect."""
    return not transition.ready and not transition.cancelled and transition.ended is None
