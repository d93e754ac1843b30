"""What a node type is: its configuration keys, its ports, and what running it means.

A `NodeSpec` is the single description that the reader (aliases), the validator (types, unknown
keys, ports), the compiler (expressions) and the documentation draw from. Families of types live
one file each beside this one; `engine.nodes.REGISTRY` maps a type's name to its spec.

The compiled form of a node is a *handler*, one of five shapes:

* `PureHandler`: reads variables, gives a `Result`. No I/O.
* `LoopHandler`: gives the items to iterate over, or tests whether to go on.
* `ParkHandler`: says until when, or for what, to wait, and what that gave.
* `EffectHandler`: renders its configuration (pure), performs the effect (I/O through
  `EffectIO`), and concludes a `Result` from the response (pure).
* `SubworkflowHandler`: renders which workflow to start, and concludes from its final output.

Evaluating raises `ExpressionError` or `StepFailure`; nothing else is expected to leave a handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from engine.context import Json, JsonObject
from engine.expressions import Budget, Env
from engine.ports import Carrying, HttpClient, Transport

FieldKind = Literal["literal", "template", "expression", "expressions", "condition", "reference"]
"""How a configuration value is read.

`literal` as it stands; `template` strings in it, at any depth, may hold `{{ }}`; `expression` is
one expression, with or without the braces; `expressions` is an object whose values are evaluated
in order, each seeing the names before it: a string without `{{` is one expression, any other
value a template; `condition` in any of its forms; `reference` is a list or other JSON literal, a
`{{ }}` template, or a bare expression, usually the (dotted) name of a variable.
"""

JsonType = Literal["string", "integer", "number", "boolean", "object", "array", "any"]


@dataclass(frozen=True, slots=True)
class Field:
    """One configuration key of a node type.

    `types` are the JSON types accepted; a `template`, `reference` or `expression` field accepts a
    string in addition to them. `aliases` are the names other dialects use. `choices`, `minimum`
    and `maximum` bound literal values. Where `any` is not among the types, null stands for
    absence: it is not an error, and the default applies.
    """

    name: str
    types: tuple[JsonType, ...] = ("any",)
    kind: FieldKind = "literal"
    default: Json = None
    required: bool = False
    aliases: tuple[str, ...] = ()
    choices: tuple[Json, ...] = ()
    choice_aliases: tuple[tuple[str, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    locals: tuple[str, ...] = ()
    """Names an expression in this field can read besides the usual ones (`item` in a filter)."""
    secrets: bool = False
    """Whether templates in this field may hold secrets of the community."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a spec's own check found; the validator adds the node and the full pointer."""

    code: str
    message: str
    path: str = ""
    """JSON pointer below the node's `config`, e.g. `/cron_expression`."""
    hint: str | None = None
    warning: bool = False
    meant: tuple[str, ...] = ()
    """Names of which the last one of `path` may be a misspelling. The validator looks for the
    nearest, within its budget, and gives that as the hint."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a node gave: the engine makes an `Outcome` of it."""

    output: Json = None
    port: str = "output"
    variables: JsonObject | None = None
    local: JsonObject | None = None
    usage: JsonObject | None = None
    terminate: bool = False
    broke: bool = False


@dataclass(frozen=True, slots=True)
class EffectIO:
    """What an effect may touch, and who it is.

    `idempotency_key` is `"<execution_id>:<step_key>"`, the same on every attempt; `execution` is
    the reserved `execution` object (ids of community, entity, user, session, platform).
    """

    transport: Transport
    http: HttpClient
    idempotency_key: str
    execution: JsonObject
    timeout_seconds: float
    trace: Mapping[str, str] = field(default_factory=dict)
    """Headers that tell whoever is called that it is called for this step; none if nobody traces
    the execution."""
    carrying: Carrying | None = None
    """Gives the client for requests that carry secrets; None where there are no secrets."""
    may_act: Callable[[], bool] = lambda: True
    """Whether the effect may still start: its worker's lease may have run out meanwhile."""


@dataclass(frozen=True, slots=True)
class Park:
    """Where a parked step stands: due at a time, on a signal's name, or both."""

    seconds: float | None = None
    signal: str | None = None


class PureHandler(Protocol):
    """A node that reads and gives a value."""

    def run(self, env: Env, budget: Budget) -> Result:
        """Evaluates the node. Raises `ExpressionError` or `StepFailure`."""
        ...


class LoopHandler(Protocol):
    """A loop node.

    `item_variable` (None for `loop_while`) and `index_variable` name the iteration variables,
    `max_iterations` is the author's own lower limit, `concurrency` how many iterations may run.
    """

    item_variable: str | None
    index_variable: str
    max_iterations: int | None
    concurrency: int

    def items(self, env: Env, budget: Budget) -> list[Json] | None:
        """The items of a `loop_foreach`; None for a `loop_while`."""
        ...

    def test(self, env: Env, budget: Budget) -> bool:
        """Whether a `loop_while` runs another iteration. `env` shows `index_variable` as the
        number of iterations run so far."""
        ...


