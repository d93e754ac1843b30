"""The corpus of hostile expressions: none takes 50 ms or 16 MiB, whatever it is or works on.

Each entry is at most 4 KiB of source; the values it works on are as large as a payload may be. It
ends with a value or with one of our two errors. What it may use is asserted by the budget, which
is the same on every machine; processor time and memory are measured besides, because a price in
the budget may be wrong. The offenders this corpus has found took from 80 ms to more than a second.
"""

from __future__ import annotations

import time
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.expressions import (
    Budget,
    ExpressionError,
    ExpressionSyntaxError,
    MapEnv,
    compile_expression,
)

MAX_SECONDS = 0.05
SLACK = 5
"""Processor time on a busy, slow or throttled machine against that of an idle one."""
MAX_MEMORY = 16 * 1024 * 1024

VALUES: dict[str, Any] = {
    "a": 1,
    "text": "x" * 200_000,
    "other": "x" * 199_999 + "y",
    "million": "a" * 1_000_000,
    "five_million": "aB" * 2_500_000,
    "pairs": "ab" * 50_000,
    "blanks": " " * 900_000,
    "spaces": " a" * 200_000,
    "lines": "a\n" * 200_000,
    "emoji": "\U0001f600" * 200_000,
    "sharp": "\u00df" * 200_000,
    "growing": "\u0390" * 300_000,
    "digits": "1" * 200_000,
    "words": [f"w{i}" for i in range(20_000)],
    "long": ["p" * 2_000 + str(i * 7919 % 1_000) for i in range(500)],
    "same": ["p" * 5_000] * 2_000,
    "floats": [1.1 * i for i in range(20_000)],
    "bigs": [2**62 + i for i in range(20_000)],
    "rows": [[i, str(i)] for i in range(10_000)],
    "same_rows": [[i, str(i)] for i in range(10_000)],
    "equal_lists": [[0] * 100 + [i] for i in range(2_000)],
    "object": {str(i): i for i in range(20_000)},
    "wide": {"k" * 60 + str(i): "v" * 200 for i in range(2_000)},
    "objects": [{"a": {"b": {"c": i}}} for i in range(5_000)],
    "json_object": "{" + ",".join(f'"k{i}":{i}' for i in range(30_000)) + "}",
    "json_escapes": '"' + "\\u0041" * 100_000 + '"',
    "json_deep": "[" * 100_000,
    "nodes": {f"n{i}": {"output": i} for i in range(2_000)},
}
ENV = MapEnv(VALUES, now=datetime(2026, 1, 31, tzinfo=UTC), random=0.5, uuid="7e5c")

NESTING = [
    "(" * 4000, "[" * 4000, "{" * 4000, "(" * 33 + ")" * 33, "((((" * 8 + "1" + "))))" * 8,
    "[a," * 30 + "]" * 30, "{'a':" * 30 + "1" + "}" * 30, "-" * 4000 + "1", "not " * 1000 + "1",
    "1 if 1 else " * 330 + "1", "lambda x:" * 400, "await " * 600, "yield " * 600, "*" * 4000,
    "2" + "**2" * 1300, "(\n" * 32 + "1" + "\n)" * 32, "f'" + "{" * 100, "f'{f\"{1}\"}'",
    "a[" * 30 + "0" + "]" * 30, "len(" * 31 + "a" + ")" * 31, "default(" * 30 + "a" + ",1)" * 30,
    "json(" * 30 + "'\\\\'" + ")" * 30, "json(" * 19 + "'\\\\'" + ")" * 19,
    "json(json(json(json(json(json('\"' * 1000))))))", "parse_json(" * 5 + "'1'" + ")" * 5,
]  # fmt: skip

LONG_CHAINS = [
    "+".join(["a"] * 2_000), "+".join(["1"] * 250), "1<" * 1999 + "1", "a < " * 249 + "a",
    "a and " * 600 + "a", "a or b and " * 370 + "a", "a" + ".a" * 2000, "a" + "[0]" * 1000,
    "a," * 2000, "[" + "a," * 499 + "]", "[" + "[]," * 1300 + "]", "'a' " * 1000, "''" * 2000,
    "x " * 2000, "a;" * 2000, "a\n" * 1300, "\n" * 4000 + "1", "\\\n" * 2000 + "1",
    "\t" * 4090 + "1", "zip(" + ",".join(["rows"] * 400) + ")", "text" + ".upper()" * 200,
    "if " * 1300, "x if " * 800, "else if " * 500, "then " * 800, "import " * 500, "?" * 4000,
    "!" * 4000, "&&" * 2000, "=>" * 2000, "`" * 4000, "a$" * 2000, "nodes." + "a-" * 2000,
    "nodes.a " * 500, "a.1" * 1300, "= " * 2000, "a if b = " * 400, "'%s' % 1" * 300,
]  # fmt: skip

