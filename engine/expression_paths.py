"""Paths: `username`, `weather.temp`, `nodes.fetch.output.status`.

One rule: reading a path is as many dictionary look-ups as it has names, and nothing else; only
when one of them fails is the path walked again, slowly, to say what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from engine.context import Json
from engine.expression_operators import item
from engine.expression_values import Budget, Env, MissingValue, kind, shown

Frame = list[Json]
"""The variables of comprehensions, by number."""

Run = Callable[[Env, Budget, Frame], Json]
"""A compiled expression."""

Path = tuple[str, ...]

_MISSING = (KeyError, TypeError)
"""What looking a text up in something else than an object raises, if it is not there."""


def read_path(path: Path) -> Run:
    """Compiles reading a path."""
    if path[0] == "nodes" and len(path) > 1:
        return _read_node(path)
    match path:
        case (name,):
            return _read_name(name)
        case (name, key):

            def run(env: Env, budget: Budget, frame: Frame) -> Json:
                try:
                    return env.lookup(name)[key]
                except _MISSING:
                    explain(env, path)

        case (name, key, second):

            def run(env: Env, budget: Budget, frame: Frame) -> Json:
                try:
                    return env.lookup(name)[key][second]
                except _MISSING:
                    explain(env, path)

        case (name, *keys):

            def run(env: Env, budget: Budget, frame: Frame) -> Json:
                try:
                    value = env.lookup(name)
                    for one in keys:
                        value = value[one]
                    return value
                except _MISSING:
                    explain(env, path)

    return run


def read_dotted(segments: Path) -> Run:
    """Compiles a dotted path whose numbers may also be indexes of lists (`winners.0.name`)."""
    names = read_path(segments)
    if not any(segment.isdecimal() for segment in segments[1:]):
        return names
    root = read_path(segments[:2] if segments[0] == "nodes" else segments[:1])
    rest = segments[2:] if segments[0] == "nodes" else segments[1:]

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        value = root(env, budget, frame)
        for segment in rest:
            at_index = type(value) is list and segment.isdecimal() and len(segment) < 19
            value = item(value, int(segment) if at_index else segment)
        return value

    return run


def explain(env: Env, path: Path) -> NoReturn:
    """Raises the `MissingValue` that says which name of a path does not exist."""
    try:
        value = env.lookup(path[0])
    except KeyError:
        raise no_such_variable(env, path[0]) from None
    explain_keys(value, path[0], path[1:])


def explain_node(env: Env, node_id: str, keys: Path = ()) -> NoReturn:
    """Raises the `MissingValue` for a node that has not run, or for what it did not give."""
    try:
        value = env.node(node_id)
    except _MISSING:
        message = f"node {shown(node_id)} has not run"
        raise MissingValue(message, node_id, env.node_ids) from None
    explain_keys(value, f"nodes.{node_id}", keys)


def explain_keys(value: Json, name: str, keys: Path) -> NoReturn:
    """Raises the `MissingValue` for the first of the keys that a value does not have."""
    for key in keys:
        if type(value) is not dict:
            raise MissingValue(f"cannot read {shown(key)} of {name}, which is {kind(value)}")
        if key not in value:
            raise MissingValue(f"{name} has no key {shown(key)}", key, value.keys)
        value, name = value[key], f"{name}.{key}"
    raise MissingValue(f"{name} does not exist")


def no_such_variable(env: Env, name: str) -> MissingValue:
    """The error for a name that nothing has, naming the closest one."""
    return MissingValue(f"there is no variable {shown(name)}", name, env.names)


def _read_name(name: str) -> Run:
    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        try:
            return env.lookup(name)
        except KeyError:
            raise no_such_variable(env, name) from None

    return run


def _read_node(path: Path) -> Run:
    _, node_id, *keys = path

    def run(env: Env, budget: Budget, frame: Frame) -> Json:
        try:
            value = env.node(node_id)
            for key in keys:
                value = value[key]
            return value
        except _MISSING:
            explain_node(env, node_id, tuple(keys))

    return run
