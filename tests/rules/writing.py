"""A rule of the page, and short ways to write the workflow it speaks of.

Its one rule: a `Rule` says what must come out, never how. How it is held is `harness`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.context import Json, JsonObject, Limits
from engine.ports import HttpResponse
from tests.engine.world import document

ANY: Any = object()
"""An expectation that is not made."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side does with one call: `after` seconds it gives a value, or fails."""

    give: Json = ANY
    fail: str | None = None
    after: float = 0.0
    retryable: bool = True
    retry_after: float | None = None


def gives(value: Json = ANY, *, after: float = 0.0) -> Answer:
    """An answer."""
    return Answer(give=value, after=after)


def fails(kind: str = "MOCKED_ERROR", **details: Any) -> Answer:
    """A failure. Its type is the one that a rehearsal's mock gives, so both ways agree."""
    return Answer(fail=kind, **details)


def http(status: int, body: Json = None, **headers: str) -> Answer:
    """An HTTP answer; `Retry_After="5"` is a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(give=HttpResponse(status, named, body))


@dataclass(frozen=True, slots=True)
class Rule:
    """A sentence of the page, a workflow it speaks of, and what must come out.

    `steps` are the steps that ran to an end: a list in their order, or a set where the order is
    nobody's business. `only` names the ways in which the rule can be held (`run`, `dry`, `crash`):
    a rehearsal knows no time and no status codes, and a crash changes who is faster.
    """

    says: str
    document: JsonObject
    start: JsonObject
    answers: Mapping[str, list[Answer]]
    limits: Limits
    settings: JsonObject
    only: tuple[str, ...]
    wrong: str | None
    cancel_after: float | None
    status: str = "completed"
    final_output: Json = ANY
    variables: Any = ANY
    has: Mapping[str, Json] = field(default_factory=dict)
    steps: list[str] | set[str] | None = None
    path: list[str] | None = None
    outputs: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, Json] = field(default_factory=dict)
    ports: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)
    messages: list[str] | set[str] | None = None
    error: tuple[str, str | None] | None = None
    because: tuple[str, ...] = ()
    attempts: Mapping[str, int] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    sent: Mapping[str, JsonObject] = field(default_factory=dict)
    seconds: float | tuple[float, float] | None = None
    most_running: int | None = None
    usage: tuple[float, int] | None = None


def rule(says: str, nodes: Mapping[str, JsonObject], *edges: str, **expected: Any) -> Rule:
    """A rule. Its name must be a sentence; the rest are the fields of `Rule`, and `fields` of the
    document."""
    answers = {
        node: answer if isinstance(answer, list) else [answer]
        for node, answer in expected.pop("answers", {}).items()
    }
    expected.setdefault("status", "failed" if "error" in expected else "completed")
    because = expected.pop("because", ())
    return Rule(
        says=says,
        document=document(nodes, *edges, **expected.pop("fields", {})),
        start=expected.pop("start", {}),
        answers=answers,
        limits=expected.pop("limits", Limits()),
        settings=expected.pop("settings", {}),
        only=expected.pop("only", ("run", "dry", "crash")),
        wrong=expected.pop("wrong", None),
        cancel_after=expected.pop("cancel_after", None),
        because=(because,) if isinstance(because, str) else tuple(because),
        **expected,
    )


def each(way: str, rules: Iterable[Rule]) -> pytest.MarkDecorator:
    """Parametrizes a test with the rules that can be held in this way."""
    rows = [
        pytest.param(
            one,
            id=one.says,
            marks=[] if one.wrong is None else [pytest.mark.xfail(strict=True, reason=one.wrong)],
        )
        for one in rules
        if way in one.only
    ]
    return pytest.mark.parametrize("rule", rows)


# Nodes


def node(node_type: str, **config: Any) -> JsonObject:
    """A node with its settings."""
    return {"node_type": node_type, "config": config}


def having(base: JsonObject, **fields: Any) -> JsonObject:
    """The node with fields of its own: `retry`, `enabled`, `continue_on_error`, …"""
    return {**base, **fields}


def sets(**variables: Any) -> JsonObject:
    return node("data_variable_set", variables=variables)


def says(text: str, **config: Any) -> JsonObject:
    return node("action_chat_message", message=text, **config)


def calls(name: str = "service", **config: Any) -> JsonObject:
    return node("action_module", module_name=name, **config)


def fetches(url: str = "https://api.example.com/", **config: Any) -> JsonObject:
    return node("action_webhook", url=url, **config)


def checks(condition: Any, **config: Any) -> JsonObject:
    return node("condition_if", condition=condition, **config)


def ends(output: Json = ANY, **config: Any) -> JsonObject:
    return node("flow_end", **({} if output is ANY else {"output": output}), **config)


def each_of(items: Json, **config: Any) -> JsonObject:
    return node("loop_foreach", items=items, **config)


def loops_while(condition: Any, **config: Any) -> JsonObject:
    return node("loop_while", condition=condition, **config)


def breaks(condition: Any = ANY) -> JsonObject:
    return node("loop_break", **({} if condition is ANY else {"condition": condition}))


def merges(mode: Json = "wait_all") -> JsonObject:
    return node("flow_merge", mode=mode)


def splits(**config: Any) -> JsonObject:
    return node("flow_parallel", **config)


def waits(seconds: Json) -> JsonObject:
    return node("action_delay", delay_seconds=seconds)


def broken() -> JsonObject:
    """A pure node that fails: its expression names a variable that is nowhere."""
    return sets(never="{{ nowhere }}")
