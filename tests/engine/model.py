"""What running a workflow means, a second time: a slow interpreter to hold the engine against.

Written from the rules of a workflow definition alone: the expression language is the only part of
the engine it uses. It is recursive and knows no order of events: asked what became of a node, it
first asks what became of the node's predecessors, then runs it. So it can say nothing about graphs
whose meaning depends on who is faster (branches that race to write one variable, an error beside
other work in a loop that survives it); there it says that it does not know: `Meaning.unclear`.

Its one rule: whatever it does say must hold for every order in which steps may finish.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from engine.conditions import compile_condition
from engine.context import Json, JsonObject
from engine.expressions import (
    Budget,
    ExpressionError,
    Overlay,
    compile_expression,
    compile_reference,
    compile_template,
)
from tests.engine.model_values import (
    Effect,
    Failing,
    Failure,
    Meaning,
    Names,
    Ran,
    Scope,
    Unclear,
    chooses,
)

LOOPS = ("loop_foreach", "loop_while")
MOST_ITERATIONS = 100


class Model:
    """One canonical document, to be run once."""

    def __init__(self, document: JsonObject, trigger: str, effect: Effect) -> None:
        self.nodes: Mapping[str, JsonObject] = document["nodes"]
        self.edges = [e for e in document["connections"] if e.get("enabled", True)]
        self.trigger = trigger
        self.effect = effect
        self.meaning = Meaning(variables=dict(document.get("global_variables") or {}))
        self.ends: JsonObject = {}
        self.bodies = {n: self._reachable(n) for n in self.nodes if self._type(n) in LOOPS}
        self.meaning.racy.update(self._written_side_by_side())

    def run(self, variables: JsonObject) -> Meaning:
        """Runs the document with the request's variables."""
        self.meaning.variables.update(variables)
        self.payload = dict(variables)
        root = Scope(self._own(set(self.nodes)))
        try:
            self._settle_all(root)
            self._conclude(root)
        except Unclear:
            self.meaning.unclear = True
        return self.meaning

    # Shape ---------------------------------------------------------------------------------

    def _type(self, node_id: str) -> str:
        return str(self.nodes[node_id]["node_type"])

    def _config(self, node_id: str) -> JsonObject:
        config: JsonObject = self.nodes[node_id].get("config") or {}
        return config

    def _reachable(self, loop: str) -> set[str]:
        """The body: everything reachable from the port `loop`, not going through the loop."""
        found: set[str] = set()
        todo = [e["to_node_id"] for e in self._from(loop) if e["from_port_name"] == "loop"]
        while todo:
            node_id = todo.pop()
            if node_id != loop and node_id not in found:
                found.add(node_id)
                todo += [e["to_node_id"] for e in self._from(node_id)]
        return found

    def _written_side_by_side(self) -> Iterator[str]:
        for loop, body in self.bodies.items():
            if self._config(loop).get("concurrency", 1) > 1:
                for node_id in body:
                    yield from self._config(node_id).get("variables", ())
                    yield from self._config(node_id).get("transformations", ())

    def _own(self, nodes: set[str]) -> list[str]:
        """The nodes of a scope: not those in the bodies of its loops."""
        inner = set().union(*(body for loop, body in self.bodies.items() if loop in nodes))
        return [node_id for node_id in self.nodes if node_id in nodes - inner]

    def _from(self, node_id: str) -> list[JsonObject]:
        return [e for e in self.edges if e["from_node_id"] == node_id]

    def _into(self, node_id: str) -> list[JsonObject]:
        """Incoming edges; one from a loop's own body only marks the end of an iteration."""
        body = self.bodies.get(node_id, set())
        return [
            e for e in self.edges if e["to_node_id"] == node_id and e["from_node_id"] not in body
        ]

    # Edges ---------------------------------------------------------------------------------

    def _live(self, scope: Scope, edge: JsonObject) -> bool | None:
        """Whether an edge is live; None if it stays open."""
        source = edge["from_node_id"]
        if source not in scope.nodes:
            return True  # The port `loop` of the loop around this scope.
        ran = self._settle(scope, source)
        if ran is None:
            return False
        if ran.open:
            return None
        chosen = chooses(ran.port, edge)
        return chosen and self.edges.index(edge) not in scope.dead

    def _leaves(self, scope: Scope) -> JsonObject:
        """The outputs of the nodes that ran last: those with no live edge out of them."""
        return {
            node_id: ran.output
            for node_id in scope.nodes
            if (ran := scope.settled[node_id]) is not None
            and ran.started
            and not any(
                self._live(scope, e) for e in self._from(node_id) if e["to_node_id"] in scope.nodes
            )
        }

    # Nodes ---------------------------------------------------------------------------------

    def _settle_all(self, scope: Scope) -> None:
        for node_id in scope.nodes:
            self._settle(scope, node_id)
        if scope.broke is not None and not self._alone(scope, scope.broke):
            raise Unclear

    def _alone(self, scope: Scope, ending: str) -> bool:
        """Whether nothing runs beside a node that ends its scope: it may or may not have run."""
        before = self._before(scope, ending)
        return not any(
            ran is not None and ran.started
            for node_id, ran in scope.settled.items()
            if node_id not in before
        )

    def _before(self, scope: Scope, node_id: str) -> set[str]:
        found = {node_id}
        for edge in self._into(node_id):
            if edge["from_node_id"] in scope.nodes:
                found |= self._before(scope, edge["from_node_id"])
        return found

    def _settle(self, scope: Scope, node_id: str) -> Ran | None:
        """What became of a node: None if it was skipped (or never could start)."""
        if node_id not in scope.settled:
            scope.settled[node_id] = self._become(scope, node_id)
        return scope.settled[node_id]

    def _become(self, scope: Scope, node_id: str) -> Ran | None:
        node = self.nodes[node_id]
        if self._type(node_id).startswith("trigger_"):
            return self._run(scope, node_id, {}) if node_id == self.trigger else None
        edges = self._into(node_id)
        fates = [self._live(scope, edge) for edge in edges]
        if not node.get("enabled", True) or None in fates or not any(fates):
            # Behind an open edge nothing starts; like a skipped node it does nothing.
            stuck = node.get("enabled", True) and None in fates
            return Ran(open=True, started=False) if stuck else None
        live = [edge["from_node_id"] for edge, is_live in zip(edges, fates, strict=True) if is_live]
        return self._run(scope, node_id, {n: self._given_by(scope, n) for n in live})

    def _given_by(self, scope: Scope, source: str) -> Json:
        """What a live predecessor hands on; the loop around hands its iteration's item in."""
        ran = scope.settled[source] if source in scope.nodes else None
        return scope.entry_input if ran is None else ran.output

    def _run(self, scope: Scope, node_id: str, arms: JsonObject) -> Ran:
        key = f"{scope.prefix}{node_id}"
        given = next(iter(arms.values())) if len(arms) == 1 else arms
        env = Names(self.meaning.variables, scope, {"input": given})
        try:
            ran = self._step(scope, node_id, key, env, arms)
            if not ran.open or scope.broke == node_id:
                self._show(scope, node_id, ran)
            if not ran.open:
                self._weigh_edges(scope, node_id, ran, env)
        except (Failing, ExpressionError) as problem:
            ran = self._failed(scope, node_id, key, problem)
        if ran.failed or not ran.open or scope.broke == node_id:
            self.meaning.steps[key] = ran  # Else a loop that its body failed: it never ended.
        return ran

    def _show(self, scope: Scope, node_id: str, ran: Ran) -> None:
        scope.shown[node_id] = {"output": ran.output, "port": ran.port, "error": None}

    def _weigh_edges(self, scope: Scope, node_id: str, ran: Ran, env: Names) -> None:
        for edge in self._from(node_id):
            condition = edge.get("conditional")
            if condition and chooses(ran.port, edge):
                holds = compile_expression(condition).evaluate(env, Budget())
                if not holds:
                    scope.dead.add(self.edges.index(edge))

    def _failed(self, scope: Scope, node_id: str, key: str, problem: Exception) -> Ran:
        fatal = isinstance(problem, Failing) and problem.fatal
        error = {"node_id": node_id, "step_key": key, "type": "?", "message": "?"}
        if not fatal and any(e["from_port_name"] == "error" for e in self._from(node_id)):
            ran = Ran(error, "error", failed=True)
        elif not fatal and self.nodes[node_id].get("continue_on_error"):
            ran = Ran({"error": error}, self._normal_port(node_id), failed=True)
        else:
            scope.failures.append(Failure(node_id, key, fatal))
            return Ran(error, failed=True, open=True)
        self._show(scope, node_id, ran)
        return ran

    def _normal_port(self, node_id: str) -> str:
        return {"condition_if": "false", "condition_switch": "default", "flow_parallel": "*"}.get(
            self._type(node_id), "output"
        )

    def _step(self, scope: Scope, node_id: str, key: str, env: Names, arms: JsonObject) -> Ran:
        """Runs one node of any type but a loop."""
        config = self._config(node_id)
        given = env.lookup("input")
        match self._type(node_id):
            case "trigger_command" | "trigger_event":
                return Ran(self.payload)
            case "data_variable_set":
                made = compile_template(config["variables"]).render(env, Budget())
                self._set(scope, made, local=config.get("scope") == "local")
                return Ran(made)
            case "data_transform":
                return self._transform(scope, config["transformations"], env)
            case "condition_if":
                holds = compile_condition(config["condition"]).test(env, Budget())
                return Ran(given, "true" if holds else "false")
            case "condition_switch":
                value = compile_reference(config["value"]).render(env, Budget())
                return Ran(given, config["cases"].get(str(value), "default"))
            case "flow_parallel":
                return Ran(given, "*")
            case "flow_merge":
                return Ran(dict(arms))
            case "flow_end":
                return self._end(scope, node_id, config, env)
            case "loop_break":
                return self._break(scope, node_id, config, env)
            case "action_module":
                request = compile_template(config["input"]).render(env, Budget())
                self.meaning.inputs[key] = request
                return Ran(self.effect(node_id, key))
            case "loop_foreach":
                return self._foreach(scope, node_id, key, env)
            case "loop_while":
                return self._while(scope, node_id, key, env)
        raise NotImplementedError(self._type(node_id))

    def _set(self, scope: Scope, values: JsonObject, *, local: bool = False) -> None:
        (scope.locals if local else self.meaning.variables).update(values)

    def _transform(self, scope: Scope, steps: JsonObject, env: Names) -> Ran:
        made: JsonObject = {}
        for name, source in steps.items():
            made[name] = compile_expression(source).evaluate(Overlay(env, made), Budget())
        self._set(scope, made)
        return Ran(made)

    def _end(self, scope: Scope, node_id: str, config: JsonObject, env: Names) -> Ran:
        output = env.lookup("input")
        if "output" in config:
            output = compile_template(config["output"]).render(env, Budget())
        self.ends[node_id] = output
        if not config.get("terminate"):
            return Ran(output)
        scope.broke = node_id
        return Ran(output, open=True)

    def _break(self, scope: Scope, node_id: str, config: JsonObject, env: Names) -> Ran:
        passed = env.lookup("input")
        condition = config.get("condition")
        if condition is not None and not compile_condition(condition).test(env, Budget()):
            return Ran(passed)
        scope.broke = node_id
        return Ran(passed, open=True)

    # Loops ---------------------------------------------------------------------------------

    def _foreach(self, scope: Scope, node_id: str, key: str, env: Names) -> Ran:
        config = self._config(node_id)
        items = compile_reference(config["items"]).render(env, Budget())
        if not isinstance(items, list):
            raise Failing("TYPE_ERROR")
        if len(items) > config.get("max_iterations", MOST_ITERATIONS):
            raise Failing("LOOP_LIMIT_EXCEEDED", fatal=True)
        concurrent = config.get("concurrency", 1) > 1
        results: list[Json] = []
        shown: JsonObject = {}
        failed = False
        for index, item in enumerate(items):
            names = {config.get("item_variable", "item"): item}
            names[config.get("index_variable", "index")] = index
            inner = self._iterate(scope, node_id, key, index, names, item)
            results.append(self._result(scope, node_id, inner))
            shown.update(inner.shown)
            failed |= bool(inner.failures)
            if concurrent and len(items) > 1 and (inner.broke or inner.failures):
                raise Unclear
            if inner.broke or (failed and not concurrent):
                break
        scope.shown.update(shown)
        return Ran(results, open=failed)

    def _while(self, scope: Scope, node_id: str, key: str, env: Names) -> Ran:
        config = self._config(node_id)
        condition = compile_condition(config["condition"])
        shown: JsonObject = {}
        count, last, failed = 0, None, False
        while not failed and condition.test(Overlay(env, {"index": count}), Budget()):
            if count == config.get("max_iterations", MOST_ITERATIONS):
                raise Failing("LOOP_LIMIT_EXCEEDED", fatal=True)
            index = {"index": count}
            inner = self._iterate(scope, node_id, key, count, index, dict(index))
            count += 1
            last = self._result(scope, node_id, inner)
            shown.update(inner.shown)
            failed = bool(inner.failures)
            if inner.broke:
                break
        scope.shown.update(shown)
        return Ran({"iterations": count, "last": last}, open=failed)

    def _iterate(
        self, scope: Scope, loop: str, key: str, index: int, names: JsonObject, given: Json
    ) -> Scope:
        inner = Scope(
            self._own(self.bodies[loop]), f"{key}[{index}].", scope, names, entry_input=given
        )
        self._settle_all(inner)
        return inner

    def _result(self, scope: Scope, loop: str, inner: Scope) -> Json:
        """An iteration's result, or the error that took its place. A failure nobody took is left
        in `inner.failures` and handed on to the scope around."""
        if not inner.failures:
            leaves = self._leaves(inner)
            if len(leaves) > 1:
                return leaves
            return next(iter(leaves.values()), None)
        failures = [self._judged(inner, failure) for failure in inner.failures]
        if not self.nodes[loop].get("continue_on_error") or any(f.fatal for f in failures):
            scope.failures += failures
            return None
        if len(failures) > 1 or not failures[0].alone:
            raise Unclear
        inner.failures.clear()
        error = {"node_id": failures[0].node_id, "step_key": failures[0].step_key}
        return {"error": {**error, "type": "?", "message": "?"}}

    def _judged(self, inner: Scope, failure: Failure) -> Failure:
        """The failure as the scope around sees it: was anything beside it in this scope?"""
        holds = (n for n in inner.nodes if failure.node_id in self.bodies.get(n, ()))
        place = next(holds, failure.node_id)
        return replace(failure, alone=failure.alone and self._alone(inner, place))

    # The end -------------------------------------------------------------------------------

    def _conclude(self, root: Scope) -> None:
        meaning = self.meaning
        meaning.failures = root.failures
        if root.failures:
            meaning.status = "failed"
            return
        meaning.certain = set(meaning.steps)
        if root.broke:
            meaning.final_output = self.ends[root.broke]
        elif self.ends:
            several = len(self.ends) > 1
            meaning.final_output = self.ends if several else next(iter(self.ends.values()))
        else:
            meaning.final_output = self._leaves(root)
