"""Conditions to the letter: the words of every refusal, the edges of every operator, the price."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from engine.condition_operators import ALIASES, BINARY, UNARY, number
from engine.conditions import OPERATORS, Code, ConditionError, compile_condition
from engine.expressions import Budget, ExpressionError, MapEnv

SHAPES = (
    'write {"variable": …, "operator": …, "value": …}, a list of those, {"all": […]}, '
    '{"any": […]}, {"not": …}, or an expression'
)
RE2 = "the syntax is RE2's: no look-around and no back-references"
KNOWN = (
    "there are: contains, ends_with, equals, exists, greater_equal, greater_than, in_list, "
    "is_empty, less_equal, less_than, matches_regex, not_contains, not_equals, not_exists, "
    "not_in_list, starts_with"
)


def holds(condition: Any, **values: Any) -> bool:
    return compile_condition(condition).test(MapEnv(values), Budget())


def rule(variable: Any, operator: Any, value: Any = None) -> dict[str, Any]:
    return {"variable": variable, "operator": operator, "value": value}


def compared(left: Any, operator: str, right: Any) -> bool:
    return holds(rule("left", operator, "{{ right }}"), left=left, right=right)


def fuel_for(condition: Any, **values: Any) -> int:
    budget = Budget()
    before = budget.fuel
    compile_condition(condition).test(MapEnv(values), budget)
    return before - budget.fuel


@pytest.mark.parametrize(
    ("condition", "message", "path", "hint"),
    [
        (None, "a condition is not null", "", SHAPES),
        ([5], "a condition is not a number", "/0", SHAPES),
        ({"all": [], "any": []}, "`all` stands alone in its object, without any", "", None),
        (
            {"not": True, "variable": "a", "operator": "exists"},
            "`not` stands alone in its object, without operator, variable",
            "",
            None,
        ),
        ({"any": "x"}, "`any` is a list of conditions, not text", "/any", None),
        ({"all": {"not": True}}, "`all` is a list of conditions, not an object", "/all", None),
        ({}, "the rule has no `operator`", "", SHAPES),
        ({"variable": "a"}, "the rule has no `operator`", "", None),
        ({"left": "a"}, "the rule has no `operator`", "", None),
        ({"operator": "exists"}, "the rule does not say what to test", "", SHAPES),
        (
            {"left": 1, "operator": "="},
            "`equals` needs something to compare with: `value` is missing",
            "",
            None,
        ),
        (
            {"left": 1, "variable": "a", "operator": "exists"},
            "the rule has both `variable` and `left`; it takes one of them",
            "",
            None,
        ),
        (
            {"not": {**rule("a", "equals", 1), "right": 2}},
            "the rule has both `value` and `right`; it takes one of them",
            "/not",
            None,
        ),
        (
            rule(True, "equals", 1),
            "`variable` is the name of a variable, not true/false",
            "/variable",
            None,
        ),
        (
            rule(5, "exists"),
            "`variable` is the name of a variable, not a number",
            "/variable",
            None,
        ),
    ],
)
def test_what_has_no_shape_is_refused_in_these_words(
    condition: Any, message: str, path: str, hint: str | None
) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition(condition)
    error = caught.value
    assert (error.code, error.message, str(error)) == ("VALIDATION", message, message)
    assert (error.path, error.hint) == (path, hint)


@pytest.mark.parametrize(
    ("name", "shown", "hint"),
    [
        ("equal", "'equal'", "did you mean equals?"),
        ("and", "'and'", 'write {"all": [rule, rule]}'),
        ("or", "'or'", 'write {"any": [rule, rule]}'),
        (7, "'7'", KNOWN),
        ("~", "'~'", KNOWN),
        ("z" * 41, repr("z" * 40), KNOWN),
        (["equals"], "\"['equals']\"", "did you mean equals?"),
    ],
)
def test_an_operator_that_there_is_not_is_named_with_what_was_meant(
    name: Any, shown: str, hint: str
) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition({"any": [rule("a", name, 1)]})
    assert caught.value.code == "UNKNOWN_OPERATOR"
    assert caught.value.message == f"there is no operator {shown}"
    assert caught.value.path == "/any/0/operator"
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("pattern", "message", "hint"),
    [
        (5, "a regular expression is text, not a number", None),
        ("(", "not a regular expression: missing ): (", RE2),
        ("a" * 257, "not a regular expression: longer than 256 characters", RE2),
    ],
)
def test_what_is_no_regular_expression_is_refused_when_saved(
    pattern: Any, message: str, hint: str | None
) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition({"left": "{{ a }}", "operator": "matches_regex", "right": pattern})
    error = caught.value
    assert (error.code, error.message) == ("BAD_REGEX", message)
    assert (error.path, error.hint) == ("/right", hint)


@pytest.mark.parametrize(
    ("condition", "path"),
    [
        ({"left": "{{ 1 + }}", "operator": "exists"}, "/left"),
        ({"variable": "a b", "operator": "exists"}, "/variable"),
        ([{"left": 1, "operator": "=", "right": {"k": ["{{ + }}"]}}], "/0/right/k/0"),
        ({"not": "1 +"}, "/not"),
    ],
)
def test_a_broken_expression_is_found_where_it_stands(condition: Any, path: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition(condition)
    assert (caught.value.code, caught.value.path) == ("EXPRESSION_SYNTAX", path)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (False, "false", True),
        (False, "FALSE", True),
        (True, "false", False),
        (True, "True", True),
        (True, " true", False),
        (True, "falsehood", False),
        (False, 0, False),
        (True, 1, False),
        (False, None, False),
        (None, False, False),
        ("true", "TRUE", False),
        ("yes", True, False),
        (0, "-0", True),
        (3, "+3", True),
        (0.5, ".5", True),
        (5, "5.", False),
        (100, "1e2", False),
        (16, "0x10", False),
        (None, "null", False),
        ("", 0, False),
        ([1], ["1"], False),
        ({"a": 1}, {"a": 1}, True),
        ("12", "12.0", True),
        ("12a", "12a", True),
    ],
)
def test_equals(left: Any, right: Any, same: bool) -> None:
    assert compared(left, "equals", right) is same
    assert compared(right, "equals", left) is same
    assert compared(left, "not_equals", right) is not same


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        (" -7.50\n", -7.5),
        ("+.25", 0.25),
        ("0" * 300 + "." + "5" * 300, 5 / 9),
        (" " * 601 + "1", 1),
        (" " * 602 + "1", None),
        ("", None),
        ("-", None),
        (".", None),
        ("1_000", None),
        ("٣", None),
        ("NaN", None),
        ("1" * 301, None),
        ("-" + "1" * 300 + "." + "0" * 300, -float("1" * 300)),
        (True, None),
        (None, None),
        ([1], None),
        (2.0, 2.0),
    ],
)
def test_a_number_is_what_plain_decimals_spell(text: Any, value: Any) -> None:
    read = number(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, 2), ("9", 10), ("9", "10"), (-1, "0.5"), ("apple", "pear"), ("10", "9a"), ("B", "a")],
)
def test_of_two_that_differ_one_is_less(left: Any, right: Any) -> None:
    assert compared(left, "less_than", right)
    assert compared(left, "less_equal", right)
    assert compared(right, "greater_than", left)
    assert compared(right, "greater_equal", left)
    assert not compared(right, "less_than", left)
    assert not compared(right, "less_equal", left)
    assert not compared(left, "greater_than", right)
    assert not compared(left, "greater_equal", right)


@pytest.mark.parametrize(("left", "right"), [(2, 2), ("2", 2.0), ("pear", "pear")])
def test_of_two_alike_none_is_less(left: Any, right: Any) -> None:
    assert compared(left, "less_equal", right)
    assert compared(left, "greater_equal", right)
    assert not compared(left, "less_than", right)
    assert not compared(left, "greater_than", right)


@pytest.mark.parametrize(
    ("left", "operator", "right", "message"),
    [
        (1, "less_equal", "x", "less_equal cannot compare a number with text"),
        (True, "greater_than", 0, "greater_than cannot compare true/false with a number"),
        ([1], "greater_equal", [0], "greater_equal cannot compare a list with a list"),
        (None, "less_than", "x", "less_than cannot compare null with text"),
        (5, "contains", 5, "contains needs a text, list or object on its left, not a number"),
        ("a", "in_list", {}, "in_list needs a list on its right, not an object"),
        ("a", "not_in_list", None, "in_list needs a list on its right, not null"),
        (True, "starts_with", "T", "starts_with needs texts, not true/false and text"),
        ("null", "ends_with", None, "ends_with needs texts, not text and null"),
        ("a", "matches_regex", 5, "a regular expression is text, not a number"),
    ],
)
def test_values_that_do_not_fit_are_an_error_in_these_words(
    left: Any, operator: str, right: Any, message: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        compared(left, operator, right)
    assert caught.value.message == message
    assert caught.value.source == f"left {operator} {{{{ right }}}}"


@pytest.mark.parametrize(
    ("condition", "source"),
    [
        (rule("a", ">", ["x", "y"]), "a greater_than a list"),
        ({"left": {"k": 1}, "operator": "lt", "right": 2.5}, "an object less_than 2.5"),
        (rule("a", "<", None), "a less_than None"),
        (rule("a", "matches_regex", "x"), "a matches_regex x"),
        (rule(" a ", "contains", "x" * 200), "a contains " + "x" * 108 + "…"),
    ],
)
def test_an_error_says_which_rule_it_is_of(condition: Any, source: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        holds(condition, a=None)
    assert caught.value.source == source


def test_an_error_within_an_expression_names_the_expression_not_the_rule() -> None:
    for operator in ("equals", "matches_regex"):
        with pytest.raises(ExpressionError) as caught:
            holds({"left": "{{ 1 / a }}", "operator": operator, "right": "x"}, a=0)
        assert caught.value.source == "1 / a"


@pytest.mark.parametrize(
    ("left", "operator", "right"),
    [
        ({"10": 1}, "contains", 10),
        ("it is 10.5", "contains", 10.5),
        ("[1,2]", "contains", [1, 2]),
        ("None of it", "contains", None),
        ([" 5 "], "contains", 5),
        ([[1]], "contains", [1]),
        ({"a": 1}, "not_contains", "b"),
        ([], "not_contains", None),
        ("b", "in_list", "a, b ,c"),
        ("", "in_list", ""),
        (2, "in_list", "1,2"),
        ("a,b", "not_in_list", "a,b"),
        (True, "in_list", ["true"]),
        ("x", "not_in_list", []),
        (10.5, "starts_with", 10),
        ("a1", "ends_with", 1),
        ("abc", "starts_with", ""),
        (True, "matches_regex", "^True$"),
        (1.5, "matches_regex", "^1[.]5$"),
    ],
)
def test_what_is_part_of_what(left: Any, operator: str, right: Any) -> None:
    assert compared(left, operator, right)


@pytest.mark.parametrize(
    ("left", "operator", "right"),
    [
        ("abc", "starts_with", "bc"),
        ("abc", "ends_with", "ab"),
        ("a", "not_in_list", "b, a"),
        ("abc", "not_contains", "b"),
        ([1], "contains", [1]),
        ("abc", "matches_regex", "^b"),
    ],
)
def test_what_is_not(left: Any, operator: str, right: Any) -> None:
    assert not compared(left, operator, right)


@pytest.mark.parametrize(
    ("value", "there", "empty"),
    [
        (None, False, True),
        ("", True, True),
        ([], True, True),
        ({}, True, True),
        (0, True, False),
        (0.0, True, False),
        (False, True, False),
        (" ", True, False),
        ([None], True, False),
        ({"a": None}, True, False),
    ],
)
def test_what_is_there_and_what_is_empty(value: Any, there: bool, empty: bool) -> None:
    assert holds({"left": "{{ a }}", "operator": "exists"}, a=value) is there
    assert holds({"left": "a", "operator": "not_exists"}, a=value) is not there
    assert holds({"variable": "a", "operator": "is_empty"}, a=value) is empty


def test_asking_whether_something_is_there_hides_no_other_error() -> None:
    with pytest.raises(ExpressionError, match="division by zero"):
        holds({"left": "{{ 1 / 0 }}", "operator": "not_exists"})


def test_every_other_spelling_of_an_operator() -> None:
    assert dict(ALIASES) == {
        "==": "equals",
        "=": "equals",
        "eq": "equals",
        "!=": "not_equals",
        "ne": "not_equals",
        ">": "greater_than",
        "gt": "greater_than",
        "more_than": "greater_than",
        "<": "less_than",
        "lt": "less_than",
        ">=": "greater_equal",
        "gte": "greater_equal",
        "at_least": "greater_equal",
        "<=": "less_equal",
        "lte": "less_equal",
        "at_most": "less_equal",
        "in": "in_list",
        "not_in": "not_in_list",
    }
    assert set(ALIASES.values()) <= {*BINARY, *UNARY} == OPERATORS


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"left": "tier", "operator": "equals", "right": "gold"}, True),
        ({"left": " tier ", "operator": "equals", "right": "gold"}, True),
        ({"left": "tier", "operator": "equals", "right": "{{ tier }}"}, False),
        ({"left": "tier", "operator": "equals", "right": "{{ 'tier' }}"}, True),
        ({"left": "not a name", "operator": "equals", "right": "not a name"}, True),
        ({"left": "get-user", "operator": "equals", "right": "get-user"}, True),
        ({"left": ["{{ tier }}"], "operator": "contains", "right": "gold"}, True),
        ({"left": "tier", "operator": "matches_regex", "right": "^g"}, True),
        ({"left": "user.name", "operator": "equals", "right": "ann"}, True),
        ({"left": "user.missing", "operator": "exists"}, False),
        ({"variable": "get-user.0.x-y", "operator": "equals", "value": 1}, True),
        ({"variable": " {{ tier }}!", "operator": "equals", "value": " gold!"}, True),
        ({"variable": "tier.upper()", "operator": "equals", "value": "GOLD"}, True),
    ],
)
def test_when_a_left_side_is_a_name_and_when_a_text(condition: Any, expected: bool) -> None:
    values = {"tier": "gold", "user": {"name": "ann"}, "get-user": [{"x-y": 1}]}
    assert holds(condition, **values) is expected


def test_a_condition_is_refused_with_one_of_four_codes() -> None:
    codes = set()
    for wrong in (None, "1 +", rule("a", "equal", 1), rule("a", "matches_regex", "(")):
        with pytest.raises(ConditionError) as caught:
            compile_condition(wrong)
        codes.add(caught.value.code)
    assert codes == set(get_args(Code))


def test_an_error_without_a_place_is_of_the_whole_condition() -> None:
    error = ConditionError("VALIDATION", "no")
    assert (error.path, error.hint) == ("", None)


def test_a_group_in_a_group() -> None:
    assert holds({"all": [{"any": [False, True]}, {"not": False}]})
    assert not holds({"all": [{"any": [False, False]}, {"not": False}]})
    assert not holds({"all": [True, False]})
    assert holds({"any": [True, False]})
    assert holds({"all": []})


def test_conditions_that_read_the_same_are_the_same() -> None:
    one, other = (compile_condition("a > 1") for _ in range(2))
    assert one == other
    assert one != compile_condition("b > 1")
    assert repr(one) == "Condition(paths=(('a',),))"


def test_a_rule_on_what_may_be_missing_reads_no_path_that_must_exist() -> None:
    assert compile_condition({"left": "a", "operator": "exists"}).paths == ()
    assert compile_condition(rule("a", "=", "{{ a }}")).paths == (("a",),)
    assert compile_condition([True, {"not": rule("a.0", "=", 1)}]).paths == (("a", "0"),)


@pytest.mark.parametrize(
    ("condition", "values", "fuel"),
    [
        ({"left": 1, "operator": "=", "right": 1}, {}, 1),
        ({"left": 1, "operator": "exists"}, {}, 1),
        ({"left": "ab!", "operator": "starts_with", "right": "ab"}, {}, 2),
        ({"left": 3, "operator": "in", "right": [1, 2, 3]}, {}, 1 + 3),
        ({"left": 3, "operator": "in", "right": [3, 2, 1]}, {}, 1 + 1),
        ({"left": "b!", "operator": "in", "right": "a" * 64 + ",b!"}, {}, 1 + 2 + 2),
        ({"left": "a!" * 1024, "operator": "<", "right": "b!" * 1536}, {}, 1 + 2),
    ],
)
def test_what_a_rule_costs(condition: Any, values: dict[str, Any], fuel: int) -> None:
    assert fuel_for(condition, **values) == fuel


def test_a_text_read_as_a_list_is_paid_for_as_memory() -> None:
    budget = Budget(bytes=99)
    condition = compile_condition({"left": "b!", "operator": "in", "right": "b!," + "a" * 97})
    with pytest.raises(ExpressionError) as caught:
        condition.test(MapEnv({}), budget)
    assert caught.value.code == "BUDGET_EXCEEDED"
    condition.test(MapEnv({}), Budget(bytes=100))
