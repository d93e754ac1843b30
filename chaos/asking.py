"""One HTTP client: asks a process that serves, and asks another one when the answer is unclear.

Its one rule: what may have happened is never asked for again without the key that makes it happen
once.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import aiohttp

from chaos.cluster import Member
from chaos.promises import Promises
from engine.context import Json, JsonObject

PATIENCE = aiohttp.ClientTimeout(total=15)
_SOON_SECONDS = (0.05, 0.4)
_CUT, _UNAVAILABLE = 0, 503


@dataclass(frozen=True, slots=True)
class Answer:
    """A status (0 when the connection was cut), a code if it is a refusal, and the data."""

    status: int
    code: str | None
    data: JsonObject

    @property
    def clear(self) -> bool:
        """Whether the caller knows what became of the request."""
        return self.status not in (_CUT, _UNAVAILABLE)


@dataclass(slots=True)
class Client:
    """Asks the processes, chosen by `rng`, until `deadline` (`loop.time()`)."""

    http: aiohttp.ClientSession
    members: list[Member]
    rng: random.Random
    promises: Promises
    deadline: float

    async def ask(self, path: str, body: Json) -> Answer | None:
        """POSTs once, without a key; None if no process serves."""
        member = self._choose(None)
        return None if member is None else await self._post(member, path, body, None)

    async def insist(self, path: str, body: Json, key: str | None) -> Answer | None:
        """POSTs to one process after the other until there is a clear answer; complains and gives
        None if there is none by the deadline."""
        loop = asyncio.get_running_loop()
        member: Member | None = None
        while loop.time() < self.deadline:
            member = self._choose(member)
            if member is not None:
                answer = await self._post(member, path, body, key)
                if answer.clear:
                    return answer
            await asyncio.sleep(self.rng.uniform(*_SOON_SECONDS))
        self.promises.complaints.append(f"nobody has answered {path} clearly")
        return None

    def _choose(self, besides: Member | None) -> Member | None:
        """A process that serves, another one than `besides` if there is one."""
        standing = [member for member in self.members if member.up]
        others = [member for member in standing if member is not besides]
        return self.rng.choice(others or standing) if standing else None

    async def _post(self, member: Member, path: str, body: Json, key: str | None) -> Answer:
        headers = {"Idempotency-Key": key} if key else {}
        url = f"{member.url}/workflows/{path}"
        try:
            request = self.http.post(url, json=body, headers=headers, timeout=PATIENCE)
            async with request as response:
                said = await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.promises.answered(_CUT, None)
            return Answer(_CUT, None, {})
        code = said.get("error_code")
        self.promises.answered(response.status, code)
        if response.status >= 500 and response.status != _UNAVAILABLE:
            self.promises.complaints.append(f"{path} was answered {response.status}: {said}")
        return Answer(response.status, code, said.get("data") or {})
