"""Random workflow documents whose meaning does not depend on who is faster.

The one rule that makes them so: each node writes variables of its own only, and reads those of
nodes that must have settled before it starts (in a loop without concurrency also those of its
earlier iterations). Shapes know no such tameness: any node may join any others before it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from engine.context import JsonObject

PLAIN = ("set", "set", "transform", "if", "switch", "parallel", "merge", "call", "call", "wait")
PORTS = {"if": ("true", "false"), "switch": ("low", "high", "default"), "parallel": ("x", "y")}


@dataclass
class Region:
    """The scope being filled: `readable` are expressions every node in it may use."""

    loop: str | None
    depth: int
    concurrent: bool
    readable: list[str]
    nodes: list[str] = field(default_factory=list)
    before: dict[str, set[str]] = field(default_factory=dict)


class Author:
    """Writes one random document."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.nodes: dict[str, JsonObject] = {}
        self.kinds: dict[str, str] = {}
        self.edges: list[JsonObject] = []
        self.unreliable = self.dice.random() < 0.6

    def write(self) -> tuple[JsonObject, str]:
        """The document, and the trigger that starts it."""
        triggers = [f"t{n}" for n in range(self.dice.choice([1, 1, 1, 2, 3]))]
        for trigger in triggers:
            self.nodes[trigger] = {"node_type": "trigger_command", "config": {"command": "!x"}}
        root = Region(None, 0, False, ["low", "items"], list(triggers))
        root.before = {trigger: set() for trigger in triggers}
        self._fill(root, self.dice.randint(2, 9))
        if self.dice.random() < 0.4:
            self._ends(root)
        document: JsonObject = {
            "name": "random",
            "community_id": 1,
            "nodes": self.nodes,
            "connections": self.edges,
            "global_variables": {"low": 1, "items": ["p", "q", "r"], "no": False},
            "max_execution_time_seconds": 86_400,
        }
        return document, self.dice.choice(triggers)

    def _fill(self, region: Region, size: int) -> None:
        for _ in range(size):
            loops = 0 if region.depth >= 3 or len(self.nodes) > 22 else 0.25
            if self.dice.random() < loops:
                self._loop(region)
            else:
                self._plain(region, self.dice.choice(PLAIN))

    # Nodes ---------------------------------------------------------------------------------

    def _add(self, region: Region, kind: str, node: JsonObject, name: str | None = None) -> str:
        name = name or self._new_name(kind)
        if self.dice.random() < 0.05:
            node["enabled"] = False
        if self.unreliable and self.dice.random() < 0.25:
            node["continue_on_error"] = True
        self.nodes[name] = node
        self.kinds[name] = kind
        return name

    def _new_name(self, kind: str) -> str:
        return f"{kind}{len(self.nodes)}"

    def _plain(self, region: Region, kind: str) -> None:
        name = self._new_name(kind)
        before = self._join(region, name)
        config = getattr(self, f"_{kind}")(region, name, before)
        types = {
            "set": "data_variable_set",
            "transform": "data_transform",
            "if": "condition_if",
            "switch": "condition_switch",
            "parallel": "flow_parallel",
            "merge": "flow_merge",
            "call": "action_module",
            "wait": "action_module",
            "break": "loop_break",
        }
        node: JsonObject = {"node_type": types[kind], "config": config}
        if kind == "call" and self.dice.random() < 0.3:
            node["retry"] = {"max_attempts": 3, "initial_seconds": 0.2, "jitter": False}
        self._add(region, kind, node, name)
        region.nodes.append(name)
        region.before[name] = before

    def _set(self, region: Region, name: str, before: set[str]) -> JsonObject:
        local = region.loop is not None and self.dice.random() < 0.2
        config: JsonObject = {"variables": {f"v_{name}": self._template(region, name, before)}}
        return config | ({"scope": "local"} if local else {})

    def _transform(self, region: Region, name: str, before: set[str]) -> JsonObject:
        first, second = f"v_{name}", f"w_{name}"
        return {"transformations": {first: self._value(region, name, before), second: f"[{first}]"}}

    def _if(self, region: Region, name: str, before: set[str]) -> JsonObject:
        return {"condition": self._truth(region, before)}

    def _switch(self, region: Region, name: str, before: set[str]) -> JsonObject:
        value = f"{{{{ str({self._truth(region, before)}) }}}}"
        return {"value": value, "cases": {"True": "low", self.dice.choice("ab"): "high"}}

    def _parallel(self, region: Region, name: str, before: set[str]) -> JsonObject:
        return {}

    def _merge(self, region: Region, name: str, before: set[str]) -> JsonObject:
        return {"mode": "wait_all"}

    def _call(self, region: Region, name: str, before: set[str]) -> JsonObject:
        moods = ["good", "good", "good", "slow"]
        moods += ["flaky", "bad", "shaky"] if self.unreliable else []
        return {
            "module_name": f"{self.dice.choice(moods)} {name}",
            "action": "go",
            "input": {"seen": self._template(region, name, before)},
        }

    _wait = _call

    def _break(self, region: Region, name: str, before: set[str]) -> JsonObject:
        return {} if self.dice.random() < 0.3 else {"condition": self._truth(region, before)}

    # Loops ---------------------------------------------------------------------------------

    def _loop(self, region: Region) -> None:
        name = self._new_name("loop")
        before = self._join(region, name)
        concurrent = self.dice.random() < 0.3
        is_while = not concurrent and self.dice.random() < 0.3
        readable = [r for r in region.readable if not (concurrent and r.startswith("default(v_"))]
        if is_while:
            most = self.dice.randint(0, 3)
            config: JsonObject = {"condition": f"index < {most}"}
            readable += ["index"]
        else:
            config = {
                "items": self._items(region, before),
                "item_variable": f"item_{name}",
                "index_variable": f"i_{name}",
                "concurrency": self.dice.choice([2, 5]) if concurrent else 1,
            }
            readable += [f"item_{name}", f"i_{name}"]
        if self.unreliable and self.dice.random() < 0.1:
            config["max_iterations"] = self.dice.randint(1, 3)
        readable += [f"default(nodes.{node}.output, 0)" for node in sorted(before)]
        node: JsonObject = {
            "node_type": "loop_while" if is_while else "loop_foreach",
            "config": config,
        }
        self._add(region, "loop", node, name)
        if self.unreliable and self.dice.random() < 0.5:
            node["continue_on_error"] = True
        body = Region(name, region.depth + 1, concurrent or region.concurrent, readable)
        self._fill(body, self.dice.randint(1, 4))
        if self.dice.random() < 0.4 and not concurrent:
            self._break_at_the_end(body)
        for node_id in body.nodes:
            if self.dice.random() < 0.2:
                self._connect(node_id, name, self._ports(node_id)[0])
        region.nodes.append(name)
        region.before[name] = before | {f"{n}" for n in body.before}

    def _break_at_the_end(self, body: Region) -> None:
        name = self._new_name("break")
        for source in body.nodes:
            for port in self._ports(source):
                self._connect(source, name, port)
        node: JsonObject = {
            "node_type": "loop_break",
            "config": self._break(body, name, set(body.nodes)),
        }
        self._add(body, "break", node, name)
        body.before[name] = set(body.nodes)
        body.nodes.append(name)
        if self.dice.random() < 0.5:
            self._plain(body, "set")

    def _items(self, region: Region, before: set[str]) -> str:
        choices = ["{{ [1, 2, 3] }}", "items", "{{ [] }}", "{{ range(4) }}", "{{ [[1], {}] }}"]
        if self.unreliable:
            choices += ["{{ 7 }}", "{{ missing }}"]
        loops = [n for n in sorted(before) if self.kinds.get(n) == "loop"]
        choices += [f"default(nodes.{n}.output, [])" for n in loops]
        return self.dice.choice(choices)

    def _ends(self, root: Region) -> None:
        leaves = {e["from_node_id"] for e in self.edges}
        for source in [n for n in root.nodes if n not in leaves][:3]:
            name = self._new_name("end")
            self._connect(source, name, self._ports(source)[0])
            output = {"output": f"{name}: {{{{ low }}}}"}
            config: JsonObject = {} if self.dice.random() < 0.5 else dict(output)
            if self.dice.random() < 0.1:
                config["terminate"] = True
            self.nodes[name] = {"node_type": "flow_end", "config": config}

    # Edges ---------------------------------------------------------------------------------

    def _join(self, region: Region, name: str) -> set[str]:
        """Connects a new node to earlier ones; returns all that must settle before it."""
        if not region.nodes:
            assert region.loop is not None
            self._connect(region.loop, name, "loop")
            return set()
        recent = region.nodes[-4:]
        sources = self.dice.sample(recent, min(len(recent), self.dice.choice([1, 1, 1, 2, 3])))
        waits_for: set[str] = set()
        for source in sources:
            ports = self._ports(source)
            for port in self.dice.sample(ports, self.dice.randint(1, len(ports))):
                if self._connect(source, name, port, self._conditional(region, source)):
                    waits_for.add(source)
            if self.unreliable and self.kinds.get(source) and self.dice.random() < 0.15:
                self._connect(source, name, "error")
        if region.loop is not None and self.dice.random() < 0.15:
            self._connect(region.loop, name, "loop")
        return waits_for.union(*(region.before[source] for source in waits_for))

    def _connect(
        self, source: str, target: str, port: str = "output", conditional: str | None = None
    ) -> bool:
        """Connects two nodes; whether the target now waits for the source."""
        edge: JsonObject = {"from_node_id": source, "to_node_id": target, "from_port_name": port}
        if conditional:
            edge["conditional"] = conditional
        # Never the first: a node that nothing reaches lies in no body.
        if self.dice.random() < 0.05 and any(e["to_node_id"] == target for e in self.edges):
            edge["enabled"] = False
        self.edges.append(edge)
        return "enabled" not in edge

    def _conditional(self, region: Region, source: str) -> str | None:
        return self._truth(region, {source}) if self.dice.random() < 0.15 else None

    def _ports(self, node_id: str) -> tuple[str, ...]:
        return PORTS.get(self.kinds.get(node_id, ""), ("output",))

    # Expressions ---------------------------------------------------------------------------

    def _truth(self, region: Region, before: set[str]) -> str:
        names = [r for r in region.readable if r.startswith("i")]
        number = f"len(str(default({self.dice.choice([*names, 'low'])}, 0)))"
        if names and self.dice.random() < 0.6:
            return f"{self.dice.choice(names)} in [{self.dice.randint(0, 2)}, 'q', 3]"
        seen = [f"has(nodes.{n}.output)" for n in sorted(before)]
        return self.dice.choice(["low == 1", "no", "not no", f"{number} > 1", *seen])

    def _value(self, region: Region, name: str, before: set[str]) -> str:
        choices = ["input", "input", f"'{name}'", *region.readable]
        choices += [f"default(nodes.{n}.output, 'none')" for n in sorted(before)]
        if not region.concurrent:
            choices += [f"default(v_{n}, 0)" for n in sorted(before)]
            choices.append(f"len(str(default(v_{name}, 0)))")
        if self.unreliable:
            choices += ["missing"] if self.dice.random() < 0.2 else []
            choices += [f"1 / {r}" for r in region.readable if r.startswith("i_")]
        return self.dice.choice(choices)

    def _template(self, region: Region, name: str, before: set[str]) -> object:
        value = f"{{{{ {self._value(region, name, before)} }}}}"
        return self.dice.choice([value, value, [name, value], {"deep": [value]}])
