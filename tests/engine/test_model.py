"""The engine against the model: whatever the rules say of a random workflow, the engine does,
whoever is faster, wherever it is interrupted, and in a dry run too.

A failure names its seed; `explain(seed)` prints the document.
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from dataclasses import replace
from typing import Any

import pytest

from engine.context import ExecutionStatus, Json, JsonObject
from engine.errors import StepFailure
from engine.records import Progress
from tests.engine.model import Model
from tests.engine.model_values import Failing, Meaning, canonical_errors
from tests.engine.random_graphs import Author
from tests.engine.world import Outside, World, canonical
from tests.virtual_time import simulate

GROUPS = 20
GRAPHS_PER_GROUP = 20
MOST_STEPS = 600


def mood(document: JsonObject, node_id: str) -> str:
    return str(document["nodes"][node_id]["config"]["module_name"]).split()[0]


def is_shaky(step_key: str) -> bool:
    """Whether a shaky call fails: by its step, so in every run alike."""
    return zlib.crc32(step_key.encode()) % 3 == 0


def answer(node_id: str) -> JsonObject:
    return {"from": node_id}


class Moody(Outside):
    """Answers each call by the mood in its module's name, after a random while."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.calls: dict[str, int] = {}
        self.inputs: dict[str, Json] = {}

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        feeling, node_id = request["module_name"].split()
        step_key = idempotency_key.split(":", 1)[1]
        self.inputs[step_key] = request["input"]
        self.calls[step_key] = self.calls.get(step_key, 0) + 1
        await asyncio.sleep(
            self.dice.choice([0, 0, 0.01, 0.5, 3]) * (2 if feeling == "slow" else 1)
        )
        if feeling == "bad" or (feeling == "shaky" and is_shaky(step_key)):
            raise StepFailure("DOWN", "It is down.")
        if feeling == "flaky" and self.calls[step_key] == 1:
            raise StepFailure("DOWN", "It is down.", retryable=True)
        return answer(node_id)


def meaning_of(document: JsonObject, trigger: str, *, dry: bool = False) -> Meaning:
    """What the model says. In a dry run a call fails by its node alone, and is tried once."""

    def effect(node_id: str, step_key: str) -> Json:
        feeling = mood(document, node_id)
        retried = document["nodes"][node_id].get("retry") is not None
        failing = {
            "bad": True,
            "shaky": not dry and is_shaky(step_key),
            "flaky": not dry and not retried,
        }
        if failing.get(feeling):
            raise Failing("DOWN")
        return answer(node_id)

    return Model(document, trigger, effect).run({"who": "Ada"})


class Case:
    """A random document whose meaning is clear, its canonical form and its trigger."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.raw, self.trigger = Author(seed).write()
        self.document = canonical(self.raw)
        self.meaning = meaning_of(self.document, self.trigger)
        self.clear = not self.meaning.unclear and len(self.meaning.steps) < MOST_STEPS


def world_for(seed: int) -> World:
    world = World()
    world.outside = Moody(seed)
    world.engine = world.another_engine()
    return world


async def run_through(case: Case) -> tuple[World, JsonObject]:
    """The execution from start to end, in one go."""
    world = world_for(case.seed)
    state = await world.run(case.raw, trigger_node_id=case.trigger, variables={"who": "Ada"})
    return world, state


def check(case: Case, state: JsonObject) -> None:
    """Holds an execution that ended against the model."""
    meaning = case.meaning
    assert state["status"] == meaning.status, state["error_message"]
    steps = [step for step in state["steps"] if step["status"] in ("completed", "failed")]
    ran = {step["step_key"] for step in steps}
    if meaning.status == "failed":
        assert state["error_node_id"] in {failure.node_id for failure in meaning.failures}
        assert ran <= set(meaning.steps)
        return
    assert ran == set(meaning.steps)
    for step in steps:
        expected = meaning.steps[step["step_key"]]
        assert step["status"] == ("failed" if expected.failed else "completed")
        if not expected.failed:
            assert same(step["output_data"], expected.output), step["step_key"]
    check_nodes(case, state)
    assert same(state["final_output"], meaning.final_output)
    certain = {name: v for name, v in meaning.variables.items() if name not in meaning.racy}
    actual = {n: v for n, v in state["final_variables"].items() if n not in meaning.racy}
    assert same(actual, certain)


def check_nodes(case: Case, state: JsonObject) -> None:
    """A node without a step was skipped (a loop that its own body failed: cancelled); one that
    ran once, in the root, has the status of its step."""
    for node_id in case.document["nodes"]:
        status = state["node_states"][node_id]["status"]
        keys = [key for key in case.meaning.steps if key.rsplit(".", 1)[-1] == node_id]
        assert (status in ("skipped", "cancelled")) == (not keys), node_id
        if keys == [node_id]:
            failed = case.meaning.steps[node_id].failed
            assert status == ("failed" if failed else "completed"), node_id


def same(actual: Any, expected: Any) -> bool:
    actual, expected = canonical_errors(actual), canonical_errors(expected)
    assert actual == expected
    return True


async def interrupted(case: Case, records: int) -> JsonObject:
    """The execution again, by a worker that finds the first `records` records of another's."""
    world, _ = await run_through(case)
    (execution_id,) = world.store._rows
    row, steps = world.store._rows[execution_id], world.store._steps[execution_id]
    kept = sorted(steps)[:records]
    world.store._steps[execution_id] = {seq: steps[seq] for seq in kept}
    row.progress = replace(
        Progress(execution_id, ExecutionStatus.PENDING),
        start_time=row.progress.start_time,
        last_seq=max(kept, default=1),
    )
    await world.engine.shutdown()
    world.outside = Moody(case.seed + 1)
    other = world.another_engine()
    await other.start()
    assert await other.wait(execution_id, 40 * 86_400)
    state = await other.get_execution_status(execution_id)
    await other.shutdown()
    assert state is not None
    return state


