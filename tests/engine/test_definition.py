"""Reading documents: two dialects in, one canonical document out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.context import JsonObject, Limits
from engine.definition import read_definition
from engine.issues import Issue
from engine.nodes import REGISTRY
from engine.retry import parse_retry
from engine.validation import validate
from tests.engine.documents import LIMITS, TRIGGER, connection, document, judge, node

RETRY: JsonObject = {
    "max_attempts": 3,
    "backoff": "exponential",
    "initial_seconds": 1,
    "max_seconds": 60,
    "jitter": True,
}


def read(given: Any) -> JsonObject:
    return read_definition(given, LIMITS)[0]


def issues(given: Any) -> list[Issue]:
    return read_definition(given, LIMITS)[1]


CONFIG_DIALECT: JsonObject = {
    "name": "Announce winners",
    "community_id": 7,
    "nodes": [
        {"node_type": "trigger_command", "config": {"command": "!winners"}},
        {
            "node_id": "each",
            "node_type": "loop_foreach",
            "config": {"array_variable": "winners", "item_variable": "winner"},
        },
        {
            "node_id": "say",
            "node_type": "action_chat_message",
            "config": {"message": "Well done, {{ winner.name }}!"},
        },
        {"node_id": "end", "node_type": "flow_end"},
    ],
    "connections": [
        {"from_node_id": "trigger_command_1", "to_node_id": "each"},
        {"from_node_id": "each", "from_port_name": "loop_body", "to_node_id": "say"},
        {"from_node_id": "say", "to_node_id": "each", "to_port_name": "loop_continue"},
        {"from_node_id": "each", "from_port_name": "completed", "to_node_id": "end"},
    ],
    "global_variables": {"winners": []},
}

FLAT_DIALECT: JsonObject = {
    "name": "Greet by tier",
    "community_id": 7,
    "license_key": "PENG-0000",
    "metadata": {"max_execution_time_seconds": 60, "max_retries": 2, "author_id": 1},
    "nodes": [
        {
            "node_id": "start",
            "node_type": "trigger_command",
            "label": "On !hello",
            "position": {"x": 10, "y": 20},
            "enabled": True,
            "description": None,
            "command_pattern": "!hello",
            "input_ports": [],
            "output_ports": [{"name": "triggered"}],
            "metadata": {},
            "created_at": "2025-01-01T00:00:00Z",
        },
        {
            "node_id": "tier",
            "node_type": "condition_switch",
            "switch_variable": "tier",
            "cases": {"gold": "vip"},
            "output_ports": [{"name": "vip"}, {"name": "default"}],
        },
        {
            "node_id": "call",
            "node_type": "action_webhook",
            "url": "https://example.com/hook",
            "body_template": {"user": "{{ username }}"},
            "retry_count": 2,
            "timeout_seconds": 5,
        },
        {
            "node_id": "wait",
            "node_type": "flow_wait",
            "signal": "approved",
            "timeout_seconds": 60,
        },
        {"node_id": "greet", "node_type": "action_chat_message", "message_template": "Hi"},
    ],
    "connections": [
        {"from_node_id": "start", "from_port_name": "triggered", "to_node_id": "tier"},
        {"from_node_id": "tier", "from_port_name": "vip", "to_node_id": "call"},
        {"from_node_id": "call", "from_port_name": "success", "to_node_id": "wait"},
        {"from_node_id": "wait", "from_port_name": "timeout", "to_node_id": "greet"},
        {"from_node_id": "tier", "from_port_name": "default", "to_node_id": "greet"},
    ],
}


@pytest.mark.parametrize("given", [CONFIG_DIALECT, FLAT_DIALECT])
def test_documents_of_both_dialects_are_valid(given: JsonObject) -> None:
    assert judge(given).errors == []


@pytest.mark.parametrize("node_type", ["action_chat_message", "flow_subworkflow"])
def test_a_time_out_among_the_settings_is_the_node_s_where_no_setting_is_called_so(
    node_type: str,
) -> None:
    given = document({"a": node(node_type, timeout_seconds=7)})
    found = read(given)["nodes"]["a"]

    assert (found["timeout_seconds"], found["config"]) == (7, {})


def told(given: JsonObject) -> list[tuple[str, str]]:
    return [(issue.path, issue.message) for issue in judge(given).errors]


def test_every_tag_that_is_no_string_is_named_with_its_place() -> None:
    assert told(document(tags=["a", 1, None, {}])) == [
        ("/tags/1", "An entry of `tags` must be a string, not the number 1."),
        ("/tags/2", "An entry of `tags` must be a string, not null."),
        ("/tags/3", "An entry of `tags` must be a string, not an object."),
    ]
    assert told(document(tags={"a": 1})) == [
        ("/tags", "`tags` must be an array of strings, not an object.")
    ]


def test_of_very_many_wrong_tags_the_first_are_told() -> None:
    paths = [path for path, _ in told(document(tags=[1] * 500))]

    assert paths == [f"/tags/{position}" for position in range(100)]


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        (
            node("trigger_webhook", allowed_ips=["203.0.113.7", None]),
            "/allowed_ips/1",
            "Null is not an IP address or network.",
        ),
        (
            node("action_webhook", url="https://a.example", expected_status=[200, "20"]),
            "/expected_status/1",
            "`expected_status`: '20' is not a status like 200 or 2xx.",
        ),
        (
            node("action_webhook", url="https://a.example", expected_status=[[200]]),
            "/expected_status/0",
            "`expected_status`: an array is not a status like 200 or 2xx.",
        ),
        (
            node("action_webhook", url="https://a.example", expected_status=[]),
            "/expected_status",
            "`expected_status`: no status at all.",
        ),
        (
            node("action_webhook", url="https://a.example", expected_status={"from": 200}),
            "/expected_status",
            "`expected_status` must be a string or an integer or an array, not an object.",
        ),
        (
            node("condition_switch", value="x", cases=[5]),
            "/cases/0",
            "A case must be an object with a `value` and an `output_port`, not the number 5.",
        ),
        (
            node("condition_switch", value="x", cases=[{"value": 1}]),
            "/cases/0",
            "A case needs an `output_port`.",
        ),
        (
            node("condition_switch", value="x", cases={"a": []}),
            "/cases/a",
            "The port of case 'a' must be a string that is not empty, not an array.",
        ),
        (
            node("action_module", module_name="m", output_mapping={"a": 1}),
            "/output_mapping/a",
            "The variable for 'a' must be a string, not the number 1.",
        ),
    ],
)
def test_what_is_wrong_inside_a_setting_is_named_with_its_place_and_what_was_found(
    given: JsonObject, path: str, message: str
) -> None:
    assert told(document({"a": given})) == [(f"/nodes/a/config{path}", message)]


def test_a_wrong_time_out_among_the_settings_is_refused_where_it_lies() -> None:
    report = judge(document({"a": node("action_browser_source", timeout_seconds="soon")}, "t>a"))

    assert [issue.path for issue in report.errors] == ["/nodes/a/config/timeout_seconds"]


def test_nodes_of_an_array_without_ids_get_one_from_their_type() -> None:
    nodes = [TRIGGER, node("flow_end"), {"id": "flow_end_1", "node_type": "flow_end"}, TRIGGER]

    read_nodes = read(document(nodes))["nodes"]

    assert list(read_nodes) == [
        "trigger_command_1",
        "flow_end_2",
        "flow_end_1",
        "trigger_command_2",
    ]


def test_a_canonical_node_has_its_id_label_position_and_defaults() -> None:
    assert read(CONFIG_DIALECT)["nodes"]["each"] == {
        "node_id": "each",
        "node_type": "loop_foreach",
        "label": "each",
        "position": {"x": 300, "y": 100},
        "enabled": True,
        "config": {"items": "winners", "item_variable": "winner"},
        "continue_on_error": False,
    }


def test_a_canonical_connection_has_an_id_and_canonical_ports() -> None:
    assert read(CONFIG_DIALECT)["connections"][1] == {
        "connection_id": "c2",
        "from_node_id": "each",
        "from_port_name": "loop",
        "to_node_id": "say",
        "to_port_name": "input",
        "enabled": True,
    }


def test_flat_fields_fold_into_config_under_canonical_names() -> None:
    nodes = read(FLAT_DIALECT)["nodes"]

    assert nodes["start"]["config"] == {"command": "!hello"}
    assert nodes["tier"]["config"] == {"value": "tier", "cases": {"gold": "vip"}}
    assert nodes["greet"]["config"] == {"message": "Hi"}


def test_a_flat_timeout_is_the_nodes_own_except_where_it_is_what_the_node_does() -> None:
    nodes = read(FLAT_DIALECT)["nodes"]

    assert nodes["call"]["timeout_seconds"] == 5
    assert "timeout_seconds" not in nodes["call"]["config"]
    assert nodes["wait"]["config"]["timeout_seconds"] == 60
    assert "timeout_seconds" not in nodes["wait"]


def test_an_old_retry_count_is_the_number_of_tries_after_the_first() -> None:
    call = read(FLAT_DIALECT)["nodes"]["call"]

    assert call["retry"] == RETRY | {"max_attempts": 3}
    assert "retry_count" not in call["config"]


def test_what_old_metadata_says_about_running_is_read() -> None:
    given = read(FLAT_DIALECT)

    assert given["max_execution_time_seconds"] == 60
    assert given["max_retries"] == 2
    assert "metadata" not in given
    assert "license_key" not in given


def test_config_beats_a_flat_field_with_a_warning() -> None:
    nodes = {"a": {"node_type": "flow_end", "output_data": 1, "config": {"output": 2}}}

    given = document(nodes)

    assert read(given)["nodes"]["a"]["config"] == {"output": 2}
    assert [(i.code, i.path) for i in issues(given)] == [
        ("REPEATED_CONFIG_KEY", "/nodes/a/output_data")
    ]


def test_a_canonical_key_beats_its_alias_with_a_warning() -> None:
    given = document({"a": node("action_chat_message", message_template="old", message="new")})

    assert read(given)["nodes"]["a"]["config"] == {"message": "new"}
    assert [i.code for i in issues(given)] == ["REPEATED_CONFIG_KEY"]


def test_a_flat_null_is_no_value_but_a_null_in_config_is() -> None:
    nodes = {"a": {"node_type": "flow_end", "output": None}, "b": node("flow_end", output=None)}

    given = read(document(nodes))["nodes"]

    assert given["a"]["config"] == {}
    assert given["b"]["config"] == {"output": None}


@pytest.mark.parametrize(
    "sent",
    [
        {"config": {"message": None, "message_template": "hi"}},
        {"config": {"message_template": "hi", "message": None}},
        {"config": {"message_template": None, "message": "hi"}},
        {"config": {"message": None}, "message": "hi"},
        {"config": {"message": None}, "message_template": "hi"},
    ],
)
def test_a_null_under_one_name_of_a_setting_hides_none_under_another(sent: JsonObject) -> None:
    given = document({"a": {"node_type": "action_chat_message", **sent}}, "t>a")

    assert judge(given).issues == ()
    assert read(given)["nodes"]["a"]["config"] == {"message": "hi"}


def test_type_and_name_are_read_as_node_type_and_label() -> None:
    given = read(document({"a": {"type": "flow_end", "name": "The end"}}))["nodes"]["a"]

    assert (given["node_type"], given["label"]) == ("flow_end", "The end")


def test_the_key_of_a_node_is_its_id() -> None:
    given = document({"a": node("flow_end") | {"node_id": "z"}})

    assert list(read(given)["nodes"]) == ["t", "a"]
    assert [i.code for i in issues(given)] == ["NODE_ID_IGNORED"]


def test_ports_are_left_alone_where_the_node_has_them_by_that_name() -> None:
    cases = node("condition_switch", value="x", cases={"1": "done"})
    given = document({"s": cases, "a": node("flow_end")}, "t>s", "s.done>a")

    assert read(given)["connections"][1]["from_port_name"] == "done"


def test_a_parallel_accepts_any_port_and_a_break_reads_continue_as_output() -> None:
    nodes = {
        "each": node("loop_foreach", items="x"),
        "p": node("flow_parallel"),
        "b": node("loop_break"),
        "c": node("flow_merge"),
    }
    given = document(nodes, "t>each", "each.loop>p", "p.left>b", "b.continue>c")

    ports = [c["from_port_name"] for c in read(given)["connections"]]

    assert ports == ["output", "loop", "left", "output"]
    assert judge(given).errors == []


def test_made_connection_ids_do_not_collide_with_given_ones() -> None:
    given = document({"a": node("flow_end")}, "t>a")
    given["connections"] += [connection("t>a", connection_id="c1"), connection("t>a")]

    ids = [c["connection_id"] for c in read(given)["connections"]]

    assert len(set(ids)) == 3
    assert ids[1] == "c1"


def test_a_null_is_no_id_and_hides_none() -> None:
    given = document({"a": node("flow_end")}, "t>a", "t>a")
    given["connections"].append(connection("t>a", connection_id=None, id="c2"))

    assert issues(given) == []
    assert [c["connection_id"] for c in read(given)["connections"]] == ["c1", "c2_", "c2"]


def test_a_null_under_one_name_of_a_field_hides_none_under_another() -> None:
    given = document({"a": node("flow_end")})
    for sent in ({"from": "t", "source": None}, {"source": None, "from": "t"}):
        given["connections"] = [sent | {"target": "a", "to_node_id": None}]

        assert issues(given) == []


def test_a_null_under_one_name_of_a_nodes_id_or_type_is_none() -> None:
    listed = [TRIGGER, {"node_id": None, "node_type": None, "type": "flow_end"}]
    named = document({"a": node("flow_end") | {"node_id": None, "id": "b"}}, "t>a")

    assert list(read(document(listed))["nodes"]) == ["trigger_command_1", "flow_end_1"]
    assert [issue.code for issue in issues(named)] == ["NODE_ID_IGNORED"]


def test_connections_of_other_editors_are_read() -> None:
    given = document({"a": node("flow_end")})
    given["connections"] = [
        {"id": "e1", "source": "t", "sourceHandle": "output", "target": "a", "condition": "x > 1"}
    ]

    assert read(given)["connections"] == [
        {
            "connection_id": "e1",
            "from_node_id": "t",
            "from_port_name": "output",
            "to_node_id": "a",
            "to_port_name": "input",
            "enabled": True,
            "conditional": "x > 1",
        }
    ]


def test_an_empty_conditional_is_none() -> None:
    given = document({"a": node("flow_end")})
    given["connections"] = [connection("t>a", conditional=" ")]

    assert "conditional" not in read(given)["connections"][0]


def test_nodes_without_a_position_are_laid_out_from_left_to_right() -> None:
    nodes = {"a": node("flow_end"), "b": node("flow_end")}

    given = read(document(nodes, "t>a", "t>b"))["nodes"]

    assert [given[n]["position"] for n in ("t", "a", "b")] == [
        {"x": 100, "y": 100},
        {"x": 300, "y": 100},
        {"x": 300, "y": 220},
    ]


def test_what_the_server_adds_may_be_sent_back() -> None:
    echoed = {"workflow_id": "w", "status": "draft", "version": 3, "created_at": "now"}

    given = document({}, **echoed)

    assert issues(given) == []
    assert not echoed.keys() & read(given).keys()


def test_numbers_of_a_retry_are_kept_and_old_names_renamed() -> None:
    retry = {"max_attempts": 5, "backoff": "constant", "initial_seconds": 0.5, "jitter": False}
    nodes = {"a": node("action_chat_message", message="x") | {"retry": retry}}

    assert read(document(nodes))["nodes"]["a"]["retry"] == RETRY | retry | {"backoff": "fixed"}


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ({}, {}),
        ({"max_attempts": 1, "jitter": False}, {"max_attempts": 1, "jitter": False}),
        ({"backoff": None, "max_seconds": None}, {}),
        ({"initial_seconds": 90}, {"initial_seconds": 90, "max_seconds": 90}),
        ({"initial_seconds": 90, "max_seconds": 30}, {"initial_seconds": 90, "max_seconds": 30}),
    ],
)
def test_a_retry_is_completed_and_means_what_it_meant(
    given: JsonObject, completed: JsonObject
) -> None:
    nodes = {"a": node("action_chat_message", message="x") | {"retry": given}}
    found = read(document(nodes))["nodes"]["a"]["retry"]

    assert found == RETRY | completed
    assert list(found) == list(RETRY)
    meant = {key: value for key, value in given.items() if value is not None}
    assert parse_retry(found) == parse_retry(meant)


def test_the_workflow_for_failures_is_kept_in_its_canonical_spelling() -> None:
    given = document({}, error_workflow_id="0198A0B1-0000-7000-8000-00000000000F")

    assert read(given)["error_workflow_id"] == "0198a0b1-0000-7000-8000-00000000000f"
    assert "error_workflow_id" not in read(document({}, error_workflow_id=None))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": None}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 256}, "/name"),
        ({"name": 5}, "/name"),
        ({"community_id": None}, "/community_id"),
        ({"community_id": "1"}, "/community_id"),
        ({"community_id": True}, "/community_id"),
        ({"entity_id": 1.5}, "/entity_id"),
        ({"nodes": None}, "/nodes"),
        ({"nodes": "x"}, "/nodes"),
        ({"nodes": [1]}, "/nodes/0"),
        ({"nodes": {"a/b": 1}}, "/nodes/a~1b"),
        ({"nodes": [{"node_id": 1, "node_type": "flow_end"}]}, "/nodes/0/node_id"),
        ({"nodes": [{"id": 1, "node_type": "flow_end"}]}, "/nodes/0/id"),
        ({"error_workflow_id": 7}, "/error_workflow_id"),
        ({"error_workflow_id": "the other one"}, "/error_workflow_id"),
        ({"nodes": {"a": {}}}, "/nodes/a/node_type"),
        ({"nodes": {"a": {"type": 1}}}, "/nodes/a/type"),
        ({"nodes": {"a": TRIGGER | {"config": []}}}, "/nodes/a/config"),
        ({"nodes": {"a": TRIGGER | {"enabled": "yes"}}}, "/nodes/a/enabled"),
        ({"nodes": {"a": TRIGGER | {"position": {"x": 1}}}}, "/nodes/a/position/y"),
        ({"nodes": {"a": TRIGGER | {"timeout_seconds": 0}}}, "/nodes/a/timeout_seconds"),
        ({"nodes": {"a": TRIGGER | {"effect": "once"}}}, "/nodes/a/effect"),
        ({"nodes": {"a": TRIGGER | {"retry": 3}}}, "/nodes/a/retry"),
        ({"nodes": {"a": TRIGGER | {"retry": {"max_attempts": 0}}}}, "/nodes/a/retry/max_attempts"),
        ({"connections": {}}, "/connections"),
        ({"connections": [1]}, "/connections/0"),
        ({"connections": [{"from": "t"}]}, "/connections/0/to_node_id"),
        ({"connections": [{"source": 1, "target": "t"}]}, "/connections/0/source"),
        ({"connections": [connection("t>t", conditional=True)]}, "/connections/0/conditional"),
        ({"global_variables": []}, "/global_variables"),
        ({"tags": ["a", 1]}, "/tags/1"),
        ({"max_execution_time_seconds": 0}, "/max_execution_time_seconds"),
        ({"max_execution_time_seconds": 2_592_001}, "/max_execution_time_seconds"),
        ({"max_parallel_executions": 0}, "/max_parallel_executions"),
        ({"retry_failed_nodes": 1}, "/retry_failed_nodes"),
        ({"retention_days": 0}, "/retention_days"),
        ({"retention_days": 36_501}, "/retention_days"),
        ({"retention_days": 1.5}, "/retention_days"),
        ({"retention_days": "30"}, "/retention_days"),
        ({"metadata": 1}, "/metadata"),
        ({"metadata": {"max_retries": "x"}}, "/metadata/max_retries"),
    ],
)
def test_a_value_of_the_wrong_shape_is_reported_where_it_stands(
    change: JsonObject, path: str
) -> None:
    report = judge(document({}) | change)

    assert path in [issue.path for issue in report.shape_errors]


@pytest.mark.parametrize("given", [None, [], "x", 1])
def test_a_document_is_an_object(given: Any) -> None:
    report = judge(given)

    assert [i.code for i in report.shape_errors] == ["VALIDATION_ERROR"]


@pytest.mark.parametrize(
    ("field", "meant"),
    [("conections", "connections"), ("edges", "connections"), ("variables", "global_variables")],
)
def test_an_unknown_field_is_an_error_that_names_the_nearest(field: str, meant: str) -> None:
    (issue,) = judge(document({}, **{field: []})).errors

    assert (issue.code, issue.path) == ("UNKNOWN_FIELD", f"/{field}")
    assert meant in (issue.hint or "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 500) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.just("value"), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def any_node(draw: st.DrawFn) -> JsonObject:
    """A node of a known type with any values under known keys, in either dialect."""
    spec = REGISTRY[draw(st.sampled_from(sorted(REGISTRY)))]
    names = [name for each in spec.fields for name in (each.name, *each.aliases)]
    keys = st.sampled_from([*names, "retry_count", "foo"])
    config = draw(st.dictionaries(keys, JSON, max_size=4))
    flat = draw(st.dictionaries(keys, JSON, max_size=2))
    made = {"node_type": spec.type, **flat, "config": config}
    common = st.sampled_from(["label", "position", "enabled", "retry", "timeout_seconds"])
    return made | draw(st.dictionaries(common, JSON, max_size=1))


@st.composite
def any_document(draw: st.DrawFn) -> JsonObject:
    ids = st.sampled_from(["a", "b", "c", "d"])
    nodes = draw(st.dictionaries(ids, any_node(), max_size=4))
    ports = st.sampled_from(["output", "loop", "body", "true", "done", "error", "x"])
    edges = st.fixed_dictionaries(
        {"from_node_id": ids, "to_node_id": ids},
        optional={
            "from_port_name": ports,
            "connection_id": ids,
            "conditional": st.text(max_size=5),
            "enabled": st.booleans(),
        },
    )
    given = document(nodes or None)
    given["connections"] = draw(st.lists(edges, max_size=6))
    return given | {"global_variables": draw(st.dictionaries(st.text(max_size=6), JSON))}


@settings(max_examples=150, deadline=None)
@given(any_document())
def test_reading_a_canonical_document_again_changes_nothing(given: JsonObject) -> None:
    once = validate(given, Limits()).document

    assert validate(once, Limits()).document == once


@settings(max_examples=150, deadline=None)
@given(any_document(), st.booleans())
def test_every_finding_points_into_the_document_as_it_was_sent(
    given: JsonObject, listed: bool
) -> None:
    if listed:
        given["nodes"] = [{"id": key, **sent} for key, sent in given["nodes"].items()]

    for issue in validate(given, Limits()).issues:
        missing = _beyond(given, issue.path)
        # A setting that is missing may lack the `config` around it too.
        assert len(missing) <= (2 if missing[:1] == ["config"] else 1), issue


def _beyond(given: Any, path: str) -> list[str]:
    """The parts of a JSON pointer (RFC 6901) that lead out of the document."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    for position, part in enumerate(parts):
        try:
            given = given[int(part)] if isinstance(given, list) else given[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return parts[position:]
    return []


@settings(max_examples=100, deadline=None)
@given(JSON | st.dictionaries(st.sampled_from(["nodes", "connections", "name"]), JSON))
def test_no_json_whatever_makes_the_validator_raise(given: Any) -> None:
    assert not validate(given, Limits()).is_valid


@settings(max_examples=300, deadline=None)
@given(any_node())
def test_a_configuration_without_errors_can_be_compiled(given: JsonObject) -> None:
    report = validate(document({"a": given}), Limits())
    found = report.document["nodes"]["a"]

    if not any(issue.node_id == "a" and not issue.warning for issue in report.issues):
        REGISTRY[found["node_type"]].compile(found["config"])


@pytest.mark.parametrize("days", [1, 30, 36_500])
def test_how_long_executions_are_kept_is_part_of_the_document(days: int) -> None:
    report = judge(document({}) | {"retention_days": days})

    assert report.document["retention_days"] == days


@pytest.mark.parametrize("left_out", [{}, {"retention_days": None}])
def test_how_long_executions_are_kept_is_the_services_to_say_otherwise(
    left_out: JsonObject,
) -> None:
    report = judge(document({}) | left_out)

    assert "retention_days" not in report.document
    assert "/retention_days" not in [issue.path for issue in report.issues]
