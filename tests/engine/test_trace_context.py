"""`traceparent`: what is one, and what follows from it."""

from __future__ import annotations

import pytest

from engine.trace_context import origin, parent_of, parsed, passed_on, span_id, traced
from tests.store_contract import a_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("given", [HEADER, f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-what"])
def test_a_header_is_read(given: str) -> None:
    found = parsed(given)
    assert found is not None
    assert (found.trace_id, found.span_id) == (TRACE, SPAN)
    assert found.sampled is given.split("-")[3].endswith("1")


@pytest.mark.parametrize(
    "given",
    [
        None, "", 7, {}, HEADER.upper(), f" {HEADER}", f"{HEADER}-more", f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1", f"00-{TRACE[1:]}-{SPAN}-01",
    ],
)  # fmt: skip
def test_what_is_none_is_ignored(given: object) -> None:
    assert parsed(given) is None


def test_the_header_goes_before_the_metadata_and_both_before_a_trace_of_ones_own() -> None:
    other = HEADER.replace("00f0", "11f0")
    assert traced({"traceparent": other, "a": 1}, "x", HEADER) == {"traceparent": HEADER, "a": 1}
    assert traced({"traceparent": other}, "x", "nonsense") == {"traceparent": other}
    own = traced({}, "x", None)
    assert own == {"traceparent": str(origin("x"))} == traced({}, "x", None)
    assert origin("x").is_origin
    assert origin("x") != origin("y")


def test_whoever_is_called_is_below_the_step_that_calls() -> None:
    context = a_context(metadata={"traceparent": HEADER})
    other = a_context(metadata={"traceparent": HEADER})

    header = passed_on(context, "send")

    assert (
        header
        == {"traceparent": f"00-{TRACE}-{span_id(context.execution_id, 'send')}-01"}
        == passed_on(context, "send")
    )
    assert len({str(passed_on(c, k)) for c in (context, other) for k in ("send", "ask", None)}) == 6
    found = parsed(header["traceparent"])
    assert found is not None
    assert not found.is_origin


def test_nothing_is_passed_on_of_what_nobody_traces() -> None:
    assert parent_of(a_context()) is None
    assert passed_on(a_context(), "send") == {}
