"""Loop bodies: who owns whom, which edges end an iteration, and what is no loop."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.regions import Edge, Regions, analyse


def regions(flow: str, **kinds: str) -> Regions:
    """Analyses a flow like `t>each each.loop>a a>each each>end`.

    A name's kind follows from its beginning (`t…` trigger, `each…` and `while…` loops, `break…`),
    everything else is a `data_transform`; `kinds` overrides. Connections are `c1`, `c2`, ….
    """
    nodes: dict[str, str] = {}
    edges = []
    for number, arrow in enumerate(flow.split(), 1):
        origin, target = arrow.split(">")
        source, _, port = origin.partition(".")
        for name in (source, target):
            nodes.setdefault(name, kinds.get(name) or kind_of(name))
        edges.append(Edge(f"c{number}", source, port or "output", target))
    return analyse(nodes, edges)


def kind_of(name: str) -> str:
    kinds = {"t": "trigger_command", "each": "loop_foreach", "while": "loop_while"}
    kinds |= {"break": "loop_break"}
    return next((kinds[k] for k in sorted(kinds, reverse=True) if name.startswith(k)), "x")


def codes(found: Regions) -> list[str]:
    return [problem.code for problem in found.problems]


def test_a_body_is_what_hangs_on_the_port_loop() -> None:
    found = regions("t>each each.loop>a a>b each>end")

    assert found.owner == {"t": None, "each": None, "a": "each", "b": "each", "end": None}
    assert found.depth == {"t": 0, "each": 0, "a": 1, "b": 1, "end": 0}
    assert not found.problems


def test_an_edge_from_the_body_to_its_loop_ends_the_iteration() -> None:
    found = regions("t>each each.loop>a a>each each>end")

    assert found.back_edges == {"c3"}
    assert not found.problems


def test_a_loop_may_have_an_empty_body() -> None:
    assert regions("t>each each.loop>each").back_edges == {"c2"}


def test_bodies_nest() -> None:
    found = regions(
        "t>each each.loop>each2 each2.loop>a a>each2 each2>b b>each each>end end>while while.loop>c"
    )

    assert found.owner["a"] == "each2"
    assert found.owner["each2"] == found.owner["b"] == "each"
    assert found.owner["c"] == "while"
    assert found.depth["a"] == 2
    assert found.back_edges == {"c4", "c6"}
    assert not found.problems


@pytest.mark.parametrize(
    "flow",
    [
        "each.loop>each2 each2.loop>a a>each2 each2>each each>end",
        "a>each2 each2>each each>end each.loop>each2 each2.loop>a",
    ],
)
def test_loops_that_no_trigger_reaches_yet_are_understood_in_any_order(flow: str) -> None:
    found = regions(flow)

    assert not found.problems
    assert found.owner == {"each": None, "end": None, "each2": "each", "a": "each2"}


def test_a_body_entered_past_its_loop_is_an_error() -> None:
    found = regions("t>each each.loop>a t>a")

    assert codes(found) == ["LOOP_BODY_ENTRY"]
    assert found.problems[0].connection_id == "c3"


def test_a_body_that_flows_back_before_its_loop_is_an_error_that_shows_the_way() -> None:
    found = regions("t>a a>each each.loop>b b>a")

    assert codes(found) == ["LOOP_BODY_ENTRY"]
    assert "a -> each -> b -> a" in found.problems[0].message


def test_a_body_that_flows_into_what_follows_the_loop_is_an_error() -> None:
    found = regions("t>each each.loop>a each>after a>after after>end")

    assert codes(found) == ["LOOP_BODY_ESCAPE"]
    assert found.problems[0].connection_id == "c4"
    assert found.owner["end"] is None


def test_an_inner_body_that_ends_the_outer_iteration_is_an_error() -> None:
    found = regions("t>each each.loop>each2 each2.loop>a a>each")

    assert codes(found) == ["LOOP_BODY_ESCAPE"]


def test_two_bodies_that_meet_are_an_error() -> None:
    found = regions("t>each t>each2 each.loop>a each2.loop>b a>c b>c")

    assert codes(found) == ["LOOP_BODY_ESCAPE", "LOOP_BODY_ESCAPE"]


def test_of_many_that_meet_only_those_that_leave_a_body_are_wrong() -> None:
    found = regions(
        "t>each1 t>each2 t>each3 each1.loop>a each2.loop>b each3.loop>c a>x b>x c>x t>x"
    )

    assert codes(found) == ["LOOP_BODY_ESCAPE"] * 3
    assert {problem.node_id for problem in found.problems} == {"a", "b", "c"}
    assert not any("None" in problem.message for problem in found.problems)
    assert found.owner["x"] is None


def test_every_cycle_is_printed() -> None:
    flow = " ".join(f"a{i}>a{i + 1} a{i + 1}>a{i}" for i in range(300))

    assert codes(regions(f"t>a0 {flow}")) == ["CYCLE"] * 300


def test_every_edge_that_belongs_elsewhere_is_reported_in_the_deepest_nest() -> None:
    down = " ".join(f"each{i}.loop>each{i + 1}" for i in range(2000))
    out = " ".join(f"each{i}.loop>a{i} a{i}>x" for i in range(2000))
    found = regions(f"t>each0 {down} {out}")
    wrong = {problem.connection_id for problem in found.problems if "LOOP_BODY" in problem.code}

    assert len(wrong) == 1999


def test_a_trigger_in_a_body_is_an_error() -> None:
    found = regions("t>each each.loop>a a>t2")

    assert codes(found) == ["LOOP_BODY_ENTRY"]


def test_any_other_cycle_is_printed() -> None:
    found = regions("t>a a>b b>c c>a")

    assert codes(found) == ["CYCLE"]
    assert "a -> b -> c -> a" in found.problems[0].message
    assert found.problems[0].connection_id == "c4"


def test_a_cycle_inside_a_body_is_an_error() -> None:
    found = regions("t>each each.loop>a a>b b>a b>each")

    assert codes(found) == ["CYCLE"]


def test_a_node_that_feeds_itself_is_a_cycle() -> None:
    assert codes(regions("t>a a>a")) == ["CYCLE"]


def test_a_long_cycle_is_abridged() -> None:
    flow = " ".join(f"n{i}>n{(i + 1) % 500}" for i in range(500))

    (problem,) = regions(f"t>n0 {flow}").problems

    assert "more" in problem.message
    assert len(problem.message) < 300


def test_a_break_belongs_into_a_body() -> None:
    assert codes(regions("t>break")) == ["BREAK_OUTSIDE_LOOP"]
    assert codes(regions("t>each each.loop>break")) == []


def test_nesting_has_a_limit() -> None:
    flow = "t>each0 " + " ".join(f"each{i}.loop>each{i + 1}" for i in range(12))

    found = regions(flow)

    assert codes(found) == ["LOOP_TOO_DEEP"]
    assert found.problems[0].node_id == "each10"


def test_ten_loops_deep_is_allowed() -> None:
    flow = "t>each0 " + " ".join(f"each{i}.loop>each{i + 1}" for i in range(9)) + " each9.loop>a"

    assert codes(regions(flow)) == []


def test_edges_to_unknown_nodes_are_left_to_others() -> None:
    found = analyse({"t": "trigger_command"}, [Edge("c1", "t", "output", "nowhere")])

    assert not found.problems


def test_a_ladder_of_ten_thousand_nodes_is_analysed() -> None:
    nodes = {"t": "trigger_command"}
    edges = [Edge("c", "t", "output", "n0")]
    for i in range(2000):
        here = (f"n{i}", f"each{i}", f"b{i}", f"r{i}", f"j{i}")
        nodes |= dict(zip(here, ("x", "loop_foreach", "x", "x", "x"), strict=True))
        start, each, body, right, join = here
        edges += [
            Edge(f"c{i}a", start, "output", each),
            Edge(f"c{i}b", each, "loop", body),
            Edge(f"c{i}c", body, "output", each),
            Edge(f"c{i}d", start, "output", right),
            Edge(f"c{i}e", each, "output", join),
            Edge(f"c{i}f", right, "output", join),
        ]
        if i < 1999:
            edges.append(Edge(f"c{i}g", join, "output", f"n{i + 1}"))

    found = analyse(nodes, edges)

    assert not found.problems
    assert len(found.back_edges) == 2000


NAMES = ("t", "each1", "each2", "while3", "a", "b", "c")


def body_of(loop: str, edges: list[Edge]) -> set[str]:
    """The definition, word by word: reachable from the port `loop`, not through the loop."""
    reached: set[str] = set()
    queue = [e.target for e in edges if e.source == loop and e.port == "loop"]
    for name in queue:
        if name != loop and name not in reached:
            reached.add(name)
            queue += [e.target for e in edges if e.source == name]
    return reached


def sound_owners(edges: list[Edge]) -> dict[str, str | None] | None:
    """Every node's loop by brute force; None if the graph breaks a rule."""
    bodies = {loop: body_of(loop, edges) for loop in ("each1", "each2", "while3")}
    owners: dict[str, str | None] = {}
    for name in NAMES:
        around = [loop for loop in bodies if name in bodies[loop]]
        owners[name] = min(around, key=lambda loop: len(bodies[loop]), default=None)
    if owners["t"] is not None:
        return None
    onward = []
    for edge in edges:
        opens = edge.source in bodies and edge.port == "loop"
        scope = edge.source if opens else owners[edge.source]
        if scope is not None and edge.target == scope:
            continue
        if owners[edge.target] != scope:
            return None
        onward.append(edge)
    return None if cyclic(onward) else owners


def cyclic(edges: list[Edge]) -> bool:
    left = set(NAMES)
    while free := {n for n in left if not any(e.source in left and e.target == n for e in edges)}:
        left -= free
    return bool(left)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES), st.sampled_from(["loop", "output"]), st.sampled_from(NAMES)
        ),
        max_size=9,
    )
)
def test_owners_are_what_the_definition_says(arrows: list[tuple[str, str, str]]) -> None:
    edges = [Edge(f"c{number}", *arrow) for number, arrow in enumerate(arrows)]

    found = analyse({name: kind_of(name) for name in NAMES}, edges)
    expected = sound_owners(edges)

    assert (not found.problems) == (expected is not None)
    if expected is not None:
        assert found.owner == expected