LITERALS = [
    "9" * 4000, "-" + "9" * 4000, "0x" + "f" * 4000, "0b" + "1" * 4000, "1_" * 2000 + "1",
    "1e" + "9" * 4000, "." + "9" * 4000, "1." + "0" * 4000 + "e308", "1j" * 1000, "1e999",
    "'" + "\\x41" * 1000 + "'", "'" + "\\N{BULLET}" * 350 + "'", "'\\N{" * 100,
    "'" + "\\N{LATIN SMALL LETTER A WITH DIAERESIS AND MACRON}" * 70 + "'", "\u0301" * 2000,
    "\u201c" * 1300, "\uff41" * 1365, "\u00e9" * 2048, "'" * 4001, '"""' * 1300, "\\" * 1000,
]  # fmt: skip

TOWERS = [
    "[x " + "for x in a " * 340 + "]",
    "[x " + "if x " * 500 + "for x in a]",
    "[x for x in words" + " if x" * 400 + "]",
    "[x" + "".join(f" for x{i} in [1,1,1,1,1,1,1,1,1]" for i in range(40)) + "]",
    "[[[[1 for a in range(99)] for b in range(99)] for c in range(99)] for d in range(99)]",
    "[x for x in range(20000) for y in range(20000)]",
    "any(x < y for x in range(20000) for y in range(x))",
    "sum(1 for x in words for y in words)",
    "{str(x) + str(y): 1 for x in range(999) for y in range(999)}",
    "[[x, x] for x in [[y, y] for y in [[z, z] for z in [[text] * 99] * 9]]]",
    "[[text] * 200 for i in range(200)]",
    "[rows for i in range(1000)]",
    "[text for i in range(1000)]",
    "[text[:i] for i in range(1400)]",
    "[c for c in five_million]",
    "[x for x in text]",
    "[a + b for a, b in rows]",
    "{**object, **object, **object}",
    "[{**object} for i in range(100)]",
]

NUMBERS = [
    "9 ** 9 ** 9", "2 ** 10 ** 9", "(2 ** 62) ** (2 ** 62)", "10 ** 10 ** 10", "2 ** -10 ** 9",
    "9223372036854775807 ** 63", "0.5 ** (-2 ** 62)", "1.0000001 ** (2 ** 62)", "(-8) ** 0.5",
    "1e308 * 10", "-9223372036854775808 // -1", "-(-9223372036854775808)", "int(1e308)",
    "[round(9223372036854775807, -400) for i in range(3000)]",
    "[int(1.7e308) for i in range(3000)]", "[int('9' * 400) for i in range(999)]",
    "[round(1.234567, 300) for i in range(5000)]", "round(1.5, 10 ** 9)", "int('9' * 4000)",
    "int('9' * 400)", "int('z' * 400, 36)", "int('_' * 300)",
    "[float('0.' + '1' * 398) for i in range(5000)]", "int(digits)", "float(digits)",
    "[str(1.7976931348623157e308) for i in range(5000)]", "str(1.7e308) * 3000", "sum(bigs)",
    "[sum(floats) for i in range(9)]", "floor(1e308)", "abs(-9223372036854775808)",
]  # fmt: skip

BOMBS = [
    "text * 100000", "'a' * 10 ** 6 * 10 ** 6", "[0] * 10 ** 9", "[[]] * 65000", "[text] * 60000",
    "[[[]] * 60000] * 60000", "[[[0] * 100] * 100] * 100", "rows * 100", "text + text + text * 9",
    "replace('a' * 1000, '', 'b' * 1000)", "million.replace('a', 'b' * 1000)",
    "million.replace('', 'zzzz')", "replace(million[:500000], 'a', 'bb')",
    "replace(replace(replace('a' * 60, 'a', 'a' * 60), 'a', 'a' * 60), 'a', 'a' * 60)",
    "million.join(million)", "text.join(words)", "''.join([text] * 6)", "million.join(['', ''])",
    "('x' * 1000).join(['y'] * 1000)", "','.join(words).split(',')", "million.split('a')",
    "lines.splitlines()", "lines.split()", "spaces.split()", "spaces.rsplit(None, 3000)",
    "('\\n' * 300000).splitlines()", "'a'.center(2 ** 62)", "'a'.zfill(2 ** 62)",
    "'a'.ljust(1048576)", "five_million.title()", "five_million.swapcase()", "million.title()",
    "growing.upper()", "sharp.upper()", "[emoji.upper() for i in range(99)]", "emoji.casefold()",
    "range(10 ** 18)", "range(-2 ** 62, 2 ** 62)", "range(10 ** 18, -10 ** 18, -1)", "range(65536)",
    "zip(text, text)", "zip(words, words, words)", "[zip(words, words) for i in range(99)]",
    "enumerate(text)", "enumerate(enumerate(words))", "enumerate(['a'], 9223372036854775807)",
    "sorted(words)", "sorted(text)", "sorted(emoji[:50000])", "sorted(same)", "sorted(equal_lists)",
    "[sorted(long) for i in range(100)]", "sorted(objects, key='a' + '.a' * 1000)", "max(million)",
    "[sorted(objects, key='a.b.c') for i in range(50)]", "max(rows, key='0' + '.' * 100000)",
    "[max(long) for i in range(1000)]", "[all(words) for i in range(500)]", "reversed(text)",
    "[reversed(words) for i in range(100)]", "[items(object) for i in range(100)]",
]  # fmt: skip

