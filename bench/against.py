"""A peer and our engine with the same work, in turn, on the same PostgreSQL.

A peer is a program of its own (`bench.peers`), run by the Python into which `make bench-peers` has
installed it, and asked for one figure at a time; while the one works, the other waits. Ours runs in
this process, as each peer's client and steps run in theirs: no HTTP on our side. Our figures come
twice where it matters: with pure steps, which are recorded and committed together, and with
effectful ones, each committed before the next, which is what the peers do with every step.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from urllib.parse import urlsplit, urlunsplit

import uuid_utils

from bench.measure import Figure, ratios
from bench.w2_throughput import run_all
from bench.world import World, chain, fan
from engine.context import ExecutionContext

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = ROOT / ".venv-peers"
PATIENCE_SECONDS = 120
OUR_EXECUTIONS = 500


class PeerUnavailable(Exception):
    """The peer is not installed, or does not do what it is asked for; the message says which."""


@dataclass(frozen=True, slots=True)
class Peer:
    """How much of each workload it is given a round: W1 requests, W2 executions, W3 steps in a
    row, W4 steps side by side. `steps` are those of W2, none for a queue that has none."""

    name: str
    work: dict[str, int]
    rounds: int = 5
    steps: int = 10
    targets: dict[str, str] = field(default_factory=dict)


PEERS = {
    "dbos": Peer(
        "DBOS Transact",
        {"w1": 20, "w2": 100, "w3": 40, "w4": 200},
        targets={"w2": ">= 100", "w3": ">= 1"},
    ),
    "restate": Peer(
        "Restate",
        {"w1": 20, "w2": 200, "w3": 40, "w4": 200},
        targets={"w2": ">= 15", "w3": ">= 1"},
    ),
    "prefect": Peer(
        "Prefect, on SQLite",
        {"w1": 5, "w2": 5, "w3": 40},
        rounds=3,
        targets={"w3": ">= 1"},
    ),
    "pgqueuer": Peer("PgQueuer, a bare queue", {"w1": 20, "w2": 5_000}, steps=1),
}

Values = dict[str, list[list[float]]]
"""By workload, a list of numbers for each round."""


@dataclass(slots=True)
class Program:
    """A peer's program that runs, and the versions that it has told."""

    process: asyncio.subprocess.Process
    versions: dict[str, str] = field(default_factory=dict)

    async def hear(self) -> list[float] | dict[str, str] | str:
        """Its next line. Raises `PeerUnavailable`."""
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_SECONDS)
        except TimeoutError as error:
            raise PeerUnavailable(f"it said nothing for {PATIENCE_SECONDS} s") from error
        if not line:
            raise PeerUnavailable("its program has ended")
        said: list[float] | dict[str, str] | str = json.loads(line)
        return said

    async def ask(self, workload: str, number: int) -> list[float]:
        """Has it do so much of a workload. Raises `PeerUnavailable`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{workload} {number}\n".encode())
        said = await self.hear()
        if not isinstance(said, list):
            raise PeerUnavailable(f"{workload}: {said}")
        return said


class Ours:
    """The same work by the engine of this process."""

    def __init__(self, world: World, workflows: dict[str, ExecutionContext]) -> None:
        self._world = world
        self._workflows = workflows

    async def w1(self, number: int) -> list[float]:
        """Milliseconds until one step is accepted, and completed."""
        taken = [await self._one("one") for _ in range(number)]
        return [median(column) for column in zip(*taken, strict=True)]

    async def w2(self, _: int) -> list[float]:
        """Executions a second, of pure and of effectful steps."""
        return [
            OUR_EXECUTIONS / await run_all(self._world, self._workflows[name], OUR_EXECUTIONS)
            for name in ("pure", "effectful")
        ]

    async def w3(self, _: int) -> list[float]:
        """Milliseconds, with pure and with effectful steps."""
        return [(await self._one(name))[1] for name in ("forty pure", "forty effectful")]

    async def w4(self, _: int) -> list[float]:
        """Milliseconds, with pure and with effectful steps."""
        return [(await self._one(name))[1] for name in ("wide pure", "wide effectful")]

    async def _one(self, workflow: str) -> tuple[float, float]:
        context = replace(
            self._workflows[workflow],
            execution_id=str(uuid_utils.uuid7()),
            created_at=self._world.clock.now(),
        )
        began = perf_counter()
        await self._world.engine.execute_workflow(context)
        accepted = perf_counter()
        assert await self._world.engine.wait(context.execution_id, PATIENCE_SECONDS)
        return 1000 * (accepted - began), 1000 * (perf_counter() - began)


async def run(world: World, key: str, rounds: int) -> tuple[list[Figure], dict[str, str]]:
    """Figures of one peer beside ours, at most `rounds` of them, and its versions. Raises
    `PeerUnavailable`."""
    peer = PEERS[key]
    ours = Ours(world, await _published(world, peer))
    theirs_values: Values = {name: [] for name in peer.work}
    our_values: Values = {name: [] for name in peer.work}
    async with _program(world, key) as program:
        for number in range(min(rounds, peer.rounds) + 1):
            for name, much in peer.work.items():
                theirs = await program.ask(name, much)
                mine = await getattr(ours, name)(much)
                if number:  # the first round warms up
                    theirs_values[name].append(theirs)
                    our_values[name].append(mine)
        versions = program.versions
    return _figures(peer, theirs_values, our_values), versions


async def _published(world: World, peer: Peer) -> dict[str, ExecutionContext]:
    documents = {
        "one": chain(1, "data_variable_set"),
        "pure": chain(peer.steps, "data_variable_set"),
        "effectful": chain(peer.steps, "action_module"),
    }
    for kind, node_type in (("pure", "data_variable_set"), ("effectful", "action_module")):
        if "w3" in peer.work:
            documents[f"forty {kind}"] = chain(peer.work["w3"], node_type)
        if "w4" in peer.work:
            documents[f"wide {kind}"] = fan(peer.work["w4"], node_type)
    return {name: await world.publish(document) for name, document in documents.items()}


@asynccontextmanager
async def _program(world: World, key: str) -> AsyncIterator[Program]:
    """The peer's program, on a database of its own; it is told to end afterwards."""
    python = INSTALLED / key / "bin" / "python"
    if not python.exists():
        raise PeerUnavailable("it is not installed; `make bench-peers` does that")
    name = f"{urlsplit(world.dsn).path[1:]}_peer_{key}"
    await world.dal.execute(f"CREATE DATABASE {name}")
    dsn = urlunsplit(urlsplit(world.dsn)._replace(path=f"/{name}"))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        python, "-m", f"bench.peers.with_{key}", dsn,
        cwd=ROOT, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    program = Program(process)
    try:
        said = await program.hear()
        if not isinstance(said, dict):
            raise PeerUnavailable(f"it began with {said!r}")
        program.versions = said
        yield program
    finally:
        await _ended(process)
        await world.dal.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def _ended(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 40)
    except TimeoutError:
        process.kill()
        await process.wait()


