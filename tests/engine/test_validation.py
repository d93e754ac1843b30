"""Validation: every finding, where it stands, and that mending it helps."""

from __future__ import annotations

import json

import pytest

from engine.context import Limits
from tests.engine.documents import (
    connection,
    document,
    error_codes,
    judge,
    node,
    warning_codes,
)
from tests.engine.validation_cases import CASES, SAY, Case, condition_if, one, say


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_mistake_is_reported_where_it_stands(case: Case) -> None:
    report = judge(case.wrong, case.limits)

    found = [i for i in report.issues if i.code == case.code and i.path == case.path]

    assert found, report.as_json()
    assert found[0].warning == case.warning
    assert case.hint in (found[0].hint or "")
    assert case.message in found[0].message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_a_mended_document_is_clean(case: Case) -> None:
    report = judge(case.mended, case.limits)

    assert [i for i in report.issues if not i.warning or i.code == case.code] == []


def test_everything_wrong_is_reported_in_one_pass() -> None:
    given = document(
        {
            "a": node("action_chat_message", message="{{ 1 + }}"),
            "b": node("nonsense"),
            "c": node("loop_break"),
        },
        "t>a",
        "a>nowhere",
        "a.left>b",
        "b>c",
        "c>b",
        name=5,
        colour="red",
    )

    assert set(error_codes(judge(given))) == {
        "VALIDATION_ERROR",
        "UNKNOWN_FIELD",
        "UNKNOWN_NODE_IN_CONNECTION",
        "UNKNOWN_PORT",
        "EXPRESSION_SYNTAX",
        "UNKNOWN_NODE_TYPE",
        "CYCLE",
        "BREAK_OUTSIDE_LOOP",
    }


def test_everything_wrong_with_one_condition_is_reported_in_one_pass() -> None:
    rules = [
        {"variable": "x", "operator": "eqals", "value": 1},
        {"variable": "y", "operator": "matches_regex", "value": "("},
        {"variable": "secrets.token", "operator": "equals", "value": "s"},
        "a +",
    ]

    report = judge(condition_if({"all": rules}))

    assert sorted((issue.code, issue.path) for issue in report.issues) == [
        ("BAD_REGEX", "/nodes/a/config/condition/all/1/value"),
        ("EXPRESSION_SYNTAX", "/nodes/a/config/condition/all/3"),
        ("SECRET_MISPLACED", "/nodes/a/config/condition"),
        ("UNKNOWN_OPERATOR", "/nodes/a/config/condition/all/0/operator"),
    ]
    assert "Did you mean equals?" in [issue.hint for issue in report.issues]


def test_every_expression_of_a_text_is_reported_in_one_pass() -> None:
    text = "{{ a + }} {{ secrets.b }} {{ c ) }} {{ d"
    switch = node("condition_switch", value=text, cases={"a": "b"})

    for given, key in ((say(text), "message"), (one(switch), "value")):
        found = judge(given).errors

        assert {issue.path for issue in found} == {f"/nodes/a/config/{key}"}
        assert [issue.code for issue in found] == ["SECRET_MISPLACED", *["EXPRESSION_SYNTAX"] * 3]
        columns = [issue.message.partition("column ")[2] for issue in found[1:]]
        assert columns == ["8).", "32).", "37)."]


def test_a_report_is_json_of_the_documented_shape() -> None:
    body = judge(document({"a": node("action_chat_message"), "b": SAY}, "t>a")).as_json()

    assert json.loads(json.dumps(body)) == body
    assert body["is_valid"] is False
    assert (body["error_count"], body["warning_count"]) == (1, 1)
    assert body["errors"] == [
        {
            "code": "MISSING_CONFIG",
            "message": "action_chat_message needs `message`.",
            "path": "/nodes/a/config/message",
            "node_id": "a",
            "hint": "Give a string.",
        }
    ]
    assert body["node_validation_errors"] == {"a": ["action_chat_message needs `message`."]}


def test_a_draft_may_be_unfinished_but_not_published() -> None:
    for unfinished in (document([]), document([SAY]), one(node("action_chat_message"))):
        report = judge(unfinished)

        assert report.refusals(publish=False) == []
        assert report.refusals(publish=True) == report.errors != []


def test_a_draft_may_not_be_wrong() -> None:
    for wrong in (say("{{ 1 + }}"), document({"a": SAY}, "t>b"), document({}, name=None)):
        report = judge(wrong)

        assert report.refusals(publish=False) == report.errors != []


def test_warnings_do_not_keep_a_document_from_being_published() -> None:
    report = judge(document({"a": SAY}))

    assert warning_codes(report) == ["UNREACHABLE_NODE"]
    assert report.refusals(publish=True) == []


def test_shape_errors_are_told_from_the_rest() -> None:
    report = judge(document({"a": node("nonsense")}, "t>a", community_id="x"))

    assert [issue.path for issue in report.shape_errors] == ["/community_id"]
    assert error_codes(report) == ["VALIDATION_ERROR", "UNKNOWN_NODE_TYPE"]


def test_a_missing_list_of_nodes_is_a_mistake_of_shape() -> None:
    given = document({})
    del given["nodes"]

    assert error_codes(judge(given)) == ["VALIDATION_ERROR", "NO_NODES"]


def test_a_disabled_connection_leads_nowhere() -> None:
    given = document({"a": SAY, "b": SAY}, "t>a", "a>b")
    given["connections"].append(connection("b>a", enabled=False))

    assert judge(given).issues == ()


def test_a_template_may_stand_for_a_value_of_any_type() -> None:
    given = one(node("action_delay", delay_seconds="{{ pause }}"))

    assert judge(given).errors == []


def test_a_document_far_too_large_is_not_gone_into() -> None:
    given = document({f"n{i}": node("nonsense") for i in range(30)})

    assert error_codes(judge(given, Limits(max_workflow_nodes=2))) == ["TOO_MANY_NODES"]