SEARCHES = [
    "[text.find('x' * 1000 + 'y') for i in range(10000)]",
    "[pairs[:2400].find('ab' * 500 + 'b') for i in range(9000)]",
    "[('a' * 29999).count('a' * 15000 + 'b') for i in range(500)]",
    "[text[:29000].rpartition('x' * 14000 + 'y') for i in range(500)]",
    "pairs.rfind('b' + 'ab' * 20000)", "pairs.rsplit('aa' + 'ba' * 10000)",
    "[text.strip('xyz') for i in range(999)]", "[blanks.strip() for i in range(9999)]",
    "[blanks.strip(' ') for i in range(999)]", "text.lstrip('x' * 9999)",
    "million.strip('b' * 1000 + 'a')", "emoji.strip('\U0001f600' * 1000)",
    "million.startswith(words)", "million.endswith([million] * 60000)",
    "[million.startswith(million) for i in range(999)]", "[million.isalnum() for i in range(99)]",
    "[text == other for i in range(20000)]", "[text < other for i in range(20000)]",
    "[rows == same_rows for i in range(1000)]", "rows in [same_rows] * 60000",
    "['nowhere' in words for i in range(20000)]", "[x in words for x in words]",
    "[x == y for x in same for y in same]", "same.count('p' * 4999 + 'q')", "object == object",
    "[[1] in rows for i in range(1000)]", "[words.index('w19999') for i in range(2000)]",
    "[equal_lists[0] < equal_lists[1] for i in range(999)]", "[[text] * 900 < [other] * 900]",
]  # fmt: skip

MISSING = [
    "[default(object.nope, 1) for i in range(5000)]", "[has(object.k) for i in range(2000)]",
    "[has(object['x' + str(i)]) for i in range(2000)]", "[default(txet, 1) for i in range(2000)]",
    "[default(nodes.x, 1) for i in range(5000)]", "[default(wide['k' * 60], 1) for i in words]",
    "[has(objects[i].a.b.d) for i in range(2000)]", "[default(words[i + 99999], i) for i in words]",
    "wide." + "k" * 60, "object.nope", "nodes.m1.output", "million.upper.lower",
]  # fmt: skip

TEXTS_READ = [
    "parse_json(json_deep)", "parse_json(json_object)", "parse_json(json_escapes)",
    "parse_json('[' * 33 + ']' * 33)", "parse_json('{\"a\":' * 32 + '1' + '}' * 32)",
    "parse_json('[' + '[],' * 60000 + '1]')", "parse_json('[' + '1.5e10,' * 60000 + '1]')",
    "parse_json('[' * 40 + '\"' + '[' * 300000)", "parse_json('-' * 100000)",
    "parse_json('1e' + '9' * 990)", "parse_json('[' + '9' * 300000 + ']')", "parse_json(blanks)",
    "parse_json('\"' + '\\\\\\\\' * 100000 + '\"')", "parse_json('NaN')", "parse_json(million)",
    "parse_json('\"\\\\ud800\"')", "[parse_json('[1]') for i in range(20000)]",
    "parse_json(json(rows))", "parse_json(json(wide))", "[json(rows) for i in range(100)]",
    "json([rows] * 1000)", "str([text] * 1000)", "[json(text) for i in range(100)]",
    "hash_sha256(million)", "[hash_sha256(text) for i in range(1000)]", "hash_sha256(five_million)",
    "quote(emoji)", "quote(five_million)", "[quote('&' * 999) for i in range(9999)]",
    "date_format(0, '%A' * 128)", "date_format(0, million)", "date_format(text, '%Y')",
    "[date_format(0, '%A' * 128) for i in range(999)]", "date_format(1e308, '%Y')",
    "date_format('0001-01-01T00:00:00+23:59', '%s %G-%V')", "date_format(-1e18, '%Y')",
    "date_format('9999-12-31T23:59:59-23:59', '%s %V %G')", "date_format(0, '%' + '\\U0010ffff')",
    "[date_format('2026-01-31T20:05:00Z', '%j') for i in range(5000)]",
]  # fmt: skip

