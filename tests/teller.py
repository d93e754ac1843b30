"""Who tells a story to the service: calls its operations by name, and keeps what was asked and
answered, for the examples of the OpenAPI document.

Its one rule: an example is what a running service answered. Only what nobody should copy, secrets
and the address of the story's own receiver, is replaced by something of the same form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.sse import sse
from tests.waiting import until

Examples = dict[str, dict[str, Any]]
"""By operation: its `request`, if it has a body, and its `answers` by status."""

HOOK_SHOWN = "https://hooks.example.org/waddlebot"
SECRET_SHOWN = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")
_KEY = re.compile(r"(wa-[0-9a-f]{8})[0-9a-f]{56}")
_TAIL = ("0123456789abcdef" * 4)[8:]


@dataclass
class Teller:
    """Asks the service at `url`. `document` is its OpenAPI document, `hook` the address of the
    story's receiver of webhooks."""

    http: aiohttp.ClientSession
    url: str
    document: dict[str, Any]
    hook: str
    told: Examples = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    """The first body that each operation took, as it was sent."""
    headers: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    """The names of the headers with which each operation answered each status, in lower case."""

    async def call(
        self,
        operation: str,
        body: Any = None,
        *,
        query: str = "",
        once: str = "",
        refused: int = 0,
        sent: Mapping[str, str] | None = None,
        **parts: Any,
    ) -> Any:
        """Calls an operation, with `parts` in its path, `once` as its `Idempotency-Key` and the
        headers `sent`, and returns the answer, which must be a success or `refused` with this
        status. The first answer of each status is kept."""
        headers = {**(sent or {}), **({"Idempotency-Key": once} if once else {})}
        status, got, came = await self._ask(operation, body, query, headers, parts)
        assert status == refused if refused else status < 400, f"{operation}: {status} {got}"
        self.headers.setdefault((operation, status), set()).update(came)
        self._keep(operation, body, status, got)
        return got

    async def until(
        self, operation: str, holds: Callable[[Any], bool], *, query: str = "", **parts: Any
    ) -> Any:
        """Asks until what is answered `holds`; keeps none of it."""
        last: list[Any] = []

        async def check() -> bool:
            status, got, _ = await self._ask(operation, None, query, {}, parts)
            assert status < 400, f"{operation}: {status} {got}"
            last[:] = [got]
            return holds(got)

        await until(check)
        return last[0]

    async def first_event(
        self,
        operation: str,
        meanwhile: Callable[[], Awaitable[Any]] | None = None,
        *,
        query: str = "",
        **parts: Any,
    ) -> None:
        """Opens a stream, does what is to be done `meanwhile`, and keeps the first event."""
        _, url = self._where(operation, query, parts)
        async with sse(self.http, url) as stream:
            if meanwhile is not None:
                await meanwhile()
            async for event in stream.events():
                sent = {"data": json.dumps(event)}
                kept = {"id": stream.last_id, **sent} if stream.last_id else sent
                self._keep(operation, None, 200, kept)
                return
        raise AssertionError(f"{operation}: the stream ended without an event")

    async def _ask(
        self,
        operation: str,
        body: Any,
        query: str,
        headers: Mapping[str, str],
        parts: dict[str, Any],
    ) -> tuple[int, Any, set[str]]:
        method, url = self._where(operation, query, parts)
        sent: dict[str, Any] = {} if body is None else {"json": body}
        async with self.http.request(method, url, headers=headers, **sent) as answer:
            text = await answer.text()
            return (
                answer.status,
                json.loads(text) if text else None,
                {name.lower() for name in answer.headers},
            )

    def _where(self, operation: str, query: str, parts: dict[str, Any]) -> tuple[str, str]:
        for path, operations in self.document["paths"].items():
            for method, described in operations.items():
                if described["operationId"] == operation:
                    url = self.url + path.format(**parts)
                    return method.upper(), f"{url}?{query}" if query else url
        raise LookupError(f"there is no operation {operation!r}")

    def _keep(self, operation: str, body: Any, status: int, got: Any) -> None:
        kept = self.told.setdefault(operation, {})
        if body is not None and status < 400:
            self.asked.setdefault(operation, body)
            kept.setdefault("request", self._shown(body))
        if got is not None:
            kept.setdefault("answers", {}).setdefault(str(status), self._shown(got))

    def _shown(self, value: Any) -> Any:
        text = json.dumps(value).replace(self.hook, HOOK_SHOWN)
        text = _KEY.sub(rf"\g<1>{_TAIL}", _SECRET.sub(SECRET_SHOWN, text))
        return json.loads(text)
