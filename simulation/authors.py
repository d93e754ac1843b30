"""Random workflows whose meaning does not depend on who is faster.

A workflow is a chain of pieces (a call, a diamond, a loop, a race, a wait …), each of which ends
where the next one begins. Its one rule: what comes out is the same however long anything takes,
except where an author says `loose`; so a run with faults can be compared with one without.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.context import JsonObject

CHILDREN = tuple(f"0190a000-0000-7000-8000-0000000000c{n}" for n in range(3))
"""The workflows that sub-workflow nodes start; the last one fails."""
ERROR_WORKFLOW = "0190a000-0000-7000-8000-0000000000e0"

End = tuple[str, str]
"""Where a piece ends: a node and its port."""

LONG_RACE = 600


@dataclass(slots=True)
class Draft:
    """One random workflow, and what somebody must do for it to end."""

    document: JsonObject
    signals: list[str] = field(default_factory=list)
    """The names of the signals that its waits take, once for each wait."""
    loose: bool = False
    """Whether its steps may depend on who is faster."""


class Author:
    """Writes one random workflow; `small` ones are for children."""

    def __init__(self, dice: random.Random, *, small: bool = False) -> None:
        self._dice = dice
        self._small = small
        self._nodes: dict[str, JsonObject] = {}
        self._edges: list[JsonObject] = []
        self._signals: list[str] = []
        self._loose = False
        self._in_loop = False

    def write(self, *, fails: bool = False) -> Draft:
        """The workflow; one that `fails` ends with a call that nobody answers for."""
        self._nodes["start"] = {"node_type": "trigger_command", "config": {"command": "!go"}}
        tail: list[End] = [("start", "output")]
        for _ in range(1 if self._small else self._dice.randint(2, 5)):
            tail = self._piece(tail)
        if fails:
            tail = self._call(tail, "bad")
        self._add("end", "flow_end", tail, {"output": {"n": "{{ n }}", "last": "{{ input }}"}})
        return Draft(self._document(), self._signals, self._loose)

    def _document(self) -> JsonObject:
        return {
            "name": "random",
            "community_id": 1,
            "nodes": self._nodes,
            "connections": self._edges,
            "global_variables": {"n": 1},
            "max_execution_time_seconds": 86_400,
        }

    # Nodes ---------------------------------------------------------------------------------

    def _add(
        self, kind: str, node_type: str, tail: list[End], config: JsonObject, **fields: object
    ) -> str:
        name = f"{kind}{len(self._nodes)}"
        self._nodes[name] = {"node_type": node_type, "config": config, **fields}
        for source, port in tail:
            edge = {"from_node_id": source, "from_port_name": port, "to_node_id": name}
            self._edges.append(edge)
        return name

    def _out(self, name: str) -> list[End]:
        return [(name, "output")]

    def _piece(self, tail: list[End], depth: int = 0) -> list[End]:
        simple: list[Callable[[list[End]], list[End]]] = [
            *(self._good, self._good, self._chat, self._set, self._nap, self._retried),
            *(self._caught, self._gone_on, self._once, self._hook),
        ]
        if not self._small:
            simple += [self._rest, self._child, self._orphan]
            if not self._in_loop:
                simple += [self._signal, self._late_signal, self._signal]
        if depth >= 2 or (self._small and depth):
            return self._dice.choice(simple)(tail)
        nested: list[Callable[[list[End], int], list[End]]] = [
            *(self._diamond, self._branch, self._foreach, self._while),
            self._race,
        ]
        if not self._small:
            nested.append(self._fair_race)
        if self._dice.random() < 0.55:
            return self._dice.choice(simple)(tail)
        return self._dice.choice(nested)(tail, depth + 1)

    # Simple pieces -------------------------------------------------------------------------

    def _call(self, tail: list[End], mood: str, **fields: object) -> list[End]:
        module = f"{mood}-m{len(self._nodes)}"
        config = {"module_name": module, "action": "go", "input": {"seen": "{{ input }}"}}
        return self._out(self._add("call", "action_module", tail, config, **fields))

    def _good(self, tail: list[End]) -> list[End]:
        return self._call(tail, self._dice.choice(["good", "good", "slow"]))

    def _chat(self, tail: list[End]) -> list[End]:
        return self._out(self._add("chat", "action_chat_message", tail, {"message": "{{ n }}"}))

    def _hook(self, tail: list[End]) -> list[End]:
        config = {"url": "https://example.com/", "method": "POST", "body": {"n": "{{ n }}"}}
        return self._out(self._add("hook", "action_webhook", tail, config))

    def _set(self, tail: list[End]) -> list[End]:
        name = f"v{len(self._nodes)}"
        config: JsonObject = {"variables": {name: "{{ n * 2 }}"}}
        if self._in_loop:
            config["scope"] = "local"
        return self._out(self._add("set", "data_variable_set", tail, config))

    def _nap(self, tail: list[End]) -> list[End]:
        seconds = self._dice.choice([0.05, 0.5])
        return self._out(self._add("nap", "action_delay", tail, {"delay_seconds": seconds}))

    def _rest(self, tail: list[End]) -> list[End]:
        seconds = self._dice.choice([1, 3, 8])
        return self._out(self._add("rest", "action_delay", tail, {"delay_seconds": seconds}))

    def _retried(self, tail: list[End]) -> list[End]:
        failures = self._dice.choice([1, 2])
        return self._call(tail, f"flaky-{failures}", retry=self._policy(failures + 2))

    def _policy(self, attempts: int) -> JsonObject:
        return {
            "max_attempts": attempts,
            "initial_seconds": self._dice.choice([0.2, 2]),
            "backoff": "fixed",
            "jitter": False,
        }

    def _caught(self, tail: list[End]) -> list[End]:
        mood = self._dice.choice(["good", "bad"])
        [end] = self._call(tail, mood)
        other = self._set([(end[0], "error")])
        return [end, *other]

    def _gone_on(self, tail: list[End]) -> list[End]:
        retry = {"retry": self._policy(2)} if self._dice.random() < 0.5 else {}
        mood = self._dice.choice(["bad", "down"])
        return self._call(tail, mood, continue_on_error=True, **retry)

    def _once(self, tail: list[End]) -> list[End]:
        return self._call(
            tail, self._dice.choice(["good", "slow"]), continue_on_error=True, effect="at_most_once"
        )

    def _signal(self, tail: list[End]) -> list[End]:
        name = f"s{len(self._nodes)}"
        for _ in range(self._dice.choice([1, 1, 2])):
            self._signals.append(name)
            tail = self._out(self._add("wait", "flow_wait", tail, {"signal": name}))
        return tail

    def _late_signal(self, tail: list[End]) -> list[End]:
        seconds = self._dice.choice([2, 5])
        config = {"signal": f"never{len(self._nodes)}", "timeout_seconds": seconds}
        name = self._add("wait", "flow_wait", tail, config)
        return [(name, "output"), (name, "timeout")]

    def _child(self, tail: list[End]) -> list[End]:
        which = self._dice.randrange(len(CHILDREN))
        config = {"workflow_id": CHILDREN[which], "variables": {"n": "{{ n + 1 }}"}}
        retry = {"retry": self._policy(2)} if self._dice.random() < 0.3 else {}
        return self._out(
            self._add("sub", "flow_subworkflow", tail, config, continue_on_error=True, **retry)
        )

    def _orphan(self, tail: list[End]) -> list[End]:
        config = {"workflow_id": CHILDREN[0], "variables": {"n": 7}, "wait": False}
        return self._out(self._add("sub", "flow_subworkflow", tail, config))

    # Nested pieces -------------------------------------------------------------------------

    def _diamond(self, tail: list[End], depth: int) -> list[End]:
        fork = self._out(self._add("fork", "flow_parallel", tail, self._lanes()))
        branches = [self._piece(fork, depth) for _ in range(self._dice.choice([2, 2, 3]))]
        ends = [end for branch in branches for end in branch]
        return self._out(self._add("join", "flow_merge", ends, {}))

    def _lanes(self) -> JsonObject:
        return {"max_parallel": 1} if self._dice.random() < 0.3 else {}

    def _branch(self, tail: list[End], depth: int) -> list[End]:
        config = {"condition": f"n {self._dice.choice('<>')} 3"}
        fork = self._add("if", "condition_if", tail, config)
        return self._piece([(fork, "true")], depth) + self._piece([(fork, "false")], depth)

    def _foreach(self, tail: list[End], depth: int) -> list[End]:
        config: JsonObject = {"items": f"{{{{ range({self._dice.randint(1, 3)}) }}}}"}
        if self._dice.random() < 0.5:
            config["concurrency"] = self._dice.choice([2, 3])
        return self._loop("loop_foreach", config, tail, depth)

    def _while(self, tail: list[End], depth: int) -> list[End]:
        config: JsonObject = {"condition": f"index < {self._dice.randint(1, 3)}"}
        return self._loop("loop_while", config, tail, depth)

    def _loop(self, node_type: str, config: JsonObject, tail: list[End], depth: int) -> list[End]:
        loop = self._add("loop", node_type, tail, config)
        before, self._in_loop = self._in_loop, True
        body = self._piece([(loop, "loop")], depth)
        if "concurrency" not in config and self._dice.random() < 0.3:
            name = self._add("break", "loop_break", body, {"condition": "index == 1"})
            self._set(self._out(name))
        self._in_loop = before
        return self._out(loop)

    def _race(self, tail: list[End], depth: int) -> list[End]:
        """A race whose winner is beyond doubt: the other one rests for ages."""
        fork = self._out(self._add("race", "flow_parallel", tail, {"execution_type": "any_first"}))
        quick = self._piece(fork, depth + 1)
        ages = {"delay_seconds": LONG_RACE}
        slow = self._good(self._out(self._add("rest", "action_delay", fork, ages)))
        return self._out(self._add("join", "flow_merge", quick + slow, {"mode": "any"}))

    def _fair_race(self, tail: list[End], depth: int) -> list[End]:
        """A race that anybody may win."""
        self._loose = True
        fork = self._out(self._add("race", "flow_parallel", tail, {"execution_type": "any_first"}))
        first, second = self._good(fork), self._piece(fork, depth + 1)
        return self._out(self._add("join", "flow_merge", first + second, {"mode": "any"}))


def publications(dice: random.Random, roots: int) -> tuple[dict[str, Draft], list[str]]:
    """Random workflows by their ids, and the ids of those that users start."""
    kinds = [Author(dice, small=True).write() for _ in range(2)]
    drafts = dict(zip(CHILDREN[:2], kinds, strict=True))
    rest = Author(dice, small=True)
    drafts[CHILDREN[2]] = rest.write(fails=True)
    drafts[ERROR_WORKFLOW] = Author(dice, small=True).write()
    started: list[str] = []
    for number in range(roots):
        draft = Author(dice).write(fails=dice.random() < 0.25)
        if dice.random() < 0.6:
            draft.document["error_workflow_id"] = ERROR_WORKFLOW
        if dice.random() < 0.2:
            draft.document["max_parallel_executions"] = dice.choice([1, 2])
        workflow_id = f"0190a000-0000-7000-8000-{number:012d}"
        drafts[workflow_id] = draft
        started.append(workflow_id)
    return drafts, started
