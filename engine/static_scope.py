"""What the expressions of a workflow can see, judged before it runs.

Request variables are unknown until an execution starts, so a name that nothing sets is no mistake
by itself; only one that looks like a slip of the pen is reported. A name that is set, but only
where the reader cannot see it, is. The one rule: warnings only, and no more work than the graph
is large.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.context import JsonObject
from engine.issues import Findings, listed
from engine.regions import Regions
from engine.static_names import Mention, Names
from engine.static_order import Order
from engine.static_timing import Timing

EXECUTION_FIELDS = (
    "id",
    "workflow_id",
    "workflow_version",
    "community_id",
    "entity_id",
    "user_id",
    "session_id",
    "platform",
    "trigger_source",
    "started_at",
)
"""What the reserved name `execution` has."""

NODE_FIELDS = ("output", "port", "error")
"""What `nodes.<id>` has."""

_CLOSE = 0.86
_MAX_SCOPES = 64


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of a graph: which nodes run at all, and their order if it is sound."""

    regions: Regions
    reached: frozenset[str] | set[str]
    order: Order | None


def report_unknown_variables(
    document: JsonObject, sight: Sight, mentions: Sequence[Mention], findings: Findings
) -> None:
    """Warns of names that are a known name misspelt or that cannot be set yet where they are
    read, of iteration variables outside their loop, and of `nodes.<id>` where no such node has
    run."""
    names = Names(document)
    timing = None if sight.order is None else Timing(names, sight.regions, sight.order, mentions)
    scope = _Scope(names, sight, timing, findings)
    for mention in mentions:
        scope.judge(mention)


