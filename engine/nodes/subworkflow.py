"""Starting another workflow as a child execution.

The node says which and with what; who may start it, its durable creation together with the record
that waits for it, and its end are the engine's business (`engine/children.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from engine.context import Json, JsonObject
from engine.errors import StepFailure
from engine.expressions import Budget, Env, Template, compile_template
from engine.nodes.base import Field, Finding, NodeSpec, Result, options
from engine.nodes.checks import check_written, entries_of, refuse_reserved


@dataclass(frozen=True, slots=True)
class Subworkflow:
    """Starts another workflow as a child execution."""

    workflow_id: Template
    variables: Template
    wait: bool

    def render(self, env: Env, budget: Budget) -> JsonObject:
        workflow_id = canonical_id(self.workflow_id.render(env, budget))
        if workflow_id is None:
            raise StepFailure("BAD_CONFIG", "`workflow_id` did not give the id of a workflow")
        variables = self.variables.render(env, budget)
        if not isinstance(variables, dict):
            raise StepFailure("BAD_CONFIG", "`variables` must give an object of names and values")
        # The child's nodes could not read them: to its expressions these names mean their own.
        refuse_reserved(variables)
        return {"workflow_id": workflow_id, "variables": variables, "wait": self.wait}

    def conclude(self, rendered: JsonObject, output: Json) -> Result:
        return Result(output=output)


SUBWORKFLOW_FIELDS = (
    Field("workflow_id", ("string",), "template", required=True),
    Field("variables", ("object",), "template", default={}),
    Field("wait", ("boolean",), default=True),
    Field("test_output"),
)


def canonical_id(value: Json) -> str | None:
    """A UUID in its canonical spelling; None for anything else."""
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _compile_subworkflow(config: JsonObject) -> Subworkflow:
    config = options(SUBWORKFLOW_FIELDS, config)
    return Subworkflow(
        compile_template(config["workflow_id"]),
        compile_template(config["variables"]),
        config["wait"],
    )


def _check_subworkflow(config: JsonObject) -> Sequence[Finding]:
    found = check_written(entries_of(config, "variables"))
    named = config.get("workflow_id")
    if isinstance(named, str) and "{{" not in named and canonical_id(named) is None:
        hint = "Write the id that GET /workflows shows, or a template that gives one"
        message = f"{named!r} is not the id of a workflow"
        found.append(Finding("VALIDATION", message, "/workflow_id", hint))
    return found


SUBWORKFLOW = NodeSpec(
    type="flow_subworkflow",
    family="subworkflow",
    summary="Runs another workflow as a child execution; gives its final output.",
    fields=SUBWORKFLOW_FIELDS,
    compile=_compile_subworkflow,
    check=_check_subworkflow,
)
