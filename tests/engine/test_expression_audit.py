"""Nothing outside is reachable: what CPython's audit hooks (PEP 578) see while expressions run.

In a process of its own that imports nothing but the expressions: a hook cannot be removed, and
what pytest has imported already could not be seen being imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.test_expression_hostile import CORPUS, VALUES
from tests.engine.test_expression_limits import OVER_BUDGET, REFUSED_WHEN_RUN, WALKS
from tests.engine.test_expression_limits import VALUES as LIMIT_VALUES

ROOT = Path(__file__).resolve().parents[2]

ORDINARY = [
    "[now(), now_unix(), random(), random(1, 6), uuid(), quote('a b'), hash_sha256('a')]",
    "[date_format(0, '%A %Z'), json(rows[:3]), parse_json('[1, 2.5]'), matches('ab', 'a' + 'b')]",
    "['ABC'.lower(), 'a b'.title(), round(2.5), sorted(words[:9]), 'ǅ'.casefold(), '\\N{BULLET}']",
]

WATCH = """
import json, sys
from datetime import UTC, datetime
from engine.expressions import (
    Budget, ExpressionError, ExpressionSyntaxError, MapEnv, compile_expression, compile_template,
)

given = json.load(sys.stdin)
env = MapEnv(given["values"], now=datetime.now(UTC), random=0.5, uuid="7e5c")
seen, phase = {"compiling": set(), "evaluating": set(), "outside": set()}, "outside"

def hook(event, arguments):
    seen[phase].add(event)

sys.addaudithook(hook)
compiled = []
for source in given["sources"]:
    for text, make in ((source, compile_expression), ("<{{ " + source + " }}>", compile_template)):
        phase = "compiling"
        try:
            made = make(text)
        except ExpressionSyntaxError:
            continue
        finally:
            phase = "outside"
        compiled.append(made.evaluate if make is compile_expression else made.render)
values = 0
for run in compiled:
    budget = Budget()
    phase = "evaluating"
    try:
        run(env, budget)
        values += 1
    except ExpressionError:
        pass
    finally:
        phase = "outside"
open("/dev/null").close()
print(json.dumps({"values": values, **{name: sorted(events) for name, events in seen.items()}}))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, list[str]]:
    """The audit events of each phase."""
    sources = [*ORDINARY, *CORPUS, *OVER_BUDGET, *REFUSED_WHEN_RUN, *WALKS]
    ran = subprocess.run(
        [sys.executable, "-c", WATCH],
        input=json.dumps({"sources": sources, "values": VALUES | LIMIT_VALUES}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, list[str]] = json.loads(ran.stdout)
    return found


def test_the_hook_sees_what_it_is_there_for(seen: dict[str, list[str]]) -> None:
    assert "open" in seen["outside"]
    assert int(str(seen["values"])) > 100


def test_evaluating_touches_no_file_process_socket_module_or_code(
    seen: dict[str, list[str]],
) -> None:
    assert seen["evaluating"] == []


def test_compiling_only_parses(seen: dict[str, list[str]]) -> None:
    """`compile` is Python's parser; the others are `inspect` reading our functions' signatures."""
    assert set(seen["compiling"]) <= {"compile", "builtins.id", "object.__getattr__"}
