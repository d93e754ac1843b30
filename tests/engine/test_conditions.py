"""Conditions: what each operator means, how rules combine, and what is refused when saved."""

from __future__ import annotations

from typing import Any

import pytest

from engine.conditions import OPERATORS, ConditionError, compile_condition
from engine.expressions import Budget, ExpressionError, MapEnv, MissingValue

ENV = MapEnv(
    {
        "score": 10,
        "price": 2.5,
        "typed": "10",
        "tier": "gold",
        "message": "!song Wide Awake",
        "roles": ["mod", "vip"],
        "levels": [1, 2, 3],
        "user": {"name": "ann", "age": 30},
        "subscriber": True,
        "nothing": None,
        "empty": "",
        "none": [],
        "zero": 0,
        "winners": [{"name": "bob"}],
        "nodes": {"get-user": {"output": {"status": 200, "list": ["a"]}}},
    }
)


def holds(condition: Any) -> bool:
    return compile_condition(condition).test(ENV, Budget())


def rule(variable: str, operator: str, value: Any = None) -> dict[str, Any]:
    return {"variable": variable, "operator": operator, "value": value}


@pytest.mark.parametrize(
    ("variable", "operator", "value", "expected"),
    [
        ("score", "equals", 10, True),
        ("score", "equals", "10", True),
        ("score", "equals", 10.0, True),
        ("score", "equals", " 10 ", True),
        ("score", "equals", "ten", False),
        ("typed", "equals", 10, True),
        ("typed", "equals", "10.0", True),
        ("tier", "equals", "gold", True),
        ("tier", "equals", "Gold", False),
        ("subscriber", "equals", True, True),
        ("subscriber", "equals", "true", True),
        ("subscriber", "equals", "False", False),
        ("subscriber", "equals", 1, False),
        ("nothing", "equals", None, True),
        ("nothing", "equals", "", False),
        ("roles", "equals", ["mod", "vip"], True),
        ("user", "equals", {"name": "ann", "age": 30}, True),
        ("score", "not_equals", 11, True),
        ("score", "not_equals", "10", False),
        ("score", "greater_than", 9, True),
        ("typed", "greater_than", "9", True),
        ("typed", "greater_than", 9.5, True),
        ("tier", "greater_than", "bronze", True),
        ("score", "less_than", 10, False),
        ("price", "less_than", "3", True),
        ("score", "greater_equal", 10, True),
        ("score", "less_equal", "10", True),
        ("message", "contains", "Wide", True),
        ("message", "contains", "wide", False),
        ("typed", "contains", 1, True),
        ("roles", "contains", "vip", True),
        ("levels", "contains", "2", True),
        ("levels", "contains", 5, False),
        ("user", "contains", "name", True),
        ("roles", "not_contains", "admin", True),
        ("message", "matches_regex", "^!song\\s+\\w+", True),
        ("message", "matches_regex", "Awake", True),
        ("message", "matches_regex", "^Awake", False),
        ("score", "matches_regex", "^\\d+$", True),
        ("tier", "in_list", ["gold", "silver"], True),
        ("score", "in_list", ["10"], True),
        ("tier", "in_list", "gold", True),
        ("tier", "in_list", "silver, gold", True),
        ("tier", "not_in_list", ["silver"], True),
        ("message", "starts_with", "!song", True),
        ("message", "ends_with", "Awake", True),
        ("typed", "starts_with", 1, True),
        ("tier", "exists", None, True),
        ("nothing", "exists", None, False),
        ("unknown", "exists", None, False),
        ("user.address.city", "exists", None, False),
        ("user.name", "not_exists", None, False),
        ("user.address", "not_exists", None, True),
        ("empty", "is_empty", None, True),
        ("none", "is_empty", None, True),
        ("nothing", "is_empty", None, True),
        ("unknown.x", "is_empty", None, True),
        ("zero", "is_empty", None, False),
        ("tier", "is_empty", None, False),
    ],
)
def test_each_operator(variable: str, operator: str, value: Any, expected: bool) -> None:
    assert holds(rule(variable, operator, value)) is expected


