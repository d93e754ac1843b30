"""Nodes that decide: if, switch, filter, and the conditions they are given."""

from __future__ import annotations

from tests.rules.harness import three_ways
from tests.rules.writing import (
    checks,
    node,
    rule,
    says,
    sets,
)

SWITCH_FORMS = {
    "an object": {"gold": "vip", "silver": "vip", "bronze": "fan"},
    "a list": [
        {"value": "gold", "output_port": "vip"},
        {"value": "silver", "output_port": "vip"},
        {"value": "bronze", "output_port": "fan"},
    ],
}
VALUES = {"tier": "gold", "score": 17, "user": {"tags": ["a", "b"]}, "limit": 10, "word": "17"}
GOLD = {"variable": "tier", "operator": "equals", "value": "gold"}
HIGH = {"variable": "score", "operator": "greater_than", "value": 10}
LOW = {"variable": "score", "operator": "less_than", "value": 10}
FORMS = [
    ("a rule of variable and value", GOLD, True),
    (
        "a rule of left and right",
        {"left": "{{ score }}", "operator": "less_than", "right": 5},
        False,
    ),
    (
        "a rule whose right is a template",
        {"left": "{{ score }}", "operator": "greater_than", "right": "{{ limit }}"},
        True,
    ),
    ("a dotted path", {"variable": "user.tags.1", "operator": "equals", "value": "b"}, True),
    ("a list all of which hold", [GOLD, HIGH], True),
    ("a list one of which does not hold", [GOLD, LOW], False),
    ("all", {"all": [GOLD, HIGH]}, True),
    ("all with one that fails", {"all": [GOLD, LOW]}, False),
    ("all of nothing", {"all": []}, True),
    ("any", {"any": [LOW, GOLD]}, True),
    ("any of which none holds", {"any": [LOW, {"not": GOLD}]}, False),
    ("any of nothing", {"any": []}, False),
    ("not", {"not": LOW}, True),
    ("not of a list", {"not": [GOLD, HIGH]}, False),
    ("a nest", {"all": [{"any": [LOW, GOLD]}, {"not": {"all": [LOW, GOLD]}}]}, True),
    ("an expression", "score > 10 and tier == 'gold'", True),
    ("an expression in braces", "{{ score > 100 }}", False),
    ("a mix of a rule and an expression", [GOLD, "score > 100"], False),
    ("a constant", True, True),
]
OPERATORS = [
    ("equals", "a", "a", True),
    ("equals", "a", "A", False),
    ("equals", 5, "5", True),
    ("equals", "5.0", 5, True),
    ("equals", [1, 2], [1, 2], True),
    ("not_equals", "a", "b", True),
    ("not_equals", 5, "5", False),
    ("greater_than", "10", 9, True),
    ("greater_than", "10", "9", True),
    ("greater_than", 9, 9, False),
    ("less_than", 2, "10", True),
    ("less_than", "b", "a", False),
    ("greater_equal", 9, "9", True),
    ("less_equal", 9.5, 9, False),
    ("contains", "hello", "ell", True),
    ("contains", ["a", "b"], "b", True),
    ("contains", ["ab"], "b", False),
    ("not_contains", "hello", "x", True),
    ("not_contains", ["a"], "a", False),
    ("matches_regex", "hello 42", "[0-9]+$", True),
    ("matches_regex", "hello", "^x", False),
    ("in_list", "a", ["a", "b"], True),
    ("in_list", 3, ["1", "3"], True),
    ("in_list", "c", ["a", "b"], False),
    ("not_in_list", "c", ["a", "b"], True),
    ("starts_with", "hello", "he", True),
    ("starts_with", "hello", "lo", False),
    ("ends_with", "hello", "lo", True),
]
PRESENCE = [
    ("exists", "a value", "there", True),
    ("exists", "nothing", "nowhere", False),
    ("exists", "a path into nothing", "nowhere.at.all", False),
    ("not_exists", "nothing", "nowhere", True),
    ("not_exists", "a value", "there", False),
    ("is_empty", "an empty list", "none", True),
    ("is_empty", "an empty text", "text", True),
    ("is_empty", "an empty object", "o", True),
    ("is_empty", "null", "null", True),
    ("is_empty", "nothing", "nowhere", True),
    ("is_empty", "a value", "there", False),
]

