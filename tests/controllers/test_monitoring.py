"""The alert rules and the dashboard ask for nothing that `/metrics` does not show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.controllers.conftest import Api
from tests.controllers.test_scrape_api import page, ran
from tests.markdown import DOCS
from tests.scraping import names

_TEXT = re.compile(r'"[^"]*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_MATCHERS = re.compile(r"(\w+)\s*\{([^}]*)\}")
_NAME = re.compile(r"\b[a-z][a-z_]*\b(?!\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset", "group_left", "group_right"}
_ADDED = {"job", "instance", "process", "le"}
"""Labels that a metric has besides its own: from Prometheus, from METRICS_PROCESS, as a bound."""


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DOCS / "operations" / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in groups["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    text = (DOCS / "operations" / "dashboard.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def metrics_in(expression: str) -> set[str]:
    """Every name in an expression that is neither a function nor a label nor a word of PromQL."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", _GROUPING.sub("", expression))
    return set(_NAME.findall(bare)) - _WORDS


def labels_in(expression: str) -> set[str]:
    grouped = {name.strip() for group in _GROUPING.findall(expression) for name in group.split(",")}
    matched = {
        re.split(r"[=!]", part)[0].strip()
        for _, matchers in _MATCHERS.findall(expression)
        for part in _TEXT.sub("", matchers).split(",")
    }
    return grouped | matched


def shown_as(name: str, shown: dict[str, set[str]]) -> str | None:
    """The metric whose series a name means: a histogram has three of them."""
    for metric in (name, re.sub(r"_(bucket|count|sum)$", "", name)):
        if metric in shown:
            return metric
    return None


async def test_every_expression_names_metrics_and_labels_that_there_are(api: Api) -> None:
    await ran(api)
    shown = names(await page(api))
    asked = list(expressions())
    assert len(asked) > 20

    wrong = []
    for expression in asked:
        metrics = metrics_in(expression)
        known = {name: shown_as(name, shown) for name in metrics}
        wrong += [f"{name} in {expression}" for name, metric in known.items() if metric is None]
        labels = {label for metric in known.values() if metric for label in shown[metric]}
        wrong += [f"{label} in {expression}" for label in labels_in(expression) - labels - _ADDED]
        assert metrics
    assert wrong == []


def test_the_check_finds_what_there_is_not() -> None:
    expression = 'sum by (colour) (rate(workflow_typos_total{status="x", job=~"$job"}[5m])) and up'
    assert metrics_in(expression) == {"workflow_typos_total", "up"}
    assert labels_in(expression) == {"colour", "status", "job"}


def test_a_histogram_is_only_asked_for_as_one() -> None:
    for expression in expressions():
        if "histogram_quantile" in expression:
            assert all(name.endswith("_bucket") for name in metrics_in(expression)), expression
            assert "le" in labels_in(expression)


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found) > 5
    for rule in found:
        assert {"summary", "action"} <= rule["annotations"].keys(), rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_every_panel_can_be_told_apart() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
