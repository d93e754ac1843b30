"""What everything costs: fuel and bytes, exactly.

The budget is the reason why no expression can hang or exhaust the service, so its prices are a
table here and not a by-product. A price may change, but only on purpose, with the corpus of hostile
expressions as the judge of whether it is still high enough.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from engine.expression_values import MAX_BYTES, MAX_FUEL
from engine.expressions import (
    Budget,
    ExpressionError,
    MapEnv,
    compile_expression,
    compile_template,
)

PLENTY = 10**9
VALUES: dict[str, Any] = {
    "small": "ab " * 2_345,
    "big": "y" * 40_003,
    "same_big": "".join("y" for _ in range(40_003)),
    "upper": "AB " * 30_011,
    "high": "\u0390" * 5_003,
    "blank": " " * 6_007,
    "lines": "ab\n" * 2_345,
    "numbers": list(range(1_003)),
    "same_numbers": list(range(1_003)),
    "zeros": [0] * 1_003,
    "words": [f"w{i}" for i in range(1_003)],
    "bigs": ["y" * 3_001 + str(i) for i in range(19)],
    "rows": [{"a": {"b": i % 7}} for i in range(503)],
    "same_rows": [{"a": {"b": i % 7}} for i in range(503)],
    "members": {f"k{i}": i for i in range(1_003)},
    "lists": [[i] for i in range(207)],
    "nodes": {"fetch": {"output": [1, 2]}},
}
ENV = MapEnv(VALUES, now=datetime(2026, 1, 31, tzinfo=UTC), random=0.5, uuid="u")

SYNTAX = [
    ("1", 1, 0),
    ("numbers", 1, 0),
    ("members.k1", 2, 0),
    ("nodes.fetch.output", 3, 0),
    ("nodes['fe' + 'tch']", 9, 59),
    ("1 + 2 * 3", 5, 0),
    ("1 < 2 < 3", 4, 0),
    ("numbers[1]", 3, 0),
    ("[1, 2, 3]", 6, 112),
    ("[]", 3, 16),
    ("{}", 3, 64),
    ("{'a': 1, 'b': [2]}", 10, 274),
    ("{**members}", 316, 84273),
    ("{**members, 'a': 1, **members}", 382, 148610),
    ("1 if zeros else 2", 4, 0),
    ("not small or big and 1", 6, 0),
    ("[x for x in numbers]", 2263, 32096),
    ("[x for x in numbers if x > 9]", 5273, 31776),
    ("[[x, y] for x in lists for y in x if y]", 2337, 26368),
    ("[c for c in small]", 15944, 344715),
    ("{w: 1 for w in words}", 4270, 132289),
    ("{w: x for x in [1, 2] for w in words if x > 1}", 14312, 132337),
    ("any(x > 5 for x in numbers)", 37, 0),
    ("all(x > 5 for x in numbers)", 13, 0),
    ("sum(x for x in numbers if x)", 3142, 16032),
    ("default(small, big)", 4, 0),
    ("default(nope, 1)", 4, 0),
    ("has(members.k1)", 4, 0),
    ("has(nope)", 3, 0),
    ("{'a': small}", 5, 7180),
    ("[rows]", 2143, 25198),
    ("[[], [[]]]", 12, 160),
    ("small, big", 5, 47118),
]

OPERATORS = [
    ("small + big", 48, 47038),
    ("numbers + words", 537, 68097),
    ("small * 3", 23, 21105),
    ("3 * small", 23, 21105),
    ("numbers * 2", 537, 64192),
    ("small * -1", 4, 0),
    ("numbers * 0", 5, 0),
    ("small[5:]", 10, 7030),
    ("small[::-3]", 7, 2345),
    ("small[9:5]", 5, 0),
    ("numbers[::2]", 138, 16064),
    ("numbers[:-1]", 272, 32064),
    ("big == same_big", 42, 0),
    ("big[:1024] == same_big[:1024]", 11, 2048),
    ("big[:1025] == 'a'", 8, 1025),
    ("big != same_big", 42, 0),
    ("numbers == same_numbers", 505, 0),
    ("numbers == words[1:]", 21, 16032),
    ("rows == same_rows", 2267, 0),
    ("members == members", 505, 0),
    ("rows != same_rows", 2267, 0),
    ("numbers == small", 3, 0),
    ("big < same_big", 42, 0),
    ("small < big", 9, 0),
    ("big >= same_big", 42, 0),
    ("numbers < same_numbers", 505, 0),
    ("numbers <= same_numbers", 505, 0),
    ("bigs > bigs", 51, 0),
    ("lists >= lists", 521, 0),
    ("'zz' in small", 112, 0),
    ("'z' in small", 112, 0),
    ("'zz' in big", 628, 0),
    ("'y' in 'y'", 3, 0),
    ("1002 in numbers", 65, 0),
    ("big in words", 39182, 0),
    ("small in bigs", 118, 0),
    ("[1] in rows", 2268, 32),
    ("[1] not in lists", 522, 32),
    ("'k1' in members", 3, 0),
]

SEARCHES = [
    ("big[:2499].find('zz')", 50, 2499),
    ("big[:2500].find('zz')", 48, 2500),
    ("big[:2499].find('z' * 99)", 166, 2598),
    ("big[:2500].find('z' * 99)", 50, 2599),
    ("big[:2500].find('z' * 100)", 167, 2600),
    ("big[:29999].find('z' * 99)", 506, 30098),
    ("big[:29999].find('z' * 100)", 1965, 30099),
    ("big[:30000].find('z' * 100)", 506, 30100),
    ("big[:30001].find('z' * 100)", 506, 30101),
    ("big[:2000].find('z' * 1999)", 43, 3999),
    ("big[:2000].find('z' * 2000)", 42, 4000),
    ("big[:2000].find('z')", 39, 2000),
    ("big.rfind('zz')", 668, 0),
    ("big.rfind('z')", 629, 0),
    ("big.rfind('z' * 100)", 2579, 100),
]

METHODS = [
    ("small.upper()", 112, 7035),
    ("upper.lower()", 1409, 90033),
    ("high.upper()", 81, 15009),
    ("big.isalpha()", 628, 0),
    ("blank.strip()", 26, 0),
    ("big.lstrip()", 198, 40003),
    ("blank.strip(' ')", 52, 0),
    ("big.strip('x')", 374, 40003),
    ("big.strip('abcdefghijkl')", 589, 40003),
    ("small.rstrip(big)", 24854, 7035),
    ("small.startswith(big)", 44, 0),
    ("small.startswith([big, 'a', small])", 55, 64),
    ("small.endswith('')", 5, 0),
    ("small.removeprefix('ab')", 10, 7035),
    ("big.removesuffix('b')", 43, 40003),
    ("small.ljust(9001)", 12, 9001),
    ("small.rjust(5)", 10, 7035),
    ("small.center(8001, '-')", 12, 8001),
    ("'7'.zfill(5003)", 8, 5003),
    ("small.zfill(1)", 10, 7035),
    ("small.find('zz')", 113, 0),
    ("small.rfind('zz')", 119, 0),
    ("small.count('ab', 5, 900)", 115, 0),
    ("small.index('b a')", 113, 0),
    ("', '.join(words)", 71, 5909),
    ("','.join(members)", 70, 4907),
    ("'--'.join('abc')", 4, 7),
    ("small.join([])", 4, 16),
    ("small.join(['a'])", 5, 33),
    ("small.replace('ab', 'xyz')", 306, 9380),
    ("small.replace('ab', '')", 303, 7035),
    ("small.replace('ab', 'xyzzy', 7)", 231, 7056),
    ("small.replace('ab', 'x', 0)", 231, 7035),
    ("small.replace('zz', 'x')", 230, 7035),
    ("small.replace('ab', 'xy', -2)", 305, 7035),
    ("small.split()", 809, 161805),
    ("blank.split()", 191, 6007),
    ("small.split(' ')", 884, 161869),
    ("small.split(None, 3)", 117, 14323),
    ("small.split(' ', 5)", 227, 14449),
    ("small.split(' ', 0)", 226, 14134),
    ("small.split('zz')", 225, 14134),
    ("small.rsplit('b ', 2)", 239, 14258),
    ("small.rsplit('ab')", 897, 159524),
    ("lines.splitlines()", 810, 161805),
    ("lines.splitlines(true)", 811, 164150),
    ("small.partition('b')", 115, 14262),
    ("small.rpartition('bb')", 121, 14262),
    ("small.partition('zz')", 115, 14262),
    ("numbers.index(1002)", 66, 0),
    ("words.index('w1002')", 66, 0),
    ("numbers.count(5)", 66, 0),
    ("words.count(big)", 39183, 0),
    ("numbers.count([1])", 507, 32),
    ("lists.index([3])", 523, 32),
    ("members.get('k1')", 4, 0),
    ("members.keys()", 270, 36001),
    ("members.values()", 270, 32096),
    ("members.items()", 2338, 148337),
]

FUNCTIONS = [
    ("len(small)", 3, 0),
    ("str(small)", 3, 0),
    ("str(12)", 3, 0),
    ("str(rows)", 2142, 32193),
    ("int('12')", 3, 0),
    ("float(1)", 3, 0),
    ("bool(big)", 3, 0),
    ("abs(-1)", 4, 0),
    ("round(2.5)", 3, 0),
    ("sum(numbers)", 128, 0),
    ("sum(zeros, 1)", 129, 0),
    ("any(zeros)", 18, 0),
    ("all(words)", 18, 0),
    ("sorted(numbers)", 1289, 32096),
    ("sorted(words)", 1289, 36001),
    ("sorted(bigs)", 33, 57655),
    ("sorted(lists)", 962, 9936),
    ("sorted([])", 6, 16),
    ("sorted(members)", 1304, 52049),
    ("sorted(rows, key='a.b')", 3631, 33198),
    ("sorted(rows, key='a.b', reverse=true)", 3632, 33198),
    ("min(numbers)", 505, 0),
    ("max(words)", 505, 0),
    ("max(bigs)", 51, 0),
    ("min(1, 2, 3)", 7, 0),
    ("max(rows, key='a.b')", 1269, 34),
    ("max(lists)", 523, 16),
    ("max(small)", 3630, 112560),
    ("reversed(numbers)", 270, 32096),
    ("reversed(small)", 1981, 344715),
    ("range(1003)", 270, 32096),
    ("range(10, 3, -2)", 9, 128),
    ("range(3, 10, 3)", 7, 96),
    ("range(5, 0)", 6, 0),
    ("zip(numbers, words)", 2387, 180433),
    ("zip(numbers, words, zeros)", 2388, 212529),
    ("zip(small, numbers)", 2496, 290091),
    ("zip()", 4, 0),
    ("enumerate(words)", 2386, 148337),
    ("enumerate(small, 1)", 16822, 1132635),
    ("keys(members)", 270, 36001),
    ("values(members)", 270, 32096),
    ("items(members)", 2338, 148337),
    ("json(rows)", 2142, 32193),
    ("json(small)", 112, 14072),
    ("json(bigs)", 9, 114456),
    ("json(members)", 255, 30773),
    ("json(1.5)", 3, 11),
    ("parse_json(json(rows))", 6894, 89536),
    ("parse_json('[1, 2, 3]')", 9, 105),
    ("parse_json('\"' + big + '\"')", 1336, 160017),
    ("matches(small, 'b a')", 197, 0),
    ("matches(small, 'b ' + 'a')", 226, 3),
    ("matches('', '')", 5, 0),
    ("matches(big, '(y|z){3}')", 1098, 0),
    ("replace(small, 'ab', 'xyz')", 306, 9380),
    ("hash_sha256(big)", 629, 0),
    ("hash_sha256('')", 4, 0),
    ("quote(small)", 443, 11725),
    ("quote('')", 4, 0),
    ("quote(high)", 629, 30018),
    ("date_format(0, '%Y-%m')", 17, 7),
    ("date_format(0, '')", 12, 0),
    ("now()", 2, 0),
    ("now_unix()", 2, 0),
    ("random()", 2, 0),
    ("random(numbers)", 3, 0),
    ("random(1, 6)", 4, 0),
    ("uuid()", 2, 0),
]


@pytest.mark.parametrize(
    ("source", "fuel", "size"), [*SYNTAX, *OPERATORS, *SEARCHES, *METHODS, *FUNCTIONS]
)
def test_an_expression_costs_exactly_this(source: str, fuel: int, size: int) -> None:
    budget = Budget(PLENTY, PLENTY)
    compile_expression(source).evaluate(ENV, budget)
    assert (PLENTY - budget.fuel, PLENTY - budget.bytes) == (fuel, size)


@pytest.mark.parametrize(
    ("template", "fuel", "size"),
    [
        ("{{ numbers }}", 1, 0),
        ("{{ rows }}!", 2140, 39237),
        ("{{ small }} and {{ 1 + 1 }}", 4, 7041),
        ({"a": "{{ numbers }}"}, 253, 16048),
        ({"a": "{{ small }}"}, 1, 0),
        (["{{ small }}", {"b": "{{ [1, 2] }}"}], 8, 112),
    ],
)
def test_a_template_costs_exactly_this(template: Any, fuel: int, size: int) -> None:
    budget = Budget(PLENTY, PLENTY)
    compile_template(template).render(ENV, budget)
    assert (PLENTY - budget.fuel, PLENTY - budget.bytes) == (fuel, size)


def test_a_step_may_spend_its_budget_to_the_last_unit() -> None:
    expression = compile_expression("[x for x in numbers if x > 9]")
    expression.evaluate(ENV, Budget(5273, 31776))
    for budget in (Budget(5272, 31776), Budget(5273, 31775)):
        with pytest.raises(ExpressionError) as caught:
            expression.evaluate(ENV, budget)
        assert caught.value.code == "BUDGET_EXCEEDED"


def test_the_cost_of_the_syntax_alone_ends_by_the_budget() -> None:
    expression = compile_expression("1 + 2 * 3")
    expression.evaluate(ENV, Budget(5, 0))
    with pytest.raises(ExpressionError, match="too much work"):
        expression.evaluate(ENV, Budget(4, 0))


def test_what_is_exceeded_is_told_with_its_limit_and_a_way_out() -> None:
    work = "the step's expressions do too much work (limit: 20000 units); "
    work += "split the work over several nodes or make the lists shorter"
    with pytest.raises(ExpressionError) as caught:
        compile_expression("[x for x in numbers]").evaluate(ENV, Budget(9, PLENTY))
    assert caught.value.message == work
    with pytest.raises(ExpressionError) as caught:
        compile_expression("[x for x in numbers]").evaluate(ENV, Budget(PLENTY, 9))
    message = "the step's expressions make too much data (limit: 1048576 bytes)"
    assert caught.value.message == message


def test_a_budget_begins_at_the_limits() -> None:
    assert (Budget().fuel, Budget().bytes) == (MAX_FUEL, MAX_BYTES) == (20_000, 1_048_576)
