"""Triggers: which one starts, and what it hands on."""

from __future__ import annotations

import pytest

from engine.context import JsonObject
from engine.errors import AmbiguousTrigger
from tests.engine.world import World, document
from tests.rules.harness import three_ways
from tests.rules.writing import (
    having,
    node,
    rule,
    says,
    sets,
)
from tests.virtual_time import simulate

TWO = {
    "command": node("trigger_command", command="!go"),
    "event": node("trigger_event", event_type="follow"),
    "by_command": says("by command"),
    "by_event": says("by event"),
    "both": says("both"),
}
TWO_EDGES = (
    "command -> by_command",
    "event -> by_event",
    "by_command -> both",
    "by_event -> both",
)
SOURCES = ("command", "event", "webhook", "schedule")
FOUR = {
    "command": node("trigger_command", command="!go"),
    "event": node("trigger_event", event_type="follow"),
    "webhook": node("trigger_webhook"),
    "schedule": node("trigger_schedule", cron_expression="0 * * * *"),
    **{f"say_{source}": says(source) for source in SOURCES},
}
FOUR_EDGES = tuple(f"{source} -> say_{source}" for source in SOURCES)

RULES = [
    rule(
        "the only trigger starts",
        {"a": says("hi")},
        "start -> a",
        messages=["hi"],
        steps=["start", "a"],
    ),
    rule(
        "the trigger that the request names starts and the others are skipped",
        TWO,
        *TWO_EDGES,
        start={"trigger_node_id": "event"},
        messages=["by event", "both"],
        steps=["event", "by_event", "both"],
        states={"command": "skipped", "by_command": "skipped"},
    ),
    *(
        rule(
            f"trigger_source {source} starts the trigger of that type",
            FOUR,
            *FOUR_EDGES,
            start={"metadata": {"trigger_source": source}},
            messages=[source],
            states={other: "skipped" for other in SOURCES if other != source},
        )
        for source in SOURCES
    ),
    rule(
        "the named trigger wins over the one that trigger_source matches",
        TWO,
        *TWO_EDGES,
        start={"trigger_node_id": "event", "metadata": {"trigger_source": "command"}},
        messages=["by event", "both"],
    ),
    rule(
        "a trigger_source that matches nothing leaves the only trigger",
        {"a": says("hi")},
        "start -> a",
        start={"metadata": {"trigger_source": "schedule"}},
        messages=["hi"],
    ),
    rule(
        "a source that matches one of several triggers of other types chooses it",
        {**TWO, "second": node("trigger_event", event_type="raid"), "by_raid": says("by raid")},
        *TWO_EDGES,
        "second -> by_raid",
        start={"metadata": {"trigger_source": "command"}},
        messages=["by command", "both"],
        states={"event": "skipped", "second": "skipped", "by_raid": "skipped"},
    ),
    rule(
        "a disabled trigger is no choice",
        {**TWO, "command": having(TWO["command"], enabled=False)},
        *TWO_EDGES,
        messages=["by event", "both"],
        states={"command": "skipped", "by_command": "skipped"},
    ),
    rule(
        "a trigger that an edge leads to does not run by it",
        {
            "start": node("trigger_command", command="!go"),
            "a": says("a"),
            "other": node("trigger_event", event_type="raid"),
            "b": says("b"),
        },
        "start -> a",
        "a -> other",
        "other -> b",
        start={"trigger_node_id": "start"},
        messages=["a"],
        states={"other": "skipped", "b": "skipped"},
    ),
    rule(
        "a trigger's output is the request's variables when there is no payload",
        {"a": sets(got="{{ input }}")},
        "start -> a",
        start={"variables": {"username": "ada"}},
        outputs={"start": {"username": "ada"}},
        variables={"username": "ada", "got": {"username": "ada"}},
    ),
    rule(
        "a trigger's output is the payload when there is one",
        {"a": sets(got="{{ input }}")},
        "start -> a",
        start={"variables": {"x": 1}, "metadata": {"payload": {"username": "ada"}}},
        outputs={"start": {"username": "ada"}},
        variables={"x": 1, "got": {"username": "ada"}},
    ),
    rule(
        "trigger holds the payload's fields and the metadata's, and the metadata win",
        {
            "a": sets(
                who="{{ trigger.username }}",
                channel="{{ trigger.channel }}",
                inner="{{ trigger.payload.channel }}",
                source="{{ trigger.metadata.channel }}",
            )
        },
        "start -> a",
        start={
            "metadata": {"channel": "meta", "payload": {"username": "ada", "channel": "payload"}}
        },
        variables={"who": "ada", "channel": "meta", "inner": "payload", "source": "meta"},
    ),
    rule(
        "an event trigger's output is the payload",
        {"event": node("trigger_event", event_type="follow"), "a": says("{{ input.username }}")},
        "event -> a",
        start={"metadata": {"payload": {"username": "ada"}}},
        messages=["ada"],
    ),
    rule(
        "a webhook trigger's output is headers, query and body",
        {"hook": node("trigger_webhook"), "a": sets(got="{{ input }}")},
        "hook -> a",
        start={"metadata": {"headers": {"x": "1"}, "query": {"q": "2"}, "payload": {"deep": [1]}}},
        has={"got": {"headers": {"x": "1"}, "query": {"q": "2"}, "body": {"deep": [1]}}},
    ),
    rule(
        "a schedule trigger's output is the scheduled time",
        {
            "cron": node("trigger_schedule", cron_expression="0 * * * *"),
            "a": sets(got="{{ input }}"),
        },
        "cron -> a",
        start={"metadata": {"scheduled_time": "2026-01-01T12:00:00Z"}},
        has={"got": {"scheduled_time": "2026-01-01T12:00:00Z"}},
    ),
    rule(
        "several triggers into one node run it once",
        {
            "one": node("trigger_command", command="!go"),
            "two": node("trigger_command", command="!run"),
            "a": says("once"),
        },
        "one -> a",
        "two -> a",
        start={"trigger_node_id": "two"},
        messages=["once"],
        steps=["two", "a"],
    ),
]


