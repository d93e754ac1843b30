"""Where a request comes from.

Its one rule: a header counts only as far as it was written by a proxy that the operator has named
(`TRUSTED_PROXIES`). Without any, the address is that of the socket's other end.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from quart import has_request_context, request, websocket

NOWHERE = "-"
"""The address of a peer that has none, on a Unix socket."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Addresses:
    """Reads addresses. `trusted` are the networks of the proxies in front."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusted: list[Network] = [
            ipaddress.ip_network(each, strict=False) for each in trusted
        ]

    def current(self) -> str:
        """The address that the current request comes from."""
        asked = request if has_request_context() else websocket
        client = asked.scope.get("client")
        peer = str(client[0]) if client else NOWHERE
        if not self._trusted:
            return peer
        return self.behind(peer, asked.headers.getlist("X-Forwarded-For"))

    def behind(self, peer: str, forwarded: Sequence[str]) -> str:
        """The last address in the chain that is no trusted proxy. Each proxy appends whom it
        saw, so the chain is read from its end; what does not parse ends it."""
        chain = [part.strip() for line in forwarded for part in line.split(",")]
        address = peer
        while chain and self._trusts(address):
            claimed = _parsed(chain.pop())
            if claimed is None:
                break
            address = str(claimed)
        return address

    def _trusts(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found