def test_there_are_sixteen_operators() -> None:
    assert sorted(OPERATORS) == [
        "contains",
        "ends_with",
        "equals",
        "exists",
        "greater_equal",
        "greater_than",
        "in_list",
        "is_empty",
        "less_equal",
        "less_than",
        "matches_regex",
        "not_contains",
        "not_equals",
        "not_exists",
        "not_in_list",
        "starts_with",
    ]


@pytest.mark.parametrize(
    "variable",
    [
        "user.name",
        "{{ user.name }}",
        "{{user['name']}}",
        "user['name']",
        " user.name ",
    ],
)
def test_a_variable_is_a_path_with_or_without_braces(variable: str) -> None:
    assert holds(rule(variable, "equals", "ann"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("winners.0.name", "bob"),
        ("nodes.get-user.output.status", 200),
        ("nodes.get-user.output.list.0", "a"),
        ("len(roles)", 2),
    ],
)
def test_a_variable_may_hold_indexes_and_dashes(variable: str, value: Any) -> None:
    assert holds(rule(variable, "equals", value))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"left": "{{ score }}", "operator": "less_than", "right": 12}, True),
        ({"left": "{{ score }}", "operator": "equals", "right": "{{ typed }}"}, True),
        ({"left": "score", "operator": "equals", "right": 10}, True),
        ({"left": "user.name", "operator": "exists"}, True),
        ({"left": "vip", "operator": "in_list", "right": "{{ roles }}"}, True),
        ({"left": "{{ user.name }}-{{ tier }}", "operator": "equals", "right": "ann-gold"}, True),
        ({"left": 5, "operator": "less_than", "right": "{{ score }}"}, True),
        ({"left": None, "operator": "equals", "right": "{{ nothing }}"}, True),
        ({"variable": "score", "operator": "in_list", "value": ["{{ typed }}"]}, True),
        ({"variable": "message", "operator": "matches_regex", "value": "{{ '^!' + 's' }}"}, True),
    ],
)
def test_left_and_right_are_templates(condition: Any, expected: bool) -> None:
    assert holds(condition) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (True, True),
        (False, False),
        ("score > 5 and tier == 'gold'", True),
        ("{{ score > 50 }}", False),
        ("nothing", False),
        ([], True),
        ([rule("score", "equals", 10), rule("tier", "equals", "gold")], True),
        ([rule("score", "equals", 10), rule("tier", "equals", "tin")], False),
        ({"all": [rule("score", "equals", 10), "tier == 'gold'"]}, True),
        ({"any": [rule("score", "equals", 1), rule("tier", "equals", "gold")]}, True),
        ({"any": []}, False),
        ({"not": rule("score", "equals", 10)}, False),
        ({"not": {"any": [{"not": [True, "score > 5"]}, False]}}, True),
    ],
)
def test_conditions_combine(condition: Any, expected: bool) -> None:
    assert holds(condition) is expected


def test_combinations_stop_at_the_first_that_decides() -> None:
    missing = rule("unknown", "equals", 1)
    assert holds({"any": [True, missing]})
    assert not holds([False, missing])


@pytest.mark.parametrize(
    ("alias", "value"),
    [("==", 10), ("!=", 9), (">", 9), ("<", 11), (">=", 10), ("<=", 10), ("eq", 10), ("in", [10])],
)
def test_signs_are_read_as_operators(alias: str, value: Any) -> None:
    assert holds(rule("score", alias, value))


