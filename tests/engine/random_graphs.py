"""Random workflow documents: their shapes. `random_nodes.py` fills in the settings.

The one rule: any node may join any others before it in its scope, so every tangle of branches,
joins, loops, races and errors that the rules allow can come out. A document that is not wild is
made so that its meaning does not depend on who is faster, as long as no loop has to bear an error.
"""

from __future__ import annotations

from tests.engine.random_nodes import ACTIONS, JsonObject, Region, Settings

PLAIN = (
    *("set", "set", "transform", "get", "filter", "if", "switch", "parallel", "merge"),
    *(*ACTIONS, "call", "chat", "delay", "await"),
)
TRIGGERS = ("trigger_command", "trigger_command", "trigger_event", "trigger_webhook")
MOST_NODES = 22


class Author(Settings):
    """Writes one random document."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.edges: list[JsonObject] = []
        self.nested_races = 0
        self._racing = 0

    def write(self) -> tuple[JsonObject, str]:
        """The document, and the trigger that starts it."""
        triggers = [f"t{n}" for n in range(self.dice.choice([1, 1, 1, 2, 3]))]
        for trigger in triggers:
            self.nodes[trigger] = {"node_type": self.dice.choice(TRIGGERS), "config": {}}
            self.nodes[trigger]["config"] = {"event_type": "raid", "command": "!x"}
            names = {"trigger_command": ["command"], "trigger_event": ["event_type"]}
            kept = names.get(self.nodes[trigger]["node_type"], [])
            config = self.nodes[trigger]["config"]
            self.nodes[trigger]["config"] = {k: v for k, v in config.items() if k in kept}
        root = Region(None, 0, False, ["low", "items"], list(triggers))
        root.before = {trigger: set() for trigger in triggers}
        self._fill(root, self.dice.randint(2, 9))
        if self.chance(0.4):
            self._ends(root)
        return self._document(), self.dice.choice(triggers)

    def _document(self) -> JsonObject:
        document: JsonObject = {
            "name": "random",
            "community_id": 1,
            "nodes": self.nodes,
            "connections": self.edges,
            "global_variables": {"low": 1, "items": ["p", "q", "r"], "no": False, "who": "Eve"},
            "max_execution_time_seconds": 86_400,
        }
        if self.wild and self.chance(0.04):
            document["max_execution_time_seconds"] = 3
        if self.chance(0.15):
            document |= {"retry_failed_nodes": True, "max_retries": 1}
        return document

    def _fill(self, region: Region, size: int) -> None:
        for _ in range(size):
            room = region.depth < 3 and len(self.nodes) < MOST_NODES
            if room and self.chance(0.25):
                self._loop(region)
            elif room and self.wild and self.chance(0.12):
                self._race_off(region)
            elif self.wild and region.loop is not None and self.chance(0.08):
                self._plain(region, self.dice.choice(["break", "end"]))
            else:
                self._plain(region, self.dice.choice(PLAIN))

    # Nodes ---------------------------------------------------------------------------------

    def _add(self, kind: str, node: JsonObject, name: str) -> None:
        if self.chance(0.05):
            node["enabled"] = False
        if self.unreliable and self.chance(0.25):
            node["continue_on_error"] = True
        self.nodes[name] = node
        self.kinds[name] = kind

    def _new_name(self, kind: str) -> str:
        return f"{kind}{len(self.nodes)}"

    def _plain(self, region: Region, kind: str) -> str:
        name = self._new_name(kind)
        if region.concurrent:
            self.raced.add(name)
        before = self._join(region, name)
        self._add(kind, self.node(region, kind, name, before), name)
        if self.nodes[name]["config"].get("mode", "wait_all") != "wait_all":
            before = self._certain(region, name)
        region.nodes.append(name)
        region.before[name] = before
        return name

    def _certain(self, region: Region, merge: str) -> set[str]:
        """What must have settled before a merge that does not wait for all."""
        sources = {e["from_node_id"] for e in self.edges if e["to_node_id"] == merge}
        befores = [region.before[s] | {s} for s in sources if s in region.before]
        return set.intersection(*befores) if befores else set()

    # Races ---------------------------------------------------------------------------------

    def _race_off(self, region: Region) -> None:
        """An `any_first` parallel, its branches, and the merge they race to."""
        start = self._new_name("race")
        before = self._join(region, start)
        self._add("race", self.node(region, "race", start, before), start)
        region.before[start] = before
        self.nested_races += self._racing > 0
        self._racing += 1
        ends = [self._branch(region, start) for _ in range(self.dice.choice([2, 2, 3]))]
        if self.chance(0.1):
            ends.append([start])
        self._racing -= 1
        join = self._new_name("merge")
        for branch in ends:
            for source in self.dice.sample(branch, 1 if self.chance(0.8) else len(branch)):
                ports = self.ports.get(source, ("output",))
                self._connect(source, join, self.dice.choice(ports), sure=True)
        self._add("merge", self.node(region, "merge", join, before), join)
        region.nodes.append(join)
        region.before[join] = before | {start}

    def _branch(self, region: Region, start: str) -> list[str]:
        branch = Region(region.loop, region.depth, region.concurrent, region.readable, [start])
        branch.before = {start: region.before[start]}
        self._fill(branch, 1)
        branch.nodes.remove(start)
        if branch.nodes:
            self._fill(branch, self.dice.choice([0, 0, 1, 2]))
        return branch.nodes

    # Loops ---------------------------------------------------------------------------------

    def _loop(self, region: Region) -> None:
        name = self._new_name("loop")
        before = self._join(region, name)
        concurrent = self.chance(0.35)
        is_while = not concurrent and self.chance(0.3)
        readable = [r for r in region.readable if not (concurrent and r.startswith("default(v_"))]
        if is_while:
            config: JsonObject = {"condition": f"index < {self.dice.randint(0, 3)}"}
            readable += ["index"]
        else:
            config = {"items": self.items(before), "index_variable": f"i_{name}"}
            config |= {"item_variable": f"item_{name}"} if self.chance(0.8) else {}
            config |= {"concurrency": self.dice.choice([2, 5])} if concurrent else {}
            readable += [config.get("item_variable", "item"), f"i_{name}"]
        if self.unreliable and self.chance(0.1):
            config["max_iterations"] = self.dice.randint(1, 3)
        readable += [f"default(nodes.{node}.output, 0)" for node in sorted(before)]
        node_type = "loop_while" if is_while else "loop_foreach"
        self._add("loop", {"node_type": node_type, "config": config}, name)
        if self.unreliable and self.chance(0.5):
            self.nodes[name]["continue_on_error"] = True
        body = Region(name, region.depth + 1, concurrent or region.concurrent, readable)
        self._fill_body(body, concurrent=concurrent)
        region.nodes.append(name)
        region.before[name] = before | set(body.before)

    def _fill_body(self, body: Region, *, concurrent: bool) -> None:
        assert body.loop is not None
        self._fill(body, self.dice.randint(1, 4))
        if self.chance(0.4) and not concurrent:
            self._break_at_the_end(body)
        for node_id in body.nodes:
            if self.chance(0.2):
                self._connect(node_id, body.loop, self.ports.get(node_id, ("output",))[0])

    def _break_at_the_end(self, body: Region) -> None:
        name = self._new_name("break")
        for source in body.nodes:
            for port in self.ports.get(source, ("output",)):
                self._connect(source, name, port, sure=True)
        before = set(body.nodes)
        self._add("break", self.node(body, "break", name, before), name)
        body.before[name] = before
        body.nodes.append(name)
        if self.wild and self.chance(0.5):
            self._plain(body, "set")

    def _ends(self, root: Region) -> None:
        leaves = {e["from_node_id"] for e in self.edges}
        for source in [n for n in root.nodes if n not in leaves][:3]:
            name = self._new_name("end")
            self._connect(source, name, self.ports.get(source, ("output",))[0])
            self._add("end", self.node(root, "end", name, set()), name)

    # Edges ---------------------------------------------------------------------------------

    def _join(self, region: Region, name: str) -> set[str]:
        """Connects a new node to earlier ones; returns all that must settle before it."""
        if not region.nodes:
            assert region.loop is not None
            self._connect(region.loop, name, "loop", self._guard(region))
            return set()
        recent = region.nodes[-4:]
        sources = self.dice.sample(recent, min(len(recent), self.dice.choice([1, 1, 1, 2, 3])))
        waits_for: set[str] = set()
        for source in sources:
            ports = self.ports.get(source, ("output",))
            for port in self.dice.sample(ports, self.dice.randint(1, len(ports))):
                if self._connect(source, name, port, self._conditional(region, source)):
                    waits_for.add(source)
            if self.unreliable and self.kinds.get(source) and self.chance(0.2):
                self._connect(source, name, "error", self._refusal())
        if region.loop is not None and self.chance(0.15):
            self._connect(region.loop, name, "loop", self._guard(region))
        return waits_for.union(*(region.before[source] for source in waits_for))

    def _connect(
        self,
        source: str,
        target: str,
        port: str = "output",
        conditional: str | None = None,
        *,
        sure: bool = False,
    ) -> bool:
        """Connects two nodes; whether the target now waits for the source."""
        edge: JsonObject = {"from_node_id": source, "to_node_id": target, "from_port_name": port}
        if conditional:
            edge["conditional"] = conditional
        # Never the first: a node that nothing reaches lies in no body.
        if not sure and self.chance(0.05) and any(e["to_node_id"] == target for e in self.edges):
            edge["enabled"] = False
        self.edges.append(edge)
        return "enabled" not in edge

    def _conditional(self, region: Region, source: str) -> str | None:
        if not self.chance(0.15):
            return None
        if self.unreliable and self.chance(0.1):
            return "missing"
        return self.truth(region, {source}, pure=True)

    def _refusal(self) -> str | None:
        """The conditional of a connection from the port `error`."""
        if self.wild and self.chance(0.15):
            return self._glimpse()
        if self.chance(0.4):
            return None
        if self.chance(0.1):
            return "missing"
        return self.dice.choice(
            ["input.type == 'DOWN'", "input.type != 'DOWN'", "input.attempts > 1", "False"]
        )

    def _guard(self, region: Region) -> str | None:
        """The conditional of a connection into a loop's body."""
        if not self.chance(0.15):
            return None
        if self.unreliable and self.chance(0.1):
            return "missing"
        return self.truth(region, set(), pure=False)
