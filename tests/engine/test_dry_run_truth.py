"""The dry run tells the truth: told what the world would answer and when, it says what a real run
does, step by step and second by second; and a webhook leaves as it says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from engine.context import JsonObject, Limits
from engine.json_door import dumps
from services.http_client import AiohttpClient
from tests.engine.rehearsing import entries, rehearse
from tests.engine.world import Outside, World, after, document
from tests.virtual_time import simulate

CHILD = "0190a000-0000-7000-8000-00000000000c"
SEEDS = 60
COUNTS = ("nodes_executed", "nodes_failed", "nodes_skipped")
RETRY: JsonObject = {"max_attempts": 2, "initial_seconds": 3, "jitter": False}


class Case:
    """A random workflow of actions that take their time, and what the world answers."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.outside = Outside()
        self.mocks: JsonObject = {}
        self.nodes: JsonObject = {}
        self.edges: list[str] = []
        names = [f"n{i}" for i in range(dice.randint(3, 9))]
        for number, name in enumerate(names):
            self.nodes[name] = self._node(name, dice)
            sources = dice.sample(names[:number], min(number, dice.randint(1, 2)))
            self.edges += [f"{source} -> {name}" for source in sources or ["start"]]
        self._race(dice, names[-1])
        self.limits = Limits(max_parallel_nodes=dice.randint(1, 4))

    def _node(self, name: str, dice: random.Random) -> JsonObject:
        kind = dice.random()
        if kind < 0.15:
            return {"node_type": "action_delay", "config": {"delay_seconds": dice.randint(1, 40)}}
        if kind < 0.25:
            return {"node_type": "flow_subworkflow", "config": {"workflow_id": CHILD}}
        self._answer(name, dice.uniform(0.01, 29))
        node: JsonObject = {"node_type": "action_module", "config": {"module_name": name}}
        if kind < 0.45:
            most = round(dice.uniform(5, 30), 3)  # never two at the same moment
            node |= {"timeout_seconds": most, "retry": RETRY, "continue_on_error": kind < 0.4}
        return node

    def _answer(self, name: str, seconds: float) -> None:
        seconds = round(seconds, 3)
        self.mocks[name] = {"output": {"from": name}, "duration_seconds": seconds}
        self.outside.answers[name] = after(seconds, {"from": name})

    def _race(self, dice: random.Random, last: str) -> None:
        first = dice.random() < 0.5
        config = {"execution_type": "any_first"} if first else {"max_parallel": 1}
        self.nodes["race"] = {"node_type": "flow_parallel", "config": config}
        self.nodes["join"] = {"node_type": "flow_merge", "config": {}}
        self.edges.append(f"{last} -> race")
        for name in ("left", "right", "third"):
            self._answer(name, dice.uniform(0.01, 29))
            self.nodes[name] = {"node_type": "action_module", "config": {"module_name": name}}
            self.edges += [f"race -> {name}", f"{name} -> join"]

    def document(self) -> JsonObject:
        return document(self.nodes, *self.edges, max_execution_time_seconds=86_400)


CHILDS = document(
    {"w": {"node_type": "action_delay", "config": {"delay_seconds": 11}}}, "start -> w"
)


async def both(case: Case) -> tuple[JsonObject, JsonObject]:
    """What a dry run says, and what a real run did."""
    world = World(limits=case.limits, outside=case.outside)
    world.publish(CHILDS, CHILD)
    return await tried_and_run(world, case.document(), case.mocks)


async def tried_and_run(
    world: World, raw: JsonObject, mocks: JsonObject
) -> tuple[JsonObject, JsonObject]:
    """What a dry run says, and what a real run did, with its `metrics`. Both count alike."""
    report = await rehearse(world, raw, mocks=mocks, trigger_node_id="start")
    assert world.outside.arrived == []
    state = await world.run(raw, trigger_node_id="start")
    metrics = await world.engine.get_execution_metrics(state["execution_id"])
    stored = await world.store.load(state["execution_id"])
    await world.engine.shutdown()
    assert metrics is not None
    assert stored is not None
    counted = {name: report["summary"][name] for name in COUNTS}
    assert counted == {name: metrics[name] for name in COUNTS}
    runs = {state["nodes_executed"], stored.progress.nodes_executed, len(state["execution_path"])}
    assert runs == {counted["nodes_executed"]}
    shown = Counter(node["status"] for node in state["node_states"].values())
    assert shown["skipped"] == counted["nodes_skipped"]
    return report, {**state, "metrics": metrics}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_dry_run_says_what_a_real_run_does_and_when(seed: int) -> None:
    report, state = simulate(both(Case(seed)))

    assert (report["status"], report["error_code"]) == (state["status"], state["error_code"])
    assert report["final_output"] == state["final_output"]
    took = state["execution_time_seconds"]
    assert report["execution_time_seconds"] == pytest.approx(took, abs=0.01)
    said = {key: one for key, one in entries(report).items() if one["status"] != "cancelled"}
    done = {s["step_key"]: s for s in state["steps"] if s["status"] in ("completed", "failed")}
    assert said.keys() == done.keys()
    for key, step in done.items():
        one = said[key]
        assert (one["status"], one["attempt"]) == (step["status"], step["attempt"]), key
        assert (one["port"], one["error_type"]) == (step["port"], step["error_type"]), key
        assert one["output"] == step["output_data"], key


