"""The definition reference is true: its tables are held against the registry, the validator and
the expression compiler, and its examples are validated and evaluated.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.condition_operators import ALIASES
from engine.conditions import OPERATORS, compile_condition
from engine.context import ExecutionContext, JsonObject, Limits
from engine.definition import DOCUMENT_DEFAULTS, DOCUMENT_FIELDS, DOCUMENT_RULES
from engine.definition_edges import CONNECTION_NAMES
from engine.definition_fields import Rule
from engine.definition_nodes import NODE_RULES, RETRY_RULES
from engine.environment import execution_object
from engine.expression_functions import FUNCTION_NAMES
from engine.expression_methods import METHODS
from engine.expressions import Budget, ExpressionSyntaxError, MapEnv, compile_expression
from engine.graph import compile_graph
from engine.nodes import REGISTRY
from engine.nodes.base import ALL_PORTS, PORT_ALIASES, Field
from engine.static_scope import EXECUTION_FIELDS, NODE_FIELDS
from engine.validation import validate
from tests.markdown import DOCS, NONE, ROOT, Block, blocks, rows, section

DEFINITION = (DOCS / "workflow-definition.md").read_text(encoding="utf-8")

KINDS = {
    "trigger": "pure",
    "pure": "pure",
    "loop": "pure",
    "effect": "action",
    "park": "waiting",
    "subworkflow": "child execution",
}
"""What the reference calls the families of node types."""

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
    (ports,) = [line for line in text.splitlines() if line.startswith("Ports: ")]
    assert ports.endswith(f"{_fallback(node_type)}. Kind: {KINDS[REGISTRY[node_type].family]}.")
    listed = _CODE.findall(ports.partition(" (`continue_on_error`")[0])
    any_port = REGISTRY[node_type].any_port
    assert listed == ([] if any_port else list(REGISTRY[node_type].ports({})))
    assert ports.startswith("Ports: any") == any_port


@pytest.mark.parametrize("node_type", REGISTRY)
def test_the_example_of_a_node_type_is_valid(node_type: str) -> None:
    text = section(DEFINITION, f"`{node_type}`")
    (example,) = blocks(text)
    report = validate(_around(example.json()), Limits())

    assert example.json()["node_type"] == node_type
    assert report.issues == ()
    compile_graph(report.document, Limits())


@pytest.mark.parametrize("node_type", REGISTRY)
def test_another_spelling_of_a_choice_means_the_one_before_it(node_type: str) -> None:
    for field in REGISTRY[node_type].fields:
        for alias, meant in field.choice_aliases:
            node = {"node_type": node_type, "config": {field.name: alias}}
            read = validate(_around(node), Limits()).document["nodes"]["it"]["config"]

            assert read[field.name] == meant
            assert meant in field.choices


@pytest.mark.parametrize(
    ("heading", "rules", "defaults"),
    [
        ("The document", DOCUMENT_RULES, DOCUMENT_DEFAULTS),
        ("Nodes", NODE_RULES, {"continue_on_error": False}),
        ("Errors", RETRY_RULES, {}),
    ],
)
def test_a_field_is_described_as_it_is(
    heading: str, rules: Sequence[Rule], defaults: JsonObject
) -> None:
    table = {c[0].split("`")[1]: c for c in rows(section(DEFINITION, heading)) if "`" in c[0]}

    for rule in rules:
        cells = table[rule.name]
        if len(cells) == 4:
            assert cells[1] == _kind(rule)
        if rule.required:
            assert cells[2] == "required"
        elif rule.name in defaults:
            assert cells[2] == _json(defaults[rule.name])


def test_the_reference_describes_no_other_field_of_a_document() -> None:
    cells = [c[0] for c in rows(section(DEFINITION, "The document")) if "`" in c[0]]

    assert {cell.strip("`") for cell in cells} == DOCUMENT_FIELDS


def test_a_connection_is_described_with_all_names_of_its_fields() -> None:
    table = [c[0] for c in rows(section(DEFINITION, "Connections")) if "`" in c[0]]
    shown = {names[0]: tuple(names[1:]) for names in map(_CODE.findall, table)}

    assert shown == CONNECTION_NAMES


def test_the_names_of_ports_that_are_read_as_others_are_described() -> None:
    text = section(DEFINITION, "Connections")
    outputs, _, loops = text[text.index("Read as `output`: ") :].partition("; as `loop`: ")
    shown = dict.fromkeys(_CODE.findall(outputs)[1:], "output")
    shown |= dict.fromkeys(_CODE.findall(loops.partition(".")[0]), "loop")

    assert shown == PORT_ALIASES


def test_the_fields_of_reserved_names_are_described() -> None:
    table = {c[0].strip("`"): c[1] for c in rows(section(DEFINITION, "Variables"))}
    context = ExecutionContext("e", "w", "", 1, 1, 1, "t", datetime(2026, 1, 1, tzinfo=UTC), 60)

    assert tuple(_CODE.findall(table["execution"])) == EXECUTION_FIELDS
    assert tuple(execution_object(context, context.created_at)) == EXECUTION_FIELDS
    assert all(f".{name}`" in table["nodes"] for name in NODE_FIELDS)


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


def _fallback(node_type: str) -> str:
    """How a node type's ports line says where `continue_on_error` leads, if not to `output`."""
    port = REGISTRY[node_type].fallback_port({})
    if port == "output":
        return ""
    return f" (`continue_on_error`: {'all' if port == ALL_PORTS else f'`{port}`'})"


def _kind(rule: Rule) -> str:
    if rule.choices:
        return ", ".join(f"`{choice}`" for choice in rule.choices)
    return "array of strings" if rule.kind == "strings" else rule.kind


def _json(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _evaluated(source: str, env: MapEnv) -> str:
    try:
        return json.dumps(compile_expression(source).evaluate(env, Budget()), ensure_ascii=False)
    except ExpressionSyntaxError:
        return "refused"


def _is_list_of_names(cell: str) -> bool:
    return cell.count("`") > 2
