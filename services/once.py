"""One start per Idempotency-Key.

Its one rule: the key is claimed in the database before anything starts, and what it stands for is
known from then on. So the same request, repeated or sent several times at once, in one process or
in several, starts the one execution that the first claim named.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256

import orjson

from engine.context import Json
from models.executions import Executions
from models.idempotency import IdempotencyKeys, KnownKey
from services.errors import IdempotencyKeyReused


def digest_of(*request: Json) -> bytes:
    """What makes two requests the same one: a hash of their parts, whatever the order of keys."""
    return sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).digest()


class Once:
    """Claims keys. A key is its user's and a workflow's, for a day."""

    def __init__(self, keys: IdempotencyKeys, executions: Executions) -> None:
        self._keys = keys
        self._executions = executions

    async def started(self, user_id: int, workflow_id: str, key: str, digest: bytes) -> str | None:
        """The execution that this key started; None if it has started none. Raises
        `IdempotencyKeyReused` if the key stands for another request."""
        known = await self._keys.find(user_id, workflow_id, key)
        if known is None:
            return None
        _refuse_reuse(known, digest)
        owner = await self._executions.owner(known.execution_id)
        return None if owner is None else known.execution_id

    async def start(
        self,
        user_id: int,
        workflow_id: str,
        key: str,
        wanted: KnownKey,
        create: Callable[[str], Awaitable[object]],
    ) -> str:
        """The execution that the key stands for, created with `create(execution_id)`: the wanted
        one, or the one of whoever claimed the key first. Raises `IdempotencyKeyReused`, and what
        `create` raises."""
        known = await self._keys.claim(user_id, workflow_id, key, wanted) or wanted
        _refuse_reuse(known, wanted.request_hash)
        await create(known.execution_id)
        return known.execution_id

    async def batch(self, user_id: int, workflow_id: str, key: str, digest: bytes) -> Json:
        """What the key's batch was answered, if all of it was started; None if it was not.
        Raises `IdempotencyKeyReused`."""
        known = await self._keys.find(user_id, workflow_id, key)
        if known is None:
            return None
        _refuse_reuse(known, digest)
        ids = [item["execution_id"] for item in known.answer or () if item["execution_id"]]
        whole = await self._executions.known(ids) == len(ids)
        return known.answer if whole else None

    async def start_batch(
        self,
        user_id: int,
        workflow_id: str,
        key: str,
        wanted: KnownKey,
        prepare: Callable[[str], tuple[Json, Callable[[], Awaitable[object]]]],
    ) -> tuple[Json, bool]:
        """Starts the batch that the key stands for. `prepare(batch_id)` gives its answer and what
        starts it. The answer, and whether the key had been claimed before.

        Every request starts what it answers, under ids that follow from the key: so the answers
        of several agree, and each is true. Raises `IdempotencyKeyReused`, and what starting raises.
        """
        answer, start = prepare(wanted.execution_id)
        claim = replace(wanted, answer=answer)
        known = await self._keys.claim(user_id, workflow_id, key, claim) or claim
        _refuse_reuse(known, wanted.request_hash)
        again = known.execution_id != wanted.execution_id
        if again:
            answer, start = prepare(known.execution_id)
            if answer != known.answer:  # the first came to nothing, and the workflow changed since
                await self._keys.correct(user_id, workflow_id, key, replace(known, answer=answer))
        await start()
        return answer, again


def _refuse_reuse(known: KnownKey, digest: bytes) -> None:
    if known.request_hash != digest:
        raise IdempotencyKeyReused
