"""Effects that answer as told, call by call, and the smallest workflow around one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from engine.context import JsonObject
from engine.errors import StepFailure
from engine.ports import HttpResponse
from tests.engine.world import World, document
from tests.virtual_time import simulate

URL = "https://api.example.com/"
FIXED = {"backoff": "fixed", "initial_seconds": 2, "jitter": False}


class Calls:
    """What an effect answers call by call (the last one for ever), and when it was called. A
    number is how long an answer takes, a failure is raised, anything else is the answer."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.times: list[float] = []

    async def __call__(self) -> Any:
        self.times.append(asyncio.get_running_loop().time())
        answer = self.answers[min(len(self.times), len(self.answers)) - 1]
        if isinstance(answer, int | float):
            await asyncio.sleep(answer)
            return None
        if isinstance(answer, StepFailure):
            raise answer
        return answer

    @property
    def pauses(self) -> list[float]:
        """The seconds between the calls; the clock's own are floats."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [round(late - early, 6) for early, late in pairs]


def down(**failure: Any) -> StepFailure:
    """A failure that another attempt may mend."""
    return StepFailure("DOWN", "It is down.", **{"retryable": True, **failure})


def answered(status: int, **headers: str) -> HttpResponse:
    return HttpResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, None)


def module(**node: Any) -> JsonObject:
    config = {"module_name": "m", **node.pop("config", {})}
    return {"node_type": "action_module", "config": config, **node}


def webhook(**node: Any) -> JsonObject:
    config = {"url": URL, **node.pop("config", {})}
    return {"node_type": "action_webhook", "config": config, **node}


def run(node: JsonObject, calls: Callable[[], Awaitable[Any]], **fields: Any) -> JsonObject:
    """Runs a workflow of one effect, `n`, to its end."""
    return run_all(document({"n": node}, "start -> n", **fields), calls)[0]


def run_all(raw: JsonObject, calls: Callable[[], Awaitable[Any]]) -> tuple[JsonObject, list[str]]:
    """Runs a document whose effects answer by `calls`: its state in the end, and the step key of
    each call."""

    async def main() -> tuple[JsonObject, list[str]]:
        world = World()
        for name in ("m", URL, "hi", "None"):
            world.outside.answers[name] = calls
        try:
            state = await world.run(raw)
        finally:
            await world.engine.shutdown()
        return state, [key.partition(":")[2] for key in world.outside.keys]

    return simulate(main())
