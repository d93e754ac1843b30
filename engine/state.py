"""The fold: an execution's state as a pure function of its journal over its graph.

Theory of operation
-------------------
`start()` names the first steps; `apply(outcome)` takes what one step gave and returns what that
makes ready. Nothing here does I/O or asks a clock, so replaying the recorded outcomes in their
order rebuilds exactly the state that a crashed process had: recovery is `start()` and a loop over
`apply()`. The cost of an outcome is the out-degree of its node, never the size of the graph.

*Edges.* Every edge of a scope is open until its source is settled; then it is live (the source
chose its port and its `conditional`, if any, held) or dead. A scope counts, per target, settled
edges and live arms. All settled and one live: the node runs, once. All dead: it is skipped and
its own edges die, by the same worklist (dead-path elimination).

*Scopes.* The root scope holds the nodes outside every loop. Each iteration of a loop is a scope of
its own for the nodes of that loop's body: own edges, own results, own iteration variables. A
scope ends when it has no active step left; then its iteration's result is the output of the nodes
that ran last in it, and the loop goes on.

*Loops.* A loop's step passes phases: `enter` (its items, recorded as ENTERED), for `loop_while`
`test` (ITERATE for each true one), iterations, `finish`. What a loop decided is in the journal, so
a replay never evaluates it again.

*Errors.* Whether a node takes its own error, by an edge from port `error` or by going on, is
decided where it fails (`steps.failed`: the edges' conditionals are asked there). The record's port
says what was decided, so a replay never asks again; a failure without a port is nobody's yet, and
goes to the loops around it, then to the execution.

*Ending.* Steps that a break, a lost race, a failure or `terminate` makes pointless are returned as
`cancelled`; their late outcomes are ignored. The execution ends when the root scope does, when a
`terminate` ran, or when an error found nobody to take it.
"""

from __future__ import annotations

from engine.context import Json, JsonObject, Kind, Outcome, StepError
from engine.frontier import Frontier
from engine.graph import ERROR_PORT, Graph, Node
from engine.scopes import BREAK_PORT, Ended, LoopRun, Scope, Step, Transition, inside