REGEXES = [
    "matches(text, '" + "(x+x+)+" * 30 + "y')", "matches(text, '(.*)*(.*)*(.*)*$y')",
    "matches(text, '" + "x?" * 100 + "x" * 56 + "')", "matches(million, '(a|b)*a(a|b){20}')",
    "matches(text, '((((((((x{1,30})+)+)+)+)+)+)+)+y')", "matches(text, '(a|a)*$y')",
    "matches(emoji, '[^a]*[^b]*[^c]*z')", "matches(sharp, '(?i)" + "\u00df" * 100 + "')",
    "matches('a', '" + "(?i)[\\\\x{100}-\\\\x{10ffff}]" * 9 + "')", "matches('a', '\\\\pL{50}')",
    "matches('a', '" + "(" * 100 + ")" * 100 + "')", "matches('a', 'a' * 257)",
    "[matches(text, '(x|y)*x(x|y){20}c') for i in range(100)]",
    "[matches('a', '[a-f]{' + str(i) + '}') for i in range(1, 999)]",
    "[matches('a', '[\\\\pL\\\\pN\\\\pS]{' + str(i) + '}') for i in range(1, 900)]",
    "[matches('a', '(a{' + str(i) + '}){' + str(i) + '}') for i in range(30)]",
    "[matches('a', 'a' * i + '(' * 9) for i in range(250)]",
]  # fmt: skip

WALKS = [
    "''.__class__.__mro__[1].__subclasses__()", "a.__class__", "[].__init__.__globals__",
    "[x.__class__ for x in words]", "[__class__ for __class__ in words]", "__builtins__",
    "__import__('os').system('true')", "eval('1')", "exec('1')", "open('/etc/passwd')",
    "compile('1', '', 'eval')", "getattr('', '__class__')", "globals()", "vars()", "breakpoint()",
    "'{0.__class__.__init__.__globals__}'.format('')", "'{a}'.format_map({})", "'%(a)s' % object",
    "'%999999999d' % 1", "f'{open}'", "''.encode()", "''.translate({})", "len.__self__",
    "sorted([1], key=len)", "str.mro()", "().__class__.__bases__[0]", "(x for x in [1]).gi_frame",
    "(lambda: 1).__code__", "(a := 1)", "\uff3f_class__", "''.\uff3f\uff3fclass\uff3f\uff3f",
    "\uff4c\uff45\uff4e('a')", "\U0001d4c1\U0001d452\U0001d4c3('a')", "\ufb01nd", "a\u200b",
    "\u0430 + 1", "int('\u0663')", "date_format('\u0662\u0660\u0662\u0666-01-01', '%Y')",
]  # fmt: skip

CORPUS = [
    *NESTING, *LONG_CHAINS, *LITERALS, *TOWERS, *NUMBERS, *BOMBS, *SEARCHES, *MISSING, *TEXTS_READ,
    *REGEXES, *WALKS,
]  # fmt: skip


def attempt(source: str) -> tuple[bool, Budget]:
    """Compiles and evaluates. Whether there was a value, and the budget that is left."""
    budget = Budget()
    try:
        compile_expression(source).evaluate(ENV, budget)
    except (ExpressionError, ExpressionSyntaxError):
        return False, budget
    return True, budget


def seconds_of(source: str) -> float:
    """The processor time of the quickest of three attempts."""
    taken = []
    for _ in range(3):
        begun = time.process_time()
        attempt(source)
        taken.append(time.process_time() - begun)
    return min(taken)


def memory_of(source: str) -> int:
    """The most bytes in use at any moment of an attempt."""
    tracemalloc.start()
    try:
        attempt(source)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("source", CORPUS, ids=range(len(CORPUS)))
def test_a_hostile_expression_ends_soon_and_in_little_memory(source: str) -> None:
    is_value, budget = attempt(source)
    assert not is_value or (budget.fuel >= 0 and budget.bytes >= 0)
    assert memory_of(source) < MAX_MEMORY
    assert seconds_of(source) < MAX_SECONDS * SLACK


def test_the_corpus_fills_the_source_limit_and_goes_little_beyond() -> None:
    sizes = [len(source.encode()) for source in CORPUS]
    assert len(sizes) > 300
    assert max(sizes) < 4_200
    assert sum(size > 3_500 for size in sizes) > 20
