"""The examples: each is valid, says what it does, and does it when tried.

A file holds a `workflow`, the `request` that starts it, `mocks` for what the world would answer,
and what is `expected`: the `status`, the `final_output`, the chat `messages` in order, and some
of the final `variables`. One that waits says which `signals` come.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.context import ExecutionContext, JsonObject, Limits
from engine.dry_run import DryRun
from engine.environment import Impure
from engine.errors import StepFailure
from engine.graph import choose_trigger, compile_graph
from engine.json_door import parse_json
from engine.pace import Pace
from engine.ports import HttpResponse
from engine.trial import read_trial
from engine.validation import validate
from tests.engine.world import Outside, World
from tests.virtual_time import simulate

FOLDER = Path(__file__).parent.parent / "examples"
FILES = sorted(FOLDER.glob("*.json"))
NOON = datetime(2025, 12, 9, 12, tzinfo=UTC)

pytestmark = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])


class Noon:
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return 0.0


def read(file: Path) -> dict[str, Any]:
    example: dict[str, Any] = parse_json(file.read_bytes())
    return example


async def nobody(*_: Any) -> Any:
    """Whom an example calls."""
    raise AssertionError("no example calls another workflow")


async def try_out(example: dict[str, Any], mocks: JsonObject) -> JsonObject:
    """The report of a dry run of the example's request."""
    limits = Limits()
    document = validate(example["workflow"], limits).document
    graph = compile_graph(document, limits)
    metadata = example["request"]["metadata"]
    context = ExecutionContext(
        execution_id="01980000-0000-7000-8000-000000000001",
        workflow_id="01980000-0000-7000-8000-000000000002",
        workflow_name=document["name"],
        workflow_version=1,
        community_id=document["community_id"],
        user_id=456,
        trigger_node_id=choose_trigger(graph, None, metadata["trigger_source"]),
        created_at=NOON,
        max_execution_seconds=document.get("max_execution_time_seconds") or 300,
        variables=example["request"]["variables"],
        metadata=metadata,
        trigger_source=metadata["trigger_source"],
        platform=metadata.get("platform"),
    )
    impure = Impure(lambda: NOON, lambda: 0.5, lambda: "01980000-0000-7000-8000-000000000003")
    signals = example.get("signals", [])
    trial = read_trial(graph, mocks=mocks, signals=signals)
    return await DryRun(graph, context, trial, impure, Noon(), Pace(Noon()), nobody).run()


class Mocked(Outside):
    """The world answers what an example's mocks say, node by node and call by call."""

    def __init__(self, mocks: JsonObject) -> None:
        super().__init__()
        self._mocks = {
            node_id: list(mock) if isinstance(mock, list) else [mock]
            for node_id, mock in mocks.items()
        }

    async def _arrive(self, kind: str, name: str, request: JsonObject, key: str) -> Any:
        await super()._arrive(kind, name, request, key)
        node_id = key.partition(":")[2].rpartition(".")[2]
        answers = self._mocks.get(node_id, [{"output": None}])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if "error" in answer:
            raise StepFailure("MOCKED_ERROR", answer["error"], retryable=True)
        output = answer["output"]
        if kind == "http" and output is not None:
            return HttpResponse(output["status"], output.get("headers", {}), output["body"])
        return output


async def send(world: World, signals: list[JsonObject]) -> None:
    """Sends the signals to the world's one execution."""
    for number, signal in enumerate(signals):
        await asyncio.sleep(signal["after_seconds"])
        (execution_id,) = world.store._rows
        await world.engine.signal_execution(
            execution_id,
            signal["name"],
            signal["payload"],
            sent_by=1,
            letter_id=f"01980000-0000-7000-8000-{number:012d}",
        )


def run_for_real(example: dict[str, Any]) -> tuple[JsonObject, Mocked]:
    """The example's request, run by the engine to its end; and the world it ran in."""
    outside = Mocked(example["mocks"])

    async def main() -> JsonObject:
        world = World(outside=outside)
        sending = asyncio.create_task(send(world, example.get("signals", [])))
        state = await world.run(example["workflow"], **example["request"])
        await sending
        await world.engine.shutdown()
        return state

    return simulate(main()), outside


def messages(report: JsonObject) -> list[str]:
    """What chat would have read."""
    return [
        entry["would_send"]["message"]
        for entry in report["trace"]
        if entry["node_type"] == "action_chat_message" and "would_send" in entry
    ]


def test_an_example_has_its_four_parts_and_explains_itself(file: Path) -> None:
    example = read(file)

    assert set(example) - {"signals"} == {"workflow", "request", "mocks", "expected"}
    assert set(example["request"]) == {"variables", "metadata"}
    assert set(example["expected"]) >= {"status", "final_output", "messages"}
    assert example["workflow"]["description"]
    assert example["workflow"]["community_id"] == 1


def test_an_example_is_valid(file: Path) -> None:
    report = validate(read(file)["workflow"], Limits())

    assert [str(issue) for issue in report.errors] == []
    assert [str(issue) for issue in report.warnings] == []


def test_the_stored_form_of_an_example_is_a_fixed_point(file: Path) -> None:
    document = validate(read(file)["workflow"], Limits()).document

    assert validate(document, Limits()).document == document


async def test_an_example_does_what_it_promises(file: Path) -> None:
    example = read(file)
    expected = example["expected"]

    report = await try_out(example, example["mocks"])

    assert (report["status"], report["error_message"]) == (expected["status"], None)
    assert messages(report) == expected["messages"]
    assert report["final_output"] == expected["final_output"]
    assert report["final_variables"].items() >= expected.get("variables", {}).items()


def test_an_example_does_the_same_when_it_is_run(file: Path) -> None:
    example = read(file)
    expected = example["expected"]

    state, outside = run_for_real(example)

    assert (state["status"], state["error_message"]) == (expected["status"], None)
    assert outside.messages() == expected["messages"]
    assert state["final_output"] == expected["final_output"]
    assert state["final_variables"].items() >= expected.get("variables", {}).items()


async def test_an_example_completes_with_whatever_the_console_answers(file: Path) -> None:
    """Started by a newcomer, whose modules and web services are simulated."""
    report = await try_out({**read(file), "signals": []}, {})

    assert (report["status"], report["error_message"]) == ("completed", None)
