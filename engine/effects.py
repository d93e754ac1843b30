"""Performing effects: the only place where a running workflow touches the world.

An effect starts only while the worker's lease holds (that everything it depends on is durable is
the runner's care), runs under its time-out, and answers with a `Finished` in every case but
cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from engine.context import Json, JsonObject
from engine.errors import LeaseLost, StepFailure
from engine.nodes.base import EffectIO
from engine.ports import Carrying, Clock, HttpClient, Transport
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


def idempotency_key(execution: JsonObject, step: Step) -> str:
    """The key that an effect is sent with, the same on every attempt."""
    return f"{execution['id']}:{step.key}"


def effect_io(
    step: Step,
    execution: JsonObject,
    transport: Transport,
    http: HttpClient,
    trace: Mapping[str, str] | None = None,
    carrying: Carrying | None = None,
    may_act: Callable[[], bool] = lambda: True,
) -> EffectIO:
    """What a step's effect may touch, who it is, and how long one attempt may take."""
    return EffectIO(
        transport=transport,
        http=http,
        idempotency_key=idempotency_key(execution, step),
        execution=execution,
        timeout_seconds=step.node.timeout_seconds or DEFAULT_TIMEOUT_SECONDS,
        trace=trace or {},
        carrying=carrying,
        may_act=may_act,
    )


def too_late(who: str, seconds: float) -> StepFailure:
    """Why an attempt failed that took longer than it may. It may have taken effect."""
    message = f"{who} took longer than {seconds:g} s."
    return StepFailure("TIMEOUT", message, retryable=True, uncertain=True)


def child_too_late(step: Step, seconds: float) -> StepFailure:
    """The same of the execution that a sub-workflow's step waited for."""
    return too_late(f"The execution that {step.node.node_id} started", seconds)


@dataclass(frozen=True, slots=True)
class Effects:
    """What effects are performed with. `may_act` says whether this worker's lease still holds by
    its own monotonic deadline; `crashed` is told of a node's unexpected exception."""

    transport: Transport
    http: HttpClient
    clock: Clock
    may_act: Callable[[], bool]
    crashed: Callable[[Step, Exception], None]
    carrying: Carrying | None = None

    async def perform(
        self,
        step: Step,
        given: JsonObject,
        execution: JsonObject,
        trace: Mapping[str, str] | None = None,
    ) -> Finished:
        """One attempt. Raises `LeaseLost` if the worker may not act any more."""
        if not self.may_act():
            raise LeaseLost
        io = effect_io(
            step, execution, self.transport, self.http, trace, self.carrying, self.may_act
        )
        seconds = io.timeout_seconds
        started = self.clock.now()
        try:
            async with asyncio.timeout(seconds):
                output = await step.node.handler.perform(given, io)
        except TimeoutError:
            failure = too_late(step.node.node_id, seconds)
        except StepFailure as refused:
            failure = refused
        except LeaseLost:
            raise  # It may not act any more: whoever has the execution now does it.
        except Exception as unexpected:  # the edge of a step: a node's own bug fails its step
            self.crashed(step, unexpected)
            failure = StepFailure("NODE_CRASHED", "The node failed unexpectedly.")
        else:
            return Finished(step, given, started, output=output)
        return Finished(step, given, started, failure=failure)
