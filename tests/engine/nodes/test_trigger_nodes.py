"""Triggers give the payload; their configuration is judged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.documents import document, judge


@pytest.mark.parametrize("node_type", ["trigger_command", "trigger_event"])
def test_a_trigger_gives_the_payload(run: Any, node_type: str) -> None:
    assert run(node_type, {}).output == {"text": "hi"}


def test_a_webhook_trigger_gives_headers_query_and_body(run: Any) -> None:
    metadata = {"headers": {"X-A": "1"}, "query": {"q": "2"}}
    result = run("trigger_webhook", {}, trigger={"payload": [1], "metadata": metadata})
    assert result.output == {"headers": {"X-A": "1"}, "query": {"q": "2"}, "body": [1]}


def test_a_webhook_trigger_without_metadata_gives_empty_objects(run: Any) -> None:
    assert run("trigger_webhook", {}).output == {"headers": {}, "query": {}, "body": {"text": "hi"}}


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ({"metadata": {"scheduled_time": "T1"}, "payload": {"scheduled_time": "T2"}}, "T1"),
        ({"metadata": {}, "payload": {"scheduled_time": "T2"}}, "T2"),
        ({"metadata": {}, "payload": {}}, "2025-12-09T12:00:00Z"),
    ],
)
def test_a_schedule_gives_when_it_was_due(run: Any, trigger: Any, expected: str) -> None:
    assert run("trigger_schedule", {}, trigger=trigger).output == {"scheduled_time": expected}


@pytest.mark.parametrize("alias", ["command", "command_pattern", "command_name"])
def test_a_command_is_read_from_every_dialect(read: Any, alias: str) -> None:
    assert read("trigger_command", {alias: "!hi"}) == {"command": "!hi"}


def test_event_filters_are_read_from_filters(read: Any) -> None:
    assert read("trigger_event", {"filters": {"tier": 3}}) == {"event_filters": {"tier": 3}}


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 18 * * FRI", "0 0 L * *"])
def test_a_good_cron_expression_passes(check: Any, cron: str) -> None:
    assert check("trigger_schedule", {"cron_expression": cron}) == []


@pytest.mark.parametrize("cron", ["", "every day", "61 * * * *", "* * *", "0 0 30 2 *"])
def test_a_bad_cron_expression_is_found(check: Any, cron: str) -> None:
    (finding,) = check("trigger_schedule", {"cron_expression": cron})
    assert (finding.code, finding.path) == ("BAD_CRON", "/cron_expression")


@pytest.mark.parametrize("cron", ["0 0 18 * * FRI", "* * * * * *"])
def test_a_cron_expression_has_no_field_for_seconds(check: Any, cron: str) -> None:
    (finding,) = check("trigger_schedule", {"cron_expression": cron})
    assert (finding.code, finding.path) == ("BAD_CRON", "/cron_expression")
    assert (
        finding.message == f"{cron!r} is not a cron expression: it has a sixth field, for seconds"
    )
    assert "five fields" in finding.hint


@pytest.mark.parametrize("timezone", ["UTC", "utc", "Europe/Berlin"])
def test_a_known_timezone_passes(check: Any, timezone: str) -> None:
    assert check("trigger_schedule", {"timezone": timezone}) == []


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "../../etc/passwd", "Europe", "a\x00b"])
def test_an_unknown_timezone_is_found(check: Any, timezone: str) -> None:
    (finding,) = check("trigger_schedule", {"timezone": timezone})
    assert (finding.code, finding.path) == ("VALIDATION", "/timezone")


def test_each_entry_of_allowed_ips_is_judged(check: Any) -> None:
    allowed = ["10.0.0.1", "10.0.0.0/8", "::1", "10.0.0.256", "host", 7]
    found = check("trigger_webhook", {"allowed_ips": allowed})
    assert [finding.path for finding in found] == [
        "/allowed_ips/3",
        "/allowed_ips/4",
        "/allowed_ips/5",
    ]


FULL: dict[str, Any] = {
    "trigger_command": {
        "command": "!so",
        "aliases": ["!shoutout"],
        "platforms": ["twitch"],
        "cooldown_seconds": 5,
        "user_cooldown_seconds": 60,
        "require_permission": "moderator",
        "case_sensitive": True,
    },
    "trigger_event": {
        "event_type": "raid",
        "platforms": ["twitch"],
        "event_filters": {"viewers": 10},
    },
    "trigger_webhook": {"require_signature": True, "allowed_ips": ["203.0.113.0/24"]},
    "trigger_schedule": {
        "cron_expression": "0 18 * * FRI",
        "timezone": "Europe/Berlin",
        "max_executions": 3,
    },
}


@pytest.mark.parametrize("node_type", FULL)
def test_what_decides_about_a_start_is_kept_for_the_caller_and_does_nothing_here(
    run: Any, node_type: str
) -> None:
    report = judge(document([{"node_id": "t", "node_type": node_type, "config": FULL[node_type]}]))
    assert report.issues == ()
    assert report.document["nodes"]["t"]["config"] == FULL[node_type]
    assert run(node_type, FULL[node_type]).output == run(node_type, {}).output


@pytest.mark.parametrize("payload", [None, [], "text", 7, {"a": {"b": 1}}])
def test_a_payload_may_be_any_value(run: Any, payload: Any) -> None:
    trigger = {"payload": payload, "metadata": {}}
    assert run("trigger_command", {}, trigger=trigger).output == payload
    assert run("trigger_webhook", {}, trigger=trigger).output["body"] == payload


def test_metadata_of_another_form_gives_empty_objects(run: Any) -> None:
    trigger = {"payload": 1, "metadata": {"headers": "x", "query": None}}
    output = run("trigger_webhook", {}, trigger=trigger).output
    assert output == {"headers": {}, "query": {}, "body": 1}


@pytest.mark.parametrize(
    ("node_type", "key"),
    [
        ("trigger_command", "aliases"),
        ("trigger_command", "platforms"),
        ("trigger_event", "platforms"),
    ],
)
def test_each_entry_of_a_list_of_names_is_judged(check: Any, node_type: str, key: str) -> None:
    found = check(node_type, {key: ["fine", 7, "", {}, None]})
    assert [(finding.code, finding.path) for finding in found] == [
        ("VALIDATION", f"/{key}/{position}") for position in (1, 2, 3, 4)
    ]
    assert "the number 7" in found[0].message