async def dry(case: Case) -> JsonObject:
    """The dry run, its calls mocked with what the outside would answer."""
    world = world_for(case.seed)
    mocks = {
        node_id: {"error": "down"}
        if mood(case.document, node_id) == "bad"
        else {"output": answer(node_id)}
        for node_id, node in case.document["nodes"].items()
        if node["node_type"] == "action_module"
    }
    context = await world.context(case.raw, trigger_node_id=case.trigger, variables={"who": "Ada"})
    graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
    return await world.engine.dry_run(graph, context, mocks)


def check_dry(case: Case, report: JsonObject) -> None:
    meaning = meaning_of(case.document, case.trigger, dry=True)
    if meaning.unclear:
        return
    assert report["status"] == meaning.status, report["error_message"]
    if meaning.status == "failed":
        assert report["error_node_id"] in {failure.node_id for failure in meaning.failures}
        return
    assert {entry["step_key"] for entry in report["trace"]} == set(meaning.steps)
    assert same(report["final_output"], meaning.final_output)


def cases(group: int) -> list[Case]:
    first = group * GRAPHS_PER_GROUP
    found = [Case(seed) for seed in range(first, first + GRAPHS_PER_GROUP)]
    return [case for case in found if case.clear]


def explain(seed: int) -> None:
    """Prints the document of a seed, for whoever looks for a bug."""
    case = Case(seed)
    print(json.dumps(case.raw, indent=1), case.trigger, case.meaning)


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_engine_does_what_the_rules_say(group: int) -> None:
    for case in cases(group):
        try:
            world, state = simulate(run_through(case))
            check(case, state)
            assert isinstance(world.outside, Moody)
            if state["status"] == "completed":
                assert same(world.outside.inputs, case.meaning.inputs)
        except AssertionError as problem:
            raise AssertionError(f"seed {case.seed}: {problem}") from problem


@pytest.mark.parametrize("group", range(0, GROUPS, 2))
def test_an_execution_continued_from_any_record_ends_the_same(group: int) -> None:
    dice = random.Random(group)
    for case in cases(group):
        records = dice.randint(0, len(case.meaning.steps))
        try:
            check(case, simulate(interrupted(case, records)))
        except AssertionError as problem:
            raise AssertionError(f"seed {case.seed}, {records} records: {problem}") from problem


@pytest.mark.parametrize("group", range(1, GROUPS, 2))
def test_a_dry_run_says_what_a_real_run_would_do(group: int) -> None:
    for case in cases(group):
        try:
            check_dry(case, simulate(dry(case)))
        except AssertionError as problem:
            raise AssertionError(f"seed {case.seed}: {problem}") from problem
