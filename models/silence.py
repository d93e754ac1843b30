"""Whether the server answers, as the calls in progress tell.

Its one rule: while nothing is heard of the server, one call at a time finds out whether that is
over, and all others fail at once instead of waiting as long as it does.

A server that refuses (it restarts, it is full, it is read-only) answers in no time and is asked by
everybody. One that is frozen, or behind a broken network, takes every call its whole patience:
requests would hang one after the other, and pile up in memory. Silence is therefore what a
call met that waited in vain *and* during which no other call was answered either: one connection
that hangs is not the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import StoreUnavailable


class Silence:
    """The state between "it answers" and "it does not"."""

    def __init__(self) -> None:
        self._silent = False
        self._probes = 0
        self._heard_at = float("-inf")

    @contextmanager
    def call(self, *, urgent: bool) -> Iterator[None]:
        """Around one call of the server, from asking for a connection on. An urgent one is never
        refused. Raises `StoreUnavailable` at once while the server is silent and another call is
        asking it."""
        if self._silent and self._probes and not urgent:
            raise StoreUnavailable("the database has stopped answering")
        began = asyncio.get_running_loop().time()
        probe = self._silent
        self._probes += probe
        try:
            yield
        except asyncio.CancelledError:
            raise  # It was not waited for.
        except BaseException as error:
            if not _waited_in_vain(error):
                self._heard()
            elif self._heard_at < began:
                self._silent = True
            raise
        else:
            self._heard()
        finally:
            self._probes -= probe

    def _heard(self) -> None:
        """Something came back, if only a refusal."""
        self._silent = False
        self._heard_at = asyncio.get_running_loop().time()


def _waited_in_vain(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)
