"""Three ways to hold a rule: by the engine, by the dry run, and by an execution whose worker dies.

Its one rule: all three are held against the same expectations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.context import Json, JsonObject, Kind
from engine.errors import StepFailure
from engine.ports import HttpResponse
from engine.records import Batch, StoredExecution
from tests.engine.world import Outside, World
from tests.rules.writing import ANY, Answer, Rule, each
from tests.virtual_time import simulate

SENT: Mapping[str, Json] = {
    "action_chat_message": {"message_id": "m"},
    "action_module": {"ok": True},
    "action_browser_source": {"shown": True},
    "action_webhook": {"status": 200, "headers": {}, "body": {"ok": True}},
}
"""What an action outputs when a rule does not say what the other side answers."""

LONG = 40 * 86_400

RuleTest = Callable[[Rule], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """One step that ran to an end."""

    status: str
    port: str | None
    output: Json
    input: Json
    attempt: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of an execution, in whichever way it was run."""

    status: str
    final_output: Json
    variables: JsonObject
    steps: dict[str, Ended]
    messages: list[str]
    error: tuple[str, str | None] | None
    error_message: str | None
    sent: dict[str, JsonObject]
    seconds: float


class Script(Outside):
    """The other side, answering each node as the rule says.

    Which of several answers is due is read off the store: how many calls of this node are recorded.
    So a call that a crash cut off is answered again in the same way.
    """

    def __init__(self, the_rule: Rule) -> None:
        super().__init__()
        self.rule = the_rule
        self.world: World | None = None
        self.by_step: dict[str, JsonObject] = {}
        self.counted: dict[str, int] = {}

    def messages(self) -> list[str]:
        """The messages that were sent, each step's once, however often it was tried."""
        return [sent["message"] for sent in self.by_step.values() if "message" in sent]

    async def _arrive(self, kind: str, name: str, request: JsonObject, key: str) -> Any:
        execution_id, step_key = key.split(":", 1)
        node_id = step_key.rsplit(".", 1)[-1]
        self.arrived.append((kind, request))
        self.keys.append(key)
        self.by_step.setdefault(step_key, request)
        self.counted[node_id] = self.counted.get(node_id, 0) + 1
        answer = self._due(execution_id, node_id)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(answer.after)
        finally:
            self.running -= 1
        if answer.fail is not None:
            raise StepFailure(
                answer.fail, "It is down.", answer.retryable, retry_after=answer.retry_after
            )
        return answer.give

    def _due(self, execution_id: str, node_id: str) -> Answer:
        answers = self.rule.answers.get(node_id, [Answer()])
        assert self.world is not None
        done = [
            row
            for row in self.world.store._steps.get(execution_id, {}).values()
            if row.node_id == node_id and row.kind in (Kind.FINISHED, Kind.RETRYING)
        ]
        return answers[min(len(done), len(answers) - 1)]

    async def execute_module(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        answer = await self._arrive("module", "", request, idempotency_key)
        return SENT["action_module"] if answer is ANY else answer

    async def send_message(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        answer = await self._arrive("message", "", request, idempotency_key)
        return SENT["action_chat_message"] if answer is ANY else answer

    async def browser_source(
        self, request: JsonObject, *, idempotency_key: str, timeout_seconds: float
    ) -> Json:
        answer = await self._arrive("overlay", "", request, idempotency_key)
        return SENT["action_browser_source"] if answer is ANY else answer

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, Any] | None,
        body: Any,
        timeout_seconds: float,
    ) -> HttpResponse:
        sent = {"method": method, "url": url, "params": params, "headers": headers, "body": body}
        answer = await self._arrive("http", url, sent, headers["Idempotency-Key"])
        return HttpResponse(200, {}, {"ok": True}) if answer is ANY else answer


def _world(the_rule: Rule) -> tuple[World, Script]:
    script = Script(the_rule)
    world = World(the_rule.limits, script, **the_rule.settings)
    script.world = world
    return world, script


def _seen(state: JsonObject, script: Script) -> Seen:
    code = state["error_code"]
    return Seen(
        status=state["status"],
        final_output=state["final_output"],
        variables=state["final_variables"],
        steps={
            step["step_key"]: Ended(
                step["status"],
                step["port"],
                step["output_data"],
                step["input_data"],
                step["attempt"],
            )
            for step in state["steps"]
            if step["status"] in ("completed", "failed")
        },
        messages=script.messages(),
        error=None if code is None else (code, state["error_node_id"]),
        error_message=state["error_message"],
        sent=script.by_step,
        seconds=state["execution_time_seconds"],
    )


# The three ways


