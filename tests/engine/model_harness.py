"""Runs random documents on the engine in every way there is, and holds what came of it against the
model.

`Case` is a random document and everything else that a seed decides. Each way to run it gives a
`Run`: what the journal recorded, and what people are shown. `check` compares.
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.context import ExecutionStatus, Json, JsonObject, Limits
from engine.errors import StepFailure, WorkflowTimeoutException
from engine.graph import compile_graph
from engine.ports import HttpResponse
from engine.records import Progress, StepRow
from tests.engine.model import Model
from tests.engine.model_shape import Shape
from tests.engine.model_values import Disagreement, Effect, Failing, Ran, wordless
from tests.engine.random_graphs import Author
from tests.engine.world import WORKFLOW_ID, Outside, World, canonical
from tests.virtual_time import simulate

VARIABLES = {"who": "Ada"}
FOREVER = 40 * 86_400


@dataclass
class Case:
    """What a seed decides."""

    seed: int
    raw: JsonObject
    trigger: str
    wild: bool
    limits: Limits = field(default_factory=Limits)
    metadata: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.document = canonical(self.raw, self.limits)
        self.shape = Shape(self.document)
        self.graph = compile_graph(self.document, self.limits, workflow_id=WORKFLOW_ID, version=1)
        """Shared by all its executions, as in the engine."""

    def may_take_too_long(self) -> bool:
        """Whether its time is short, or it may wait for ever."""
        for_ever = (
            node["node_type"] == "flow_wait" and "timeout_seconds" not in node["config"]
            for node in self.document["nodes"].values()
        )
        return self.document["max_execution_time_seconds"] < 100 or any(for_ever)

    def start(self) -> JsonObject:
        """What a request to start it says. A trigger that its source finds is not named."""
        types = [n["node_type"] for n in self.raw["nodes"].values()]
        own = self.raw["nodes"][self.trigger]["node_type"]
        metadata = dict(self.metadata)
        if types.count(own) == 1:
            metadata["trigger_source"] = own.removeprefix("trigger_")
            return {"variables": VARIABLES, "metadata": metadata}
        return {"variables": VARIABLES, "metadata": metadata, "trigger_node_id": self.trigger}

    def model(self, effect: Effect, **options: Any) -> Model:
        return Model(
            self.document,
            self.shape,
            self.trigger,
            effect,
            variables=VARIABLES,
            metadata=self.start()["metadata"],
            most_steps=self.limits.max_total_operations,
            most_iterations=self.limits.max_loop_iterations,
            **options,
        )


def case_of(seed: int) -> Case:
    """The case of a seed."""
    author = Author(seed)
    raw, trigger = author.write()
    dice = random.Random(f"limits {seed}")
    limits = Limits(max_parallel_nodes=dice.choice([10, 10, 2, 1]))
    if dice.random() < 0.04 and "any_first" not in str(raw):
        limits = replace(limits, max_total_operations=dice.choice([6, 15]))
    if dice.random() < 0.04:
        limits = replace(limits, max_loop_iterations=2)
    metadata: JsonObject = {}
    if dice.random() < 0.3:
        metadata = {"payload": {"who": "Bob"}, "headers": {"h": "1"}, "query": {"q": "2"}}
    return Case(seed, raw, trigger, author.wild, limits, metadata)


# The outside ---------------------------------------------------------------------------------


def reaction(node: JsonObject, node_id: str, step_key: str, attempt: int) -> Json:
    """What an attempt of an action comes to, by the mood that its label names. Raises `Failing`.
    It does not depend on when."""
    fails = {
        "bad": True,
        "down": True,
        "flaky": attempt == 1,
        "weak": attempt <= 2,
        "shaky": zlib.crc32(step_key.encode()) % 3 == 0,
    }
    web = node["node_type"] == "action_webhook"
    if node["label"] == "hang":
        raise Failing("TIMEOUT", retryable=True)
    if fails.get(node["label"]):
        retryable = node["label"] not in ("bad", "shaky")
        raise Failing("HTTP_STATUS" if web else "DOWN", retryable=retryable)
    answer = {"from": node_id}
    if web:
        return {"status": 200, "headers": {}, "body": answer}
    return {"message_id": step_key} if node["node_type"] == "action_chat_message" else answer


class Moody(Outside):
    """Answers each call by the mood in its node's label, after a while that the seed decides."""

    def __init__(self, document: JsonObject, seed: str) -> None:
        super().__init__()
        self.nodes = document["nodes"]
        self.dice = random.Random(seed)
        self.calls: dict[str, int] = {}
        self.inputs: dict[str, Json] = {}

    async def _react(self, idempotency_key: str, given: Json) -> Json:
        step_key = idempotency_key.split(":", 1)[1]
        node_id = step_key.rsplit(".", 1)[-1]
        node = self.nodes[node_id]
        self.inputs[step_key] = given
        self.calls[step_key] = self.calls.get(step_key, 0) + 1
        seconds = self.dice.choice([0, 0, 0.01, 0.5, 1, 2]) * (2 if node["label"] == "slow" else 1)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(100 if node["label"] == "hang" else seconds)
        finally:
            self.running -= 1
        return reaction(node, node_id, step_key, self.calls[step_key])

    async def _answer(self, idempotency_key: str, given: Json) -> Json:
        try:
            return await self._react(idempotency_key, given)
        except Failing as failure:
            raise StepFailure(failure.kind, "It is down.", retryable=failure.retryable) from failure

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        return await self._answer(idempotency_key, request["input"])

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        return await self._answer(idempotency_key, request["message"])

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        return await self._answer(idempotency_key, request["content"])

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | list[str]] | None,
        body: Json,
        timeout_seconds: float,
    ) -> HttpResponse:
        try:
            answer = await self._react(headers["Idempotency-Key"], body)
        except Failing as failure:
            return HttpResponse(503 if failure.retryable else 404, {}, None)
        return HttpResponse(200, {}, answer["body"])