def _figures(peer: Peer, theirs: Values, ours: Values) -> list[Figure]:
    figures: list[Figure] = []
    for name, rounds in theirs.items():
        workload, columns = name.upper(), [list(each) for each in zip(*rounds, strict=True)]
        mine = [list(each) for each in zip(*ours[name], strict=True)]
        made = _SHOWN[name](workload, peer, columns, mine)
        figures += made
    return figures


Columns = list[list[float]]


def _one(workload: str, peer: Peer, theirs: Columns, ours: Columns) -> list[Figure]:
    figures = [Figure(workload, f"{peer.name}: one step, completed", "ms", theirs[-1])]
    if len(theirs) > 1:
        figures.insert(0, Figure(workload, f"{peer.name}: one step, accepted", "ms", theirs[0]))
    over = ratios(theirs[-1], ours[1])
    return [*figures, Figure(workload, f"{peer.name} over ours, completed", " x", over)]


def _throughput(workload: str, peer: Peer, theirs: Columns, ours: Columns) -> list[Figure]:
    what = f"{peer.name}: " + ("executions of ten steps" if peer.steps > 1 else "jobs consumed")
    pure, effectful = ratios(ours[0], theirs[0]), ratios(ours[1], theirs[0])
    target = peer.targets.get("w2", "")
    return [
        Figure(workload, what, "/s", theirs[0]),
        Figure(workload, f"ours over {peer.name}, pure", " x", pure, target),
        Figure(workload, f"ours over {peer.name}, effectful", " x", effectful),
    ]


def _time(what: str, workload: str, peer: Peer, theirs: Columns, ours: Columns) -> list[Figure]:
    pure, effectful = ratios(theirs[0], ours[0]), ratios(theirs[0], ours[1])
    target = peer.targets.get(workload.lower(), "")
    return [
        Figure(workload, f"{peer.name}: {what}", "ms", theirs[0]),
        Figure(workload, f"{peer.name} over ours, {what}, pure", " x", pure),
        Figure(workload, f"{peer.name} over ours, {what}, effectful", " x", effectful, target),
    ]


_SHOWN: dict[str, Callable[[str, Peer, Columns, Columns], list[Figure]]] = {
    "w1": _one,
    "w2": _throughput,
    "w3": partial(_time, "forty in a row"),
    "w4": partial(_time, "200 side by side"),
}