@dataclass(slots=True)
class _Scope:
    """Judges one mention after the other."""

    names: Names
    sight: Sight
    timing: Timing | None
    findings: Findings
    nearest: dict[tuple[str, tuple[str, ...]], str | None] = field(default_factory=dict)
    local_scopes: dict[str, dict[str | None, None]] = field(default_factory=dict)

    def judge(self, mention: Mention) -> None:
        root = mention.path[0]
        if root == "nodes" and len(mention.path) > 1:
            self._judge_node(mention)
        elif root == "execution" and len(mention.path) > 1:
            self._judge_field(mention, "execution", mention.path[1], EXECUTION_FIELDS)
        elif root in self.names.always or root in mention.locals or self._iterates(root, mention):
            return
        elif root in self.names.setters:
            self._judge_variable(mention)
        elif root in self.names.loops:
            loop = next(iter(self.names.loops[root]))
            self._warn(
                mention,
                f"'{root}' is known only in the body of loop '{loop}'.",
                f"After the loop, its results are in {_reference(loop)}.output.",
            )
        else:
            self._judge_spelling(mention)

    def _judge_spelling(self, mention: Mention) -> None:
        root = mention.path[0]
        key = (root, mention.locals)
        if key not in self.nearest:
            # `players` beside `player` is a list and its item, no slip of the pen.
            names = (
                n for n in (*self.names.all, *mention.locals) if n.rstrip("s") != root.rstrip("s")
            )
            self.nearest[key] = self.findings.nearest.to(root, names, _CLOSE)
        close = self.nearest[key]
        if close is not None:
            self._warn(
                mention,
                f"Nothing in this workflow sets '{root}'; the request would have to.",
                f"Did you mean '{close}'?",
            )

    def _judge_variable(self, mention: Mention) -> None:
        """A name that some node sets: can it have done so?"""
        root, names = mention.path[0], self.names
        setters = names.setters[root]
        if root in names.silent:
            self._warn(
                mention,
                f"'{root}' is set only by what is disabled: {listed(setters)}.",
                "Enable it, or let the request give the variable.",
            )
        elif root not in names.writers and not self._sees_local(mention):
            loop = next(iter(self._local_scopes(root)))
            self._warn(
                mention,
                f"'{root}' is set for the iterations of loop '{loop}' only.",
                'Set it with the scope "workflow".',
            )
        elif self.timing is not None and mention.node_id in self.sight.reached:
            if root in self.timing.updated or self.timing.may_be_set(mention):
                return
            later = names.lag(mention) > 0
            self._warn(
                mention,
                f"'{root}' is set by {listed(setters)}, but not before it is read here; "
                "the request would have to give it.",
                f"Put '{root}' before '{mention.target}'."
                if later
                else f"Set it before '{mention.node_id}' runs, or write default({root}, …).",
            )

    def _judge_node(self, mention: Mention) -> None:
        node_id, nodes = mention.path[1], self.names.nodes
        if node_id not in nodes:
            self._warn(
                mention,
                f"'nodes.{node_id}' names no node of this workflow.",
                self.findings.nearest.hint(node_id, nodes),
            )
            return
        shown = _reference(node_id)
        if len(mention.path) > 2:
            self._judge_field(mention, shown, mention.path[2], NODE_FIELDS)
        if not self.names.enabled(node_id):
            message = f"'{node_id}' is disabled, so {shown} is never there."
            self._warn(mention, message, f"Enable it, or write default({shown}.output, …).")
        elif self.timing is None or mention.node_id not in self.sight.reached:
            return
        elif mention.moment != "run" and mention.node_id in self._loops_around(node_id):
            return  # The iteration before is what a loop decides its next one by.
        elif not self.timing.ran(node_id, mention):
            self._warn(
                mention,
                f"'{node_id}' {self._why(node_id, mention.node_id, shown)} there yet.",
                f"Connect the two so that '{node_id}' comes first, or write "
                f"default({shown}.output, …).",
            )

    def _why(self, node_id: str, reader: str, shown: str) -> str:
        if node_id == reader:
            return f"is running, so {shown} is not"
        if node_id in self._loops_around(reader):
            return f"is the loop that this runs in, so {shown} is not"
        # One beside the reader may happen to finish first.
        return f"does not come before '{reader}', so {shown} may not be"

    def _judge_field(self, mention: Mention, owner: str, name: str, known: tuple[str, ...]) -> None:
        if name in known:
            return
        hint = self.findings.nearest.hint(name, known)
        if hint is None and known is NODE_FIELDS:
            hint = f"Did you mean {owner}.output.{name}?"
        self._warn(mention, f"'{owner}' has no '{name}'; it has {listed(known)}.", hint)

    def _iterates(self, name: str, mention: Mention) -> bool:
        loops = self.names.loops.get(name)
        return loops is not None and self._within(loops, mention)

    def _sees_local(self, mention: Mention) -> bool:
        scopes = self._local_scopes(mention.path[0])
        return None in scopes or self._within(scopes, mention)

    def _local_scopes(self, name: str) -> Mapping[str | None, None]:
        """The loops whose iterations have a local variable; None stands for the execution."""
        if name not in self.local_scopes:
            owner = self.sight.regions.owner
            self.local_scopes[name] = dict.fromkeys(owner[n] for n in self.names.locals[name])
        return self.local_scopes[name]

    def _within(self, loops: Container[str | None], mention: Mention) -> bool:
        """Whether the mention is evaluated in the body of one of these loops."""
        if mention.moment == "turn" and mention.node_id in loops:
            return True
        return any(loop in loops for loop in self._loops_around(mention.node_id))

    def _loops_around(self, node_id: str) -> Iterator[str]:
        owner = self.sight.regions.owner.get(node_id)
        for _ in range(_MAX_SCOPES):
            if owner is None:
                return
            yield owner
            owner = self.sight.regions.owner.get(owner)

    def _warn(self, mention: Mention, message: str, hint: str | None) -> None:
        self.findings.warn(
            "UNKNOWN_VARIABLE", message, mention.place, node=mention.node_id, hint=hint
        )


def _reference(node_id: str) -> str:
    """How an expression writes a node."""
    return f"nodes.{node_id}" if node_id.isidentifier() else f"nodes[{node_id!r}]"