# Ways to run ---------------------------------------------------------------------------------


class CaseWorld(World):
    """A world whose only workflow is the document of a case."""

    def __init__(self, case: Case, outside: Outside | None = None) -> None:
        super().__init__(case.limits, outside)
        self.case = case

    def publish(self, raw: JsonObject, workflow_id: str = WORKFLOW_ID) -> int:
        self.store.definitions[workflow_id, 1] = self.case.document
        self.engine.graphs._graphs[workflow_id, 1] = self.case.graph
        return 1


@dataclass
class Run:
    """What came of an execution; `rows` are its journal."""

    case: Case
    rows: list[StepRow]
    state: JsonObject
    outside: Moody
    world: World
    unknown: set[str] = field(default_factory=set)
    """The `at_most_once` steps that a crash cut off."""


async def _through(case: Case, order: int) -> Run:
    outside = Moody(case.document, f"{case.seed} {order}")
    world = CaseWorld(case, outside)
    state = await world.run(case.raw, **case.start())
    await world.engine.shutdown()
    return _run_of(case, world, state, outside)


def _run_of(case: Case, world: World, state: JsonObject, outside: Moody) -> Run:
    (steps,) = world.store._steps.values()
    return Run(case, [steps[seq] for seq in sorted(steps)], state, outside, world)


def run_through(case: Case, order: int = 0) -> Run:
    """The execution from start to end in one go; who is faster depends on `order`."""
    return simulate(_through(case, order))


