"""The HTTP client for requests that carry secrets.

Its one rule: a secret is in the request that leaves and in nothing that comes back: neither in the
answer nor in an error. Redirects are not followed (`http_client.py`), so it goes to the one host
that was judged.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.context import Json
from engine.errors import LeaseLost, StepFailure
from engine.ports import HttpClient, HttpResponse, SecretUse
from engine.sealed import unsealed
from services.redaction import Redaction
from services.vault import Vault


class VaultClient:
    """An `HttpClient` that fills secrets in from the vault and sends by `http`."""

    def __init__(self, http: HttpClient, vault: Vault, use: SecretUse) -> None:
        self._http = http
        self._vault = vault
        self._use = use

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
        """Sends one request with the secrets in their places. Raises as `Carrying` says."""
        use = self._use
        names = {place.name for place in use.places}
        values = await self._vault.opened(use.community_id, names, url)
        if not use.may_act():  # The lease may have run out while the secrets were fetched.
            raise LeaseLost
        redaction = Redaction(values.values())
        try:
            parts = {"headers": dict(headers), "params": params, "body": body}
            filled = unsealed(parts, use.places, values)
            answer = await self._http.request(
                method, url, **filled, timeout_seconds=timeout_seconds
            )
        except StepFailure as failure:
            raise redaction.failure(failure) from None
        except Exception as unexpected:  # the edge of what may be told: its text may hold a secret
            kind = type(unexpected).__name__
            raise StepFailure("BAD_REQUEST", f"the request cannot be sent ({kind})") from None
        return redaction.response(answer)
