"""A mutated file comes to life in functions and closures that exist, or is said to need more."""

from __future__ import annotations

import ast
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from mutation.transplant import Unreachable, called_at_import, exchange, functions_of

SOURCE = """
def add(a, b):
    return a + b

def adding(step):
    def more(a):
        return a + step
    return more

LIMIT = 5
DOUBLES = {n: n * 2 for n in (1, 2)}
add_two = adding(2)
"""
PATH = Path("/nowhere/original.py")


def code_of(source: str) -> CodeType:
    return compile(source, str(PATH), "exec", dont_inherit=True)


def living(source: str, mutated: str) -> dict[str, Any]:
    """The names of a module after its code has been exchanged for a mutated one's."""
    names: dict[str, Any] = {}
    exec(code_of(source), names)
    functions = [one for one in names.values() if isinstance(one, FunctionType)]
    at_import = called_at_import(ast.parse(source))
    exchange(functions, code_of(source), code_of(mutated), at_import)
    return names


def test_functions_and_closures_made_at_import_are_changed_in_place() -> None:
    names = living(SOURCE, SOURCE.replace("a + ", "a - "))
    assert names["add"](5, 2) == 3
    assert names["add_two"](5) == 3
    assert names["adding"](1)(5) == 4


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("LIMIT = 5", "LIMIT = 6"),
        ("n: n * 2", "n: n * 3"),
        ("return more", "return None"),
        ("return a + step", "return a"),
        ("    def more(a):\n        return a + step\n", "    more = 5\n"),
    ],
)
def test_what_ran_once_or_has_another_shape_cannot_be_exchanged(part: str, changed: str) -> None:
    with pytest.raises(Unreachable):
        living(SOURCE, SOURCE.replace(part, changed))


def test_the_functions_called_at_import_are_those_outside_of_functions() -> None:
    tree = ast.parse("a = f(g())\ndef h():\n    return k()\nclass B:\n    c = m()\nd = lambda: n()")
    assert called_at_import(tree) == {"f", "g", "m"}


def test_the_functions_of_a_file_are_found_wherever_they_are_held() -> None:
    found = functions_of(Path(__file__))
    assert living in found
    assert test_the_functions_of_a_file_are_found_wherever_they_are_held in found
