"""The public keys of whoever signs tokens, fetched from a JWKS (RFC 7517) and kept.

Its one rule: a request never waits for the endpoint longer than one bounded fetch, and only for a
key that is not known. One fetch at a time, shared by all who wait; after it, whatever it brought,
none for `pause_seconds`, so that made-up key ids cost the endpoint nothing. While the endpoint is
away the last set that came goes on counting. A set that comes replaces the one before, so a key
that was withdrawn ends at the next refresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from engine.context import Json
from engine.json_door import parse_json
from engine.ports import HttpClient
from services.errors import SigningKeysUnavailable

REFRESH_SECONDS = 600.0
PAUSE_SECONDS = 10.0
FETCH_SECONDS = 3.0
MOST_KEYS = 100
LEAST_RSA_BITS = 2048
MAX_SET_BYTES = 262_144

_OK = 200
_KINDS = {"RSA": "RS256", "EC": "ES256"}

Fetch = Callable[[], Awaitable[Json]]


class Trouble(Protocol):
    """Where trouble is written: `AaaLog`."""

    def trouble(self, action: str, *, cause: BaseException, **fields: object) -> None: ...

    def over(self, action: str) -> None: ...


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One public key, and the only algorithm that it verifies."""

    key_id: str | None
    algorithm: str
    public: Any


class KeySet:
    """The keys at hand. `fetch` gives the document; `clock` counts seconds."""

    def __init__(
        self,
        fetch: Fetch,
        log: Trouble,
        *,
        clock: Callable[[], float],
        refresh_seconds: float = REFRESH_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        self._fetch = fetch
        self._log = log
        self._clock = clock
        self._refresh = refresh_seconds
        self._pause = pause_seconds
        self._patience = fetch_seconds
        self._keys: list[SigningKey] | None = None
        self._came = 0.0
        self._tried: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to fetch, so that the first token need not wait."""
        self._begin()

    async def stop(self) -> None:
        """Ends a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def find(self, key_id: str | None, algorithm: str) -> SigningKey | None:
        """The key of this id and algorithm; without an id, the only one of the algorithm.
        Raises `SigningKeysUnavailable` while no set ever came."""
        if algorithm not in _KINDS.values():
            return None
        found = self._lookup(key_id, algorithm)
        if found is not None:
            if self._clock() - self._came >= self._refresh:
                self._begin()
            return found
        if fetching := self._begin():
            # Shielded: a caller that goes away must not take the others' answer with it.
            await asyncio.shield(fetching)
        if self._keys is None:
            raise SigningKeysUnavailable
        return self._lookup(key_id, algorithm)

    def _lookup(self, key_id: str | None, algorithm: str) -> SigningKey | None:
        fitting = [key for key in self._keys or () if key.algorithm == algorithm]
        if key_id is not None:
            fitting = [key for key in fitting if key.key_id == key_id]
        return fitting[0] if len(fitting) == 1 else None

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or a new one; None if the last was a moment ago."""
        if self._fetching is not None:
            return self._fetching
        if self._tried is not None and self._clock() - self._tried < self._pause:
            return None
        self._fetching = asyncio.create_task(self._run(), name="jwks")
        return self._fetching

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                self._keys = keys_of(await self._fetch())
        except Exception as error:  # the edge of a background task: the last set goes on
            self._log.trouble("jwks", cause=error)
        else:
            self._came = self._clock()
            self._log.over("jwks")
        finally:
            self._tried = self._clock()
            self._fetching = None


def fetch_from(http: HttpClient, url: str, timeout_seconds: float = FETCH_SECONDS) -> Fetch:
    """Fetches the document at `url`. Raises `StepFailure`, `ValueError`."""

    async def fetch() -> Json:
        response = await http.request(
            "GET",
            url,
            headers={"Accept": "application/json"},
            params=None,
            body=None,
            timeout_seconds=timeout_seconds,
        )
        if response.status != _OK:
            raise ValueError(f"the JWKS endpoint answered {response.status}")
        if response.cut:
            raise ValueError(f"the JWKS has more than {MAX_SET_BYTES} bytes")
        # Served as something else than JSON, it comes as text.
        return parse_json(response.body) if isinstance(response.body, str) else response.body

    return fetch


def keys_of(document: Json) -> list[SigningKey]:
    """The keys of a JWKS that can verify RS256 or ES256; the others are passed over. Raises
    `ValueError` for what is no JWKS, or has none of them."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ValueError(f"the document is not a JWKS of at most {MOST_KEYS} keys")
    keys = [key for key in map(_key, listed) if key is not None]
    if not keys:
        raise ValueError("the JWKS has no key for RS256 or ES256")
    return keys


def _key(entry: Any) -> SigningKey | None:
    """Symmetric keys are not taken: what everyone can read signs for nobody."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    algorithm = _KINDS.get(str(entry.get("kty")))
    if algorithm is None or entry.get("alg", algorithm) != algorithm or "d" in entry:
        return None
    if algorithm == "ES256" and entry.get("crv") != "P-256":
        return None
    key_id = entry.get("kid")
    try:
        public = jwt.PyJWK.from_dict(entry, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if algorithm == "RS256" and public.key_size < LEAST_RSA_BITS:
        return None
    return SigningKey(key_id if isinstance(key_id, str) else None, algorithm, public)
