"""The random documents must not go dull: every feature of the language, and every way to end, has
to appear among them often enough to mean something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from engine.context import JsonObject
from tests.engine.model import Model
from tests.engine.model_harness import Run, case_of, check, run_through
from tests.engine.model_orders import is_calm
from tests.engine.model_shape import LOOPS
from tests.engine.model_values import LoopRun, Scope
from tests.engine.random_graphs import Author
from tests.engine.test_model import GRAPHS_PER_GROUP, GROUPS

SEEDS = GROUPS * GRAPHS_PER_GROUP
EVERY = 4
"""Of the seeds, one in so many is run to see how it ends."""

IN_DOCUMENTS = {
    "action_browser_source": 100,
    "action_chat_message": 100,
    "action_delay": 100,
    "action_module": 100,
    "action_webhook": 100,
    "any form of condition": 30,
    "any_first": 100,
    "array of cases": 50,
    "at_most_once": 100,
    "concurrency": 100,
    "condition_filter": 100,
    "condition_if": 100,
    "condition_switch": 100,
    "conditional connection": 100,
    "conditional connection into a body": 50,
    "connection back to the loop": 100,
    "connection from error": 100,
    "conditional connection from error": 50,
    "continue_on_error": 100,
    "data_transform": 100,
    "data_variable_get": 100,
    "data_variable_set": 100,
    "default retry": 100,
    "delay_variable": 50,
    "disabled connection": 100,
    "disabled node": 100,
    "flow_end": 100,
    "flow_end in a body": 50,
    "flow_merge": 100,
    "flow_parallel": 100,
    "flow_wait": 100,
    "loop in a loop": 100,
    "loop in a loop in a loop": 50,
    "loop_break": 100,
    "loop_break in concurrent iterations": 30,
    "loop_foreach": 100,
    "loop_while": 100,
    "max_iterations": 50,
    "max_parallel": 100,
    "mode any": 50,
    "mode n": 50,
    "nested concurrency": 30,
    "output_mapping": 50,
    "output_variable": 100,
    "race in a loop": 30,
    "race in a race": 10,
    "renamed ports": 50,
    "retry": 100,
    "rule as condition": 100,
    "scope local": 100,
    "several triggers": 100,
    "shared variable": 100,
    "terminate": 50,
    "time-out": 50,
    "trigger_command": 100,
    "trigger_event": 50,
    "trigger_webhook": 50,
    "usage": 100,
}

IN_EXECUTIONS = {
    "completed": 100,
    "completed, in any order alike": 30,
    "failed": 30,
    "failed: BAD_CONFIG": 1,
    "failed: DOWN": 5,
    "failed: EXECUTION_TIMEOUT": 1,
    "failed: EXPRESSION_ERROR": 5,
    "failed: HTTP_STATUS": 1,
    "failed: LOOP_LIMIT_EXCEEDED": 1,
    "failed: OPERATION_LIMIT_EXCEEDED": 1,
    "failed: TIMEOUT": 1,
    "failed: TYPE_ERROR": 1,
    "a break ended a loop": 10,
    "a break ended other iterations": 1,
    "a failed step went on": 10,
    "nobody took an error that somebody might have": 2,
    "a loop bore an error": 5,
    "a merge did not wait": 3,
    "a race was decided": 3,
    "a retry succeeded": 3,
    "a running step lost": 1,
    "more than 30 steps": 5,
    "nothing behind a conditional": 10,
    "parked": 20,
    "several ends": 5,
    "terminated": 1,
}


def features(raw: JsonObject) -> Iterator[str]:
    """What a document is made of, by name."""
    nodes, around = raw["nodes"], _loops_around(raw)
    for node_id, node in nodes.items():
        yield node["node_type"]
        yield from _features_of(node, [nodes[loop] for loop in around.get(node_id, ())])
    for edge in raw["connections"]:
        source = nodes[edge["from_node_id"]]["node_type"]
        into_body = source in LOOPS and edge["from_port_name"] == "loop"
        back = edge["to_node_id"] in around.get(edge["from_node_id"], ())
        yield from _named(
            {
                "conditional connection into a body": into_body and "conditional" in edge,
                "conditional connection": "conditional" in edge,
                "connection back to the loop": back,
                "connection from error": edge["from_port_name"] == "error",
                "conditional connection from error": edge["from_port_name"] == "error"
                and "conditional" in edge,
                "disabled connection": not edge.get("enabled", True),
            }
        )
    triggers = [n for n in nodes.values() if n["node_type"].startswith("trigger_")]
    yield from _named(
        {"several triggers": len(triggers) > 1, "default retry": "max_retries" in raw}
    )


def _named(found: dict[str, bool]) -> Iterator[str]:
    return (name for name, there in found.items() if there)


def _features_of(node: JsonObject, loops: list[JsonObject]) -> Iterator[str]:
    kind, config = node["node_type"], node["config"]
    concurrent = [loop for loop in loops if loop["config"].get("concurrency", 1) > 1]
    races = config.get("execution_type") == "any_first"
    condition = config.get("condition")
    yield from _named(
        {
            "any form of condition": isinstance(condition, dict) and "any" in condition,
            "any_first": races,
            "array of cases": isinstance(config.get("cases"), list),
            "at_most_once": node.get("effect") == "at_most_once",
            "concurrency": config.get("concurrency", 1) > 1,
            "continue_on_error": node.get("continue_on_error", False),
            "delay_variable": "delay_variable" in config,
            "disabled node": not node.get("enabled", True),
            "flow_end in a body": kind == "flow_end" and bool(loops),
            "loop in a loop": kind in LOOPS and len(loops) == 1,
            "loop in a loop in a loop": kind in LOOPS and len(loops) == 2,
            "loop_break in concurrent iterations": kind == "loop_break" and bool(concurrent),
            "max_iterations": "max_iterations" in config,
            "max_parallel": "max_parallel" in config,
            "mode any": config.get("mode") == "any",
            "mode n": config.get("mode") == 2,
            "nested concurrency": config.get("concurrency", 1) > 1 and bool(concurrent),
            "output_mapping": "output_mapping" in config,
            "output_variable": "output_variable" in config,
            "race in a loop": races and bool(loops),
            "renamed ports": bool(config.keys() & {"output_true_port", "default_port"}),
            "retry": "retry" in node,
            "rule as condition": isinstance(condition, dict) and "operator" in condition,
            "scope local": config.get("scope") == "local",
            "shared variable": "tally" in config.get("variables", ()),
            "terminate": config.get("terminate", False),
            "time-out": node.get("label") == "hang",
            "usage": "usage" in config,
        }
    )


def _loops_around(raw: JsonObject) -> dict[str, list[str]]:
    """The loops in whose bodies each node lies."""
    around: dict[str, list[str]] = {}
    for loop, node in raw["nodes"].items():
        if node["node_type"] not in LOOPS:
            continue
        inside: set[str] = set()
        todo = [loop]
        while todo:
            for edge in raw["connections"]:
                leaves = edge["from_node_id"] == todo[-1] and edge["to_node_id"] not in inside
                entry = todo[-1] != loop or edge["from_port_name"] == "loop"
                if leaves and entry and edge["to_node_id"] != loop and edge.get("enabled", True):
                    inside.add(edge["to_node_id"])
                    todo.insert(0, edge["to_node_id"])
            todo.pop()
        for node_id in inside:
            around.setdefault(node_id, []).append(loop)
    return around


def ends(run: Run, model: Model) -> Iterator[str]:
    """What happened in an execution, by name."""
    gave = model.gave.values()
    state = run.state
    shown = {step["status"] for step in state["node_states"].values()}
    runs = list(_loop_runs(model.root))
    scopes = [model.root, *(scope for loop in runs for scope in loop.iterations)]
    decided = [race for race in model.shape.races for s in scopes if model.won(s, race)]
    yield state["status"]
    if state["status"] == "failed":
        yield f"failed: {state['error_code']}"
    yield from _named(
        {
            "a break ended a loop": any(loop.broken for loop in runs),
            "a break ended other iterations": any(
                loop.broken and len(loop.results) < len(loop.iterations) for loop in runs
            ),
            "a failed step went on": any(r.failure and r.port for r in gave),
            "a loop bore an error": model.escalated > 0,
            "a merge did not wait": any(
                (model.enough(scope, node_id) or 99) < len(model.arms(scope, node_id))
                for scope in scopes
                for node_id in scope.ran
            ),
            "a race was decided": bool(decided),
            "a retry succeeded": any(r.attempt > 1 and not r.failure for r in gave),
            "a running step lost": bool(decided) and "cancelled" in shown,
            "more than 30 steps": len(model.gave) > 30,
            "completed, in any order alike": state["status"] == "completed"
            and is_calm(run.case, model),
            "nobody took an error that somebody might have": any(
                ran.failure and not ran.failure.fatal and not ran.port
                for key, ran in model.gave.items()
                if model.shape.catches(key.rpartition(".")[2])
            ),
            "nothing behind a conditional": any(r.dead for r in gave),
            "parked": any(row.kind == "waiting" for row in run.rows),
            "several ends": len(model.ends) > 1,
            "terminated": state["status"] == "completed" and "cancelled" in shown and not decided,
        }
    )


def _loop_runs(scope: Scope) -> Iterator[LoopRun]:
    for loop in scope.loops.values():
        yield loop
        for iteration in loop.iterations:
            yield from _loop_runs(iteration)


def dull(counts: Counter[str], wanted: dict[str, int]) -> dict[str, int]:
    """What was wanted more often."""
    return {name: counts[name] for name, least in wanted.items() if counts[name] < least}


def test_every_feature_of_the_language_appears_in_the_random_documents() -> None:
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        author = Author(seed)
        raw, _ = author.write()
        counts.update(features(raw))
        counts["race in a race"] += author.nested_races
    assert not dull(counts, IN_DOCUMENTS)
    assert not counts.keys() - IN_DOCUMENTS.keys(), "features nobody counts"


def test_every_way_to_end_appears_among_the_executions() -> None:
    counts: Counter[str] = Counter()
    for seed in range(0, SEEDS, EVERY):
        run = run_through(case_of(seed))
        counts.update(ends(run, check(run)))
    assert not dull(counts, IN_EXECUTIONS)