async def _run(the_rule: Rule) -> None:
    world, script = _world(the_rule)
    if the_rule.cancel_after is None:
        state = await world.run(the_rule.document, **the_rule.start)
    else:
        state = await _cancelled(world, the_rule)
    await world.engine.shutdown()
    _hold_state(the_rule, state)
    _hold(the_rule, _seen(state, script))
    for node_id, count in the_rule.calls.items():
        assert script.counted.get(node_id, 0) == count, f"calls of {node_id}"
    if the_rule.most_running is not None:
        assert script.most_running == the_rule.most_running
    if the_rule.usage is not None:
        assert (state["total_cost"], state["tokens_used"]) == the_rule.usage
    assert script.running == 0, "a call outlived its execution"
    for step_key, status in the_rule.listed.items():
        listed = {step["step_key"]: step["status"] for step in state["steps"]}
        assert listed.get(step_key) == status, f"{step_key} among the steps"


async def _cancelled(world: World, the_rule: Rule) -> JsonObject:
    await world.engine.start()
    context = await world.context(the_rule.document, **the_rule.start)
    await world.engine.execute_workflow(context)
    await asyncio.sleep(the_rule.cancel_after or 0.0)
    await world.engine.cancel_execution(context.execution_id)
    await asyncio.sleep(1000)
    state = await world.engine.get_execution_status(context.execution_id)
    assert state is not None
    return state


async def _rehearse(the_rule: Rule) -> None:
    world, script = _world(the_rule)
    context = await world.context(the_rule.document, **the_rule.start)
    graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
    report = await world.engine.dry_run(graph, context, _mocks(the_rule))
    assert script.arrived == [], "a rehearsal sent something"
    sent = {e["step_key"]: e["would_send"] for e in report["trace"] if "would_send" in e}
    code = report["error_code"]
    seen = Seen(
        status=report["status"],
        final_output=report["final_output"],
        variables=report["final_variables"],
        steps={
            entry["step_key"]: Ended(
                entry["status"], entry["port"], entry["output"], entry["input"], entry["attempt"]
            )
            for entry in report["trace"]
            if entry["status"] in ("completed", "failed")
        },
        messages=[body["message"] for body in sent.values() if "message" in body],
        error=None if code is None else (code, report["error_node_id"]),
        error_message=report["error_message"],
        sent=sent,
        seconds=report["execution_time_seconds"],
    )
    _hold(the_rule, seen)
    assert report["summary"]["passed"] == (the_rule.status == "completed")


def _mocks(the_rule: Rule) -> JsonObject:
    mocks: JsonObject = {}
    for node_id, one in the_rule.document["nodes"].items():
        usual = SENT.get(one["node_type"])
        if usual is None or one.get("enabled") is False:
            continue
        answers = the_rule.answers.get(node_id, [Answer()])
        mocks[node_id] = [_mock(answer, usual) for answer in answers]
    return mocks


def _mock(answer: Answer, usual: Json) -> JsonObject:
    if answer.fail is not None:
        return {"error": "It is down."}
    if isinstance(answer.give, HttpResponse):
        given = answer.give
        return {"output": {"status": given.status, "headers": given.headers, "body": given.body}}
    return {"output": usual if answer.give is ANY else answer.give}


async def _crash(the_rule: Rule, flush: int) -> bool:
    """Runs the rule with a worker that dies after its `flush`-th flush since it took the execution
    up, or at once for 0. Returns whether it came to that.

    The execution is accepted before and claimed: else all of one that is soon over would be in
    the very flush that accepts it, and there would be nothing left to recover."""
    world, script = _world(the_rule)
    claim, write = world.store.claim, world.store.flush
    died, flushes = asyncio.Event(), -1

    def counted(worker_id: str) -> None:
        nonlocal flushes
        flushes += 1
        if flushes == flush:
            world.store.kill(worker_id)
            died.set()

    async def claimed(worker_id: str, *asked: Any, **limits: Any) -> list[StoredExecution]:
        found = await claim(worker_id, *asked, **limits)
        if found and flushes < 0:
            counted(worker_id)
        return found

    async def written(worker_id: str, batch: Batch) -> None:
        await write(worker_id, batch)
        if flushes >= 0:
            counted(worker_id)

    world.store.claim = claimed  # type: ignore[method-assign]  # the worker dies on the way
    world.store.flush = written  # type: ignore[method-assign]
    await world.engine.start()
    context = await world.context(the_rule.document, **the_rule.start)
    await world.engine.execute_workflow(context, here=False)
    waiting = asyncio.create_task(died.wait())
    ended = asyncio.create_task(world.engine.wait(context.execution_id, LONG))
    await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    ended.cancel()
    other = world.another_engine()
    await other.start()
    assert await other.wait(context.execution_id, LONG)
    state = await other.get_execution_status(context.execution_id)
    await other.shutdown()
    await world.engine.shutdown()
    assert state is not None
    _hold_state(the_rule, state)
    _hold(the_rule, _seen(state, script), in_time=False)
    return died.is_set()


