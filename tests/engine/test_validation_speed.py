"""Validation takes time in proportion to the document, whatever its shape and whatever is wrong.

No time is asserted, only how it grows: a document five times as large takes about five times as
long, and of three attempts one must show it, so that a busy machine does not fail the test.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from time import process_time

import pytest

from engine.context import JsonObject, Limits
from engine.issues import Nearest
from engine.validation import Report, validate
from tests.engine.documents import TRIGGER, connection, document, judge, node, setter

LIMITS = Limits(max_workflow_nodes=20_000, max_loop_depth=20_000, max_workflow_expressions=20_000)
SMALL, LARGE = 1_000, 5_000
MOST_GROWTH = 11.0
"""Five times the size may take so many times as long; a quadratic judge takes twenty-five."""

SAY = node("action_chat_message", message="Hello")
EACH = node("loop_foreach", items="players", item_variable="player")
IF = node("condition_if", condition="a > 1")


def ladder(size: int) -> JsonObject:
    """Diamonds, one after the other."""
    nodes: JsonObject = {}
    flow = ["t>n0"]
    for i in range(size // 3):
        nodes |= {f"n{i}": setter(x="{{ a }}"), f"l{i}": setter(l=1), f"r{i}": setter(r=1)}
        flow += [f"n{i}>l{i}", f"n{i}>r{i}"]
        flow += [f"l{i - 1}>n{i}", f"r{i - 1}>n{i}"] if i else []
    return document(nodes, *flow)


def chain(size: int) -> JsonObject:
    """One after the other, each reading what the one before gave and another that is later."""
    text = "{{{{ nodes.n{}.output.v{} + v{} + nodes.n{}.output }}}}"
    nodes = {
        f"n{i}": setter(**{f"v{i}": text.format(i - 1, i - 1, i - 1, (i * 17) % size)})
        for i in range(size)
    }
    return document(nodes, "t>n0", *(f"n{i}>n{i + 1}" for i in range(size - 1)))


def fan(size: int) -> JsonObject:
    """All side by side, all setting one variable."""
    return document({f"n{i}": setter(x=i) for i in range(size)}, *(f"t>n{i}" for i in range(size)))


def nest(size: int) -> JsonObject:
    """Loops within loops, a node in each that reads variables of all kinds."""
    half = size // 2
    text = "{{ player }} {{ index }} {{ plyer }} {{ local }}"
    nodes = {f"n{i}": EACH for i in range(half)} | {f"s{i}": setter(x=text) for i in range(half)}
    nodes["l"] = node("data_variable_set", scope="local", variables={"local": 1})
    down = (f"n{i}.loop>n{i + 1}" for i in range(half - 1))
    bodies = (arrow for i in range(half) for arrow in (f"n{i}.loop>s{i}", f"s{i}>n{i}"))
    return document(nodes, "t>n0", "n0.loop>l", *down, *bodies)


def tangled(size: int) -> JsonObject:
    """Bodies that all flow into one another."""
    half = size // 2
    nodes = {f"n{i}": EACH for i in range(half)} | {f"s{i}": SAY for i in range(half)}
    down = (f"n{i}.loop>n{i + 1}" for i in range(half - 1))
    bodies = (f"n{i}.loop>s{i}" for i in range(half))
    out = (f"s{i + 1}>s{i}" for i in range(half - 1))
    return document(nodes, "t>n0", *down, *bodies, *out)


def circles(size: int) -> JsonObject:
    """A chain with a way back from each node to the one before."""
    there = (f"n{i}>n{i + 1}" for i in range(size - 1))
    back = (f"n{i + 1}>n{i}" for i in range(size - 1))
    return document({f"n{i}": SAY for i in range(size)}, "t>n0", *there, *back)


def switch(size: int) -> JsonObject:
    """One router with an arm for every node, half of them misspelt."""
    cases = {str(i): f"p{i}" for i in range(size)}
    nodes = {"s": node("condition_switch", value="{{ v }}", cases=cases)}
    nodes |= {f"n{i}": setter(x="{{ x + y }}", y=1) for i in range(size)}
    return document(nodes, "t>s", *(f"s.{'pq'[i % 2]}{i}>n{i}" for i in range(size)))


def joined(size: int) -> JsonObject:
    """All arms of one router in one node, and a chain of routers behind it."""
    cases = {str(i): f"p{i}" for i in range(size // 2)}
    nodes = {"s": node("condition_switch", value="{{ v }}", cases=cases), "m": setter(x=1)}
    nodes |= {f"i{i}": IF for i in range(size // 2)} | {"e": setter(x=2)}
    arms = (f"s.p{i}>m" for i in range(size // 2))
    down = (f"i{i}.true>i{i + 1}" for i in range(size // 2 - 1))
    return document(nodes, "t>s", "s.default>e", *arms, "m>i0", *down)


def expressions(size: int) -> JsonObject:
    """One node with very many expressions, each seeing the ones before."""
    names = {f"v{i}": f"v{i - 1} + v{i + 1} if unknown{i} else 1" for i in range(size)}
    return document({"a": node("data_transform", transformations=names)}, "t>a")


def wrong(size: int) -> JsonObject:
    """Three findings at every node."""
    nodes = {f"n{i}": node("action_chat_mesage", message="x") | {"enabled": 1} for i in range(size)}
    return document(nodes, *(f"t>m{i}" for i in range(size)))


def repeated(size: int) -> JsonObject:
    """Every node and every connection has the same id."""
    given = document([TRIGGER, *([SAY | {"id": "x"}] * size)])
    return given | {"connections": [connection("x>x", id="c1")] * size}


def misspelt(size: int) -> JsonObject:
    """Names that are almost those of others, everywhere."""
    nodes = {
        f"node{i}": node("data_variable_set", variables={f"variable{i}": "x"}, scpoe="x")
        | {"variables": {f"variable{i}": f"{{{{ variabel{i} + nodes.noed{i}.output }}}}"}}
        for i in range(size)
    }
    return document(nodes, *(f"t>node{i}" for i in range(size)))


def ruled(size: int) -> JsonObject:
    """One condition with a mistake in every rule, and texts with several."""
    rules = [{"left": i, "operator": f"eqals{i}", "right": "{{ + }} {{ - }}"} for i in range(size)]
    return document({"a": node("condition_if", condition={"any": rules})}, "t>a")


SHAPES = [
    ladder, chain, fan, nest, tangled, circles, switch, joined, expressions, wrong, repeated,
    misspelt, ruled,
]  # fmt: skip


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """No garbage collection in between: how often it runs depends on the tests before."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("shape", SHAPES)
def test_five_times_the_document_takes_about_five_times_as_long(
    shape: Callable[[int], JsonObject],
) -> None:
    small, large = shape(SMALL), shape(LARGE)

    assert any(_seconds(large) < MOST_GROWTH * _seconds(small) for _ in range(3))