def test_a_missing_variable_fails_and_is_named() -> None:
    with pytest.raises(MissingValue, match="user has no key 'nam'; did you mean 'name'") as caught:
        holds(rule("user.nam", "equals", "ann"))
    assert caught.value.source == "user.nam"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (rule("roles", "greater_than", 1), "greater_than cannot compare a list with a number"),
        (rule("nothing", "less_than", 1), "less_than cannot compare null with a number"),
        (rule("tier", "less_than", 1), "less_than cannot compare text with a number"),
        (rule("nothing", "contains", 1), "contains needs a text, list or object on its left"),
        (rule("score", "in_list", 5), "in_list needs a list on its right, not a number"),
        (rule("roles", "starts_with", "m"), "starts_with needs texts, not a list and text"),
        (rule("roles", "matches_regex", "m"), "a regular expression matches text, not a list"),
        (rule("tier", "matches_regex", "{{ '(' }}"), "not a regular expression: missing )"),
    ],
)
def test_values_that_do_not_fit_an_operator_are_an_error(condition: Any, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        holds(condition)
    assert caught.value.message.startswith(message)
    assert condition["operator"] in caught.value.source


@pytest.mark.parametrize(
    ("condition", "code", "path", "hint"),
    [
        (rule("a", "equal", 1), "UNKNOWN_OPERATOR", "/operator", "did you mean equals?"),
        (
            rule("a", "greaterThan", 1),
            "UNKNOWN_OPERATOR",
            "/operator",
            "did you mean greater_than?",
        ),
        ([True, rule("a", "===", 1)], "UNKNOWN_OPERATOR", "/1/operator", None),
        (
            {"operator": "and", "left": 1},
            "UNKNOWN_OPERATOR",
            "/operator",
            'write {"all": [rule, rule]}',
        ),
        (rule("a", 5, 1), "UNKNOWN_OPERATOR", "/operator", None),  # type: ignore[arg-type]  # wrong
        (rule("a", "matches_regex", "("), "BAD_REGEX", "/value", None),
        (rule("a", "matches_regex", "(?=a)"), "BAD_REGEX", "/value", None),
        (rule("a", "matches_regex", 5), "BAD_REGEX", "/value", None),
        (rule("a", "matches_regex", "a" * 257), "BAD_REGEX", "/value", None),
        ("a =", "EXPRESSION_SYNTAX", "", None),
        ({"any": [True, "a &&"]}, "EXPRESSION_SYNTAX", "/any/1", "write `and` instead of `&&`"),
        (rule("{{ a", "equals", 1), "EXPRESSION_SYNTAX", "/variable", None),
        (rule("a b", "equals", 1), "EXPRESSION_SYNTAX", "/variable", None),
        (rule("a", "in_list", [1, "{{ + }}"]), "EXPRESSION_SYNTAX", "/value/1", None),
        ("", "EXPRESSION_SYNTAX", "", None),
        (None, "VALIDATION", "", None),
        (5, "VALIDATION", "", None),
        ({}, "VALIDATION", "", None),
        ({"variable": "a", "value": 1}, "VALIDATION", "", None),
        ({"operator": "equals", "value": 1}, "VALIDATION", "", None),
        ({"variable": "a", "operator": "equals"}, "VALIDATION", "", None),
        (rule(5, "equals", 1), "VALIDATION", "/variable", None),  # type: ignore[arg-type]  # wrong
        ({**rule("a", "equals", 1), "left": "b"}, "VALIDATION", "", None),
        ({**rule("a", "equals", 1), "right": "b"}, "VALIDATION", "", None),
        ({"all": [], "any": []}, "VALIDATION", "", None),
        ({"all": True}, "VALIDATION", "/all", None),
        ({"not": None}, "VALIDATION", "/not", None),
    ],
)
def test_what_is_wrong_is_found_when_saved(
    condition: Any, code: str, path: str, hint: str | None
) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition(condition)
    assert (caught.value.code, caught.value.path) == (code, path)
    assert caught.value.message
    if hint is not None:
        assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (
            {"all": [rule("x", "foo", 1), rule("y", "matches_regex", "("), "a +"]},
            [
                ("UNKNOWN_OPERATOR", "/all/0/operator"),
                ("BAD_REGEX", "/all/1/value"),
                ("EXPRESSION_SYNTAX", "/all/2"),
            ],
        ),
        ([None, {"not": 5}], [("VALIDATION", "/0"), ("VALIDATION", "/1/not")]),
        (
            rule("x", "foo", "{{ 1 + }}"),
            [("UNKNOWN_OPERATOR", "/operator"), ("EXPRESSION_SYNTAX", "/value")],
        ),
        (
            rule("a b", "equals", {"k": ["{{ + }}"], "l": "{{ - }}"}),
            [
                ("EXPRESSION_SYNTAX", "/value/k/0"),
                ("EXPRESSION_SYNTAX", "/value/l"),
                ("EXPRESSION_SYNTAX", "/variable"),
            ],
        ),
        (
            {"left": "{{ + }} and {{ 1 - }}", "operator": "exists"},
            [("EXPRESSION_SYNTAX", "/left"), ("EXPRESSION_SYNTAX", "/left")],
        ),
        (
            rule("a b", "matches_regex", "("),
            [("EXPRESSION_SYNTAX", "/variable"), ("BAD_REGEX", "/value")],
        ),
        ({"operator": "equals"}, [("VALIDATION", ""), ("VALIDATION", "")]),
        (
            {"variable": 5, "value": "{{"},
            [("VALIDATION", ""), ("EXPRESSION_SYNTAX", "/value"), ("VALIDATION", "/variable")],
        ),
        (
            {"all": [5], "any": 5, "x": 1},
            [("VALIDATION", ""), ("VALIDATION", "/all/0"), ("VALIDATION", "/any")],
        ),
        ({}, [("VALIDATION", "")]),
    ],
)
def test_everything_wrong_is_found_at_once(condition: Any, found: list[tuple[str, str]]) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition(condition)
    everything = [caught.value, *caught.value.also]
    assert [(each.code, each.path) for each in everything] == found


