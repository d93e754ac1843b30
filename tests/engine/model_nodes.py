"""What each type of node gives, for the model; loops are the model's own.

Its one rule: a node's meaning is its row in the table of node types and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from tests.engine.model_expressions import Unevaluable, evaluate, holds, refer, render, same
from tests.engine.model_values import Effect, Failing, Json, JsonObject, Ran, Sight

STARTED = "2026-01-01T12:00:00.000Z"
"""When every execution of the tests starts."""


def fallback_port(node_type: str, config: JsonObject) -> str:
    """The port of a node that goes on in spite of its error."""
    if node_type == "condition_if":
        return str(config.get("output_false_port", "false"))
    if node_type == "condition_switch":
        return str(config.get("default_port", "default"))
    return "*" if node_type == "flow_parallel" else "output"


class Nodes:
    """The nodes of one execution. `unknown` are the steps that a crash cut off."""

    def __init__(
        self,
        document: JsonObject,
        effect: Effect,
        variables: JsonObject,
        metadata: JsonObject,
        unknown: Collection[str],
    ) -> None:
        self._document = document
        self._effect = effect
        self._unknown = unknown
        payload = metadata.get("payload", variables)
        self.trigger = {**payload, **metadata, "payload": payload, "metadata": metadata}
        self.inputs: JsonObject = {}
        """What each action was given, by step key."""
        self.cost = 0.0
        self.tokens = 0

    def _node(self, node_id: str) -> JsonObject:
        node: JsonObject = self._document["nodes"][node_id]
        return node

    def may_pause(self, node_id: str, key: str, kind: str, attempt: int) -> bool:
        """Whether a step may be parked or tried again, or say beforehand that it will act."""
        node = self._node(node_id)
        if kind == "waiting":
            return node["node_type"] in ("action_delay", "flow_wait")
        if kind == "intent":
            return node.get("effect") == "at_most_once"
        failure = self._attempt(node_id, key, attempt)[1]
        return self._again(node_id, failure) and attempt < self._most_attempts(node_id)

    def give(
        self,
        node_id: str,
        key: str,
        sight: Sight,
        arms: JsonObject,
        ran: Ran,
        attempt: int,
    ) -> None:
        """Runs a node: `ran` is what it gave. Raises `Failing` or `Unevaluable`."""
        config = self._node(node_id).get("config") or {}
        ran.output = sight.lookup("input")
        match self._node(node_id)["node_type"]:
            case "trigger_command" | "trigger_event":
                ran.output = self.trigger["payload"]
            case "trigger_webhook":
                whole = self.trigger["metadata"]
                ran.output = {"headers": whole.get("headers", {}), "query": whole.get("query", {})}
                ran.output["body"] = self.trigger["payload"]
            case "trigger_schedule":
                ran.output = {"scheduled_time": STARTED}
            case "condition_if":
                yes = holds(config["condition"], sight)
                name = "true" if yes else "false"
                ran.port = config.get(f"output_{name}_port", name)
            case "condition_switch":
                value = refer(config["value"], sight)
                ran.port = _case(config["cases"], value, config.get("default_port", "default"))
            case "condition_filter":
                self._filter(config, sight, ran)
            case "data_transform":
                self._transform(config, sight, ran)
            case "data_variable_set":
                ran.output = render(config["variables"], sight)
                given = ran.local if config.get("scope") == "local" else ran.variables
                given.update(ran.output)
            case "data_variable_get":
                self._get(config, sight, ran)
            case "flow_parallel":
                ran.port = "*"
            case "flow_merge":
                ran.output = arms
            case "flow_end":
                if "output" in config:
                    ran.output = render(config["output"], sight)
            case "loop_break":
                if "condition" not in config or holds(config["condition"], sight):
                    ran.port, ran.broke = None, True
            case "flow_wait":  # Nobody sends a signal.
                ran.output, ran.port = None, "timeout"
            case "action_delay":
                ran.output = {"delayed_seconds": _seconds(config, sight)}
            case _:
                self._act(node_id, key, sight, ran, attempt)

    def _filter(self, config: JsonObject, sight: Sight, ran: Ran) -> None:
        items = refer(config["items"], sight)
        if not isinstance(items, list):
            raise Failing("TYPE_ERROR")
        condition = config["condition"]
        ran.output = [item for item in items if holds(condition, sight.with_own(item=item))]
        ran.variables[config.get("output_variable", "filtered_items")] = ran.output

    def _transform(self, config: JsonObject, sight: Sight, ran: Ran) -> None:
        made: JsonObject = {}
        for name, source in config["transformations"].items():
            made[name] = refer(source, sight.with_own(**made))
        ran.output = made
        ran.variables.update(made)
        if "output_variable" in config:
            ran.variables[config["output_variable"]] = made

    def _get(self, config: JsonObject, sight: Sight, ran: Ran) -> None:
        try:
            ran.output = evaluate(config["variable_name"], sight)
        except Unevaluable:
            if "default_value" not in config:
                raise
            ran.output = render(config["default_value"], sight)
        if "output_variable" in config:
            ran.variables[config["output_variable"]] = ran.output

    # Actions -------------------------------------------------------------------------------

    def _most_attempts(self, node_id: str) -> int:
        retry = self._node(node_id).get("retry")
        if retry is not None:
            return int(retry["max_attempts"])
        if self._document.get("retry_failed_nodes"):
            return int(self._document.get("max_retries") or 0) + 1
        return 1

    def _attempt(self, node_id: str, key: str, attempt: int) -> tuple[Json, Failing | None]:
        try:
            return self._effect(node_id, key, attempt), None
        except Failing as failure:
            return None, failure

    def _again(self, node_id: str, failure: Failing | None) -> bool:
        """Whether another attempt may help. What took too long may have happened nevertheless."""
        once = self._node(node_id).get("effect") == "at_most_once"
        unsure = once and failure is not None and failure.kind == "TIMEOUT"
        return failure is not None and failure.retryable and not unsure

    def _act(self, node_id: str, key: str, sight: Sight, ran: Ran, attempt: int) -> None:
        config = self._node(node_id)["config"]
        rendered = {name: render(value, sight) for name, value in config.items()}
        if key in self._unknown:
            ran.attempt = attempt
            raise Failing("OUTCOME_UNKNOWN")
        self.inputs[key] = request_of(rendered)
        for ran.attempt in range(1, self._most_attempts(node_id) + 1):
            ran.output, failure = self._attempt(node_id, key, ran.attempt)
            if not self._again(node_id, failure):
                break
        if failure is not None:
            raise failure
        if "output_variable" in config:
            ran.variables[config["output_variable"]] = ran.output
        for part, variable in config.get("output_mapping", {}).items():
            ran.variables[variable] = ran.output.get(part)

    def spend(self, node_id: str, ran: Ran) -> None:
        """Adds up what an action that succeeded costs."""
        usage = (self._node(node_id).get("config") or {}).get("usage") or {}
        if ran.failure is None:
            self.cost += usage.get("cost", 0)
            self.tokens += usage.get("tokens", 0)


def request_of(rendered: JsonObject) -> Json:
    """The part of an action's rendered settings that its author wrote."""
    names = ("input", "message", "content", "body")
    return next((rendered[name] for name in names if name in rendered), None)


def _case(cases: Json, value: Json, default: str) -> str:
    listed = cases
    if isinstance(cases, dict):
        listed = [{"value": key, "output_port": port} for key, port in cases.items()]
    texts = [value, json.dumps(value)] if isinstance(value, bool) else [value]
    for case in listed:
        if any(same(text, case["value"]) for text in texts):
            return str(case["output_port"])
    return default


def _seconds(config: JsonObject, sight: Sight) -> float:
    """How long a delay takes, in seconds."""
    unit = 0.001 if "delay_ms" in config else 1.0
    if "delay_variable" in config:
        value = refer(config["delay_variable"], sight)
    else:
        value = render(config.get("delay_seconds", config.get("delay_ms")), sight)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise Failing("BAD_CONFIG")
    return float(value) * unit