def test_a_ladder_of_ten_thousand_nodes_is_sound() -> None:
    assert judge(ladder(10_000), LIMITS).issues == ()


@pytest.mark.parametrize(
    ("shape", "code", "count"),
    [
        (fan, "PARALLEL_WRITE", LARGE - 1),
        (circles, "CYCLE", LARGE - 1),
        (switch, "UNKNOWN_PORT", LARGE // 2),
        (wrong, "UNKNOWN_NODE_TYPE", LARGE),
        (repeated, "DUPLICATE_CONNECTION_ID", LARGE - 1),
        (ruled, "UNKNOWN_OPERATOR", LARGE),
        (ruled, "EXPRESSION_SYNTAX", 2 * LARGE),
        (tangled, "LOOP_BODY_ENTRY", LARGE // 2 - 1),
    ],
)
def test_every_finding_is_reported_however_many_there_are(
    shape: Callable[[int], JsonObject], code: str, count: int
) -> None:
    report: Report = judge(shape(LARGE), LIMITS)

    assert sum(1 for issue in report.issues if issue.code == code) == count


def test_many_misspelt_names_are_hinted_at_within_a_budget_of_comparisons() -> None:
    nearest = Nearest(comparisons=1000)

    for _ in range(10):
        nearest.to("some_name", [f"some_name{i}" for i in range(1000)])

    assert nearest.comparisons > -100


def _seconds(given: JsonObject) -> float:
    start = process_time()
    validate(given, LIMITS)
    return process_time() - start
