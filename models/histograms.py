"""Histograms of durations, added up by the hundred.

All counts of one stand in a single integer, 96 bits apart, so that adding two histograms is adding
two integers: the report of a day of six busy workflows adds up fifteen thousand counts. It is also
how PostgreSQL sends an array (`array_send`): for each element its length in four bytes and its
value in eight, the most significant byte first. Lengths are summed up with the rest and skipped
when counts are read; a value below zero carries into them and nowhere else.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate
from math import ceil
from struct import Struct

GROWTH = 1.05 / 0.95
"""By which factor the bins of a duration grow: see `duration_bin` in the migration."""
FIRST_SECONDS = 0.001
"""Where the first bin ends."""

_NONE = -1
"""The bin of what never started."""
_ELEMENT = 12
_BITS = 8 * _ELEMENT


def middle_of(bin_number: int) -> float:
    """The seconds within 5 % of every duration in a bin; of the first one, its end."""
    if bin_number <= 0:
        return FIRST_SECONDS
    return float(FIRST_SECONDS * 2 * GROWTH**bin_number / (GROWTH + 1))


class Histogram:
    """How many durations there are in each bin; at most 2**28 histograms may be added up."""

    __slots__ = ("_packed",)

    def __init__(self, packed: int = 0) -> None:
        self._packed = packed

    def add(self, bin_number: int, times: int) -> None:
        """Adds so many durations of a bin."""
        self._packed += times % 2**64 << _BITS * (bin_number - _NONE)

    def add_sent(self, lowest: int, sent: bytes) -> None:
        """Adds counts as PostgreSQL sends the elements of a `bigint[]`: those of all bins from the
        highest one down to `lowest`."""
        self._packed += int.from_bytes(sent, "big") << _BITS * (lowest - _NONE)

    def __iadd__(self, other: Histogram) -> Histogram:
        self._packed += other._packed
        return self

    def counts(self) -> list[int]:
        """How many durations each bin has, from that of what never started (-1) up to the highest
        one that has any."""
        bins = -(-self._packed.bit_length() // _BITS)
        counts = list(_elements(bins).unpack(self._packed.to_bytes(bins * _ELEMENT, "big")))
        counts.reverse()
        return counts

    def quantiles(self, shares: tuple[float, ...]) -> tuple[int, list[float | None]]:
        """How many durations there are, without what never started; and for each share of them the
        seconds that it does not exceed, within 5 %, None of none."""
        passed = list(accumulate(self.counts()[-_NONE:]))
        if not passed or passed[-1] <= 0:
            return 0, [None] * len(shares)
        ranks = [ceil(share * passed[-1] - 1e-9) for share in shares]
        return passed[-1], [round(middle_of(bisect_left(passed, rank)), 6) for rank in ranks]


@lru_cache(maxsize=512)
def _elements(number: int) -> Struct:
    """So many elements of an array as it is sent, without their lengths."""
    return Struct(">" + "4xq" * number)