def test_what_is_sound_beside_a_mistake_has_its_paths() -> None:
    wrong = ["1 +", "a.b > 1", rule("c", "foo", "{{ d }} {{ + }}"), rule("e", "matches_regex", "(")]
    with pytest.raises(ConditionError) as caught:
        compile_condition({"any": [wrong, {"not": rule("f", "equals", 1)}]})
    assert caught.value.paths == (("a", "b"), ("d",), ("e",), ("f",))


def test_a_syntax_error_tells_line_and_column() -> None:
    with pytest.raises(ConditionError, match=r"\(line 2, column 10\)"):
        compile_condition("score > 5 and\n tier == == 1")


def test_paths_are_those_that_must_exist() -> None:
    condition = compile_condition(
        [
            rule("a.b", "equals", "{{ c.d }}"),
            rule("e", "exists"),
            {"any": ["f.g > 1", {"not": rule("h", "matches_regex", "x")}]},
            {"left": "{{ a.b }}", "operator": "less_than", "right": 1},
        ]
    )
    assert condition.paths == (("a", "b"), ("c", "d"), ("f", "g"), ("h",))


@pytest.mark.parametrize(
    "condition",
    [
        rule("big", "in_list", "{{ list }}"),
        rule("list", "contains", "{{ big }}"),
        rule("text", "in_list", "{{ text * 2 }}"),
        rule("long", "matches_regex", "(a|b)*a(a|b){20}"),
        [rule("rows", "equals", "{{ other_rows }}")] * 100,
    ],
)
def test_conditions_end_by_the_budget(condition: Any) -> None:
    env = MapEnv(
        {
            "big": "x" * 100_000,
            "list": ["x" * 99_999 + "y" for _ in range(1_000)],
            "text": "a," * 300_000,
            "long": "ab" * 400_000,
            "rows": [[i] for i in range(5_000)],
            "other_rows": [[i] for i in range(5_000)],
        }
    )
    with pytest.raises(ExpressionError) as caught:
        compile_condition(condition).test(env, Budget())
    assert caught.value.code == "BUDGET_EXCEEDED"
