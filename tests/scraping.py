"""Reading the page that Prometheus reads, as Prometheus does."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

ENGINE = {
    "workflow_executions_total": {"status"},
    "workflow_execution_seconds": set(),
    "workflow_step_seconds": {"node_type"},
    "workflow_queue_seconds": set(),
    "workflow_journal_flush_seconds": set(),
    "workflow_journal_batch_rows": set(),
    "workflow_in_flight": set(),
    "workflow_recoveries_total": set(),
    "workflow_lease_lost_total": set(),
}
DATABASE = {
    "workflow_pending": set(),
    "workflow_parked": set(),
    "workflow_oldest_pending_seconds": set(),
}
"""The names of the contract, with their labels."""


def samples(page: str) -> Samples:
    """Every value of a page by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def names(page: str) -> dict[str, set[str]]:
    """The metrics of a page, as one writes them in a query, and the labels of each; a histogram
    is one, and its bounds are no label of it."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = labels - {"le"}
    return found


def value(page: str, name: str, **labels: str) -> float:
    """One value; 0 of what is not there."""
    return samples(page).get((name, frozenset(labels.items())), 0.0)