async def _taken_over(run: Run, records: int) -> Run:
    case, store = run.case, run.world.store
    (execution_id,) = store._rows
    kept = run.rows[:records]
    world = CaseWorld(case)
    world.store.definitions = store.definitions
    world.store._rows = store._rows
    world.store._steps = {execution_id: {row.seq: row for row in kept}}
    row = store._rows[execution_id]
    row.progress = replace(
        Progress(execution_id, ExecutionStatus.PENDING),
        start_time=row.progress.start_time,
        last_seq=max((r.seq for r in kept), default=1),
    )
    row.worker_id = None
    outside = world.outside = Moody(case.document, f"{case.seed} after {records}")
    for record in kept:
        if record.kind == "retrying":
            outside.calls[record.step_key] = record.attempt
    engine = world.another_engine()
    engine.graphs._graphs[WORKFLOW_ID, 1] = case.graph
    await engine.start()
    assert await engine.wait(execution_id, FOREVER)
    state = await engine.get_execution_status(execution_id)
    await engine.shutdown()
    assert state is not None
    again = _run_of(case, world, state, outside)
    assert again.rows[:records] == kept, "what was recorded changed"
    latest = {record.step_key: record.kind for record in kept}
    again.unknown = {key for key, kind in latest.items() if kind == "intent"}
    return again


def taken_over(run: Run, records: int) -> Run:
    """The execution again, by a worker that finds the first records of another's. The first run
    is used up."""
    return simulate(_taken_over(run, records))


def rehearsal_effect(case: Case) -> tuple[Effect, JsonObject]:
    """What actions give in a rehearsal, for the model, and the mocks that say so."""
    once = case.shape.nodes.keys() - set().union(*case.shape.bodies.values())
    mocks: JsonObject = {}
    for node_id, node in case.document["nodes"].items():
        if node["node_type"].startswith("action_") and node["node_type"] != "action_delay":
            good: JsonObject = {"output": {"from": node_id}}
            if node["label"] in ("bad", "down", "hang"):
                mocks[node_id] = {"error": "It is down."}
            elif node["label"] == "flaky" and node_id in once:
                mocks[node_id] = [{"error": "It is down."}, good]
            elif node["label"] != "slow":
                mocks[node_id] = good

    def effect(node_id: str, step_key: str, attempt: int) -> Json:
        mock = mocks.get(node_id, {"output": {"simulated": True}})
        if isinstance(mock, list):
            mock = mock[min(attempt, len(mock)) - 1]
        if "error" in mock:
            raise Failing("MOCKED_ERROR", retryable=True)
        return mock["output"]

    return effect, mocks


async def _rehearsed(case: Case, mocks: JsonObject) -> JsonObject | None:
    world = CaseWorld(case)
    context = await world.context(case.raw, **case.start())
    graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
    try:
        return await world.engine.dry_run(graph, context, mocks)
    except WorkflowTimeoutException:
        return None


# Comparing -----------------------------------------------------------------------------------


def agree(what: str, actual: Any, expected: Any) -> None:
    """Raises `Disagreement` if two values differ, the words of errors aside."""
    if wordless(actual) != wordless(expected):
        raise Disagreement(f"{what}: the engine says {actual!r}, the model {expected!r}")


def check(run: Run) -> Model:
    """Holds an execution that ended against the model."""
    case = run.case

    def effect(node_id: str, step_key: str, attempt: int) -> Json:
        return reaction(case.document["nodes"][node_id], node_id, step_key, attempt)

    model = case.model(effect, unknown=run.unknown)
    for row in run.rows:
        ran = model.happens(row.step_key, str(row.kind), row.attempt)
        if ran is not None:
            _check_row(row, ran)
            model.nodes.spend(row.node_id, ran)
    _check_end(case, model, run.state)
    _check_nodes(model, run)
    if run.outside.most_running > case.limits.max_parallel_nodes:
        raise Disagreement("more actions than may run at the same time")
    for key, given in run.outside.inputs.items():
        if key in model.nodes.inputs:
            agree(f"{key} was given", given, model.nodes.inputs[key])
    return model


