"""The frontier of an execution: which steps are ready, which will never be, which are pointless.

The edge half of the fold (`state.py` has the theory): settling edges, dead-path elimination,
races, and cancelling what is active. It knows nothing of outcomes or of how loops go on.
"""

from __future__ import annotations

from engine.context import StepError
from engine.graph import ERROR_PORT, Graph, Node, OutEdge
from engine.nodes.base import ALL_PORTS
from engine.scopes import Ended, LoopRun, Scope, Step, Transition, inside


class Frontier:
    """The open edges and active steps of every scope of one execution."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.active: dict[str, Step] = {}
        """Every step that is ready, runs or waits, by its key."""
        self.runs: dict[int, int] = {}
        """How often each node has run to its end."""
        self.skipped: set[int] = set()
        self.cancelled_nodes: set[int] = set()
        self.lost: dict[str, Step] = {}
        """Every step that was cancelled, by its key."""
        self.operations = 0
        self.ended: Ended | None = None

    def make_ready(self, scope: Scope, node: Node, transition: Transition) -> None:
        """Starts the node in this scope, its only time; a disabled one is skipped instead. Fails
        the execution when that would be one step more than it may run."""
        scope.gone.add(node.index)
        if not node.enabled:
            self.skip(scope, node, transition)
            return
        self.operations += 1
        step = Step(scope.prefix + node.node_id, node, scope)
        if self.operations > self.graph.limits.max_total_operations:
            self.fail(_too_many_operations(step, self.graph), transition)
            return
        if node.spec.family == "loop":
            self._prepare_loop(step)
        scope.active += 1
        self.skipped.discard(node.index)
        self.cancelled_nodes.discard(node.index)
        self.active[step.key] = step
        transition.ready.append(step)

    def _prepare_loop(self, step: Step) -> None:
        if step.node.handler.item_variable is None:
            step.phase = "test"
            step.loop = LoopRun(step, None, testing=True)
        else:
            step.phase = "enter"

    def skip(self, scope: Scope, node: Node, transition: Transition) -> None:
        """Lets a node die without running, and with it whatever hangs on it alone."""
        self._mark_skipped(node)
        self.settle(scope, node, None, (), transition)

    def _mark_skipped(self, node: Node) -> None:
        self.skipped.add(node.index)
        for number in self.graph.bodies.get(node.index, ()):
            if number not in self.runs:
                self.skipped.add(number)

    def settle(
        self,
        scope: Scope,
        node: Node,
        port: str | None,
        dead_edges: tuple[str, ...],
        transition: Transition,
    ) -> bool:
        """Settles the node's edges, and those of every node that thereby dies. Returns whether
        an edge of `node` itself came out live. `port` None means that all of them die."""
        any_live = False
        dying: list[Node] = []
        for edge in node.all_out:
            live = chosen(edge, port) and edge.connection_id not in dead_edges
            any_live = any_live or live
            self.arrive(scope, node, edge, live, dying, transition)
        self.spread_death(scope, dying, transition)
        return any_live

    def spread_death(self, scope: Scope, dying: list[Node], transition: Transition) -> None:
        """Dead-path elimination: skips these nodes and all that thereby loses its last hope. A
        worklist, so that no chain is too long."""
        while dying:
            dead = dying.pop()
            self._mark_skipped(dead)
            for edge in dead.all_out:
                self.arrive(scope, dead, edge, False, dying, transition)

    def arrive(
        self,
        scope: Scope,
        source: Node,
        edge: OutEdge,
        live: bool,
        dying: list[Node],
        transition: Transition,
    ) -> None:
        """Settles one edge. Its target becomes ready, is added to `dying`, or waits on."""
        target = self.graph.nodes[edge.target]
        settled = scope.settled.get(edge.target, 0) + 1
        scope.settled[edge.target] = settled
        if edge.target in scope.gone or self.ended is not None:
            return
        if live:
            scope.arms.setdefault(edge.target, []).append(source.index)
            if target.races and self._decide_race(scope, source, target, transition):
                return
        arms = scope.arms.get(edge.target)
        if arms is None and settled >= target.indegree:
            scope.gone.add(edge.target)
            dying.append(target)
        elif arms is not None and (
            settled >= target.indegree or (target.quorum and len(arms) >= target.quorum)
        ):
            if target.enabled:
                self.make_ready(scope, target, transition)
            else:
                scope.gone.add(edge.target)
                dying.append(target)

    def _decide_race(self, scope: Scope, source: Node, join: Node, transition: Transition) -> bool:
        """Lets the join run if this source decides a race, or several; whether it does."""
        beaten = [race.beaten_by(source.index) for race in join.races]
        lost = [numbers for numbers in beaten if numbers is not None]
        if not lost:
            return False
        self.make_ready(scope, join, transition)
        for numbers in lost:
            self._cancel_nodes(scope, numbers, transition)
        return True

    def retire(self, step: Step) -> None:
        """Takes a step that is over out of the active ones."""
        del self.active[step.key]
        step.scope.active -= 1

    def _cancel(self, step: Step, transition: Transition) -> None:
        self.retire(step)
        self.cancelled_nodes.add(step.node.index)
        self.lost[step.key] = step
        transition.cancelled.append(step)
        if step in transition.ready:
            transition.ready.remove(step)

    def cancel_everything(self, transition: Transition) -> None:
        """Cancels every active step: the execution is over."""
        for step in list(self.active.values()):
            self._cancel(step, transition)

    def cancel_scope(self, scope: Scope, transition: Transition) -> None:
        """Cancels what is active in this scope and in those inside it."""
        for step in list(self.active.values()):
            if step.scope.within(scope):
                self._cancel(step, transition)

    def _cancel_nodes(self, scope: Scope, numbers: tuple[int, ...], transition: Transition) -> None:
        """Cancels what runs at these nodes in this scope, inner iterations included, and lets
        those that have not run die."""
        never = [number for number in numbers if number not in scope.gone]
        scope.gone.update(never)
        for number in numbers:
            node = self.graph.nodes[number]
            step = self.active.get(scope.prefix + node.node_id)
            if step is not None:
                if step.loop is not None:
                    self.cancel_loop(step.loop, transition)
                self._cancel(step, transition)
                self.settle(scope, node, None, (), transition)
        for number in never:
            self.skip(scope, self.graph.nodes[number], transition)

    def cancel_loop(self, loop: LoopRun, transition: Transition) -> None:
        """Cancels what is active in any iteration of this run of a loop."""
        for step in list(self.active.values()):
            if inside(step.scope, loop):
                self._cancel(step, transition)

    def fail(self, error: StepError, transition: Transition) -> None:
        """Ends the execution as failed, unless it has ended already."""
        if self.ended is None:
            cut_off = frozenset(step.node.index for step in self.active.values())
            self.ended = transition.ended = Ended("failed", error=error, cut_off=cut_off)
            self.cancel_everything(transition)


def chosen(edge: OutEdge, port: str | None) -> bool:
    """Whether a node that leaves by this port leaves by this edge; by None it leaves by no edge."""
    return edge.port == port or (port == ALL_PORTS and edge.port != ERROR_PORT)


def _too_many_operations(step: Step, graph: Graph) -> StepError:
    limit = graph.limits.max_total_operations
    return StepError(
        message=f"The execution would run more than {limit} steps (MAX_TOTAL_OPERATIONS).",
        type="OPERATION_LIMIT_EXCEEDED",
        node_id=step.node.node_id,
        step_key=step.key,
        fatal=True,
    )