PURE: JsonObject = {"node_type": "data_variable_set", "config": {"variables": {"x": 1}}}
FALLS: JsonObject = {"node_type": "data_transform", "config": {"transformations": {"q": "1 / 0"}}}


def loop(items: Any) -> JsonObject:
    return {"node_type": "loop_foreach", "config": {"items": items}}


PROGRAMS: dict[str, tuple[JsonObject, tuple[int, int, int]]] = {
    "a loop": (
        document({"l": loop([1, 2, 3, 4, 5]), "a": PURE}, "start -> l", "l.loop -> a"),
        (7, 0, 0),
    ),
    "a branch that is not taken": (
        document(
            {"i": {"node_type": "condition_if", "config": {"condition": "1 == 2"}},
             "y": PURE, "n": PURE},
            "start -> i", "i.true -> y", "i.false -> n",
        ),
        (3, 0, 1),
    ),
    "a conditional that cannot be evaluated": (
        document({"a": PURE, "b": PURE, "c": PURE}, "start -> a", "a -> b if 1 / 0", "b -> c"),
        (2, 1, 2),
    ),
    "more items than a loop may have": (
        document({"l": loop("{{ range(101) }}"), "a": PURE, "z": PURE},
                 "start -> l", "l.loop -> a", "l -> z"),
        (2, 1, 2),
    ),
    "an arm of a race that fails": (
        document(
            {"p": {"node_type": "flow_parallel", "config": {"execution_type": "any_first"}},
             "a": FALLS, "b": PURE, "m": {"node_type": "flow_merge", "config": {}}, "z": PURE},
            "start -> p", "p -> a", "p -> b", "a -> m", "b -> m", "m -> z",
        ),
        (3, 1, 2),
    ),
    "an iteration that fails": (
        document({"l": loop([1, 2]), "a": PURE, "b": FALLS, "z": PURE},
                 "start -> l", "l.loop -> a", "a -> b", "l -> z"),
        (3, 1, 1),
    ),
    "an end that ends everything": (
        document({"e": {"node_type": "flow_end", "config": {"terminate": True}}, "a": PURE,
                  "z": PURE},
                 "start -> e", "start -> a", "a -> z"),
        (2, 0, 1),
    ),
    "a trigger that did not start it": (
        document({"start": {"node_type": "trigger_command", "config": {"command": "!go"}},
                  "other": {"node_type": "trigger_command", "config": {"command": "!no"}},
                  "a": FALLS, "b": PURE, "c": PURE},
                 "start -> a", "a -> b", "other -> c"),
        (2, 1, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_dry_run_counts_as_a_real_run_does(name: str) -> None:
    raw, expected = PROGRAMS[name]
    report, _ = simulate(tried_and_run(World(), raw, {}))
    assert tuple(report["summary"][each] for each in COUNTS) == expected


# On the wire


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[tuple[web.Request, bytes]]]]:
    """The address of a peer, and what it was sent."""
    arrived: list[tuple[web.Request, bytes]] = []

    async def take(request: web.Request) -> web.Response:
        arrived.append((request, await request.read()))
        return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}", arrived
    await runner.cleanup()


class Wired(Outside):
    """An outside whose HTTP goes over the wire."""

    def __init__(self, http: AiohttpClient) -> None:
        super().__init__()
        self.http = http

    async def request(self, method: str, url: str, **sent: Any) -> Any:
        return await self.http.request(method, url, **sent)


@pytest.mark.parametrize(
    "config",
    [
        {"body": {"hello": "{{ name }}", "n": [1, 2.5, None]}},
        {"body": '{"hello": "{{ name }}"}', "headers": {"X-Who": "{{ name }}"}},
        {"method": "GET", "params": {"q": "a b&c", "tag": ["x", "y"]}},
        {"method": "PATCH", "body": "plain text", "headers": {"Content-Type": "text/x-own"}},
    ],
)
async def test_a_webhook_leaves_as_the_dry_run_says(
    config: JsonObject, server: tuple[str, list[tuple[web.Request, bytes]]]
) -> None:
    address, arrived = server
    call = {"node_type": "action_webhook", "config": {"url": f"{address}/in?a=1", **config}}
    raw = document({"call": call}, "start -> call")
    async with AiohttpClient(None) as http:
        world = World(outside=Wired(http))
        state = await world.run(raw, variables={"name": "Ada"})
        assert state["status"] == "completed", state["error_message"]
        same = {"variables": {"name": "Ada"}, "execution_id": state["execution_id"]}
        report = await rehearse(world, raw, **same)
        await world.engine.shutdown()

    said = entries(report)["call"]["would_send"]
    [(request, body)] = arrived
    assert request.method == said["method"]
    assert str(request.rel_url) == str(URL(said["url"]).extend_query(said["params"]).relative())
    sent_body = b"" if said["body"] is None else said["body"]
    if not isinstance(sent_body, bytes):
        sent_body = sent_body.encode() if isinstance(sent_body, str) else dumps(sent_body)
    assert body == sent_body
    assert request.headers.items() >= said["headers"].items()
    added = {name.lower() for name in request.headers} - {n.lower() for n in said["headers"]}
    assert added <= {
        "host", "user-agent", "accept", "accept-encoding", "content-length", "content-type",
    }  # fmt: skip