# What must hold


def _hold_state(the_rule: Rule, state: JsonObject) -> None:
    """What every execution's state promises, and what the rule says of single nodes."""
    keys = [step["step_key"] for step in state["steps"]]
    assert len(keys) == len(set(keys)), "a step is listed twice"
    nodes = the_rule.document["nodes"]
    assert set(state["node_states"]) == set(nodes)
    ran = {step["node_id"] for step in state["steps"]}
    for node_id, one in state["node_states"].items():
        if node_id not in ran:
            assert one["status"] in ("skipped", "cancelled"), node_id
    failed = [step for step in state["steps"] if step["status"] == "failed"]
    assert state["steps_failed"] == len(failed)
    completed = [step for step in state["steps"] if step["status"] == "completed"]
    assert state["steps_completed"] == len(completed)
    for node_id, status in the_rule.states.items():
        assert state["node_states"][node_id]["status"] == status, f"status of {node_id}"
    if the_rule.path is not None:
        assert state["execution_path"] == the_rule.path


def _hold(the_rule: Rule, seen: Seen, *, in_time: bool = True) -> None:
    assert seen.status == the_rule.status, seen.error_message
    assert seen.error == the_rule.error
    assert (seen.error_message is not None) == (the_rule.status == "failed")
    for part in the_rule.because:
        assert part in str(seen.error_message)
    _hold_values(the_rule, seen)
    _hold_steps(the_rule, seen)
    if isinstance(the_rule.messages, set):
        assert sorted(seen.messages) == sorted(the_rule.messages)
    elif the_rule.messages is not None:
        assert seen.messages == the_rule.messages
    for step_key, body in the_rule.sent.items():
        sent = seen.sent[step_key]
        assert {name: sent.get(name) for name in body} == body, f"sent by {step_key}"
    if in_time and the_rule.seconds is not None:
        at = the_rule.seconds
        least, most = at if isinstance(at, tuple) else (at, at)
        assert least - 0.01 <= seen.seconds <= most + 0.1


def _hold_values(the_rule: Rule, seen: Seen) -> None:
    if the_rule.final_output is not ANY:
        assert seen.final_output == the_rule.final_output
    if the_rule.variables is not ANY:
        assert seen.variables == the_rule.variables
    for name, value in the_rule.has.items():
        assert seen.variables[name] == value, name


def _hold_steps(the_rule: Rule, seen: Seen) -> None:
    if isinstance(the_rule.steps, set):
        assert set(seen.steps) == the_rule.steps
    elif the_rule.steps is not None:
        assert list(seen.steps) == the_rule.steps
    for step_key, output in the_rule.outputs.items():
        assert seen.steps[step_key].output == output, f"output of {step_key}"
    for step_key, given in the_rule.inputs.items():
        assert seen.steps[step_key].input == given, f"input of {step_key}"
    for step_key, port in the_rule.ports.items():
        assert seen.steps[step_key].port == port, f"port of {step_key}"
    for step_key, count in the_rule.attempts.items():
        assert seen.steps[step_key].attempt == count, f"attempts of {step_key}"


def hold(the_rule: Rule) -> None:
    """Holds the rule against the engine."""
    simulate(_run(the_rule))


def hold_dry(the_rule: Rule) -> None:
    """Holds the rule against the dry run."""
    simulate(_rehearse(the_rule))


def hold_crashed(the_rule: Rule) -> None:
    """Holds the rule against an execution whose worker dies: before anything is recorded, and
    after the first flush, the second and the fourth, as far as it comes."""
    came = [flush for flush in (0, 1, 2, 4) if simulate(_crash(the_rule, flush))]
    assert came[:2] == [0, 1], "no worker died"


def three_ways(rules: list[Rule]) -> tuple[RuleTest, RuleTest, RuleTest]:
    """The tests that hold each rule against the engine, the dry run, and an execution whose worker
    dies."""

    @each("run", rules)
    def run(rule: Rule) -> None:
        hold(rule)

    @each("dry", rules)
    def dry(rule: Rule) -> None:
        hold_dry(rule)

    @each("crash", rules)
    def crash(rule: Rule) -> None:
        hold_crashed(rule)

    return run, dry, crash
