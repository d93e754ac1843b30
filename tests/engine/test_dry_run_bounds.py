"""The bounds of a dry run: nothing leaves the process, and nothing grows without end."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.context import ExecutionContext, JsonObject, Limits
from engine.dry_run import DryRun
from engine.environment import Impure
from engine.errors import WorkflowTimeoutException
from engine.graph import Graph
from engine.json_door import parse_json
from engine.pace import Pace
from engine.trial import Trial
from tests.engine.rehearsing import entries, rehearse
from tests.engine.test_dry_run import EVERY_EFFECT, IN_A_ROW
from tests.engine.world import World, document
from tests.virtual_time import VirtualClock, simulate

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.json"))
CHILD = "0190a000-0000-7000-8000-00000000000c"

_OUTWARD = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND


class Watch:
    """Notes what leaves the process, while it is on. An audit hook cannot be taken off again."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        self.seen, self.on = [], True
        try:
            yield self.seen
        finally:
            self.on = False

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event.startswith(_OUTWARD) or (event == "open" and _writes(args)):
            self.seen.append(f"{event} {args}")


def _writes(args: tuple[Any, ...]) -> bool:
    _, mode, flags = args
    return bool(set(mode or "") & set("wax+")) or bool((flags or 0) & _WRITING)


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def in_world(main: Callable[[World], Awaitable[None]], **world: Any) -> None:
    async def run() -> None:
        await main(World(**world))

    simulate(run())


def message(text: str) -> JsonObject:
    return {"node_type": "action_chat_message", "config": {"message": text}}


def chain_of_everything() -> JsonObject:
    nodes = {
        **EVERY_EFFECT,
        "call": {"node_type": "flow_subworkflow", "config": {"workflow_id": CHILD}},
        "pause": {"node_type": "action_delay", "config": {"delay_seconds": 60}},
        "ask": {"node_type": "flow_wait", "config": {"signal": "go"}},
    }
    names = list(nodes)
    return document(nodes, *(f"{a} -> {b}" for a, b in zip(["start", *names], names, strict=False)))


# Nothing leaves


def test_the_watch_sees_what_leaves(watch: Watch, tmp_path: Path) -> None:
    with watch.watching() as seen:
        (tmp_path / "file").write_text("x")
    assert len(seen) == 1


def test_no_effect_of_any_kind_leaves_the_process(watch: Watch) -> None:
    async def main(world: World) -> None:
        world.publish(document(EVERY_EFFECT, *IN_A_ROW, global_variables={"name": "A"}), CHILD)
        raw = chain_of_everything()
        asked: JsonObject = {"signals": {"go": 1}, "variables": {"name": "Ada"}}
        first = await rehearse(world, raw, **asked)  # what is imported when needed is imported
        with watch.watching() as seen:
            report = await rehearse(world, raw, **asked)
        assert first["status"] == report["status"] == "completed", report["error_message"]
        assert report["coverage"]["percentage"] == 100.0
        assert (seen, world.outside.arrived) == ([], [])
        children = [entries(report)["call"]["child"], entries(first)["call"]["child"]]
        for one in (report, first, *children):
            assert await world.store.load(one["execution_id"]) is None

    in_world(main)


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_nothing_of_an_example_leaves_the_process(file: Path, watch: Watch) -> None:
    example = parse_json(file.read_bytes())

    async def main(world: World) -> None:
        asked = {**example["request"], "mocks": example["mocks"]}
        await rehearse(world, example["workflow"], **asked)
        with watch.watching() as seen:
            report = await rehearse(world, example["workflow"], **asked)
        assert report["status"] == example["expected"]["status"]
        assert (seen, world.outside.arrived) == ([], [])

    in_world(main)


# Nothing grows


def looping(items: str, body: JsonObject) -> JsonObject:
    return document(
        {"each": {"node_type": "loop_foreach", "config": {"items": items}}, "body": body},
        "start -> each",
        "each.loop -> body",
    )


@pytest.mark.parametrize(
    ("limits", "raw", "code"),
    [
        (
            Limits(max_total_operations=20),
            looping("{{ range(50) }}", message("{{ item }}")),
            "OPERATION_LIMIT_EXCEEDED",
        ),
        (
            Limits(max_loop_iterations=10),
            looping("{{ range(11) }}", message("{{ item }}")),
            "LOOP_LIMIT_EXCEEDED",
        ),
        (
            Limits(max_execution_bytes=50_000),
            looping("{{ range(50) }}", message("{{ 'x' * 1000 }}")),
            "EXECUTION_TOO_LARGE",
        ),
    ],
)
def test_a_limit_ends_a_dry_run_where_it_ends_a_real_run(
    limits: Limits, raw: JsonObject, code: str
) -> None:
    async def main(world: World) -> None:
        answer = {"output": {"message_id": "m1"}}
        report = await rehearse(world, raw, mocks={"body": answer})
        state = await world.run(raw)
        await world.engine.shutdown()
        assert (report["status"], report["error_code"]) == ("failed", code)
        assert (state["status"], state["error_code"]) == ("failed", code)
        done = {step["step_key"] for step in state["steps"] if step["status"] == "completed"}
        ran = {key for key, one in entries(report).items() if one["status"] == "completed"}
        assert len(done ^ ran) <= 1, "the record of the step that crossed the limit differs"

    in_world(main, limits=limits)


class Hurrying:
    """A clock on which every look costs a second."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> Any:
        return VirtualClock().now()

    def monotonic(self) -> float:
        self.looks += 1
        return float(self.looks)


async def nobody(
    caller: ExecutionContext, step_key: str, given: JsonObject
) -> tuple[ExecutionContext, Graph]:
    raise AssertionError("nothing is called here")


def test_a_dry_run_that_takes_too_long_in_real_time_is_given_up() -> None:
    async def main(world: World) -> None:
        raw = looping("{{ range(90) }}", {"node_type": "flow_merge", "config": {}})
        context = await world.context(raw)
        graph = await world.engine.graphs.get(context.workflow_id, context.workflow_version)
        clock = Hurrying()
        impure = Impure(clock.now, lambda: 0.5, world.new_id)
        trial = DryRun(graph, context, Trial(), impure, clock, Pace(clock), nobody)
        with pytest.raises(WorkflowTimeoutException, match="real time"):
            await trial.run()
        assert clock.looks < 50

    in_world(main)
