"""The definition reference is true: its tables are held against the registry, the validator and
the expression compiler, and its examples are validated and evaluated.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.condition_operators import ALIASES
from engine.conditions import OPERATORS, compile_condition
from engine.context import Limits
from engine.expression_functions import FUNCTION_NAMES
from engine.expression_methods import METHODS
from engine.expressions import Budget, ExpressionSyntaxError, MapEnv, compile_expression
from engine.graph import compile_graph
from engine.nodes import REGISTRY
from engine.nodes.base import Field
from engine.validation import validate
from tests.markdown import DOCS, NONE, ROOT, Block, blocks, rows, section

DEFINITION = (DOCS / "workflow-definition.md").read_text(encoding="utf-8")

_CODE = re.compile(r"`([^`]+)`")
_NAME = re.compile(r"[A-Z]{2,}(?:_[A-Z]+)*")


def test_a_document_of_the_reference_is_valid() -> None:
    documents = [b.json() for b in _json_blocks(DEFINITION) if _is_document(b)]

    assert len(documents) >= 3
    for document in documents:
        assert validate(document, Limits()).issues == ()


@pytest.mark.parametrize("node_type", REGISTRY)
def test_a_node_type_is_described_as_it_is(node_type: str) -> None:
    text = section(DEFINITION, f"`{node_type}`")
    shown = [cells[:3] for cells in rows(text) if cells[0].startswith("`")]

    assert shown == [_cells(field) for field in REGISTRY[node_type].fields]
    ports = next(line for line in text.splitlines() if line.startswith("Ports: "))
    if not REGISTRY[node_type].any_port:
        assert set(REGISTRY[node_type].ports({})) <= set(_CODE.findall(ports))


@pytest.mark.parametrize("node_type", REGISTRY)
def test_the_example_of_a_node_type_is_valid(node_type: str) -> None:
    text = section(DEFINITION, f"`{node_type}`")
    (example,) = blocks(text)
    report = validate(_around(example.json()), Limits())

    assert example.json()["node_type"] == node_type
    unavailable = ["NODE_TYPE_NOT_AVAILABLE"] if "NODE_TYPE_NOT_AVAILABLE" in text else []
    assert [issue.code for issue in report.issues] == unavailable
    compile_graph(report.document, Limits())


def test_the_reference_describes_no_other_node_type() -> None:
    assert re.findall(r"^#### `(\w+)`$", DEFINITION, re.MULTILINE) == list(REGISTRY)


def test_an_expression_gives_what_the_reference_shows() -> None:
    text = section(DEFINITION, "Expressions")
    variables = next(b.json() for b in blocks(text) if b.language == "json")
    env = MapEnv(variables, now=datetime(2026, 1, 31, tzinfo=UTC), random=0.5, uuid="0" * 36)
    examples = [cells[-2:] for cells in rows(text) if cells[-2].startswith("`")]

    wrong = [
        (source, shown, given)
        for source, shown in examples
        if not _is_list_of_names(shown)
        and (given := _evaluated(source.strip("`"), env)) != shown.strip("`")
    ]
    assert len(examples) > 40
    assert wrong == []


def test_the_reference_has_every_function_and_method() -> None:
    functions = {
        cells[0].strip("`") for cells in rows(section(DEFINITION, "Functions")) if len(cells) == 3
    }
    methods = {
        cells[0]: _CODE.findall(cells[1])
        for cells in rows(section(DEFINITION, "Methods"))
        if cells[0].startswith(("a text", "a list", "an object"))
    }

    assert functions - {"function", "---"} == FUNCTION_NAMES
    assert methods == {
        "a text": list(METHODS[str]),
        "a list": list(METHODS[list]),
        "an object": list(METHODS[dict]),
    }


def test_the_reference_has_every_operator_with_its_other_names() -> None:
    table = [cells for cells in rows(section(DEFINITION, "Conditions")) if "`" in cells[0]]
    shown = {cells[0].strip("`"): set(_CODE.findall(cells[1])) for cells in table}
    others: dict[str, set[str]] = {name: set() for name in OPERATORS}
    for alias, name in ALIASES.items():
        others[name].add(alias)

    assert shown == others


def test_the_condition_of_the_reference_holds_for_its_variables() -> None:
    variables = next(_json_blocks(section(DEFINITION, "Expressions"))).json()
    condition = next(_json_blocks(section(DEFINITION, "Conditions"))).json()

    assert compile_condition(condition).test(MapEnv(variables), Budget())


def test_every_finding_is_explained_with_an_example_and_its_mend() -> None:
    text = section(DEFINITION, "Validation")
    _, base = list(_json_blocks(text.partition("\n### ")[0]))
    wrong: list[str] = []
    for code in re.findall(r"^### `(\w+)`$", text, re.MULTILINE):
        part = section(text, f"`{code}`")
        examples = [_patched(base.json(), block.json()) for block in blocks(part)]
        if not examples:
            continue
        first, mended = (validate(example, Limits()) for example in examples)
        found = [issue for issue in first.issues if issue.code == code]
        quote = next(line for line in part.splitlines() if line.startswith("> "))[2:]
        said = [f"{i.message} — {i.hint}" if i.hint else i.message for i in found]
        kinds = {"Warning" if issue.warning else "Error" for issue in found}
        if quote not in said or not part.strip().startswith(tuple(kinds)) or mended.issues:
            wrong.append(f"{code}: {said}, {kinds}, mended: {mended.issues}")
    assert wrong == []


def test_the_reference_has_every_finding_and_no_other() -> None:
    judges = [
        *(ROOT / "engine").glob("definition*.py"),
        *(ROOT / "engine").glob("validation*.py"),
        *(ROOT / "engine" / "nodes").glob("*.py"),
        *(ROOT / "engine" / name for name in ("regions.py", "static_scope.py", "issues.py")),
        ROOT / "engine" / "conditions.py",
    ]
    headings = set(re.findall(r"^### `([A-Z_]+)`$", DEFINITION, re.MULTILINE))
    strings = {name for file in judges for name in _strings(file)}
    written = {name for name in strings if "_" in name or name in headings}

    assert written - _failures() - headings == set()
    assert headings - written == set()


def test_the_reference_has_every_way_a_step_can_fail_and_no_other() -> None:
    table = section(DEFINITION, "Errors")
    shown = {cells[0].strip("`") for cells in rows(table) if _NAME.fullmatch(cells[0].strip("`"))}

    assert shown == _failures()


def _failures() -> set[str]:
    """The types of errors that steps and executions end with."""
    found = {"EXPRESSION_ERROR", "BUDGET_EXCEEDED"}
    for file in [*(ROOT / "engine").rglob("*.py"), *(ROOT / "services").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "StepFailure":
                found.update(_constants(node.args[0]))
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "StepError":
                found.update(
                    c for k in node.keywords if k.arg == "type" for c in _constants(k.value)
                )
            elif isinstance(node, ast.keyword) and node.arg == "error_code":
                found.update(_constants(node.value))
    sql = "".join(f.read_text(encoding="utf-8") for f in (ROOT / "models").glob("*_sql.py"))
    return found | set(re.findall(r"error_code = '([A-Z_]+)'", sql))


def _constants(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        value = part.value if isinstance(part, ast.Constant) else None
        if isinstance(value, str) and _NAME.fullmatch(value):
            yield value


def _strings(file: Path) -> set[str]:
    """Upper-case words a module holds as whole strings."""
    return set(_constants(ast.parse(file.read_text(encoding="utf-8"))))


def _json_blocks(text: str) -> Iterator[Block]:
    return (block for block in blocks(text) if block.language == "json")


def _is_document(block: Block) -> bool:
    """A whole document, not a patch on one."""
    return {"name", "nodes", "connections"} <= set(block.json())


def _around(node: dict[str, Any]) -> dict[str, Any]:
    """The smallest document that a node can stand in."""
    nodes: dict[str, Any] = {"it": node}
    connections = []
    if not node["node_type"].startswith("trigger_"):
        nodes["start"] = {"node_type": "trigger_command", "config": {"command": "!go"}}
        source = {"from_node_id": "start"}
        if node["node_type"] == "loop_break":
            nodes["each"] = {"node_type": "loop_foreach", "config": {"items": [1, 2]}}
            connections.append({**source, "to_node_id": "each"})
            source = {"from_node_id": "each", "from_port_name": "loop"}
        connections.append({**source, "to_node_id": "it"})
    return {"name": "x", "community_id": 1, "nodes": nodes, "connections": connections}


def _cells(field: Field) -> list[str]:
    """How the tables describe a setting: its names, its type, its default."""
    names = f"`{field.name}`"
    if field.aliases:
        names += f" [{', '.join(f'`{alias}`' for alias in field.aliases)}]"
    if field.choices:
        kind = ", ".join(map(_json, field.choices))
    elif field.kind in ("condition", "expressions"):
        kind = field.kind
    else:
        kind = " or ".join(field.types) + ("" if field.kind == "literal" else f", {field.kind}")
    if field.choice_aliases:
        kind += f" [{', '.join(_json(alias) for alias, _ in field.choice_aliases)}]"
    if field.minimum is not None:
        most = "" if field.maximum is None else f" to {field.maximum:.15g}"
        kind += f", {field.minimum:g}{most}" if most else f", from {field.minimum:g}"
    default = NONE if field.default is None else _json(field.default)
    return [names, kind, "required" if field.required else default]


def _json(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _evaluated(source: str, env: MapEnv) -> str:
    try:
        return json.dumps(compile_expression(source).evaluate(env, Budget()), ensure_ascii=False)
    except ExpressionSyntaxError:
        return "refused"


def _is_list_of_names(cell: str) -> bool:
    return cell.count("`") > 2


def _patched(document: Any, patch: Any) -> Any:
    """A JSON merge patch, applied (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    made = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = _patched(made.get(name), value)
    return made
