"""What may be asked of an execution that is there: cancel, pause, resume, signal.

The half of the engine (`engine.py`) that works on executions of any process. A request is not a
state: it is a column, or a letter, that whoever holds the execution obeys. Its one rule: the store
is asked first and last; what runs here is only told sooner.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime

from engine.admission import Admission
from engine.context import ExecutionStatus, Json
from engine.errors import (
    CancelPending,
    CommunityFull,
    ExecutionNotFound,
    ExecutionNotRunning,
    OutcomeUnknown,
    StoreUnavailable,
    TooManySignals,
)
from engine.graph_cache import GraphCache
from engine.messages import Request
from engine.ports import MOST_SIGNALS, Clock, ExecutionStore
from engine.records import Letter
from engine.session import Session
from engine.signals import check_signal, refuse_reuse

_WAIT_POLL_SECONDS = 0.2
_CANCEL_PATIENCE_SECONDS = 15.0


class Requests:
    """An engine, as far as such requests go."""

    _store: ExecutionStore
    _clock: Clock
    _session: Session | None
    _admission: Admission
    graphs: GraphCache

    async def cancel_execution(self, execution_id: str) -> datetime:
        """Cancels an execution, whichever process runs it; returns when it was, once it is.

        Raises `ExecutionNotFound`, `ExecutionNotRunning` if it had ended already, `CancelPending`
        if it was asked for and nobody says that it is done, `StoreUnavailable` if it was not.
        """
        deadline = self._clock.monotonic() + _CANCEL_PATIENCE_SECONDS
        asked = False
        while True:
            session = self._session
            if session is not None and session.ask(execution_id, Request.CANCEL):
                asked = True
                await session.ended(execution_id, _WAIT_POLL_SECONDS * 5)
            try:
                answer = await self._store.request_cancel(execution_id)
            except (StoreUnavailable, OutcomeUnknown) as error:
                if not asked:
                    raise
                raise CancelPending(str(error)) from error
            if answer is None:
                raise ExecutionNotFound
            if answer.state == "cancelled" and answer.at is not None:
                return answer.at
            if answer.state == "ended":
                if asked and answer.at is not None:
                    return answer.at
                raise ExecutionNotRunning(status=answer.status)
            asked = True
            if self._clock.monotonic() > deadline:
                raise CancelPending("the worker that runs the execution does not answer")
            await asyncio.sleep(_WAIT_POLL_SECONDS)

    async def pause_execution(self, execution_id: str) -> ExecutionStatus:
        """Pauses an execution, whichever process runs it: what runs finishes, nothing new starts.
        Durable on return. Its status then: `paused`, or `running` if something still finishes.

        Raises `ExecutionNotFound`, `ExecutionNotRunning` if it has ended.
        """
        status = self._asked(await self._store.request_pause(execution_id))
        session = self._session
        if status is ExecutionStatus.RUNNING and session is not None:
            if session.ask(execution_id, Request.PAUSE):
                await session.ended(execution_id, _WAIT_POLL_SECONDS)
            with suppress(StoreUnavailable, OutcomeUnknown):  # it was asked for, durably
                status = self._asked(await self._store.status(execution_id))
        return status

    async def resume_execution(self, execution_id: str) -> ExecutionStatus:
        """Lets a paused execution go on; one that is not paused does so anyhow. Durable on return.
        Its status then.

        Raises `ExecutionNotFound`, `ExecutionNotRunning` if it has ended.
        """
        status = self._asked(await self._store.request_resume(execution_id))
        session = self._session
        if session is not None:
            session.ask(execution_id, Request.RESUME)
            session.nudge()
        return status

    def _asked(self, status: ExecutionStatus | None) -> ExecutionStatus:
        if status is None:
            raise ExecutionNotFound
        if status.terminal:
            raise ExecutionNotRunning(status=str(status))
        return status

    async def signal_execution(
        self, execution_id: str, name: str, payload: Json, *, sent_by: int, letter_id: str
    ) -> bool:
        """Sends a signal; it is durable on return, and waits for a node that has not got there
        yet. False if it had been sent before: one `letter_id` (a UUID) is one signal.

        Raises `ExecutionNotFound`, `ExecutionNotRunning`, `SignalUnknown`, `SignalUnfit`,
        `SignalReused` if the id stands for another signal, `TooManySignals`, `CommunityFull` if it
        is new and there is no room for what it brings.
        """
        stored = await self._store.peek(execution_id)
        if stored is None:
            raise ExecutionNotFound
        context = stored.context
        if not stored.progress.status.terminal:
            graph = await self.graphs.get(context.workflow_id, context.workflow_version)
            check_signal(graph, name, payload)
        letter = Letter(letter_id, "signal", name, payload, self._clock.now(), sent_by)
        if not stored.progress.status.terminal:
            await self._afford(context.community_id, execution_id, letter)
        became = await self._store.post(execution_id, letter)
        if became == "full":
            raise TooManySignals(most=MOST_SIGNALS)
        if became == "known":
            refuse_reuse(await self._store.letters(execution_id), letter)
        elif became != "kept":
            raise ExecutionNotRunning(status=str(await self._store.status(execution_id)))
        return became == "kept"

    async def _afford(self, community_id: int, execution_id: str, letter: Letter) -> None:
        try:
            await self._admission.afford(community_id)
        except CommunityFull:
            known = await self._store.letters(execution_id)
            if all(each.letter_id != letter.letter_id for each in known):
                raise
