"""Outbound HTTP for workflow authors, with every promise that a stranger's URL needs.

The rule it keeps: the peer decides nothing. It may be slow, huge, compressed a thousandfold,
malformed or inside the operator's network; the caller gets a response within bounds, cut with a
mark if it was larger, or a `StepFailure`, in time. Redirects are not followed (a 3xx is a status
like another), cookies are not kept (they would pass from one tenant to another), proxies of the
environment are not used.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from engine.context import Json
from engine.errors import StepFailure
from engine.json_door import JsonError, dumps, parse_json
from engine.nodes.http_request import header_problem
from engine.ports import HttpResponse
from services.egress import Egress, EgressBlocked

PREVIEW_LENGTH = 1_000
_LONGEST_CHARACTER = 4
"""Bytes, in any charset that is read here."""
_READ_SIZE = 65_536
_KEEPALIVE_SECONDS = 4
"""Below the five seconds after which common servers hang up: a request sent into a closing
connection fails, and only the author could say whether it may be repeated."""
_CHARSETS = frozenset(
    {"utf-8", "utf-16", "utf-16-le", "utf-16-be", "ascii", "latin-1", "shift_jis", "euc_jp"}
    | {"iso2022_jp", "gbk", "gb2312", "gb18030", "big5", "euc_kr", "koi8-r", "koi8-u"}
    | {f"cp{number}" for number in range(1250, 1259)}
    | {f"iso8859-{number}" for number in range(1, 17)}
)
"""Charsets that decode in linear time; Python knows others that do not (`punycode`)."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How much one answer may cost: bytes after decompression, connections in all and to one
    host, header lines and bytes of one."""

    max_response_bytes: int = 1_048_576
    max_connections: int = 256
    max_connections_per_host: int = 64
    max_headers: int = 100
    max_header_bytes: int = 8_190


class AiohttpClient:
    """The `HttpClient` of the service. Sessions are made at the first request; `close` ends
    them. With `egress` None every address is allowed: for peers that the operator has named."""

    def __init__(
        self,
        egress: Egress | None,
        *,
        limits: HttpLimits | None = None,
        user_agent: str = "WaddleBot-Workflow/1.0",
    ) -> None:
        self._egress = egress
        self._limits = limits or HttpLimits()
        self._user_agent = user_agent
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection; a later request opens new ones."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | list[str]] | None,
        body: Json,
        timeout_seconds: float,
    ) -> HttpResponse:
        """Sends one request and reads its answer, both within `timeout_seconds`.

        Header names of the response are lower-case. A body beyond the limit is `cut`: the request
        has done what it does, and its status counts. Raises `StepFailure`: `EGRESS_BLOCKED`,
        `BAD_URL`, `BAD_REQUEST` and `BAD_RESPONSE`, which trying again would not help, and the
        retryable `NETWORK_ERROR` and `TIMEOUT`, which are `uncertain` once the request may have
        left.
        """
        target = _target(url)
        session = self._session(self._trusts(target))
        host = target.host or ""
        try:
            sent_headers, data = _payload(headers, body)
            async with session.request(
                method,
                target.extend_query(params) if params else target,
                headers=sent_headers,
                data=data,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            ) as response:
                return await self._answer(response)
        except TimeoutError:
            message = f"{host} did not answer within {timeout_seconds:g} s"
            raise StepFailure("TIMEOUT", message, retryable=True, uncertain=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error, host) from error

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout_seconds: float,
        keep_bytes: int,
    ) -> HttpResponse:
        """Posts these bytes to a peer of which only the status counts.

        At most `keep_bytes` of its body are read, as text; one that is longer, breaks off or
        never ends changes nothing about a status that has come. Raises `StepFailure` as `request`
        does, where no status came.
        """
        target = _target(url)
        session = self._session(self._trusts(target))
        host = target.host or ""
        try:
            async with session.post(
                target,
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            ) as response:
                return _answer_in_text(response, await _beginning(response, keep_bytes))
        except TimeoutError:
            message = f"{host} did not answer within {timeout_seconds:g} s"
            raise StepFailure("TIMEOUT", message, retryable=True, uncertain=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error, host) from error

    def _trusts(self, target: URL) -> bool:
        """Whether the host is admitted by name. Raises `StepFailure` if it is refused."""
        if self._egress is None:
            return True
        host = target.raw_host or ""
        if self._egress.names_denied(host):
            raise _blocked(host)
        return self._egress.names_allowed(host)

    def _session(self, trusted: bool) -> aiohttp.ClientSession:
        """One session for hosts admitted by name and one for all others, so that a connection
        made under the one rule is never reused under the other."""
        session = self._sessions.get(trusted)
        if session is not None:
            return session
        limits = self._limits
        guard = None
        if self._egress is not None:
            guard = partial(self._egress.socket_factory, trusted=trusted)
        connector = aiohttp.TCPConnector(
            limit=limits.max_connections,
            limit_per_host=limits.max_connections_per_host,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            socket_factory=guard,
        )
        session = self._sessions[trusted] = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent},
            # Otherwise a request without a body would claim to be `application/octet-stream`.
            skip_auto_headers=("Content-Type",),
            trust_env=False,
            read_bufsize=_READ_SIZE,
            max_line_size=limits.max_header_bytes,
            max_field_size=limits.max_header_bytes,
            max_headers=limits.max_headers,
        )
        return session

    async def _answer(self, response: aiohttp.ClientResponse) -> HttpResponse:
        """The answer with its decompressed body. Stops reading, and so inflating, at the limit."""
        content = bytearray()
        async for piece in response.content.iter_any():
            content += piece
            if len(content) > self._limits.max_response_bytes:
                mark = _mark(response, bytes(content))
                return HttpResponse(response.status, _headers(response), mark, cut=True)
        return HttpResponse(response.status, _headers(response), _body(response, bytes(content)))


def _target(url: str) -> URL:
    try:
        target = URL(url)
        if target.scheme not in {"http", "https"}:
            raise StepFailure("BAD_URL", "only http and https addresses can be requested")
        if not target.host or target.port == 0:
            raise StepFailure("BAD_URL", "the address has no usable host and port")
    except ValueError:
        raise StepFailure("BAD_URL", "the address is malformed") from None
    return target


def _payload(headers: Mapping[str, str], body: Json) -> tuple[CIMultiDict[str], bytes | None]:
    sent = CIMultiDict(headers)
    for name in sent:
        if problem := header_problem(name):  # aiohttp would send any name.
            raise StepFailure("BAD_REQUEST", problem)
    if body is None:
        return sent, None
    kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    sent.setdefault("Content-Type", kind)
    return sent, body.encode() if isinstance(body, str) else dumps(body)


def _answer_in_text(response: aiohttp.ClientResponse, content: bytes) -> HttpResponse:
    return HttpResponse(response.status, _headers(response), _text(response, content))


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {_clean(value)}" if key in headers else _clean(value)
    return headers


async def _beginning(response: aiohttp.ClientResponse, most: int) -> bytes:
    """What came of the body before it was enough, or broke off. What is left unread is not read:
    the connection is closed instead."""
    content = bytearray()
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async for piece in response.content.iter_any():
            content += piece
            if len(content) >= most:
                break
    return bytes(content[:most])


def _mark(response: aiohttp.ClientResponse, content: bytes) -> Json:
    """What stands for a body that was cut, as in lists of steps."""
    packed = "Content-Encoding" in response.headers
    beginning = _text(response, content[: PREVIEW_LENGTH * _LONGEST_CHARACTER])
    return {
        "truncated": True,
        "bytes": None if packed else response.content_length,
        "preview": beginning[:PREVIEW_LENGTH],
    }


def _body(response: aiohttp.ClientResponse, content: bytes) -> Json:
    """JSON if the peer says so, else text. The body of an error is not worth a second error:
    JSON that cannot be read is then text."""
    kind = response.content_type
    if kind == "application/json" or kind.endswith("+json"):
        if not content:
            return None
        try:
            return parse_json(content.removeprefix(codecs.BOM_UTF8))
        except JsonError as error:
            if response.status < 400:
                message = f"the answer says it is JSON, but is not acceptable: {error}"
                raise StepFailure("BAD_RESPONSE", message) from None
    return _text(response, content)


def _text(response: aiohttp.ClientResponse, content: bytes) -> str:
    return content.decode(_charset(response.charset), "replace").replace("\0", "\ufffd")


def _charset(named: str | None) -> str:
    try:
        name = codecs.lookup(named or "utf-8").name
    except LookupError:
        return "utf-8"
    return name if name in _CHARSETS else "utf-8"


def _clean(value: str) -> str:
    """aiohttp keeps undecodable header bytes as lone surrogates, which nothing can store."""
    raw = value.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _failure(error: Exception, host: str) -> StepFailure:
    """What a library's error means for a workflow, without facts about the network."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, EgressBlocked):
        return _blocked(host)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return StepFailure("NETWORK_ERROR", f"{host} cannot be found", retryable=True)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return StepFailure("NETWORK_ERROR", f"no secure connection to {host}", retryable=True)
    if isinstance(error, aiohttp.InvalidURL):
        return StepFailure("BAD_URL", "the address is malformed")
    if isinstance(error, aiohttp.ClientResponseError):
        return StepFailure("BAD_RESPONSE", f"{host} does not speak proper HTTP")
    if isinstance(error, aiohttp.ClientConnectorError):
        return StepFailure("NETWORK_ERROR", f"{host} cannot be reached", retryable=True)
    if isinstance(error, aiohttp.ClientError | OSError):
        message = f"the connection to {host} broke off"
        return StepFailure("NETWORK_ERROR", message, retryable=True, uncertain=True)
    return StepFailure("BAD_REQUEST", f"the request cannot be sent: {error}")


def _blocked(host: str) -> StepFailure:
    return StepFailure(
        "EGRESS_BLOCKED",
        f"workflows may not connect to {host!r}: use a public address, or ask the operator to "
        "list the host in EGRESS_ALLOW",
    )
