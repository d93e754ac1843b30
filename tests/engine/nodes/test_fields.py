"""Every setting of every node type, by what its spec says: its aliases, its types, its bounds.

The cases are generated from the registry, so a setting that is added is tested without being
asked. What a setting *does* is told by hand in the files beside this one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from engine.context import Json, JsonObject, Limits
from engine.definition_fields import has_type
from engine.expressions import Budget, MapEnv, Template
from engine.issues import Issue, shown
from engine.nodes import REGISTRY
from engine.nodes.base import Field, NodeSpec
from engine.validation import Report, validate

SMALLEST: dict[str, JsonObject] = {
    "trigger_schedule": {"cron_expression": "0 18 * * FRI"},
    "condition_if": {"condition": "True"},
    "condition_switch": {"value": "'x'", "cases": {"x": "there"}},
    "condition_filter": {"items": [1], "condition": "item"},
    "data_transform": {"transformations": {"n": "1"}},
    "data_variable_set": {"variables": {"n": 1}},
    "data_variable_get": {"variable_name": "execution"},
    "loop_foreach": {"items": [1]},
    "loop_while": {"condition": "False"},
    "flow_wait": {"signal": "go"},
    "flow_subworkflow": {"workflow_id": "0190a000-0000-7000-8000-000000000001"},
    "action_webhook": {"url": "https://api.example.com"},
    "action_module": {"module_name": "ai"},
    "action_chat_message": {"message": "hi"},
    "action_delay": {"delay_seconds": 1},
}
"""A valid configuration of each type that needs one."""

SAMPLES: dict[tuple[str, str], Json] = {
    ("trigger_command", "aliases"): ["!so"],
    ("trigger_command", "platforms"): ["twitch"],
    ("trigger_event", "platforms"): ["twitch"],
    ("trigger_webhook", "allowed_ips"): ["203.0.113.7"],
    ("trigger_schedule", "cron_expression"): "*/5 * * * *",
    ("trigger_schedule", "timezone"): "Europe/Berlin",
    ("condition_switch", "cases"): {"x": "elsewhere"},
    ("data_variable_get", "variable_name"): "trigger",
    ("flow_merge", "mode"): "any",
    ("flow_subworkflow", "workflow_id"): "{{ execution.workflow_id }}",
    ("flow_wait", "schema"): {"type": "object"},
    ("action_webhook", "url"): "https://other.example.com",
    ("action_webhook", "expected_status"): [200, "404"],
    ("action_webhook", "usage"): {"cost": 0.1},
    ("action_module", "usage"): {"cost": 0.1},
    ("action_chat_message", "usage"): {"cost": 0.1},
    ("action_browser_source", "usage"): {"cost": 0.1},
    ("action_module", "output_mapping"): {"a": "b"},
    ("action_chat_message", "destination"): "specified_channel",
    ("action_delay", "delay_variable"): "seconds",
}
"""A value of each setting that may not hold just any value of its type."""

BESIDE: dict[tuple[str, str], JsonObject] = {
    ("action_delay", "delay_ms"): {},
    ("action_chat_message", "destination"): {"message": "hi", "channel_id": "c1"},
}
"""What a setting needs beside it, where it is not the smallest configuration."""

REFUSED = {("data_transform", "transform_code")}
"""Settings that are there to be refused."""

VALUES: dict[str, Json] = {
    "a text": "no number",
    "an integer": 7,
    "a number": 1.5,
    "a boolean": True,
    "an object": {},
    "a list": [],
}

FIELDS = [(spec, field) for spec in REGISTRY.values() for field in spec.fields]
BOUNDS = "BAD_CONFIG_VALUE"
TYPE = "BAD_CONFIG_TYPE"


def name_of(value: object) -> str | None:
    """How a case is called."""
    if isinstance(value, NodeSpec):
        return value.type
    return value.name if isinstance(value, Field) else None


def every(cases: Any, *names: str) -> Any:
    return pytest.mark.parametrize(("spec", "field", *names), list(cases), ids=name_of)


def document(node: JsonObject) -> JsonObject:
    """The node in a place where it may stand."""
    trigger = {"node_type": "trigger_command", "config": {"command": "!go"}}
    loop = {"node_type": "loop_foreach", "config": {"items": [1]}}
    edges = [{"from_node_id": "start", "to_node_id": "loop"}]
    if node["node_type"] == "loop_break":
        edges.append({"from_node_id": "loop", "from_port_name": "loop", "to_node_id": "node"})
    elif not node["node_type"].startswith("trigger_"):
        edges.append({"from_node_id": "start", "to_node_id": "node"})
    return {
        "name": "a workflow",
        "community_id": 1,
        "nodes": {"start": trigger, "loop": loop, "node": node},
        "connections": edges,
    }


def judged(node_type: str, config: JsonObject, *, flat: bool = False) -> Report:
    settings = config if flat else {"config": config}
    return validate(document({"node_type": node_type, **settings}), Limits())


def issues(report: Report) -> list[Issue]:
    """What is said about the node, but for names that a sample mentions."""
    return [i for i in report.issues if i.node_id == "node" and i.code != "UNKNOWN_VARIABLE"]


def stored(report: Report) -> JsonObject:
    config: JsonObject = report.document["nodes"]["node"]["config"]
    return config


def meaning(spec: NodeSpec, config: JsonObject) -> list[Any]:
    """What a configuration is compiled to; of a template without expressions its value."""
    handler = spec.compile(config)
    parts = [getattr(handler, each.name) for each in dataclasses.fields(handler)]
    return [
        part.render(MapEnv({}), Budget()) if isinstance(part, Template) and part.constant else part
        for part in parts
    ]


def sample(spec: NodeSpec, field: Field) -> Json:
    """A value that is not the default."""
    if (spec.type, field.name) in SAMPLES:
        return SAMPLES[spec.type, field.name]
    if field.choices:
        return field.choices[-1]
    if field.kind == "condition":
        return {"variable": "execution.id", "operator": "exists"}
    by_type: dict[str, Json] = {
        "any": {"k": ["{{ execution.id }}"]},
        "string": "some_text",
        "integer": 3,
        "number": 2.5,
        "boolean": True,
        "object": {"k": "'v'" if field.kind == "expressions" else "v"},
        "array": [1, 2],
    }
    return by_type[field.types[0]]


def around(spec: NodeSpec, field: Field) -> JsonObject:
    """The smallest configuration without this setting."""
    smallest = BESIDE.get((spec.type, field.name), SMALLEST.get(spec.type, {}))
    return {key: value for key, value in smallest.items() if key != field.name}


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=name_of)
def test_the_smallest_configuration_is_valid(spec: NodeSpec) -> None:
    assert issues(judged(spec.type, SMALLEST.get(spec.type, {}))) == []


@every((spec, field) for spec, field in FIELDS if (spec.type, field.name) not in REFUSED)
def test_a_setting_may_be_given_and_is_stored(spec: NodeSpec, field: Field) -> None:
    given = around(spec, field) | {field.name: sample(spec, field)}
    report = judged(spec.type, given)
    assert issues(report) == []
    assert stored(report) == given


def every_alias() -> Iterator[tuple[NodeSpec, Field, str]]:
    return ((spec, field, alias) for spec, field in FIELDS for alias in field.aliases)


@every(every_alias(), "alias")
@pytest.mark.parametrize("flat", [False, True], ids=["under config", "flat on the node"])
def test_an_alias_is_read_as_the_setting(
    spec: NodeSpec, field: Field, alias: str, flat: bool
) -> None:
    value = sample(spec, field)
    canonical = around(spec, field) | {field.name: value}
    report = judged(spec.type, around(spec, field) | {alias: value}, flat=flat)
    assert issues(report) == []
    assert stored(report) == canonical
    assert meaning(spec, stored(report)) == meaning(spec, canonical)


@every(every_alias(), "alias")
def test_of_a_setting_given_under_both_names_its_own_counts(
    spec: NodeSpec, field: Field, alias: str
) -> None:
    value = sample(spec, field)
    both = {alias: None, **around(spec, field), field.name: value}
    assert stored(judged(spec.type, both))[field.name] == value


@every(
    ((spec, field, *alias) for spec, field in FIELDS for alias in field.choice_aliases),
    "other",
    "choice",
)
def test_an_alias_of_a_choice_is_read_as_the_choice(
    spec: NodeSpec, field: Field, other: str, choice: str
) -> None:
    report = judged(spec.type, around(spec, field) | {field.name: other})
    assert issues(report) == []
    assert stored(report)[field.name] == choice


def wrong_values() -> Iterator[tuple[NodeSpec, Field, Json]]:
    for spec, field in FIELDS:
        for value in VALUES.values():
            if not _may_be(field, value):
                yield spec, field, value


def _may_be(field: Field, value: Json) -> bool:
    if field.kind == "condition":
        return isinstance(value, str | bool | list | dict)
    if field.kind == "reference" and isinstance(value, str):
        return True
    return any(_is(value, each) for each in field.types)


def _is(value: Json, json_type: Any) -> bool:
    if json_type == "array":
        return isinstance(value, list)
    return json_type == "any" or has_type(value, json_type)


@every(wrong_values(), "value")
def test_a_value_of_a_wrong_type_is_found_where_it_is(
    spec: NodeSpec, field: Field, value: Json
) -> None:
    found = issues(judged(spec.type, around(spec, field) | {field.name: value}))
    at_it = [issue for issue in found if issue.path == f"/nodes/node/config/{field.name}"]
    assert [issue.warning for issue in at_it].count(False) >= 1
    assert at_it[0].code == ("BAD_CONDITION" if field.kind == "condition" else "BAD_CONFIG_TYPE")
    assert field.kind == "condition" or f"`{field.name}` must be " in at_it[0].message


@every(
    # The three names of a merge's mode are weighed against each other, so it goes by `mode`.
    ((s, f, v, alias) for s, f, v in wrong_values() for alias in f.aliases if f.name != "mode"),
    "value",
    "alias",
)
def test_a_wrong_value_under_another_name_is_found_under_that_name(
    spec: NodeSpec, field: Field, value: Json, alias: str
) -> None:
    found = issues(judged(spec.type, around(spec, field) | {alias: value}, flat=True))
    assert f"/nodes/node/{alias}" in [issue.path for issue in found]


@every((spec, field) for spec, field in FIELDS if field.choices)
def test_a_value_that_is_no_choice_is_found_with_the_choices(spec: NodeSpec, field: Field) -> None:
    (found,) = issues(judged(spec.type, around(spec, field) | {field.name: "no_such_choice"}))
    assert (found.code, found.path) == (BOUNDS, f"/nodes/node/config/{field.name}")
    assert all(str(choice) in found.message for choice in field.choices)


def ends() -> Iterator[tuple[NodeSpec, Field, float, bool]]:
    """The bounds of each setting and the numbers just outside."""
    for spec, field in FIELDS:
        step = 1 if field.types == ("integer",) else 0.0005
        if field.minimum is not None:
            yield spec, field, _number(field, field.minimum), True
            yield spec, field, _number(field, field.minimum - step), False
        if field.maximum is not None:
            yield spec, field, _number(field, field.maximum), True
            yield spec, field, _number(field, field.maximum + step), False


def _number(field: Field, value: float) -> float:
    return int(value) if "integer" in field.types else value


@every(ends(), "value", "fits")
def test_a_bound_belongs_to_what_is_allowed(
    spec: NodeSpec, field: Field, value: float, fits: bool
) -> None:
    found = issues(judged(spec.type, around(spec, field) | {field.name: value}))
    assert [issue.code for issue in found] == ([] if fits else [BOUNDS])
    if not fits:
        assert found[0].path == f"/nodes/node/config/{field.name}"


TEMPLATED = [
    (spec, field)
    for spec, field in FIELDS
    if field.kind == "template" and "number" in field.types and "string" not in field.types
]


@every(TEMPLATED)
@pytest.mark.parametrize("text", ["abc", "1,5", "", " ", "nan", "inf", "-Infinity", "9" * 400])
def test_a_text_that_is_no_number_is_found_as_it_was_written(
    spec: NodeSpec, field: Field, text: str
) -> None:
    (found,) = issues(judged(spec.type, around(spec, field) | {field.name: text}))
    assert (found.code, found.path) == (TYPE, f"/nodes/node/config/{field.name}")
    assert found.message == f"`{field.name}` must be a number or {{{{ … }}}}, not {shown(text)}."


@every((spec, field) for spec, field in TEMPLATED if field.minimum is not None)
def test_a_number_out_of_bounds_is_shown_as_it_was_written(spec: NodeSpec, field: Field) -> None:
    for value, written in ((-5, "-5"), ("-5", "the string '-5'"), ("-5.50", "the string '-5.50'")):
        (found,) = issues(judged(spec.type, around(spec, field) | {field.name: value}))
        assert found.code == BOUNDS
        assert found.message.endswith(f", not {written}.")


OPTIONAL = [(s, f) for s, f in FIELDS if not f.required and (s.type, f.name) not in REFUSED]


@every(
    (s, f) for s, f in OPTIONAL if "any" not in f.types and f.name not in SMALLEST.get(s.type, ())
)
def test_null_means_that_a_setting_is_not_given(spec: NodeSpec, field: Field) -> None:
    without = SMALLEST.get(spec.type, {})
    report = judged(spec.type, without | {field.name: None})
    assert issues(report) == []
    assert meaning(spec, stored(report)) == meaning(spec, without)
    assert spec.ports(stored(report)) == spec.ports(without)
    assert spec.sets(stored(report)) == spec.sets(without)


@every((spec, field) for spec, field in FIELDS if field.default is not None)
def test_a_default_does_what_leaving_the_setting_out_does(spec: NodeSpec, field: Field) -> None:
    without = SMALLEST.get(spec.type, {})
    given = without | {field.name: field.default}
    assert issues(judged(spec.type, given)) == []
    assert meaning(spec, given) == meaning(spec, without)
    assert spec.ports(given) == spec.ports(without)
    assert spec.sets(given) == spec.sets(without)


@every((spec, field) for spec, field in FIELDS if field.required)
@pytest.mark.parametrize("value", [..., None, "", "  "], ids=["absent", "null", "empty", "blank"])
def test_a_required_setting_that_is_missing_is_found(
    spec: NodeSpec, field: Field, value: Any
) -> None:
    given = around(spec, field) | ({} if value is ... else {field.name: value})
    found = [i for i in issues(judged(spec.type, given)) if i.code == "MISSING_CONFIG"]
    assert [issue.path for issue in found] == [f"/nodes/node/config/{field.name}"]
    assert f"needs `{field.name}`" in found[0].message
    assert found[0].hint


TEMPLATES = [(spec, field) for spec, field in FIELDS if field.kind in {"template", "reference"}]


@every(TEMPLATES)
def test_a_template_that_cannot_be_read_is_found(spec: NodeSpec, field: Field) -> None:
    found = issues(judged(spec.type, around(spec, field) | {field.name: "{{ 1 + }}"}))
    assert ("EXPRESSION_SYNTAX", f"/nodes/node/config/{field.name}") in [
        (issue.code, issue.path) for issue in found
    ]


@every((s, f) for s, f in TEMPLATES if {"any", "object"} & {*f.types} and f.name != "cases")
def test_templates_are_read_at_any_depth(spec: NodeSpec, field: Field) -> None:
    deep = {"a": [1, {"b/c": ["{{ execution.id }}", {"d": "{{ 1 + }}"}]}]}
    found = issues(judged(spec.type, around(spec, field) | {field.name: deep}))
    syntax = [issue.path for issue in found if issue.code == "EXPRESSION_SYNTAX"]
    assert syntax == [f"/nodes/node/config/{field.name}/a/1/b~1c/1/d"]


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=name_of)
def test_a_setting_the_type_does_not_have_is_warned_about(spec: NodeSpec) -> None:
    nearly = f"{spec.fields[0].name}x" if spec.fields else "x"
    found = issues(judged(spec.type, SMALLEST.get(spec.type, {}) | {nearly: 1}))
    (warned,) = [issue for issue in found if issue.code == "UNKNOWN_CONFIG_KEY"]
    assert (warned.path, warned.warning) == (f"/nodes/node/config/{nearly}", True)
    assert warned.hint == f"Did you mean '{spec.fields[0].name}'?"
