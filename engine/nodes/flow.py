"""Flow: branching out, joining and ending.

Which edges that makes live or dead is the graph's business; the handlers only say what passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.context import Json, JsonObject
from engine.expressions import Budget, Env, Template, compile_template
from engine.nodes.base import (
    ALL_PORTS,
    Field,
    Finding,
    MergeEnv,
    NodeSpec,
    Result,
)
from engine.nodes.subworkflow import SUBWORKFLOW
from engine.nodes.waiting import WAIT


@dataclass(frozen=True, slots=True)
class Parallel:
    """Passes its input to every connected port. How the branches race is the graph's business."""

    def run(self, env: Env, budget: Budget) -> Result:
        return Result(output=env.lookup("input"), port=ALL_PORTS)


@dataclass(frozen=True, slots=True)
class Merge:
    """Joins: gives the outputs of the arms that arrived alive. The graph knows when to run it."""

    def run(self, env: MergeEnv, budget: Budget) -> Result:
        return Result(output=env.arms())


@dataclass(frozen=True, slots=True)
class End:
    """Gives the workflow's output: a template's value, or what came in."""

    output: Template | None
    terminate: bool

    def run(self, env: Env, budget: Budget) -> Result:
        value = env.lookup("input") if self.output is None else self.output.render(env, budget)
        return Result(output=value, terminate=self.terminate)


PARALLEL_FIELDS = (
    Field(
        "execution_type",
        ("string",),
        default="parallel",
        choices=("parallel", "any_first"),
        choice_aliases=(("all_fastest", "any_first"),),
    ),
    Field("max_parallel", ("integer",), minimum=1),
)

MERGE_FIELDS = (
    Field(
        "mode",
        ("string", "integer"),
        default="wait_all",
        aliases=("merge_strategy", "input_ports_required"),
    ),
)

MERGE_MODES: dict[str, str] = {"all": "wait_all", "wait_any": "any", "first": "any"}
"""Other spellings of the modes."""


def _compile_end(config: JsonObject) -> End:
    output = compile_template(config["output"]) if "output" in config else None
    return End(output, bool(config.get("terminate")))


def _normalise_merge(config: JsonObject) -> JsonObject:
    """Folds the three spellings into `mode`; of several the most telling one counts, because
    old exports always carry `input_ports_required: -1`."""
    names = ("mode", "merge_strategy", "input_ports_required")
    given = [config[name] for name in names if config.get(name) is not None]
    if not given:
        return config
    if len(given) == 1:  # under its own name, so that a finding points to what was written
        return {n: _merge_mode(v) if n in names and v is not None else v for n, v in config.items()}
    told = [mode for mode in map(_merge_mode, given) if mode != "wait_all"]
    rest = {name: value for name, value in config.items() if name not in names}
    return rest | {"mode": told[0] if told else "wait_all"}


def _merge_mode(value: Json) -> Json:
    if isinstance(value, str):
        if value.lstrip("-").isdecimal():
            return _merge_mode(int(value))
        return MERGE_MODES.get(value, value)
    return "wait_all" if value == -1 else value


def _check_merge(config: JsonObject) -> Sequence[Finding]:
    mode = config.get("mode")
    known = isinstance(mode, str) and mode in {"wait_all", "any"}
    if mode is None or known or (isinstance(mode, int) and mode >= 1):
        return ()
    hint = 'Write "wait_all", "any", or how many arms must arrive, from 1'
    return [Finding("VALIDATION", f"{mode!r} is not a merge mode", "/mode", hint)]


FLOW = (
    NodeSpec(
        type="flow_parallel",
        family="pure",
        summary="Passes its input to every connected port; the branches run side by side.",
        fields=PARALLEL_FIELDS,
        compile=lambda config: Parallel(),
        any_port=True,
        fallback_port=lambda config: ALL_PORTS,
    ),
    NodeSpec(
        type="flow_merge",
        family="pure",
        summary="Joins branches; gives the outputs of the live ones by node id.",
        fields=MERGE_FIELDS,
        compile=lambda config: Merge(),
        normalise=_normalise_merge,
        check=_check_merge,
    ),
    NodeSpec(
        type="flow_end",
        family="pure",
        summary="Gives the workflow's output; with `terminate` ends the execution at once.",
        fields=(
            Field("output", kind="template", aliases=("output_data",)),
            Field("terminate", ("boolean",), default=False),
        ),
        compile=_compile_end,
    ),
    WAIT,
    SUBWORKFLOW,
)
