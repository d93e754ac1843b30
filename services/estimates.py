"""Totals that are more than is counted, remembered for a while.

Its one rule: only what is an estimate anyhow is remembered. An exact total, and whether a list ends
on a page, is always read; and a list is remembered by everything that decides what is in it, whose
reader may see which workflows included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

from models.execution_filter import Listing, Order
from models.execution_pages import Total

SECONDS = 10.0
"""How old an estimate may be."""
CAPACITY = 10_000


class Estimates:
    """Estimated totals by list."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[float, Total]] = {}

    def of(self, listing: Listing) -> Total | None:
        """What is remembered of a list, in whatever order it is read."""
        found = self._known.get(_key(listing)) if self._known else None
        return found[1] if found is not None and found[0] > self._clock() else None

    def note(self, listing: Listing, total: Total) -> None:
        """Remembers a total that was counted just now, unless it is exact."""
        if total.exact:
            return
        key = _key(listing)
        self._known.pop(key, None)
        while len(self._known) >= CAPACITY:
            del self._known[next(iter(self._known))]
        self._known[key] = (self._clock() + SECONDS, total)


def _key(listing: Listing) -> bytes:
    """A digest, for there may be thousands of workflows within reach."""
    content = repr(replace(listing, order=Order())).encode(errors="surrogatepass")
    return blake2b(content, digest_size=16).digest()
