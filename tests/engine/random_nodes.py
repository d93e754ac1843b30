"""The settings of random nodes, and the expressions in them.

The one rule: what must not depend on who is faster (what an action is given, how long a delay is,
what a loop iterates over) is made of what must have settled before the node may start. Pure nodes
of a *wild* document may glimpse at anything, because when they ran is on record.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]

TYPES = {
    "set": "data_variable_set",
    "get": "data_variable_get",
    "transform": "data_transform",
    "filter": "condition_filter",
    "if": "condition_if",
    "switch": "condition_switch",
    "parallel": "flow_parallel",
    "race": "flow_parallel",
    "merge": "flow_merge",
    "call": "action_module",
    "chat": "action_chat_message",
    "hook": "action_webhook",
    "overlay": "action_browser_source",
    "delay": "action_delay",
    "await": "flow_wait",
    "break": "loop_break",
    "end": "flow_end",
}
ACTIONS = ("call", "chat", "hook", "overlay")


@dataclass
class Region:
    """The scope being filled: `readable` are expressions every node in it may use."""

    loop: str | None
    depth: int
    concurrent: bool
    readable: list[str]
    nodes: list[str] = field(default_factory=list)
    before: dict[str, set[str]] = field(default_factory=dict)
    """What must have settled before a node may start."""


class Settings:
    """Writes nodes' settings. `wild` documents race, glimpse, break and end as they like;
    `unreliable` ones fail."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.nodes: dict[str, JsonObject] = {}
        self.kinds: dict[str, str] = {}
        self.ports: dict[str, tuple[str, ...]] = {}
        self.raced: set[str] = set()
        """The nodes of concurrent iterations: whose variables are the last is anybody's guess."""
        self.unreliable = self.dice.random() < 0.6
        self.wild = self.dice.random() < 0.6

    def chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def node(self, region: Region, kind: str, name: str, before: set[str]) -> JsonObject:
        """A node of this kind."""
        config = getattr(self, f"_{kind}")(region, name, before)
        node: JsonObject = {"node_type": TYPES[kind], "config": config}
        if kind in ACTIONS:
            self._conduct(node)
        return node

    def _conduct(self, node: JsonObject) -> None:
        """How an action behaves (its label says), and what is done about it."""
        moods = ["good", "good", "good", "slow"]
        moods += ["flaky", "weak", "bad", "down", "shaky", "hang"] if self.unreliable else []
        node["label"] = self.dice.choice(moods)
        if self.chance(0.35):
            node["retry"] = {
                "max_attempts": self.dice.choice([1, 2, 3]),
                "initial_seconds": self.dice.choice([0.2, 2]),
                "backoff": self.dice.choice(["exponential", "linear", "fixed"]),
                "jitter": self.chance(0.5),
            }
        if node["label"] == "hang":
            node["timeout_seconds"] = self.dice.choice([0.5, 3])
        if self.chance(0.15):
            node["effect"] = "at_most_once"
        if self.chance(0.15):
            node["config"]["usage"] = {"cost": 0.5, "tokens": 3}

    # Pure ----------------------------------------------------------------------------------

    def _set(self, region: Region, name: str, before: set[str]) -> JsonObject:
        variables = {f"v_{name}": self.template(region, name, before)}
        if self.wild and self.chance(0.3):
            variables["tally"] = f"{name} {{{{ default(tally, 0) == 0 }}}}"
        return {"variables": variables} | ({"scope": "local"} if self.chance(0.15) else {})

    def _get(self, region: Region, name: str, before: set[str]) -> JsonObject:
        config: JsonObject = {"variable_name": self.dice.choice(["low", "who", "items"])}
        if self.chance(0.5):
            config = {"variable_name": "absent", "default_value": ["{{ low }}", "none"]}
        elif self.unreliable and self.chance(0.3):
            config["variable_name"] = "absent"
        return config | ({"output_variable": f"v_{name}"} if self.chance(0.5) else {})

    def _transform(self, region: Region, name: str, before: set[str]) -> JsonObject:
        first, second = f"v_{name}", f"w_{name}"
        steps = {first: self.value(region, name, before, pure=True), second: f"[{first}]"}
        more = {"output_variable": f"all_{name}"} if self.chance(0.3) else {}
        return {"transformations": steps, **more}

    def _filter(self, region: Region, name: str, before: set[str]) -> JsonObject:
        config: JsonObject = {
            "items": self.items(before),
            "condition": self.dice.choice(
                [
                    "item != 2 and item != 'q'",
                    {"variable": "item", "operator": "in_list", "value": [1, "p", "3"]},
                    {"not": {"variable": "item", "operator": "is_empty"}},
                    self.truth(region, before, pure=True),
                ]
            ),
        }
        return config | ({"output_variable": f"v_{name}"} if self.chance(0.7) else {})

    def _if(self, region: Region, name: str, before: set[str]) -> JsonObject:
        config = {"condition": self.condition(region, before)}
        if self.chance(0.2):
            config |= {"output_true_port": "yes", "output_false_port": "no"}
        self.ports[name] = ("yes", "no") if len(config) > 1 else ("true", "false")
        return config

    def _switch(self, region: Region, name: str, before: set[str]) -> JsonObject:
        value, matching = self.dice.choice(
            [
                (f"{{{{ {self.truth(region, before, pure=True)} }}}}", "true"),
                ("low", "1"),
                ("{{ 'a' if no else 'b' }}", "b"),
            ]
        )
        listed = [{"value": matching, "output_port": "low"}, {"value": "z", "output_port": "high"}]
        default = {"default_port": "rest"} if self.chance(0.3) else {}
        self.ports[name] = ("low", "high", default.get("default_port", "default"))
        cases = {case["value"]: case["output_port"] for case in listed}
        return {"value": value, "cases": listed if self.chance(0.4) else cases, **default}

    def _parallel(self, region: Region, name: str, before: set[str]) -> JsonObject:
        self.ports[name] = ("x", "y")
        return {"max_parallel": self.dice.randint(1, 2)} if self.chance(0.3) else {}

    def _race(self, region: Region, name: str, before: set[str]) -> JsonObject:
        return {"execution_type": "any_first"}

    def _merge(self, region: Region, name: str, before: set[str]) -> JsonObject:
        return {"mode": self.dice.choice(["wait_all", "any", 2] if self.wild else ["wait_all"])}

    def _break(self, region: Region, name: str, before: set[str]) -> JsonObject:
        return {} if self.chance(0.3) else {"condition": self.condition(region, before)}

    def _end(self, region: Region, name: str, before: set[str]) -> JsonObject:
        config: JsonObject = {"output": f"{name}: {{{{ low }}}}"} if self.chance(0.5) else {}
        return config | ({"terminate": True} if self.wild and self.chance(0.25) else {})

    # Actions -------------------------------------------------------------------------------

    def _call(self, region: Region, name: str, before: set[str]) -> JsonObject:
        config: JsonObject = {"module_name": name, "action": "go"}
        config["input"] = {"seen": self.template(region, name, before, pure=False)}
        return config | ({"output_mapping": {"from": f"v_{name}"}} if self.chance(0.3) else {})

    def _chat(self, region: Region, name: str, before: set[str]) -> JsonObject:
        names = ["low", "who", *(r for r in region.readable if r.startswith("i"))]
        names += ["missing"] if self.unreliable and self.chance(0.1) else []
        return {"message": f"{name} {{{{ has({self.dice.choice(names)}) }}}} {{{{ low }}}}"}

    def _hook(self, region: Region, name: str, before: set[str]) -> JsonObject:
        config: JsonObject = {"url": "https://example.com/", "timeout_seconds": 20}
        config["body"] = self.template(region, name, before, pure=False)
        return config | ({"output_variable": f"v_{name}"} if self.chance(0.3) else {})

    def _overlay(self, region: Region, name: str, before: set[str]) -> JsonObject:
        return {"content": {"text": self.template(region, name, before, pure=False)}}

    def _delay(self, region: Region, name: str, before: set[str]) -> JsonObject:
        choices: list[JsonObject] = [
            {"delay_seconds": self.dice.choice([0, 0.2, 1, 30])},
            {"delay_ms": self.dice.choice([5, 1500])},
            {"delay_variable": "low"},
        ]
        choices += [{"delay_seconds": "{{ low - 2 }}"}] if self.unreliable else []
        return self.dice.choice(choices)

    def _await(self, region: Region, name: str, before: set[str]) -> JsonObject:
        self.ports[name] = ("timeout", "output")
        return {"signal": "go", "timeout_seconds": self.dice.choice([0.3, 5, "{{ low + 1 }}"])}

    # Expressions ---------------------------------------------------------------------------

    def items(self, before: set[str]) -> Any:
        """What a loop or a filter goes through."""
        choices: list[Any] = ["{{ [1, 2, 3] }}", "items", [], "{{ range(4) }}", [[1], {}], [2]]
        if self.unreliable and self.chance(0.4):
            choices += ["{{ 7 }}", "{{ missing }}"]
        loops = [n for n in sorted(before) if self.kinds.get(n) == "loop"]
        choices += [f"{{{{ default(nodes.{n}.output, []) }}}}" for n in loops]
        return self.dice.choice(choices)

    def condition(self, region: Region, before: set[str]) -> Any:
        """A condition of a pure node, in one of its forms."""
        truth = self.truth(region, before, pure=True)
        if self.chance(0.7):
            return truth
        rule = self.dice.choice(
            [
                {"variable": "low", "operator": "equals", "value": "1"},
                {"variable": "low", "operator": "greater_than", "value": "{{ 3 - low }}"},
                {"variable": "absent", "operator": "exists"},
                {"variable": "absent", "operator": "not_exists"},
                {"variable": "who", "operator": "in_list", "value": ["Bob", "Ada"]},
                {"variable": "items", "operator": "is_empty"},
            ]
        )
        if self.unreliable and self.chance(0.1):
            rule = {"variable": "absent", "operator": "less_than", "value": 3}
        return self.dice.choice([rule, [rule, truth], {"any": [rule, truth]}, {"not": rule}])

    def truth(self, region: Region, before: set[str], *, pure: bool) -> str:
        """An expression that is true or false."""
        if pure and self.wild and self.chance(0.4):
            return self._glimpse()
        names = [r for r in region.readable if r.startswith("i")]
        if names and self.chance(0.6):
            return f"{self.dice.choice(names)} in [{self.dice.randint(0, 2)}, 'q', 3]"
        seen = [f"has(nodes.{n}.output)" for n in sorted(before)]
        seen += [f"default(nodes.{n}.port, 0) == 'output'" for n in sorted(before)]
        return self.dice.choice(["low == 1", "no", "not no", *seen])

    def _glimpse(self) -> str:
        node_id = self.dice.choice(sorted(self.nodes))
        return self.dice.choice(
            [
                f"has(v_{node_id})",
                "has(tally)",
                f"default(tally, '') == '{node_id} False'",
                f"default(nodes.{node_id}.port, 0) in ['output', 'true', 'x']",
                f"default(nodes.{node_id}.error.type, 0) == 'DOWN'",
            ]
        )

    def value(self, region: Region, name: str, before: set[str], *, pure: bool) -> str:
        """An expression of any value."""
        choices = ["input", "input", f"'{name}'", "trigger.who", *region.readable]
        choices += [f"default(nodes.{n}.output, 'none')" for n in sorted(before)]
        if not region.concurrent:
            known = before if self.wild else before - self.raced
            choices += [f"default(v_{n}, 0)" for n in sorted(known)]
            choices.append(f"has(v_{name})")
        if pure and self.wild:
            choices += [self._glimpse() for _ in range(4)]
        if self.unreliable:
            choices += ["missing"] if self.chance(0.2) else []
            choices += [f"1 / {r}" for r in region.readable if r.startswith("i_")]
        return self.dice.choice(choices)

    def template(self, region: Region, name: str, before: set[str], *, pure: bool = True) -> Any:
        """A value with expressions at some depth."""
        value = f"{{{{ {self.value(region, name, before, pure=pure)} }}}}"
        return self.dice.choice([value, value, [name, value], {"deep": [value]}])
