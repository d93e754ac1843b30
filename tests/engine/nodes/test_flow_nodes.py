"""Branching, joining, ending, waiting, calling."""

from __future__ import annotations

from typing import Any

import pytest

from engine.context import RESERVED_NAMES, Json
from engine.errors import StepFailure
from engine.expressions import Budget, ExpressionError, MapEnv
from engine.nodes import REGISTRY
from engine.nodes.base import ALL_PORTS, Park


class Arms(MapEnv):
    """An environment with two live arms."""

    def arms(self) -> dict[str, Json]:
        return {"a": 1, "b": [2]}


def test_a_parallel_passes_its_input_by_every_port(run: Any) -> None:
    result = run("flow_parallel", {})
    assert (result.port, result.output) == (ALL_PORTS, "in")
    assert REGISTRY["flow_parallel"].any_port


def test_all_fastest_is_read_as_any_first(read: Any) -> None:
    read_as = read("flow_parallel", {"execution_type": "all_fastest"})
    assert read_as == {"execution_type": "any_first"}


def test_a_merge_gives_the_outputs_of_its_live_arms() -> None:
    merge = REGISTRY["flow_merge"].compile({})
    assert merge.run(Arms({}), Budget()).output == {"a": 1, "b": [2]}


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"mode": "any"}, "any"),
        ({"merge_strategy": "all"}, "wait_all"),
        ({"merge_strategy": "first"}, "any"),
        ({"input_ports_required": -1}, "wait_all"),
        ({"input_ports_required": 2}, 2),
        ({"input_ports_required": "2"}, 2),
        ({"merge_strategy": "any", "input_ports_required": -1}, "any"),
    ],
)
def test_every_spelling_of_a_merge_becomes_a_mode(read: Any, config: Any, mode: Any) -> None:
    assert read("flow_merge", config) == {"mode": mode}


@pytest.mark.parametrize("mode", ["sometimes", 0, -2, 1.5, []])
def test_an_unknown_merge_mode_is_found(check: Any, mode: Any) -> None:
    (finding,) = check("flow_merge", {"mode": mode})
    assert (finding.code, finding.path) == ("VALIDATION", "/mode")


@pytest.mark.parametrize("mode", ["wait_all", "any", 1, 3])
def test_a_known_merge_mode_passes(check: Any, mode: Any) -> None:
    assert check("flow_merge", {"mode": mode}) == []


def test_an_end_without_output_passes_its_input(run: Any) -> None:
    result = run("flow_end", {})
    assert (result.output, result.terminate) == ("in", False)


@pytest.mark.parametrize("key", ["output", "output_data"])
def test_an_end_gives_its_rendered_output(run: Any, key: str) -> None:
    result = run("flow_end", {key: {"sum": "{{ n + 1 }}"}, "terminate": True}, n=1)
    assert (result.output, result.terminate) == ({"sum": 2}, True)


def test_a_wait_parks_for_its_signal(see: Any) -> None:
    config = {"signal": "approved", "timeout_seconds": "{{ n }}", "schema": {"type": "object"}}
    wait = REGISTRY["flow_wait"].compile(config)
    assert wait.park(see(n=60), Budget()) == Park(60.0, "approved")


def test_a_wait_without_timeout_parks_for_its_signal_alone(see: Any) -> None:
    wait = REGISTRY["flow_wait"].compile({"signal": "go"})
    assert wait.park(see(), Budget()) == Park(None, "go")


def test_a_signal_brings_its_payload_and_time_leaves_by_timeout() -> None:
    wait = REGISTRY["flow_wait"].compile({"signal": "go"})
    signalled = wait.woken(Park(signal="go"), {"by": "mod"}, timed_out=False)
    assert (signalled.port, signalled.output) == ("output", {"by": "mod"})
    assert wait.woken(Park(signal="go"), None, timed_out=True).port == "timeout"


@pytest.mark.parametrize("signal", ["", "a/b", "{{ x }}"])
def test_a_signal_needs_a_fixed_name(check: Any, signal: str) -> None:
    findings = check("flow_wait", {"signal": signal})
    assert "/signal" in [finding.path for finding in findings]


CHILD = "0190a000-0000-7000-8000-000000000001"


def test_a_subworkflow_renders_what_to_start(render: Any) -> None:
    config = {"workflow_id": "{{ target }}", "variables": {"n": ["{{ n }}"]}}
    assert render("flow_subworkflow", config, target=CHILD.upper(), n=1) == {
        "workflow_id": CHILD,
        "variables": {"n": [1]},
        "wait": True,
    }


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"workflow_id": "{{ v }}"}, "workflow_id"),
        ({"workflow_id": CHILD, "variables": "{{ v }}"}, "variables"),
    ],
)
@pytest.mark.parametrize("value", ["w2", 7, [1]])
def test_what_no_child_can_start_with_fails(render: Any, config: Any, key: str, value: Any) -> None:
    with pytest.raises(StepFailure, match=f"`{key}`") as caught:
        render("flow_subworkflow", config, v=value)
    assert caught.value.error_type == "BAD_CONFIG"


