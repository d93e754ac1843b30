"""What running a workflow means, a second time: a slow interpreter to hold the engine against.

Written from the rules of a workflow definition; it shares no code with the engine. It is told what
happened, one event after the other ("this step finished", "that loop began an iteration"), and says
of each whether it could happen then and what it must have given; so any order of completion has
its meaning. It keeps what ran and nothing else. Which connections are live, who may run, who has
lost a race and which iterations are over, it asks anew after every event, recursively, from there.

Its one rule: whatever is not allowed raises `Disagreement`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Literal

from tests.engine.model_expressions import Unevaluable, evaluate, holds, refer
from tests.engine.model_nodes import Nodes, fallback_port
from tests.engine.model_shape import LOOPS, Race, Shape
from tests.engine.model_values import (
    Disagreement,
    Effect,
    Ended,
    Failing,
    Failure,
    Json,
    JsonObject,
    LoopRun,
    Ran,
    Scope,
    Sight,
)

State = Literal["ran", "ready", "open", "dead"]
Arm = tuple[int, int, str]
"""When a connection became live, its number, where it comes from."""


class Model:
    """One execution of a canonical document. With `silent`, events tell only which steps
    finished, and loops begin iterations as soon as they may."""

    def __init__(
        self,
        document: JsonObject,
        shape: Shape,
        trigger: str,
        effect: Effect,
        *,
        variables: JsonObject,
        metadata: JsonObject,
        silent: bool = False,
        unknown: Collection[str] = (),
        most_steps: int = 1000,
        most_iterations: int = 100,
    ) -> None:
        self.shape = shape
        self.trigger = trigger
        self.variables = {**(document.get("global_variables") or {}), **variables}
        self.nodes = Nodes(document, effect, variables, metadata, unknown)
        self.root = Scope(self.shape.own(self.shape.nodes.keys()))
        self.ends: JsonObject = {}
        self.ended: Ended | None = None
        self.moment = 0
        self.path: list[str] = []
        self.gave: dict[str, Ran] = {}
        """What each step gave, by its key."""
        self.begun: set[str] = set()
        """The keys of all steps that were ever ready."""
        self.beyond: set[str] = set()
        """The nodes that would have been one step too many."""
        self.escalated = 0
        self._silent = silent
        self._most_steps = most_steps
        self._most_iterations = most_iterations
        self._states: dict[tuple[Scope, str], State] = {}
        self._tidy()

    # What happens --------------------------------------------------------------------------

    def happens(self, key: str, kind: str = "finished", attempt: int = 1) -> Ran | None:
        """Takes an event in. What it gave if a step finished. Raises `Disagreement`."""
        if self.ended is not None:
            raise Disagreement(f"{key} {kind}, but all is over")
        scope, node_id = self._place(key)
        if self.state(scope, node_id) != "ready":
            raise Disagreement(f"{key} {kind}, but is {self.state(scope, node_id)}")
        self.moment += 1
        ran = None
        if kind == "finished":
            ran = self._finish(scope, node_id, key, attempt)
        elif kind == "entered":
            self._enter(scope, node_id)
        elif kind == "iterate":
            self._iterate(scope, node_id)
        elif not self.nodes.may_pause(node_id, key, kind, attempt):
            raise Disagreement(f"{key} may not be {kind}")
        self._tidy()
        return ran

    def _place(self, key: str) -> tuple[Scope, str]:
        scope = self.root
        *loops, node_id = key.split(".")
        for part in loops:
            loop, _, number = part.rstrip("]").partition("[")
            run = scope.loops.get(loop)
            if self.state(scope, loop) != "ready" or run is None:
                raise Disagreement(f"{key}: {loop} has no iterations now")
            if int(number) >= len(run.iterations) or run.iterations[int(number)].over:
                raise Disagreement(f"{key}: iteration {number} does not run")
            scope = run.iterations[int(number)]
        if node_id not in scope.nodes:
            raise Disagreement(f"{key}: no such node there")
        return scope, node_id

    # What the connections say --------------------------------------------------------------

    def state(self, scope: Scope, node_id: str) -> State:
        """What has become of a node by now."""
        if node_id in scope.ran:
            return "ran"
        known = self._states.get((scope, node_id))
        if known is None:
            known = self._states[scope, node_id] = self._judge(scope, node_id)
        return known

    def _judge(self, scope: Scope, node_id: str) -> State:
        if self.shape.is_trigger(node_id):
            return "ready" if node_id == self.trigger else "dead"
        if self._lost(scope, node_id):
            return "dead"
        fates = [self._fate(scope, number) for number in self.shape.into(node_id)]
        if True in fates and (None not in fates or self.enough(scope, node_id) is not None):
            return "ready" if self.shape.nodes[node_id].get("enabled", True) else "dead"
        return "open" if None in fates else "dead"

    def _fate(self, scope: Scope, number: int) -> bool | None:
        """Whether a connection is live; None while it is open."""
        edge = self.shape.edges[number]
        source = edge["from_node_id"]
        if source not in scope.nodes:
            return number not in scope.dead  # From the loop around.
        if self.state(scope, source) != "ran":
            return False if self.state(scope, source) == "dead" else None
        ran = scope.ran[source]
        if ran.port is None:
            return None
        return chooses(ran.port, edge) and number not in ran.dead

    def arms(self, scope: Scope, node_id: str) -> list[Arm]:
        """The live connections into a node, in the order in which they became so."""
        found: list[Arm] = []
        for number in self.shape.into(node_id):
            source = self.shape.edges[number]["from_node_id"]
            settled = source not in scope.nodes or source in scope.ran
            if settled and self._fate(scope, number):
                ran = scope.ran.get(source)
                found.append((ran.moment if ran else -1, number, source))
        return sorted(found)

    def enough(self, scope: Scope, node_id: str) -> int | None:
        """How many arms were enough for a merge that does not wait for all; None if it does."""
        arms = self.arms(scope, node_id)
        for race in self.shape.races:
            won = self.won(scope, race) if race.join == node_id else None
            if won is not None:
                return arms.index(won) + 1
        if self.shape.type_of(node_id) != "flow_merge":
            return None
        mode = self.shape.config(node_id).get("mode", "wait_all")
        if mode == "wait_all":
            return None
        wanted = 1 if mode == "any" else int(mode)
        return wanted if len(arms) >= wanted else None

    def won(self, scope: Scope, race: Race) -> Arm | None:
        """The arm that decided a race."""
        if race.join not in scope.nodes:
            return None
        return next((arm for arm in self.arms(scope, race.join) if race.runs(arm[2])), None)

    def _lost(self, scope: Scope, node_id: str) -> bool:
        for race in self.shape.races:
            if any(node_id in branch for branch in race.branches):
                won = self.won(scope, race)
                if won is not None and node_id in race.losers(won[2]):
                    return True
        return False

    def given(self, scope: Scope, node_id: str) -> JsonObject:
        """The outputs of a node's live predecessors, by node id."""
        arms = self.arms(scope, node_id)
        enough = self.enough(scope, node_id)
        return {
            source: scope.ran[source].output if source in scope.ran else scope.entry
            for _, _, source in arms[:enough]
        }

    def active(self, scope: Scope) -> list[str]:
        """The nodes of a scope that run or may run now."""
        return [n for n in scope.nodes if self.state(scope, n) == "ready"]

    def leaves(self, scope: Scope) -> JsonObject:
        """The outputs of the nodes that ran last: those with no live connection out of them."""
        return {
            node_id: ran.output
            for node_id, ran in sorted(scope.ran.items(), key=lambda item: item[1].moment)
            if not any(self._fate(scope, number) for number in self.shape.out_of(node_id))
        }

    # What a step gives ---------------------------------------------------------------------

    def _sight(self, scope: Scope, node_id: str) -> Sight:
        arms = self.given(scope, node_id)
        whole = next(iter(arms.values())) if len(arms) == 1 else (arms or None)
        own = {"input": whole, "trigger": self.nodes.trigger, "  body": {}}
        if node_id in scope.loops:
            own["  body"] = scope.loops[node_id].last_shown()
        return Sight(scope, self.variables, own)

    def _finish(self, scope: Scope, node_id: str, key: str, attempt: int) -> Ran:
        sight = self._sight(scope, node_id)
        ran = Ran(self.moment)
        try:
            if self.shape.type_of(node_id) in LOOPS:
                self._conclude_loop(scope, node_id, sight, ran)
            else:
                arms = self.given(scope, node_id)
                self.nodes.give(node_id, key, sight, arms, ran, attempt)
            self._weigh(node_id, sight, ran)
        except (Failing, Unevaluable) as problem:
            ran = self._failed(node_id, key, problem, ran.attempt)
            ran = self._taken(node_id, key, sight, ran)
        self._record(scope, node_id, ran)
        return ran

    def _weigh(self, node_id: str, sight: Sight, ran: Ran) -> Sight:
        """Asks the conditionals of the connections that the port chose. What they see."""
        error = ran.failure.payload() if ran.failure else None
        shown = {"output": ran.output, "port": ran.port, "error": error}
        own = {"input": ran.output, "  node": node_id, "  shown": shown}
        after = sight.with_own(**ran.local, **ran.variables, **own)
        for number in self.shape.out_of(node_id):
            edge = self.shape.edges[number]
            condition = edge.get("conditional")
            if condition and chooses(ran.port, edge) and not evaluate(condition, after):
                ran.dead.add(number)
        return after

    def _failed(self, node_id: str, key: str, problem: Exception, attempt: int) -> Ran:
        fatal = isinstance(problem, Failing) and problem.fatal
        kind = problem.kind if isinstance(problem, Failing) else "EXPRESSION_ERROR"
        failure = Failure(kind, node_id, key, attempt, fatal)
        return Ran(self.moment, port=None, failure=failure, attempt=attempt)

    def _taken(self, node_id: str, key: str, sight: Sight, failed: Ran) -> Ran:
        """The failure once somebody has taken it, if anybody does: a live connection from the
        port `error`, else the node that goes on. If a connection cannot be asked, all ends."""
        assert failed.failure is not None
        if failed.failure.fatal:
            return failed
        try:
            return self._caught(node_id, sight, failed) or self._ignored(node_id, sight, failed)
        except Unevaluable:
            problem = Failing("EXPRESSION_ERROR", fatal=True)
            return self._failed(node_id, key, problem, failed.attempt)

    def _caught(self, node_id: str, sight: Sight, failed: Ran) -> Ran | None:
        if failed.failure is None or not self.shape.catches(node_id):
            return None
        ran = replace(failed, port="error", output=failed.failure.payload(), dead=set())
        after = self._weigh(node_id, sight, ran)
        back = [edge.get("conditional") for edge in self.shape.errors_back(node_id)]
        holds_back = [not condition or evaluate(condition, after) for condition in back]
        ways = [n for n in self.shape.out_of(node_id) if chooses("error", self.shape.edges[n])]
        return ran if any(holds_back) or set(ways) - ran.dead else None

    def _ignored(self, node_id: str, sight: Sight, failed: Ran) -> Ran:
        if failed.failure is None or not self.shape.nodes[node_id].get("continue_on_error"):
            return failed
        port = fallback_port(self.shape.type_of(node_id), self.shape.config(node_id))
        output = {"error": failed.failure.payload()}
        ran = replace(failed, port=port, output=output, dead=set())
        self._weigh(node_id, sight, ran)
        return ran

    def _record(self, scope: Scope, node_id: str, ran: Ran) -> None:
        scope.ran[node_id] = ran
        self._states.clear()
        self.path.append(node_id)
        self.gave[scope.prefix + node_id] = ran
        self.variables.update(ran.variables)
        scope.locals.update(ran.local)
        if node_id in scope.loops:
            scope.shown.update(scope.loops[node_id].last_shown())
        if ran.failure is not None and ran.port is None:
            self._escalate(scope, ran.failure)
            return
        error = ran.failure.payload() if ran.failure else None
        scope.shown[node_id] = {"output": ran.output, "port": ran.port, "error": error}
        if self.shape.type_of(node_id) == "flow_end" and ran.port != "error":
            self.ends[node_id] = ran.output
            if self.shape.config(node_id).get("terminate") and ran.failure is None:
                self.ended = Ended("completed", self._final_output())
        if ran.broke:
            scope.shown[node_id]["port"] = "break"
            self._break(scope)

    def _break(self, scope: Scope) -> None:
        """Ends the loop: this iteration's result counts, those beside it have none."""
        run = scope.run
        assert run is not None
        run.broken = True
        for beside in run.running():
            if beside is scope:
                self._end_iteration(run, beside)
            beside.over = True

    def _escalate(self, scope: Scope, failure: Failure) -> None:
        """Ends the iteration of the nearest loop that bears errors, or else the execution."""
        for around in scope.chain():
            run = around.run
            if failure.fatal or run is None:
                break
            if self.shape.nodes[run.node_id].get("continue_on_error"):
                self.escalated += 1
                run.results[around.index] = {"error": failure.payload()}
                around.over = True
                return
        self.ended = Ended("failed", failure=failure)

    # Loops ---------------------------------------------------------------------------------

    def _enter(self, scope: Scope, node_id: str) -> None:
        """A `loop_foreach` has its items. Raises `Failing` or `Unevaluable` if it has not."""
        if node_id in scope.loops or self.shape.type_of(node_id) != "loop_foreach":
            raise Disagreement(f"{node_id} is entered twice")
        items = refer(self.shape.config(node_id)["items"], self._sight(scope, node_id))
        if not isinstance(items, list):
            raise Failing("TYPE_ERROR")
        if len(items) > self._most(node_id):
            raise Failing("LOOP_LIMIT_EXCEEDED", fatal=True)
        scope.loops[node_id] = LoopRun(node_id, scope, items)

    def _most(self, node_id: str) -> int:
        own = self.shape.config(node_id).get("max_iterations") or self._most_iterations
        return min(int(own), self._most_iterations)

    def _may_begin(self, run: LoopRun) -> bool:
        if run.broken:
            return False
        if run.items is None:
            return not run.running()
        width = self.shape.config(run.node_id).get("concurrency", 1)
        return len(run.iterations) < len(run.items) and len(run.running()) < width

    def _iterate(self, scope: Scope, node_id: str) -> None:
        """A loop begins its next iteration. Raises `Failing` or `Unevaluable` if it cannot."""
        run = self._run_of(scope, node_id)
        if run is not None and run.broken:
            return  # It was about to, and nothing comes of it.
        if run is None or not self._may_begin(run):
            raise Disagreement(f"{node_id} may not begin an iteration")
        if run.items is None and not self._goes_on(scope, run):
            raise Disagreement(f"{node_id} does not go on")
        self._begin(run, self._closed(scope, run))

    def _run_of(self, scope: Scope, node_id: str) -> LoopRun | None:
        if self.shape.type_of(node_id) == "loop_while":
            scope.loops.setdefault(node_id, LoopRun(node_id, scope, None))
        return scope.loops.get(node_id)

    def _goes_on(self, scope: Scope, run: LoopRun) -> bool:
        count = len(run.iterations)
        sight = self._sight(scope, run.node_id).with_own(index=count)
        if not holds(self.shape.config(run.node_id)["condition"], sight):
            return False
        if count >= self._most(run.node_id):
            raise Failing("LOOP_LIMIT_EXCEEDED", fatal=True)
        return True

    def _names(self, run: LoopRun) -> tuple[JsonObject, Json]:
        """The variables of a loop's next iteration, and what it hands in."""
        config, index = self.shape.config(run.node_id), len(run.iterations)
        if run.items is None:
            return {"index": index}, {"index": index}
        item = run.items[index]
        names = {config.get("item_variable", "item"): item}
        return names | {config.get("index_variable", "index"): index}, item

    def _closed(self, scope: Scope, run: LoopRun) -> set[int]:
        """The connections into the next iteration whose `conditional` is false."""
        names, entry = self._names(run)
        sight = self._sight(scope, run.node_id).with_own(**names, input=entry)
        edges = self.shape.into_body(run.node_id)
        guarded = {n: self.shape.edges[n].get("conditional") for n in edges}
        return {
            n for n, condition in guarded.items() if condition and not evaluate(condition, sight)
        }

    def _begin(self, run: LoopRun, dead: set[int]) -> None:
        names, entry = self._names(run)
        index = len(run.iterations)
        prefix = f"{run.scope.prefix}{run.node_id}[{index}]."
        nodes = self.shape.own(self.shape.bodies[run.node_id])
        run.iterations.append(Scope(nodes, prefix, run, index, entry, names, dead=dead))
        self._states.clear()

    def _end_iteration(self, run: LoopRun, scope: Scope) -> None:
        leaves = self.leaves(scope)
        run.results[scope.index] = leaves if len(leaves) > 1 else next(iter(leaves.values()), None)
        scope.over = True

    def _conclude_loop(self, scope: Scope, node_id: str, sight: Sight, ran: Ran) -> None:
        """A loop is said to be over: so it is, or it failed."""
        if self.shape.type_of(node_id) == "loop_foreach" and node_id not in scope.loops:
            self._enter(scope, node_id)
            raise Disagreement(f"{node_id} ended without having been entered")
        run = self._run_of(scope, node_id)
        assert run is not None
        if self._may_begin(run) and (run.items is not None or self._goes_on(scope, run)):
            self._closed(scope, run)
            raise Disagreement(f"{node_id} ended, but has to go on")
        if run.running():
            raise Disagreement(f"{node_id} ended, but its iterations run")
        ran.output = run.result()

    # What follows --------------------------------------------------------------------------

    def _tidy(self) -> None:
        """Ends what is over and begins what need not be told."""
        self._states.clear()
        while self.ended is None and self._moved(self.root):
            self._states.clear()
        if self.ended is not None:
            return
        active = dict(self._all_active(self.root))
        self.beyond = {active[key] for key in active.keys() - self.begun}
        self.begun |= active.keys()
        if len(self.begun) > self._most_steps:
            failure = Failure("OPERATION_LIMIT_EXCEEDED", "?", "?", fatal=True)
            self.ended = Ended("failed", failure=failure)
        elif not active:
            self.ended = Ended("completed", self._final_output())

    def _all_active(self, scope: Scope) -> Iterator[tuple[str, str]]:
        for node_id in self.active(scope):
            yield scope.prefix + node_id, node_id
            if node_id in scope.loops:
                for iteration in scope.loops[node_id].running():
                    yield from self._all_active(iteration)

    def _moved(self, scope: Scope) -> bool:
        """Whether something in this scope went on by itself."""
        for node_id in self.active(scope):
            if self.shape.type_of(node_id) in LOOPS and self._loop_moved(scope, node_id):
                return True
        return False

    def _loop_moved(self, scope: Scope, node_id: str) -> bool:
        if self._silent and node_id not in scope.loops and not self._entered(scope, node_id):
            return False
        run = scope.loops.get(node_id)
        for iteration in run.running() if run else ():
            if self._moved(iteration):
                return True
            if run is not None and not self.active(iteration):
                self._end_iteration(run, iteration)
                return True
        return run is not None and self._may_begin(run) and self._began(scope, run)

    def _entered(self, scope: Scope, node_id: str) -> bool:
        try:
            if self._run_of(scope, node_id) is None:
                self._enter(scope, node_id)
        except (Failing, Unevaluable):
            return False  # It will be said to have failed.
        return True

    def _began(self, scope: Scope, run: LoopRun) -> bool:
        """Begins an iteration if that need not be told: nothing is to be decided."""
        decided = run.items is None or any(
            self.shape.edges[n].get("conditional") for n in self.shape.into_body(run.node_id)
        )
        if decided and not self._silent:
            return False
        try:
            if run.items is None and not self._goes_on(scope, run):
                return False
            self._begin(run, self._closed(scope, run))
        except (Failing, Unevaluable):
            return False  # It will be said to have failed.
        return True

    def _final_output(self) -> Json:
        if self.ends:
            return dict(self.ends) if len(self.ends) > 1 else next(iter(self.ends.values()))
        return self.leaves(self.root)


def chooses(port: str | None, edge: JsonObject) -> bool:
    """Whether this port, or `*`, which is every port for a result, is the one of the edge."""
    return edge["from_port_name"] == port or (port == "*" and edge["from_port_name"] != "error")
