"""Regular expressions: RE2's, bounded in length, in memory and in the size of their program."""

from __future__ import annotations

import pytest

from engine.expression_patterns import MAX_PATTERN, Pattern, search, subject
from engine.expressions import Budget, ExpressionError


def reason(source: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is what is asserted
        Pattern(source)
    return str(caught.value)


def test_a_pattern_has_at_most_256_characters() -> None:
    assert MAX_PATTERN == 256
    assert Pattern("a" * 256).search("a" * 256, Budget())
    assert reason("a" * 257) == "longer than 256 characters"


def test_a_pattern_compiles_to_a_bounded_program() -> None:
    assert Pattern("a{1000}b{900}c{900}").size < 3_000
    assert reason("a{1000}b{1000}c{1000}") == "too large; use smaller repetitions"
    assert reason(r"[\pL]{40}") == "too large; use smaller repetitions"


def test_compiling_a_pattern_takes_a_bounded_memory() -> None:
    assert reason(r"[\pL]{60}") == "pattern too large - compile failed"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("(", "missing ): ("),
        ("[a", "missing ]: [a"),
        ("a**", "bad repetition operator: **"),
        ("(?=a)", "invalid perl operator: (?="),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("a{1001}", "invalid repetition size: {1001}"),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_reason(source: str, said: str) -> None:
    assert reason(source) == said


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("^a.c$", "abc", True),
        ("(?i)ABC", "xabcx", True),
        (r"^\d+$", "123", True),
        (r"^\d+$", "12a", False),
        ("", "", True),
        ("ä|ö", "schön", True),
        ("a.c", "a\nc", False),
    ],
)
def test_a_pattern_is_looked_for_anywhere(pattern: str, text: str, found: bool) -> None:
    assert Pattern(pattern).search(text, Budget()) is found
    assert search(text, pattern, Budget()) is found


def test_a_search_costs_the_text_times_the_program() -> None:
    pattern = Pattern("abc")
    budget = Budget()
    pattern.search("x" * 2_560, budget)
    assert 20_000 - budget.fuel == 1 + 10 * pattern.size
    budget = Budget()
    search("x" * 2_560, "abc", budget)
    assert 20_000 - budget.fuel == 21 + 11 * pattern.size


def test_numbers_are_searched_as_they_are_written_and_nothing_else_is() -> None:
    assert [subject("a"), subject(5), subject(2.5), subject(True)] == ["a", "5", "2.5", "True"]
    for value in (None, [], {}):
        with pytest.raises(ExpressionError):
            subject(value)
