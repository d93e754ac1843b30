"""The notifier: sends what the outbox holds.

One background loop of every process that runs executions, stopped when told. Its one rule: a
receiver decides about its own deliveries only. It may be slow, hang or lie; it has at most
`each` of the process's tries under way, and each of them ends in time.

The loop claims as much as there is room for, starts a task for each, and claims again once one is
done, something is due, or a notification says that there is something new. A notification that is
lost costs `poll_seconds`, never a delivery.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from engine.errors import OutcomeUnknown, StepFailure, StoreUnavailable
from models.outbox import NOBODY, Claimed, Outbox, Room, Trial
from services.aaa_log import AaaLog
from services.delivery_policy import TRIES, judge_answer, judge_failure
from services.http_client import AiohttpClient
from services.rounds import Rounds
from services.webhook_secrets import signed_headers

ACTION = "deliver_webhooks"
KEPT_BYTES = 4_096
_SOONEST_SECONDS = 0.5
"""How soon to look again for what is due and could not be claimed."""
_RECORD_SECONDS = (0.2, 1.0, 3.0)
"""When to try again to record what came of a try, while the database is away."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at a time, in tries: `most` in all, `each` of one webhook. A try takes at most
    `timeout_seconds` and must have ended within `lease_seconds` of its claim."""

    most: int = 32
    each: int = 4
    timeout_seconds: float = 10.0
    poll_seconds: float = 5.0
    retry_seconds: float = 2.0

    @property
    def lease_seconds(self) -> float:
        """Long enough for a try, and for recording it."""
        return 2 * self.timeout_seconds + 20


class Notifier:
    """The loop and its tries. `now` is the clock of the timestamps that are signed, `chance` gives
    a random number from 0 up to 1."""

    def __init__(
        self,
        lines: AaaLog,
        outbox: Outbox,
        http: AiohttpClient,
        *,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self._lines = lines
        self._outbox = outbox
        self._http = http
        self._now = now
        self._chance = chance
        self._pace = pace or Pace()
        self._busy: Counter[str] = Counter()
        self._tries: set[asyncio.Task[None]] = set()
        self._after = NOBODY
        self._listening = False
        self._rounds = Rounds(lines, ACTION, self._round, retry_seconds=self._pace.retry_seconds)

    def start(self) -> None:
        """Starts the loop."""
        self._rounds.start()

    async def stop(self, timeout_seconds: float = 2.0) -> None:
        """Claims nothing more and waits at most `timeout_seconds` for the tries under way. One
        that is cut off is followed by another, of whichever process, when its lease ends."""
        await self._rounds.stop(timeout_seconds, self._tries)

    async def _round(self) -> float:
        """Claims and starts what there is room for; how long to wait before the next round."""
        if not self._listening:
            await self._outbox.listen(lambda _: self._rounds.awake.set())
            self._listening = True
        pace = self._pace
        free = pace.most - len(self._tries)
        if free <= 0:
            return pace.poll_seconds
        asked = time.monotonic()
        room = Room(free, pace.each, dict(self._busy), self._after)
        harvest = await self._outbox.claim(room)
        self._after = harvest.onward
        for one in harvest.claimed:
            self._begin(one, asked + pace.lease_seconds)
        if harvest.claimed or harvest.onward != NOBODY:
            return 0.0
        if harvest.next_due is None:
            return pace.poll_seconds
        return min(max(harvest.next_due, _SOONEST_SECONDS), pace.poll_seconds)

    def _begin(self, one: Claimed, lease_until: float) -> None:
        self._busy[one.webhook_id] += 1
        task = asyncio.create_task(self._try(one, lease_until), name=f"deliver {one.delivery_id}")
        self._tries.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            self._tries.discard(ended)
            self._busy[one.webhook_id] -= 1
            if not self._busy[one.webhook_id]:
                del self._busy[one.webhook_id]
            self._rounds.awake.set()

        task.add_done_callback(done)

    async def _try(self, one: Claimed, lease_until: float) -> None:
        try:
            if one.url is None:
                await self._outbox.drop(one)
            elif not one.enabled:
                await self._outbox.leave(one, "the webhook is disabled")
            elif one.attempt > TRIES:
                await self._outbox.leave(one, "nobody recorded what came of the last try")
            elif time.monotonic() + self._pace.timeout_seconds < lease_until:
                await self._record(one, await self._send(one, one.url))
        except (StoreUnavailable, OutcomeUnknown) as error:
            self._lines.trouble(ACTION, cause=error)  # its lease ends, and it is tried again
        except Exception as error:
            self._lines.error(ACTION, cause=error, delivery_id=one.delivery_id)

    async def _send(self, one: Claimed, url: str) -> Trial:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            response = await self._http.post(
                url,
                headers={
                    "Content-Type": "application/json",
                    "Accept-Encoding": "identity",
                    **signed_headers(one.secrets, one.delivery_id, self._now(), one.payload),
                },
                body=one.payload.encode(),
                timeout_seconds=self._pace.timeout_seconds,
                keep_bytes=KEPT_BYTES,
            )
            trial = judge_answer(response, one.attempt, self._chance())
        except StepFailure as failure:
            trial = judge_failure(failure, one.attempt, self._chance())
        return replace(trial, duration_seconds=clock() - began)

    async def _record(self, one: Claimed, trial: Trial) -> None:
        """Records it; while the database is away, again, for as long as that can help."""
        for pause in _RECORD_SECONDS:
            try:
                return await self._record_once(one, trial)
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(pause)
        await self._record_once(one, trial)

    async def _record_once(self, one: Claimed, trial: Trial) -> None:
        if trial.error is None:
            return await self._outbox.delivered(one, trial)
        disabled = await self._outbox.failed(one, trial)
        if disabled is not None:
            self._lines.system(
                "disable_webhook",
                community=disabled.community_id,
                webhook_id=disabled.webhook_id,
                reason=disabled.reason,
            )
