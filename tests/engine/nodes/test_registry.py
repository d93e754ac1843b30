"""Every type of the catalogue is there, and every spec is sound."""

from __future__ import annotations

import pytest

from engine.context import Json
from engine.nodes import REGISTRY
from engine.nodes.base import Field, NodeSpec, options

CATALOGUE = {
    "trigger_command", "trigger_event", "trigger_webhook", "trigger_schedule",
    "condition_if", "condition_switch", "condition_filter",
    "data_transform", "data_variable_set", "data_variable_get",
    "loop_foreach", "loop_while", "loop_break",
    "flow_parallel", "flow_merge", "flow_end", "flow_wait", "flow_subworkflow",
    "action_webhook", "action_module", "action_chat_message", "action_browser_source",
    "action_delay",
}  # fmt: skip

JUNK: tuple[Json, ...] = (None, 7, -1, 1.5, True, "", "text", [], [None], {}, {"": None})


def test_the_registry_holds_exactly_the_catalogue() -> None:
    assert set(REGISTRY) == CATALOGUE


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.type)
def test_no_two_fields_of_a_type_share_a_name_or_an_alias(spec: NodeSpec) -> None:
    names = [name for field in spec.fields for name in (field.name, *field.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.type)
def test_normalise_check_ports_and_sets_bear_any_object(spec: NodeSpec) -> None:
    names = [name for field in spec.fields for name in (field.name, *field.aliases)]
    for name in [*names, "variable_name", "value"]:
        for junk in JUNK:
            config = {name: junk}
            spec.normalise(config)
            list(spec.check(config))
            assert all(isinstance(port, str) for port in spec.ports(config))
            assert all(isinstance(written, str) for written in spec.sets(config))
            assert isinstance(spec.fallback_port(config), str)


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.type)
def test_normalising_leaves_the_authors_object_alone(spec: NodeSpec) -> None:
    config = {"variable_name": "x", "value": 1, "mode": "all", "method": "get", "cases": [{}]}
    spec.normalise(config)
    assert config == {
        "variable_name": "x", "value": 1, "mode": "all", "method": "get", "cases": [{}],
    }  # fmt: skip


def test_options_fill_in_defaults_for_what_is_absent_or_null() -> None:
    fields = (Field("a", default=1), Field("b", default=2), Field("c"))
    assert options(fields, {"a": None, "b": 5, "c": None}) == {"a": 1, "b": 5, "c": None}