def _check_row(row: StepRow, ran: Ran) -> None:
    key = row.step_key
    failed = ran.failure is not None
    agree(f"{key} status", row.status, "failed" if failed else "completed")
    agree(f"{key} port", row.port, "break" if ran.broke else ran.port)
    agree(f"{key} output", _json(row.output), ran.output)
    agree(f"{key} variables", _json(row.variables) or {}, ran.variables)
    agree(f"{key} attempt", row.attempt, ran.attempt)
    if ran.failure is not None:
        agree(f"{key} error", row.error_type, ran.failure.kind)
        agree(f"{key} attempts", row.error["attempts"], ran.failure.attempts)


def _json(value: Json) -> Json:
    return json.loads(value) if isinstance(value, bytes) else value


def _check_end(case: Case, model: Model, state: JsonObject) -> None:
    ended = model.ended
    if state["error_code"] == "EXECUTION_TIMEOUT":
        if ended is not None or not case.may_take_too_long():
            raise Disagreement("timed out without need")
        agree("status", state["status"], "failed")
        return
    if ended is None:
        raise Disagreement(f"ended, though there is {sorted(model.begun)} to run")
    agree("status", state["status"], ended.status)
    agree("error", state["error_code"], ended.failure.kind if ended.failure else None)
    if state["error_code"] == "OPERATION_LIMIT_EXCEEDED":
        if state["error_node_id"] not in model.beyond:
            raise Disagreement(f"{state['error_node_id']} was not one step too many")
        return
    agree("error node", state["error_node_id"], ended.failure.node_id if ended.failure else None)
    agree("final output", state["final_output"], ended.output)
    agree("variables", state["final_variables"], model.variables)


def _check_nodes(model: Model, run: Run) -> None:
    """A node that ran shows its last run, unless another one was cancelled after it; one that
    never began is skipped."""
    state = run.state
    agree("path", state["execution_path"], model.path)
    agree("cost", state["total_cost"], model.nodes.cost)
    agree("tokens", state["tokens_used"], model.nodes.tokens)
    begun = {key.rsplit(".", 1)[-1] for key in model.begun}
    finished = {row.step_key for row in run.rows if row.kind == "finished"}
    last = {row.node_id: row.status for row in run.rows if row.kind == "finished"}
    for node_id, shown in state["node_states"].items():
        agree(f"{node_id} iterations", shown["iterations"], model.path.count(node_id))
        keys = {key for key in model.begun if key.rsplit(".", 1)[-1] == node_id}
        allowed = {last[node_id]} if node_id in last else set()
        if keys - finished or (node_id not in last and node_id in begun):
            allowed.add("cancelled")
        allowed = allowed or {"skipped"}
        if shown["status"] not in allowed and not _touch_and_go(model, node_id):
            raise Disagreement(f"{node_id} is shown as {shown['status']}, not {allowed}")


def _touch_and_go(model: Model, node_id: str) -> bool:
    """Whether one and the same event may have begun and cancelled a node."""
    failed = model.ended is not None and model.ended.failure is not None
    raced = any(node_id in branch for race in model.shape.races for branch in race.branches)
    return failed or raced


def check_rehearsal(case: Case) -> Model | None:
    """Holds a dry run against the model; None if it takes longer than it may."""
    effect, mocks = rehearsal_effect(case)
    report = simulate(_rehearsed(case, mocks))
    if report is None:
        if not case.may_take_too_long():
            raise Disagreement("timed out without need")
        return None
    model = case.model(effect, silent=True)
    for entry in report["trace"]:
        if entry["status"] == "cancelled":
            continue
        ran = model.happens(entry["step_key"])
        assert ran is not None
        agree(f"{entry['step_key']} output", entry["output"], ran.output)
        agree(f"{entry['step_key']} attempt", entry["attempt"], ran.attempt)
        failure = ran.failure.kind if ran.failure else None
        agree(f"{entry['step_key']} error", entry["error_type"], failure)
        if "would_send" in entry:
            sent = [entry["would_send"].get(n) for n in ("input", "message", "content", "body")]
            if wordless(model.nodes.inputs[entry["step_key"]]) not in wordless(sent):
                raise Disagreement(f"{entry['step_key']} would send {sent}")
    _check_end(case, model, report)
    return model
