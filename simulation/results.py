"""What became of an execution, in a form that can be compared with another run's.

Ids and times differ between runs; everything else must not. Its one rule: the result is read from
the tables, together with the results of all the executions it started.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from engine.children import ERROR_SOURCE
from engine.context import Json, JsonObject, Kind
from engine.records import StoredExecution
from simulation.faulty_store import Tables

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")

UNKNOWN = "OUTCOME_UNKNOWN"


def anonymous(value: Json) -> Json:
    """A value without the ids and times in it."""
    if isinstance(value, str):
        return _TIME.sub("<time>", _UUID.sub("<id>", value))
    if isinstance(value, list):
        return [anonymous(each) for each in value]
    if isinstance(value, dict):
        return {name: anonymous(each) for name, each in value.items()}
    return value


@dataclass(slots=True)
class Result:
    """One execution's result, its children's among them."""

    row: JsonObject
    steps: JsonObject
    family: JsonObject
    uncertain: bool
    """Whether an effect's outcome is unknown somewhere in the family."""

    def differences(self, other: Result, *, loose: bool) -> list[str]:
        """Where it differs from another run's result of the same execution."""
        names = ["status"] if loose else list(self.row)
        found = [
            f"{name}: {self.row[name]!r} instead of {other.row[name]!r}"
            for name in names
            if self.row[name] != other.row[name]
        ]
        if loose:
            return found
        for step_key in sorted({*self.steps, *other.steps}):
            mine, theirs = self.steps.get(step_key), other.steps.get(step_key)
            if mine != theirs:
                found.append(f"step {step_key}: {mine!r} instead of {theirs!r}")
        if self.family != other.family:
            found.append(f"family: {self.family!r} instead of {other.family!r}")
        return found


class Results:
    """Reads the results of the executions in these tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._children: dict[str, list[StoredExecution]] = defaultdict(list)
        for stored, _ in tables.rows():
            parent = stored.context.parent_execution_id
            if parent is not None:
                self._children[parent].append(stored)

    def of(self, execution_id: str) -> Result:
        """The result of an execution that has ended."""
        stored = self._tables.row(execution_id)
        assert stored is not None
        progress = stored.progress
        done = [row for row in stored.steps if row.kind is Kind.FINISHED]
        steps = {row.step_key: anonymous([row.port, row.output, row.error]) for row in done}
        family, uncertain = self._family(execution_id)
        return Result(
            row={
                "status": str(progress.status),
                "final_output": anonymous(progress.final_output),
                "final_variables": anonymous(progress.final_variables),
                "error_code": progress.error_code,
                "error_node_id": progress.error_node_id,
            },
            steps=steps,
            family=family,
            uncertain=uncertain or any(row.error_type == UNKNOWN for row in done),
        )

    def _family(self, execution_id: str) -> tuple[JsonObject, bool]:
        family: dict[str, list[Any]] = defaultdict(list)
        uncertain = False
        for child in self._children[execution_id]:
            result = self.of(child.context.execution_id)
            uncertain = uncertain or result.uncertain
            role = child.context.parent_step_key or child.context.trigger_source
            family[role].append([result.row, result.steps, result.family])
        # Of those that one step started, the order is that of its attempts and all fare alike.
        return {role: sorted(born, key=repr) for role, born in family.items()}, uncertain

    def answers(self, execution_id: str) -> int:
        """How many executions answer the failure of this one."""
        born = self._children[execution_id]
        return sum(1 for child in born if child.context.trigger_source == ERROR_SOURCE)

    def started(self, execution_id: str) -> set[str]:
        """The executions that this one's steps started."""
        born = self._children[execution_id]
        return {
            child.context.execution_id
            for child in born
            if child.context.trigger_source != ERROR_SOURCE
        }