class ParkHandler(Protocol):
    """A node that waits (`action_delay`, `flow_wait`)."""

    def park(self, env: Env, budget: Budget) -> Park:
        """Says how long, or for which signal, to wait."""
        ...

    def woken(self, waited: Park, payload: Json, *, timed_out: bool) -> Result:
        """What waiting gave: on a signal its payload, else the passing of time."""
        ...


class EffectHandler(Protocol):
    """A node that touches the world."""

    def render(self, env: Env, budget: Budget) -> JsonObject:
        """The configuration with every template rendered: what the effect is given, recorded
        as the step's input and shown by a dry run as `would_send`."""
        ...

    async def perform(self, rendered: JsonObject, io: EffectIO) -> Json:
        """Does it and returns the output. Raises `StepFailure`."""
        ...

    def conclude(self, rendered: JsonObject, output: Json) -> Result:
        """The result for an output, real or mocked: variables, usage, port."""
        ...


class SubworkflowHandler(Protocol):
    """A node that runs another workflow as a child execution."""

    def render(self, env: Env, budget: Budget) -> JsonObject:
        """What to start: `{workflow_id, variables, wait}`."""
        ...

    def conclude(self, rendered: JsonObject, output: Json) -> Result:
        """The result for the child's final output (null when nobody waited for it)."""
        ...


class MergeEnv(Env, Protocol):
    """What a `flow_merge` sees: besides names, the arms that arrived alive."""

    def arms(self) -> dict[str, Json]:
        """The output of each live predecessor, by node id."""
        ...


Handler = PureHandler | LoopHandler | ParkHandler | EffectHandler | SubworkflowHandler
Family = Literal["trigger", "pure", "loop", "park", "effect", "subworkflow"]

ALL_PORTS = "*"
"""As a result's port: every connected output port is live."""


def _same(config: JsonObject) -> JsonObject:
    return config


def _nothing(config: JsonObject) -> tuple[str, ...]:
    return ()


def _no_findings(config: JsonObject) -> Sequence[Finding]:
    return ()


def _output_port(config: JsonObject) -> tuple[str, ...]:
    return ("output",)


def _output(config: JsonObject) -> str:
    return "output"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node type.

    `ports` gives a configuration's output ports (`error` is added by the engine for every type);
    with `any_port` a connection may leave by a port of any other name too. `fallback_port` is the
    port taken on `continue_on_error`. `normalise` rewrites what aliases cannot express (two keys
    into one, a value's other spelling); the reader applies it to a copy of the raw configuration
    before it folds the aliases, so it sees any spelling and any mistake. `check` finds what types
    alone cannot (a bad cron expression); like `ports` and `sets` it must bear any JSON object.
    `sets` names the variables a configuration writes, for the validator's static look. `compile`
    makes the handler from a *canonical, valid* configuration, defaults filled in or not.

    `default_timeout_seconds` applies to a node with neither a `timeout_seconds` of its own nor one
    in its configuration.
    """

    type: str
    family: Family
    summary: str
    fields: tuple[Field, ...]
    compile: Callable[[JsonObject], Any]
    ports: Callable[[JsonObject], tuple[str, ...]] = _output_port
    any_port: bool = False
    normalise: Callable[[JsonObject], JsonObject] = _same
    check: Callable[[JsonObject], Sequence[Finding]] = _no_findings
    sets: Callable[[JsonObject], tuple[str, ...]] = _nothing
    fallback_port: Callable[[JsonObject], str] = _output
    default_timeout_seconds: float | None = None

    @property
    def has_attempts(self) -> bool:
        """Whether a step of this type is done in attempts, to which the node's `retry`,
        `timeout_seconds` and `effect` apply."""
        return self.family in ("effect", "subworkflow")

    def field_named(self, name: str) -> Field | None:
        """The field of this name or alias, None if there is none."""
        for candidate in self.fields:
            if candidate.name == name or name in candidate.aliases:
                return candidate
        return None


def options(fields: Sequence[Field], config: JsonObject) -> JsonObject:
    """`config` with the defaults of `fields` filled in; a null counts as absent where the field
    has a default."""
    filled = {each.name: each.default for each in fields if each.default is not None}
    given = {
        name: value for name, value in config.items() if value is not None or name not in filled
    }
    return filled | given


PORT_ALIASES = {
    "success": "output",
    "result": "output",
    "triggered": "output",
    "done": "output",
    "completed": "output",
    "exit": "output",
    "loop_body": "loop",
    "body": "loop",
}
"""Port names of other dialects. Applied only where the node has no port of that very name."""
