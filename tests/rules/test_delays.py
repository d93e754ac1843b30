"""Delays: three spellings, long and short."""

from __future__ import annotations

from engine.context import JsonObject
from tests.rules.harness import three_ways
from tests.rules.writing import (
    ends,
    node,
    rule,
    says,
    sets,
    waits,
)

SPELLINGS: list[tuple[str, JsonObject, float]] = [
    ("delay_seconds", {"delay_seconds": 5}, 5),
    ("delay_ms", {"delay_ms": 5000}, 5),
    ("delay_variable", {"delay_variable": "pause"}, 5),
    ("a template", {"delay_seconds": "{{ pause * 2 }}"}, 10),
    ("half a second", {"delay_seconds": 0.5}, 0.5),
    ("fewer than a thousand delay_ms", {"delay_ms": 250}, 0.25),
    ("delay_variable in the unit of delay_ms", {"delay_ms": 1, "delay_variable": "pause"}, 0.005),
]

RULES = [
    *(
        rule(
            f"a delay by {spelling} passes and then goes on",
            {"wait": node("action_delay", **config), "say": says("then")},
            "start -> wait",
            "wait -> say",
            start={"variables": {"pause": 5}},
            messages=["then"],
            outputs={"wait": {"delayed_seconds": seconds}},
            seconds=(seconds, seconds + 2),
        )
        for spelling, config, seconds in SPELLINGS
    ),
    rule(
        "a delay of weeks passes",
        {"wait": waits(14 * 86_400), "say": says("there")},
        "start -> wait",
        "wait -> say",
        fields={"max_execution_time_seconds": 20 * 86_400},
        messages=["there"],
        only=("dry",),
    ),
    rule(
        "delays side by side pass side by side",
        {"a": waits(30), "b": waits(20), "end": ends("{{ len(input) }}")},
        "start -> a",
        "start -> b",
        "a -> end",
        "b -> end",
        steps=["start", "b", "a", "end"],
        final_output=2,
        seconds=(30, 33),
    ),
    rule(
        "what does not wait goes on beside a delay",
        {"wait": waits(30), "say": says("now"), "then": says("then")},
        "start -> wait",
        "start -> say",
        "wait -> then",
        steps=["start", "say", "wait", "then"],
        messages=["now", "then"],
    ),
    rule(
        "a delay of nothing goes on",
        {"wait": waits(0), "say": says("x")},
        "start -> wait",
        "wait -> say",
        messages=["x"],
        seconds=0,
    ),
    rule(
        "a delay below nothing fails",
        {"wait": waits("{{ n }}")},
        "start -> wait",
        start={"variables": {"n": -1}},
        error=("BAD_CONFIG", "wait"),
    ),
    rule(
        "a delay of what is no number fails",
        {"wait": waits("{{ n }}")},
        "start -> wait",
        start={"variables": {"n": "soon"}},
        error=("BAD_CONFIG", "wait"),
    ),
    rule(
        "a delay's number may be text",
        {"wait": waits("{{ n }}"), "say": says("x")},
        "start -> wait",
        "wait -> say",
        start={"variables": {"n": "3"}},
        messages=["x"],
        seconds=(3, 5),
    ),
    rule(
        "a delay's error can be handled by its port",
        {"wait": waits("{{ n }}"), "sorry": says("{{ input.type }}")},
        "start -> wait",
        "wait.error -> sorry",
        start={"variables": {"n": -1}},
        messages=["BAD_CONFIG"],
    ),
    rule(
        "variables set while another branch waits are seen after the wait",
        {"wait": waits(10), "a": sets(x=1), "say": says("{{ x }}")},
        "start -> wait",
        "start -> a",
        "wait -> say",
        messages=["1"],
    ),
]


(
    test_the_engine_keeps_the_rule,
    test_a_dry_run_keeps_the_rule,
    test_an_execution_whose_worker_dies_keeps_the_rule,
) = three_ways(RULES)