class ExecutionState(Frontier):
    """The state of one execution. See the module's theory of operation."""

    def __init__(self, graph: Graph, variables: JsonObject, trigger_node_id: str) -> None:
        super().__init__(graph)
        self.variables: JsonObject = {**graph.global_variables, **variables}
        self.trigger = graph.by_id[trigger_node_id]
        self.root = Scope("", None, None, -1, None)
        self.path: list[str] = []
        self.ends: dict[str, Json] = {}
        self.completed = 0
        self.failed = 0
        self.cost = 0.0
        self.tokens = 0

    def start(self) -> Transition:
        """Makes the trigger ready and lets every other root die. Called once, before `apply`."""
        transition = Transition()
        self.make_ready(self.root, self.trigger, transition)
        for number in self.graph.roots:
            if number != self.trigger.index:
                self.root.gone.add(number)
                self.skip(self.root, self.graph.nodes[number], transition)
        self._close_scope(self.root, transition)
        return transition

    def apply(self, outcome: Outcome) -> Transition:
        """Folds one outcome in. An outcome of a step that is not active (it was cancelled) and
        any outcome after the end change nothing."""
        transition = Transition()
        step = self.active.get(outcome.step_key)
        if step is None or self.ended is not None:
            return transition
        if outcome.kind is Kind.FINISHED:
            self._finish(step, outcome, transition)
        elif outcome.kind is Kind.ENTERED:
            self._enter(step, outcome.output, transition)
        elif outcome.kind is Kind.ITERATE:
            self._iterate(step, outcome, transition)
        else:
            self._suspend(step, outcome)
        return transition

    def end_now(self, error: StepError, transition: Transition) -> None:
        """Ends the execution as failed for a reason outside any step (a time-out)."""
        self.fail(error, transition)

    # What the rest of the engine asks

    def input_of(self, step: Step) -> Json:
        """`input`: the output of the live predecessor; with several, `{node_id: output}`."""
        arms = self.arms_of(step)
        if len(arms) == 1:
            return next(iter(arms.values()))
        return arms or None

    def arms_of(self, step: Step) -> JsonObject:
        """`{node_id: output}` of the step's live predecessors, in the order they arrived."""
        scope, nodes = step.scope, self.graph.nodes
        arms: JsonObject = {}
        for source in scope.arms.get(step.node.index, ()):
            name = nodes[source].node_id
            result = scope.results.get(name)
            arms[name] = result["output"] if result is not None else scope.entry
        return arms

    def open_steps(self) -> list[Step]:
        """The active steps that somebody must run or wait for: all but loops whose iterations
        run. What a replay picks up."""
        return [
            s
            for s in self.active.values()
            if s.loop is None or s.loop.testing or not s.loop.running
        ]

    def stopped_by(self, outcome: Outcome) -> list[Step]:
        """The active steps that an outcome would make pointless by a failure, a break or a
        `terminate`. Nothing is folded in."""
        step, error = self.active.get(outcome.step_key), outcome.error
        if step is None or outcome.kind is not Kind.FINISHED:
            return []
        others = [each for each in self.active.values() if each is not step]
        if error is not None and (error.fatal or outcome.port is None):
            ending = _ended_by(error, step.scope)
            return [each for each in others if ending is None or each.scope.within(ending)]
        if _terminates(step.node, outcome):
            return others
        broken = step.scope.loop if outcome.port == BREAK_PORT else None
        given_up = step.loop if error is not None else None
        loops = [loop for loop in (broken, given_up) if loop is not None]
        return [each for each in others if any(inside(each.scope, loop) for loop in loops)]

    def waiting_steps(self) -> list[Step]:
        """The steps that are parked."""
        return [step for step in self.active.values() if step.waiting]

    def settled_count(self) -> int:
        """How many enabled nodes have run to their end or been skipped, for `progress`. A node
        with an active step does not count, nor one with a step that the end cut off: no end moves
        on what it stops, whether the journal's last record brought it about or, as a time-out or a
        cancellation, none did."""
        if self.ended is not None and self.ended.status == "completed":
            return self.graph.enabled_count
        busy = {step.node.index for step in self.active.values()}
        if self.ended is not None:
            busy |= self.ended.cut_off
        settled = (self.runs.keys() | self.skipped) - busy
        if self.graph.enabled_count == len(self.graph.nodes):
            return len(settled)
        return sum(1 for number in settled if self.graph.nodes[number].enabled)

    def never_ran(self, *, over: bool, begun: bool = True) -> set[int]:
        """The nodes that did not run and will not: those skipped so far and, once the execution
        is `over`, all that it never reached. Of one that never `begun`, that is also what was
        ready."""
        reached = self.runs.keys() | self.cancelled_nodes
        if not over:
            return self.skipped - reached
        active = {step.node.index for step in self.active.values()} if begun else set()
        return {node.index for node in self.graph.nodes} - reached - active

    # Outcomes

    def _finish(self, step: Step, outcome: Outcome, transition: Transition) -> None:
        node, scope, error = step.node, step.scope, outcome.error
        self.retire(step)
        self._record(step, outcome)
        if error is not None and step.loop is not None:
            self.cancel_loop(step.loop, transition)
        port, output = outcome.port, outcome.output
        if error is not None and (error.fatal or port is None):
            self._escalate(scope, error, transition)
            return
        scope.results[node.node_id] = {
            "output": output,
            "port": port,
            "error": error.as_json() if error else None,
        }
        if node.node_type == "flow_end" and port != ERROR_PORT:
            self.ends[node.node_id] = output
            if _terminates(node, outcome):
                self._end(transition)
                return
        if port == BREAK_PORT and scope.loop is not None:
            # Its edges stay open: nothing behind it may start.
            scope.tails[node.node_id] = output
            self._break(scope, transition)
        elif not self.settle(scope, node, port, outcome.dead_edges, transition):
            scope.tails[node.node_id] = output
        self._close_scope(scope, transition)

    def _record(self, step: Step, outcome: Outcome) -> None:
        number = step.node.index
        self.path.append(step.node.node_id)
        self.runs[number] = self.runs.get(number, 0) + 1
        if outcome.error is None:
            self.completed += 1
        else:
            self.failed += 1
        if outcome.usage:
            self.cost += float(outcome.usage.get("cost") or 0)
            self.tokens += int(outcome.usage.get("tokens") or 0)
        if outcome.variables:
            self.variables.update(outcome.variables)
        if outcome.local:
            step.scope.locals.update(outcome.local)
        if step.loop is not None:
            step.scope.results.update(step.loop.last_results())
            self._skip_unvisited(step.node)

    def _skip_unvisited(self, loop: Node) -> None:
        """Body nodes that no iteration reached count as skipped once the loop is over."""
        for number in self.graph.bodies.get(loop.index, ()):
            if number not in self.runs and number not in self.cancelled_nodes:
                self.skipped.add(number)

    def _suspend(self, step: Step, outcome: Outcome) -> None:
        if outcome.kind is Kind.INTENT:
            step.intended, step.waiting, step.wake_at = True, False, None
            return
        step.waiting = True
        step.wake_at = outcome.wake_at
        step.signal = outcome.signal
        step.parked = outcome.output if isinstance(outcome.output, dict) else None
        if outcome.kind is Kind.RETRYING:
            step.attempt = outcome.attempt + 1
            step.intended = False

    # Loops

    def _enter(self, step: Step, items: list[Json], transition: Transition) -> None:
        step.loop = LoopRun(step, items)
        self._go_on(step.loop, transition)

    def _iterate(self, step: Step, outcome: Outcome, transition: Transition) -> None:
        loop = step.loop
        if loop is None:
            return
        loop.testing = False
        if not loop.broken:
            self._start_iteration(loop, outcome.dead_edges, transition)
        self._go_on(loop, transition)

    def _go_on(self, loop: LoopRun, transition: Transition) -> None:
        """Starts what iterations may start, or asks for a test first where something must be
        decided; when none can start and none runs, the loop finishes."""
        step = loop.step
        asks = loop.items is None or step.node.body_guarded
        while self.ended is None and self._may_iterate(loop):
            if asks:
                loop.testing = True
                step.phase = "test"
                transition.ready.append(step)
                return
            self._start_iteration(loop, (), transition)
        if self.ended is None and not loop.running and not loop.testing:
            step.phase = "finish"
            transition.ready.append(step)

    def _may_iterate(self, loop: LoopRun) -> bool:
        if loop.broken or loop.testing:
            return False
        if loop.items is None:
            return not loop.running
        return loop.started < len(loop.items) and loop.running < loop.step.node.handler.concurrency

    def _start_iteration(
        self, loop: LoopRun, dead_edges: tuple[str, ...], transition: Transition
    ) -> None:
        step, node = loop.step, loop.step.node
        index = loop.started
        item = {"index": index} if loop.items is None else loop.items[index]
        loop.started += 1
        loop.running += 1
        scope = Scope(f"{step.key}[{index}].", step.scope, loop, index, item)
        scope.locals[node.handler.index_variable] = index
        if node.handler.item_variable is not None:
            scope.locals[node.handler.item_variable] = item
        dying: list[Node] = []
        for edge in node.body_out:
            live = edge.connection_id not in dead_edges
            self.arrive(scope, node, edge, live, dying, transition)
        self.spread_death(scope, dying, transition)
        self._close_scope(scope, transition, resume=False)

    def _close_scope(self, scope: Scope, transition: Transition, *, resume: bool = True) -> None:
        """Ends the scope if nothing in it is left to run."""
        if scope.active or self.ended is not None:
            return
        loop = scope.loop
        if loop is None:
            self._end(transition)
            return
        tails = scope.tails
        result = next(iter(tails.values())) if len(tails) == 1 else (dict(tails) or None)
        self._end_iteration(loop, scope, result)
        if resume:
            self._go_on(loop, transition)

    def _end_iteration(self, loop: LoopRun, scope: Scope, result: Json) -> None:
        loop.running -= 1
        loop.outputs[scope.index] = result
        loop.keep(scope.index, scope.results)

    def _break(self, scope: Scope, transition: Transition) -> None:
        """Ends the loop after this node: no further iteration, and none beside it goes on."""
        loop = scope.loop
        assert loop is not None
        loop.broken = True
        self.cancel_loop(loop, transition)
        loop.running = 1

    # Failing, cancelling, ending

    def _escalate(self, scope: Scope, error: StepError, transition: Transition) -> None:
        """Gives an error that its node does not handle to the nearest loop that goes on in spite
        of errors, else fails the execution."""
        ending = _ended_by(error, scope)
        if ending is None or ending.loop is None:
            self.fail(error, transition)
            return
        self.cancel_scope(ending, transition)
        self._end_iteration(ending.loop, ending, {"error": error.as_json()})
        self._go_on(ending.loop, transition)

    def _end(self, transition: Transition) -> None:
        self.ended = transition.ended = Ended("completed", output=self._final_output())
        self.cancel_everything(transition)

    def _final_output(self) -> Json:
        if len(self.ends) == 1:
            return next(iter(self.ends.values()))
        return dict(self.ends) if self.ends else dict(self.root.tails)


def _ended_by(error: StepError, scope: Scope) -> Scope | None:
    """The iteration around `scope` that an error ends which its node does not handle: that of the
    nearest loop that goes on in spite of errors. None if it fails the execution."""
    while not error.fatal and scope.loop is not None and scope.parent is not None:
        if scope.loop.step.node.continue_on_error:
            return scope
        scope = scope.parent
    return None


def _terminates(node: Node, outcome: Outcome) -> bool:
    """Whether this outcome of a node ends the execution, whatever else runs."""
    ends = node.node_type == "flow_end" and outcome.port != ERROR_PORT
    return ends and node.terminates and outcome.error is None