RULES = [
    rule(
        "an if whose condition holds leaves by true and passes its input through",
        {"a": sets(x=1), "check": checks("x == 1"), "b": sets(got="{{ input }}"), "c": says("c")},
        "start -> a",
        "a -> check",
        "check.true -> b",
        "check.false -> c",
        ports={"check": "true"},
        outputs={"check": {"x": 1}},
        has={"got": {"x": 1}},
        states={"c": "skipped"},
    ),
    rule(
        "an if whose condition does not hold leaves by false",
        {"check": checks("1 == 2"), "b": says("b"), "c": says("c")},
        "start -> check",
        "check.true -> b",
        "check.false -> c",
        ports={"check": "false"},
        messages=["c"],
    ),
    rule(
        "an if's renamed ports are the ones it leaves by",
        {
            "check": checks("true", output_true_port="vip", output_false_port="rest"),
            "b": says("b"),
            "c": says("c"),
        },
        "start -> check",
        "check.vip -> b",
        "check.rest -> c",
        ports={"check": "vip"},
        messages=["b"],
    ),
    rule(
        "an if may rename one port and keep the other",
        {"check": checks("false", output_true_port="vip"), "b": says("b"), "c": says("c")},
        "start -> check",
        "check.vip -> b",
        "check.false -> c",
        messages=["c"],
    ),
    rule(
        "an if's two ports may have each other's names",
        {
            "check": checks("true", output_true_port="false", output_false_port="true"),
            "b": says("b"),
            "c": says("c"),
        },
        "start -> check",
        "check.true -> b",
        "check.false -> c",
        messages=["c"],
    ),
    rule(
        "an error port beside an if's arms is dead when nothing fails",
        {"check": checks("true"), "b": says("b"), "e": says("e")},
        "start -> check",
        "check.true -> b",
        "check.error -> e",
        messages=["b"],
    ),
    # switch
    *(
        rule(
            f"a switch over {value!r} with cases as {form} leaves by {port}",
            {
                "pick": node("condition_switch", value="{{ tier }}", cases=cases),
                **{name: says(name) for name in ("vip", "fan", "default")},
            },
            "start -> pick",
            "pick.vip -> vip",
            "pick.fan -> fan",
            "pick.default -> default",
            start={"variables": {"tier": value}},
            ports={"pick": port},
            messages=[port],
        )
        for form, cases in SWITCH_FORMS.items()
        for value, port in (
            ("gold", "vip"),
            ("silver", "vip"),
            ("bronze", "fan"),
            ("tin", "default"),
        )
    ),
    rule(
        "a switch takes the name of a variable as its value",
        {
            "pick": node("condition_switch", value="tier", cases={"gold": "vip"}),
            "vip": says("vip"),
            "other": says("other"),
        },
        "start -> pick",
        "pick.vip -> vip",
        "pick.default -> other",
        start={"variables": {"tier": "gold"}},
        messages=["vip"],
    ),
    rule(
        "a switch's default port can have another name",
        {
            "pick": node(
                "condition_switch", value="tier", cases={"gold": "vip"}, default_port="rest"
            ),
            "vip": says("vip"),
            "rest": says("rest"),
        },
        "start -> pick",
        "pick.vip -> vip",
        "pick.rest -> rest",
        start={"variables": {"tier": "tin"}},
        ports={"pick": "rest"},
        messages=["rest"],
    ),
    rule(
        "a switch's default port may be one of its cases'",
        {
            "pick": node(
                "condition_switch", value="tier", cases={"gold": "vip"}, default_port="vip"
            ),
            "vip": says("vip"),
        },
        "start -> pick",
        "pick.vip -> vip",
        start={"variables": {"tier": "tin"}},
        messages=["vip"],
    ),
    rule(
        "a switch compares a number with the text of its case",
        {
            "pick": node("condition_switch", value="{{ n }}", cases={"3": "three"}),
            "three": says("three"),
        },
        "start -> pick",
        "pick.three -> three",
        start={"variables": {"n": 3}},
        messages=["three"],
    ),
    rule(
        "a switch's first matching case of a list wins",
        {
            "pick": node(
                "condition_switch",
                value="{{ n }}",
                cases=[{"value": 3, "output_port": "one"}, {"value": "3", "output_port": "two"}],
            ),
            "one": says("one"),
            "two": says("two"),
        },
        "start -> pick",
        "pick.one -> one",
        "pick.two -> two",
        start={"variables": {"n": 3}},
        messages=["one"],
    ),
    rule(
        "a switch with nothing connected to its default ends there",
        {
            "pick": node("condition_switch", value="tier", cases={"gold": "vip"}),
            "vip": says("vip"),
        },
        "start -> pick",
        "pick.vip -> vip",
        start={"variables": {"tier": "tin"}},
        messages=[],
        steps=["start", "pick"],
        states={"vip": "skipped"},
    ),
    rule(
        "a switch passes its input through",
        {
            "a": sets(x=1),
            "pick": node("condition_switch", value="x", cases={"1": "one"}),
            "b": sets(got="{{ input }}"),
        },
        "start -> a",
        "a -> pick",
        "pick.one -> b",
        has={"got": {"x": 1}},
    ),
    # filter
    rule(
        "a filter keeps the items for which its condition holds, in their order",
        {"a": node("condition_filter", items="{{ numbers }}", condition="item > 2")},
        "start -> a",
        start={"variables": {"numbers": [5, 1, 3, 2]}},
        outputs={"a": [5, 3]},
        variables={"numbers": [5, 1, 3, 2], "filtered_items": [5, 3]},
        final_output={"a": [5, 3]},
    ),
    rule(
        "a filter's variable can have another name",
        {
            "a": node(
                "condition_filter",
                items="players",
                condition={"variable": "item.score", "operator": "greater_than", "value": 10},
                output_variable="winners",
            )
        },
        "start -> a",
        start={"variables": {"players": [{"score": 12}, {"score": 7}]}},
        has={"winners": [{"score": 12}]},
        outputs={"a": [{"score": 12}]},
    ),
    rule(
        "a filter's condition sees the other variables too",
        {"a": node("condition_filter", items="n", condition="item > least")},
        "start -> a",
        start={"variables": {"n": [1, 2, 3], "least": 2}},
        outputs={"a": [3]},
    ),
    rule(
        "a filter that keeps nothing gives an empty list",
        {"a": node("condition_filter", items=[1, 2], condition="false")},
        "start -> a",
        variables={"filtered_items": []},
    ),
    rule(
        "a filter of an empty list gives an empty list",
        {"a": node("condition_filter", items=[], condition="item.nowhere > 1")},
        "start -> a",
        variables={"filtered_items": []},
    ),
    rule(
        "a filter leaves a variable called item as it was",
        {"a": node("condition_filter", items=[1, 2], condition="item > 1")},
        "start -> a",
        start={"variables": {"item": "mine"}},
        variables={"item": "mine", "filtered_items": [2]},
    ),
    rule(
        "a filter of what is no list fails",
        {"a": node("condition_filter", items="{{ n }}", condition="true")},
        "start -> a",
        start={"variables": {"n": 5}},
        error=("TYPE_ERROR", "a"),
    ),
    # forms of a condition
    *(
        rule(
            f"a condition as {form} {'holds' if holds else 'does not hold'}",
            {"check": checks(condition), "yes": says("yes"), "no": says("no")},
            "start -> check",
            "check.true -> yes",
            "check.false -> no",
            start={"variables": VALUES},
            messages=["yes" if holds else "no"],
        )
        for form, condition, holds in FORMS
    ),
    *(
        rule(
            f"{operator} of {left!r} and {right!r} {'holds' if holds else 'does not hold'}",
            {
                "check": checks({"variable": "left", "operator": operator, "value": right}),
                "yes": says("yes"),
                "no": says("no"),
            },
            "start -> check",
            "check.true -> yes",
            "check.false -> no",
            start={"variables": {"left": left}},
            messages=["yes" if holds else "no"],
            only=("run",),
        )
        for operator, left, right, holds in OPERATORS
    ),
    *(
        rule(
            f"{operator} of {what} {'holds' if holds else 'does not hold'}",
            {
                "check": checks({"variable": path, "operator": operator}),
                "yes": says("yes"),
                "no": says("no"),
            },
            "start -> check",
            "check.true -> yes",
            "check.false -> no",
            start={"variables": {"there": 1, "null": None, "none": [], "text": "", "o": {}}},
            messages=["yes" if holds else "no"],
            only=("run",),
        )
        for operator, what, path, holds in PRESENCE
    ),
    *(
        rule(
            f"{operator} of something missing is an error",
            {"check": checks({"variable": "user.nane", "operator": operator, "value": 1})},
            "start -> check",
            start={"variables": {"user": {"name": "ada"}}},
            error=("EXPRESSION_ERROR", "check"),
            because="nane",
            only=("run",),
        )
        for operator in ("equals", "not_equals", "less_than", "contains", "in_list")
    ),
]


(
    test_the_engine_keeps_the_rule,
    test_a_dry_run_keeps_the_rule,
    test_an_execution_whose_worker_dies_keeps_the_rule,
) = three_ways(RULES)
