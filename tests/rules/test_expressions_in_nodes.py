"""Templates in a node's settings: where they may stand, and what type they give."""

from __future__ import annotations

from tests.rules.harness import three_ways
from tests.rules.writing import (
    calls,
    ends,
    fetches,
    node,
    rule,
    says,
    sets,
)

TYPES = [
    ("a number", "n + 1", 4),
    ("a fraction", "n / 2", 1.5),
    ("a truth", "n > 1", True),
    ("null", "o.k", None),
    ("a list", "items", [1, "a"]),
    ("an object", "o", {"k": None}),
    ("a text that looks like a number", "str(n)", "3"),
]
TEXTS = [
    ("a number", "n={{ n }}", "n=3"),
    ("a truth", "t={{ t }}", "t=True"),
    ("null", "k={{ o.k }}", "k=None"),
    ("a list", "items={{ items }}", 'items=[1,"a"]'),
    ("two expressions", "{{ n }}{{ n }}", "33"),
    ("literal braces", "{{ '{{' }} {{ n }}", "{{ 3"),
]

RULES = [
    *(
        rule(
            f"a string that is exactly one expression keeps {what}",
            {"a": sets(got=f"{{{{ {source} }}}}")},
            "start -> a",
            start={"variables": {"n": 3, "items": [1, "a"], "o": {"k": None}}},
            has={"got": value},
        )
        for what, source, value in TYPES
    ),
    *(
        rule(
            f"a string with {what} around its expression is text",
            {"a": sets(got=template)},
            "start -> a",
            start={"variables": {"n": 3, "items": [1, "a"], "o": {"k": None}, "t": True}},
            has={"got": text},
        )
        for what, template, text in TEXTS
    ),
    rule(
        "templates are read at any depth of a value",
        {"a": sets(got={"deep": [{"er": ["{{ x }}", "no", {"n": "x is {{ x }}"}]}], "k": 5})},
        "start -> a",
        start={"variables": {"x": 7}},
        has={"got": {"deep": [{"er": [7, "no", {"n": "x is 7"}]}], "k": 5}},
    ),
    rule(
        "values that are no strings stay what they are",
        {"a": sets(n=1.5, t=True, none=None, items=[1, None], o={})},
        "start -> a",
        variables={"n": 1.5, "t": True, "none": None, "items": [1, None], "o": {}},
    ),
    rule(
        "what an expression gives is never read again",
        {"a": sets(x="{{ '{{ 1 + 1 }}' }}"), "b": sets(y="{{ x }}")},
        "start -> a",
        "a -> b",
        variables={"x": "{{ 1 + 1 }}", "y": "{{ 1 + 1 }}"},
    ),
    rule(
        "a missing variable is an error that names it and the closest known one",
        {"a": says("Hello, {{ usernmae }}!")},
        "start -> a",
        start={"variables": {"username": "ada"}},
        error=("EXPRESSION_ERROR", "a"),
        because=("usernmae", "username"),
        messages=[],
    ),
    rule(
        "a missing key is an error that names it and the closest known one",
        {"a": says("Hello, {{ user.nmae }}!")},
        "start -> a",
        start={"variables": {"user": {"name": "ada"}}},
        error=("EXPRESSION_ERROR", "a"),
        because=("nmae", "name"),
    ),
    rule(
        "default and has do not raise",
        {"a": sets(x="{{ default(user.nick, 'x') }}", y="{{ has(no.such.thing) }}")},
        "start -> a",
        start={"variables": {"user": {}}},
        has={"x": "x", "y": False},
    ),
    rule(
        "an expression calls the methods of a text",
        {"a": sets(x="{{ name.upper() }}", y="{{ ', '.join(names) }}", z="{{ name[:2] }}")},
        "start -> a",
        start={"variables": {"name": "ada", "names": ["a", "b"]}},
        has={"x": "ADA", "y": "a, b", "z": "ad"},
    ),
    rule(
        "an object's key is reached by a dot though it is a method's name",
        {"a": sets(x="{{ o.items }}", y="{{ o.count }}")},
        "start -> a",
        start={"variables": {"o": {"items": [1], "count": 2}}},
        has={"x": [1], "y": 2},
    ),
    rule(
        "an expression that divides by zero fails its node",
        {"a": sets(x="{{ 1 / n }}")},
        "start -> a",
        start={"variables": {"n": 0}},
        error=("EXPRESSION_ERROR", "a"),
    ),
    rule(
        "a number beyond 64 bits fails its node",
        {"a": sets(x="{{ 2 ** n }}")},
        "start -> a",
        start={"variables": {"n": 64}},
        status="failed",
        error=("EXPRESSION_ERROR", "a"),
    ),
    rule(
        "a module's input, a webhook's body and an overlay's content are templates at any depth",
        {
            "m": calls("mod-{{ x }}", action="do {{ x }}", input={"a": [{"b": "{{ x }}"}]}),
            "w": fetches(
                "https://api.example.com/{{ x }}",
                body={"a": ["{{ x }}", "n {{ x }}"]},
                params={"q": "{{ x }}"},
                method="PUT",
            ),
            "o": node("action_browser_source", content={"text": ["{{ x }}"]}, duration="{{ x }}"),
        },
        "start -> m",
        "m -> w",
        "w -> o",
        start={"variables": {"x": 7}},
        sent={
            "m": {"module_name": "mod-7", "action": "do 7", "input": {"a": [{"b": 7}]}},
            "w": {
                "url": "https://api.example.com/7",
                "body": {"a": [7, "n 7"]},
                "method": "PUT",
            },
            "o": {"content": {"text": [7]}, "duration": 7},
        },
    ),
    rule(
        "flow_end's output is a template at any depth",
        {"end": ends([{"x": "{{ x }}"}, "{{ x }}!"])},
        "start -> end",
        start={"variables": {"x": 7}},
        final_output=[{"x": 7}, "7!"],
    ),
]


(
    test_the_engine_keeps_the_rule,
    test_a_dry_run_keeps_the_rule,
    test_an_execution_whose_worker_dies_keeps_the_rule,
) = three_ways(RULES)
