"""Compiled versions, kept by (workflow, version). A version never changes, so neither does its
entry; the bound is on their number, the least recently used goes first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from engine.context import JsonObject, Limits
from engine.errors import WorkflowEngineException
from engine.graph import Graph, compile_graph

Definition = Callable[[str, int], Awaitable[JsonObject | None]]


class VersionNotFound(WorkflowEngineException):
    """The workflow version that this execution is pinned to does not exist."""

    code = "VERSION_NOT_FOUND"


class GraphCache:
    """Gives the graph of a version, compiling it at most once while it is kept."""

    def __init__(self, definition: Definition, limits: Limits, most: int = 1_000) -> None:
        self._definition = definition
        self._limits = limits
        self._most = most
        self._graphs: OrderedDict[tuple[str, int], Graph] = OrderedDict()
        self._loading: dict[tuple[str, int], asyncio.Future[Graph]] = {}

    def compile(self, document: JsonObject) -> Graph:
        """Compiles a canonical, valid document without keeping it (drafts, dry runs)."""
        return compile_graph(document, self._limits)

    async def get(self, workflow_id: str, version: int) -> Graph:
        """The graph of a published version. Raises `VersionNotFound`."""
        key = (workflow_id, version)
        graph = self._graphs.get(key)
        if graph is not None:
            self._graphs.move_to_end(key)
            return graph
        pending = self._loading.get(key)
        if pending is None:
            pending = asyncio.ensure_future(self._load(key))
            self._loading[key] = pending
            pending.add_done_callback(lambda done: self._loaded(key, done))
        return await asyncio.shield(pending)

    def _loaded(self, key: tuple[str, int], done: asyncio.Future[Graph]) -> None:
        self._loading.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen, also where everybody who waited has gone

    async def _load(self, key: tuple[str, int]) -> Graph:
        document = await self._definition(*key)
        if document is None:
            raise VersionNotFound(workflow_id=key[0], version=key[1])
        graph = compile_graph(document, self._limits, workflow_id=key[0], version=key[1])
        self._graphs[key] = graph
        while len(self._graphs) > self._most:
            self._graphs.popitem(last=False)
        return graph
