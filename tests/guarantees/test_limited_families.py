"""A limit counts families: on real processes, an execution that waits for one of its own workflow
does not thereby wait for the place that it holds itself."""

from __future__ import annotations

import asyncio

from tests.guarantees.stage import Process, Stage
from tests.peer import calling
from tests.processes import graph

MOST = 2
PLACES = """
SELECT count(*) FILTER (WHERE max_parallel_executions IS NOT NULL) AS taken, count(*) AS live
  FROM workflow_executions WHERE status IN ('running', 'waiting')
"""
THREE_ROOTS_WAIT = """
SELECT count(*) = 3 FROM workflow_executions
 WHERE status = 'pending' AND parent_execution_id IS NULL
"""


async def going_down(stage: Stage, process: Process) -> str:
    """The id of a workflow that calls itself, once; what it called is held by the peer."""
    again = {"workflow_id": "{{ execution.workflow_id }}", "variables": {"below": True}}
    nodes = {
        "if": {"node_type": "condition_if", "config": {"condition": "default(below, False)"}},
        "sub": {"node_type": "flow_subworkflow", "config": again},
        "held": calling(f"{stage.peer.url}/held"),
    }
    paths = ("start -> if:false -> sub", "if:true -> held")
    return await stage.publish(process, graph(nodes, *paths, max_parallel_executions=MOST))


async def test_families_that_fill_a_limit_do_not_wait_for_their_own_places(stage: Stage) -> None:
    first, second = await stage.start_several(2)
    workflow_id = await going_down(stage, first)
    roots = [
        await stage.begun(process, workflow_id) for process in (first, second, first, second, first)
    ]

    called = await stage.peer.called("/held", MOST)  # Not until a time-out, without the rule.
    await stage.comes_true(THREE_ROOTS_WAIT)
    (row,) = await stage.fetch(PLACES)
    assert (row["taken"], row["live"]) == (MOST, 2 * MOST)
    assert not {call.execution_id for call in called} & set(roots)

    stage.peer.let_go()
    ends = await asyncio.gather(*(stage.ends(second, each) for each in roots))
    assert [state["status"] for state in ends] == ["completed"] * len(roots)
    assert len(stage.peer.to("/held")) == len(roots)
