"""Histograms: what is added up is what is told, whichever way it comes."""

from __future__ import annotations

import random
from collections import Counter
from math import ceil, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dal import AsyncDAL
from models.histograms import FIRST_SECONDS, GROWTH, Histogram

SEND = "SELECT as_sent($1)"


def of(counts: dict[int, int]) -> Histogram:
    made = Histogram()
    for number, times in counts.items():
        made.add(number, times)
    return made


def told(histogram: Histogram) -> dict[int, int]:
    return {number: times for number, times in enumerate(histogram.counts(), -1) if times}


bins = st.dictionaries(st.integers(-1, 240), st.integers(-(10**6), 10**12), max_size=20)


@given(st.lists(bins, max_size=8))
def test_the_sum_of_histograms_has_the_sums_of_their_counts(several: list[dict[int, int]]) -> None:
    """Also where some are below zero, as what a rebuild has found wrong is."""
    together, expected = Histogram(), Counter[int]()
    for each in several:
        together += of(each)
        for number, times in each.items():
            expected[number] += times
    assert told(together) == {number: times for number, times in expected.items() if times}


async def test_what_postgresql_sends_is_added_bin_by_bin(dal: AsyncDAL) -> None:
    chance = random.Random(3)
    together, expected = of({5: 7}), Counter({5: 7})
    for _ in range(200):
        lowest = chance.randrange(-1, 100)
        counts = [chance.choice((0, 1, -3, 2**40)) for _ in range(chance.randrange(60))]
        together.add_sent(lowest, await dal.fetchval(SEND, counts))
        for number, times in enumerate(reversed(counts), lowest):
            expected[number] += times
    assert told(together) == {number: times for number, times in expected.items() if times}


@pytest.mark.parametrize("number", [1, 2, 20, 100, 1000])
def test_a_quantile_is_within_five_percent(number: int) -> None:
    chance = random.Random(number)
    durations = sorted(chance.lognormvariate(1, 2) + FIRST_SECONDS for _ in range(number))
    counts = Counter(ceil(log(d / FIRST_SECONDS) / log(GROWTH)) for d in durations)
    shares = (0.5, 0.95, 0.99, 1.0)

    measured, seconds = of({-1: 4, **counts}).quantiles(shares)

    assert measured == number, "what never started is not among them"
    assert seconds == [
        pytest.approx(durations[ceil(share * number - 1e-9) - 1], rel=0.0501) for share in shares
    ]


@pytest.mark.parametrize("counts", [{}, {-1: 3}, {4: 1, 5: -1}])
def test_there_is_no_quantile_of_nothing(counts: dict[int, int]) -> None:
    assert of(counts).quantiles((0.5,)) == (0, [None])
