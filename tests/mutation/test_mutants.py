"""Which changes are made, and that each can be taken back."""

from __future__ import annotations

import ast

import pytest

from mutation.mutants import mutants_of


def made_of(source: str) -> list[str]:
    """The mutated sources, in order; the tree is the original again after each."""
    tree = ast.parse(source)
    original = ast.unparse(tree)
    made = []
    for mutant in mutants_of(tree):
        take_back = mutant.apply()
        made.append(ast.unparse(tree))
        take_back()
        assert ast.unparse(tree) == original
    return made


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("a + b", ["a - b"]),
        ("a // b", ["a * b"]),
        ("a < b", ["a <= b"]),
        ("a == b", ["a != b"]),
        ("a is None", ["a is not None"]),
        ("a in b", ["a not in b"]),
        ("a < b == c", ["a <= b == c", "a < b != c"]),
        ("a and b", ["a or b"]),
        ("not a", ["a"]),
        ("-a", ["a"]),
        ("x = True", ["x = False"]),
        ("x = 7", ["x = 8"]),
        ("x = 'a'", ["x = 'XXaXX'"]),
        ("x = None", []),
        ("a if b else c", ["a if not b else c"]),
        ("a if not b else c", ["a if b else c"]),
        ("a if b == 1 else c", ["a if b != 1 else c", "a if b == 2 else c"]),
        ("[a for a in b if c]", ["[a for a in b if not c]"]),
        ("f(a)", ["pass"]),
        ("x = f(a, k=b)", ["x = f(a)"]),
        ("a.b = c", ["pass"]),
        ("raise a", ["pass"]),
    ],
)
def test_every_operator_makes_its_change(source: str, made: list[str]) -> None:
    assert made_of(source) == made


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "import a",
        "from a import b",
        "x: int | None",
        "__all__ = ['a', 'b']",
        "def f(a: 'b' = None) -> 'c':\n    '''A docstring.'''\n    return None",
        "@cached(size=1)\nclass A(b):\n    pass",
    ],
)
def test_what_is_no_behaviour_is_left_alone(source: str) -> None:
    assert made_of(source) == []


def test_statements_of_a_function_are_left_out_and_its_value_lost() -> None:
    source = "def f(a):\n    for b in a:\n        a += b\n        break\n    return a"
    assert [one.split("def f(a):\n")[1] for one in made_of(source)] == [
        "    for b in a:\n        pass\n        break\n    return a",
        "    for b in a:\n        a -= b\n        break\n    return a",
        "    for b in a:\n        a += b\n        continue\n    return a",
        "    for b in a:\n        a += b\n        break\n    return None",
    ]


def test_cases_of_a_match_are_left_out_in_turn() -> None:
    source = "match a:\n    case b.c:\n        pass\n    case _:\n        pass"
    assert len(made_of(source)) == 2
    assert made_of("match a:\n    case b.c:\n        pass") == []


def test_a_mutant_tells_its_line_and_its_change() -> None:
    (mutant,) = mutants_of(ast.parse("\na + b"))
    assert (mutant.line, mutant.text) == (2, "Add -> Sub")
