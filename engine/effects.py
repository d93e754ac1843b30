"""Performing effects: the only place where a running workflow touches the world.

An effect starts only while the worker's lease holds (that everything it depends on is durable is
the runner's care), runs under its time-out, and answers with a `Finished` in every case but
cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from engine.context import Json, JsonObject
from engine.errors import LeaseLost, StepFailure
from engine.nodes.base import EffectIO
from engine.ports import Clock, HttpClient, Transport
from engine.scopes import Step

DEFAULT_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt of an effect is over: `failure`, or else `output`. `given` is its rendered
    configuration."""

    step: Step
    given: JsonObject
    started: datetime
    output: Json = None
    failure: StepFailure | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """What effects are performed with. `may_act` says whether this worker's lease still holds by
    its own monotonic deadline; `crashed` is told of a node's unexpected exception."""

    transport: Transport
    http: HttpClient
    clock: Clock
    may_act: Callable[[], bool]
    crashed: Callable[[Step, Exception], None]

    async def perform(self, step: Step, given: JsonObject, execution: JsonObject) -> Finished:
        """One attempt. Raises `LeaseLost` if the worker may not act any more."""
        if not self.may_act():
            raise LeaseLost
        seconds = step.node.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
        io = EffectIO(
            transport=self.transport,
            http=self.http,
            idempotency_key=f"{execution['id']}:{step.key}",
            execution=execution,
            timeout_seconds=seconds,
        )
        started = self.clock.now()
        try:
            async with asyncio.timeout(seconds):
                output = await step.node.handler.perform(given, io)
        except TimeoutError:
            failure = StepFailure(
                "TIMEOUT",
                f"{step.node.node_id} took longer than {seconds:g} s.",
                retryable=True,
                uncertain=True,
            )
        except StepFailure as refused:
            failure = refused
        except Exception as unexpected:  # the edge of a step: a node's own bug fails its step
            self.crashed(step, unexpected)
            failure = StepFailure("NODE_CRASHED", "The node failed unexpectedly.")
        else:
            return Finished(step, given, started, output=output)
        return Finished(step, given, started, failure=failure)
