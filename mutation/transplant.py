"""How a mutated file comes to life in a process that has imported the original.

One rule: what the tests hold references to must change. So the code of functions that exist is
exchanged in place, closures made while importing included. That reaches everything but what ran
only once, at import (tables, defaults, class bodies): then, `Unreachable`, all is imported anew.
"""

from __future__ import annotations

import ast
import gc
import inspect
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


class Unreachable(Exception):
    """A change that no exchange of code can make."""


def functions_of(path: Path) -> list[FunctionType]:
    """The functions and closures that exist of a file."""
    found = [one for one in gc.get_objects() if isinstance(one, FunctionType)]
    return [one for one in found if one.__code__.co_filename == str(path)]


def called_at_import(tree: ast.Module) -> frozenset[str]:
    """The names of the functions that a module calls outside of functions."""
    names: set[str] = set()
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names.add(node.func.id)
        stack.extend(ast.iter_child_nodes(node))
    return frozenset(names)


def exchange(
    functions: Sequence[FunctionType], before: CodeType, after: CodeType, at_import: frozenset[str]
) -> None:
    """Gives the functions their mutated code. Raises `Unreachable`."""
    changed = dict(_pairs(before, after, at_import))
    for function in functions:
        new_code = changed.get(function.__code__)
        if new_code is not None and new_code != function.__code__:
            try:
                function.__code__ = new_code
            except ValueError:
                raise Unreachable from None


def _pairs(
    before: CodeType, after: CodeType, at_import: frozenset[str], *, within_once: bool = True
) -> Iterator[tuple[CodeType, CodeType]]:
    """Each code with its mutated one. What `within_once` says runs no more: modules, class bodies,
    functions called while importing, and the comprehensions in any of these."""
    is_function = bool(before.co_flags & inspect.CO_OPTIMIZED)
    is_comprehension = is_function and before.co_name in _COMPREHENSIONS
    once = before.co_name in at_import or not is_function or (is_comprehension and within_once)
    if once and _own(before) != _own(after):
        raise Unreachable
    yield before, after
    olds, news = _nested(before), _nested(after)
    if [one.co_name for one in olds] != [one.co_name for one in news]:
        raise Unreachable
    for old, new in zip(olds, news, strict=True):
        yield from _pairs(old, new, at_import, within_once=once)


def _nested(code: CodeType) -> list[CodeType]:
    return [one for one in code.co_consts if isinstance(one, CodeType)]


def _own(code: CodeType) -> tuple[object, ...]:
    constants = [(type(one), one) for one in code.co_consts if not isinstance(one, CodeType)]
    return code.co_code, code.co_names, code.co_varnames, constants


class MutatedFinder:
    """Finds one module, with other code than its file's."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name = name
        self._path = path
        self._code = code

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's specification, None for any other module."""
        if name != self._name:
            return None
        loader = _Loader(name, str(self._path))
        loader.code = self._code
        return spec_from_file_location(name, self._path, loader=loader)


class _Loader(SourceFileLoader):
    code: CodeType

    def get_code(self, fullname: str) -> CodeType:
        return self.code


def import_anew(name: str, path: Path, code: CodeType) -> None:
    """Forgets what was imported of this project and of its tests, and lets the module be found
    with its mutated code from now on."""
    ours = ("engine", "tests")
    for loaded in [one for one in sys.modules if one.partition(".")[0] in ours]:
        del sys.modules[loaded]
    sys.meta_path.insert(0, MutatedFinder(name, path, code))