AMBIGUOUS = [
    ("two triggers and no choice", TWO, TWO_EDGES, {}, {"command", "event"}),
    (
        "two triggers of the type that the source matches",
        {**FOUR, "second": node("trigger_command", command="!second")},
        FOUR_EDGES,
        {"metadata": {"trigger_source": "command"}},
        {"command", "second"},
    ),
    (
        "a source that matches none of several",
        TWO,
        TWO_EDGES,
        {"metadata": {"trigger_source": "schedule"}},
        {"command", "event"},
    ),
]


@pytest.mark.parametrize(
    ("nodes", "edges", "start", "named"),
    [row[1:] for row in AMBIGUOUS],
    ids=[row[0] for row in AMBIGUOUS],
)
def test_no_choice_between_triggers_is_refused_naming_them(
    nodes: JsonObject, edges: tuple[str, ...], start: JsonObject, named: set[str]
) -> None:
    with pytest.raises(AmbiguousTrigger) as refused:
        simulate(World().context(document(nodes, *edges), **start))
    assert all(name in str(refused.value) for name in named)


@pytest.mark.parametrize(
    "named", ["by_event", "nowhere", "off"], ids=["no trigger", "no node", "disabled"]
)
def test_a_request_cannot_name_what_is_no_trigger_that_may_start(named: str) -> None:
    nodes = {**TWO, "off": having(TWO["command"], enabled=False)}
    with pytest.raises(ValueError, match=named):
        simulate(World().context(document(nodes, *TWO_EDGES), trigger_node_id=named))


(
    test_the_engine_keeps_the_rule,
    test_a_dry_run_keeps_the_rule,
    test_an_execution_whose_worker_dies_keeps_the_rule,
) = three_ways(RULES)