@pytest.mark.parametrize(("named", "wrong"), [("w2", True), (CHILD, False), ("{{ w }}", False)])
def test_a_fixed_id_of_no_workflow_is_found(check: Any, named: str, wrong: bool) -> None:
    paths = [finding.path for finding in check("flow_subworkflow", {"workflow_id": named})]
    assert paths == (["/workflow_id"] if wrong else [])


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_child_is_given_no_reserved_name(check: Any, render: Any, name: str) -> None:
    given = {"workflow_id": CHILD, "variables": {"a": 1, name: 2}}
    (finding,) = check("flow_subworkflow", given)
    assert (finding.code, finding.path) == ("VALIDATION", f"/variables/{name}")
    assert not finding.warning

    with pytest.raises(StepFailure, match=f"'{name}' is reserved and cannot be set") as caught:
        render("flow_subworkflow", {"workflow_id": CHILD, "variables": "{{ v }}"}, v={name: 2})
    assert caught.value.error_type == "BAD_CONFIG"


def test_a_child_is_warned_about_names_it_cannot_read(check: Any) -> None:
    given = {"workflow_id": CHILD, "variables": {"": 3, "user-name": 1, "ok": 2}}
    found = check("flow_subworkflow", given)
    assert [(one.path, one.warning) for one in found] == [
        ("/variables/", True),
        ("/variables/user-name", True),
    ]


def test_a_subworkflow_gives_the_childs_final_output() -> None:
    child = REGISTRY["flow_subworkflow"].compile({"workflow_id": "w2", "wait": False})
    assert child.conclude({}, {"total": 3}).output == {"total": 3}


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ({"delay_seconds": 2}, 2.0),
        ({"delay_seconds": "{{ n * 2 }}"}, 6.0),
        ({"delay_seconds": "1.5"}, 1.5),
        ({"delay_ms": 250}, 0.25),
        ({"delay_ms": 0}, 0.0),
        ({"delay_variable": "n"}, 3.0),
        ({"delay_variable": "user.wait"}, 9.0),
        ({"delay_ms": 0, "delay_variable": "n"}, 0.003),
        ({"delay_seconds": 5, "delay_variable": "n"}, 3.0),
    ],
)
def test_a_delay_parks_for_seconds(see: Any, config: Any, seconds: float) -> None:
    delay = REGISTRY["action_delay"].compile(config)
    assert delay.park(see(n=3, user={"wait": 9}), Budget()).seconds == pytest.approx(seconds)


def test_a_delay_says_how_long_it_was() -> None:
    delay = REGISTRY["action_delay"].compile({"delay_ms": 1500})
    assert delay.woken(Park(seconds=1.5), None, timed_out=True).output == {"delayed_seconds": 1.5}


@pytest.mark.parametrize("value", [-1, "soon", None, True, [1], {}, "inf", "nan", 1e300, 2_592_001])
def test_a_delay_of_no_sensible_length_fails(see: Any, value: Any) -> None:
    delay = REGISTRY["action_delay"].compile({"delay_variable": "n"})
    with pytest.raises(StepFailure, match="delay_variable") as caught:
        delay.park(see(n=value), Budget())
    assert caught.value.error_type == "BAD_CONFIG"


@pytest.mark.parametrize(
    ("config", "codes"),
    [
        ({}, ["MISSING_CONFIG"]),
        ({"delay_seconds": 1, "delay_ms": 1}, ["VALIDATION"]),
        ({"delay_ms": 0, "delay_variable": "n"}, []),
        ({"delay_seconds": 0}, []),
    ],
)
def test_a_delay_needs_one_length(check: Any, config: Any, codes: list[str]) -> None:
    assert [finding.code for finding in check("action_delay", config)] == codes


@pytest.mark.parametrize("value", [-1, "soon", True, 2_592_001])
def test_a_wait_of_no_sensible_length_fails(see: Any, value: Any) -> None:
    wait = REGISTRY["flow_wait"].compile({"signal": "go", "timeout_seconds": "{{ n }}"})
    with pytest.raises(StepFailure, match="timeout_seconds"):
        wait.park(see(n=value), Budget())


def test_a_delay_says_its_length_in_any_spelling_by_templates(see: Any) -> None:
    for config, seconds in (
        ({"delay_seconds": "{{ user.wait }}"}, 9.0),
        ({"delay_ms": "{{ user.wait * 1000 }}"}, 9.0),
        ({"delay_ms": "{{ '250' }}"}, 0.25),
        ({"delay_variable": "{{ user.wait }}"}, 9.0),
        ({"delay_variable": "user.wait + 1"}, 10.0),
        ({"delay_variable": 4}, 4.0),
    ):
        delay = REGISTRY["action_delay"].compile(config)
        assert delay.park(see(user={"wait": 9}), Budget()).seconds == seconds


@pytest.mark.parametrize("key", ["delay_seconds", "delay_ms", "delay_variable"])
def test_a_delay_that_cannot_be_read_fails_by_name(see: Any, key: str) -> None:
    delay = REGISTRY["action_delay"].compile({key: "{{ n }}"})
    with pytest.raises(StepFailure, match=f"`{key}`"):
        delay.park(see(n="a while"), Budget())
    with pytest.raises(ExpressionError, match="gone"):
        REGISTRY["action_delay"].compile({key: "{{ gone }}"}).park(see(), Budget())


def test_an_end_may_give_null(run: Any) -> None:
    assert run("flow_end", {"output": None}).output is None
    assert run("flow_end", {"output": ["{{ n }}", {"a": "{{ n }}!"}]}, n=1).output == [
        1,
        {"a": "1!"},
    ]


def test_an_end_whose_output_is_missing_fails(run: Any) -> None:
    with pytest.raises(ExpressionError, match="gone"):
        run("flow_end", {"output": "{{ gone }}"})
