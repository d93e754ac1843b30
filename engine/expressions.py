"""The one expression language: a subset of Python's, compiled once to closures over JSON values.

A definition's strings hold expressions in `{{ }}`; conditions and references hold them bare. The
one rule: nothing Python-shaped is reachable from an expression. It sees JSON values, the functions
and methods of our own tables, and the impurities its `Env` hands it; it ends by its `Budget`.

Where what is: `expression_source` bounds and parses a text, `expression_compiler` (with `_calls`,
`_loops`, `_paths`, `_closures`) makes closures of the tree, `_operators`, `_functions`, `_methods`
say what they do, `_values` holds the budget, the errors and the environment.

A string that is exactly one `{{ expression }}` keeps its value's JSON type. Any other renders to
text: texts as they are, numbers, `True`, `False` and `None` as Python's `str` writes them, lists
and objects as compact JSON. What an expression gave is never read again, so braces in a value stay
text; a literal `{{` is written `{{ '{{' }}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from engine.context import Json
from engine.expression_compiler import Compiled, compile_tree
from engine.expression_paths import Frame, Path, Run
from engine.expression_source import end_of_expression, parse
from engine.expression_values import (
    Budget,
    Env,
    ExpressionError,
    ExpressionSyntaxError,
    MapEnv,
    MissingValue,
    Overlay,
    measure,
    shortened,
    to_text,
)

__all__ = [
    "Budget",
    "Env",
    "Expression",
    "ExpressionError",
    "ExpressionSyntaxError",
    "MapEnv",
    "MissingValue",
    "Overlay",
    "Template",
    "compile_expression",
    "compile_path",
    "compile_reference",
    "compile_template",
]

Render = Callable[[Env, Budget], Json]

_NO_FRAME: Frame = []
_PYTHON_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
_UNCLOSED_HINT = "close it with `}}`, or write {{ '{{' }} for literal braces"


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    `paths` are the dotted paths it reads that must exist: not those inside `default()` and
    `has()`, nor the variables of its own comprehensions.
    """

    source: str
    paths: tuple[Path, ...]
    _compiled: Compiled = field(repr=False, compare=False)

    def evaluate(self, env: Env, budget: Budget) -> Json:
        """The value. Raises `ExpressionError`, and nothing else."""
        compiled = self._compiled
        try:
            budget.fuel -= compiled.cost
            if budget.fuel < 0:
                budget.spend(0)
            frame: Frame = [None] * compiled.slots if compiled.slots else _NO_FRAME
            value = compiled.run(env, budget, frame)
            if compiled.is_fresh and (type(value) is list or type(value) is dict):
                measure(value, budget)
        except ExpressionError as error:
            error.source = error.source or shortened(self.source)
            raise
        except _PYTHON_ERRORS as error:
            raise ExpressionError(_in_our_words(error), shortened(self.source)) from None
        return value


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled JSON value whose strings may hold expressions.

    `constant` says that there is none in it: then `render` gives the value itself.
    """

    constant: bool
    paths: tuple[Path, ...]
    render: Render = field(repr=False, compare=False)
    """Called with the environment and the budget; gives the value or raises `ExpressionError`."""


def compile_expression(source: str) -> Expression:
    """Compiles one expression, bare or as exactly one `{{ expression }}`. Raises
    `ExpressionSyntaxError`."""
    if not isinstance(source, str):
        raise ExpressionSyntaxError("an expression is written as text")
    start = len(source) - len(source.lstrip())
    if not source.startswith("{{", start):
        return _compile(source, source, 0)
    end = _end(source, start)
    if source[end + 2 :].strip():
        raise _positioned(
            ExpressionSyntaxError("one expression is wanted here, not text around it"),
            source,
            end + 2,
        )
    return _compile(source[start + 2 : end], source, start + 2)


def compile_path(segments: Sequence[str], source: str, run: Run) -> Expression:
    """An expression made by hand: reading `segments` by `run`, shown as `source`."""
    path = tuple(segments)
    return Expression(source, (path,), Compiled(run, (path,), len(path), 0, False))


def compile_template(value: Json) -> Template:
    """Compiles a JSON value, at any depth; keys stay as they are. Raises `ExpressionSyntaxError`,
    whose `path` points to the string, for the first mistake, with the others beside it."""
    wrong: list[ExpressionSyntaxError] = []
    made = _template(value, "", 0, wrong)
    if wrong:
        first = wrong[0]
        first.also, first.paths = tuple(wrong[1:]), made.paths
        raise first
    return made


def compile_reference(value: Json) -> Template:
    """Compiles a reference: a string is an expression, with or without braces (or a text with
    several in it), any other JSON value is itself. Raises `ExpressionSyntaxError`."""
    if isinstance(value, str) and "{{" not in value:
        expression = compile_expression(value)
        return Template(False, expression.paths, expression.evaluate)
    return compile_template(value)


def _compile(source: str, text: str, start: int) -> Expression:
    """Compiles the source that starts at `start` of a text, for whose sake errors are placed."""
    try:
        tree, size = parse(source)
        compiled = compile_tree(tree, size, source)
    except ExpressionSyntaxError as error:
        raise _positioned(error, text, start) from None
    return Expression(source.strip(), compiled.paths, compiled)


def _positioned(error: ExpressionSyntaxError, text: str, start: int) -> ExpressionSyntaxError:
    """The error, with its place in an expression turned into one in the text around it."""
    if error.line == 1:
        error.column += start - text.rfind("\n", 0, start) - 1
    error.line += text.count("\n", 0, start)
    return error


def _end(text: str, start: int) -> int:
    end = end_of_expression(text, start + 2)
    if end < 0:
        error = ExpressionSyntaxError("`{{` is never closed", hint=_UNCLOSED_HINT)
        raise _positioned(error, text, start)
    return end


def _template(value: Json, path: str, depth: int, wrong: list[ExpressionSyntaxError]) -> Template:
    """The template of a value; without what is added to `wrong`, where there is something."""
    if isinstance(value, str):
        return _text_template(value, path, depth, wrong)
    if isinstance(value, dict):
        members = {
            key: _template(one, _below(path, key), depth + 1, wrong) for key, one in value.items()
        }
        return _object_template(value, members)
    if isinstance(value, list):
        items = [_template(one, _below(path, i), depth + 1, wrong) for i, one in enumerate(value)]
        return _list_template(value, items)
    return _constant(value)


def _below(path: str, key: str | int) -> str:
    return f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"


def _constant(value: Json) -> Template:
    return Template(True, (), lambda env, budget: value)


def _object_template(value: Json, members: dict[str, Template]) -> Template:
    if all(one.constant for one in members.values()):
        return _constant(value)
    renders = [(key, one.render) for key, one in members.items()]

    def render(env: Env, budget: Budget) -> Json:
        return {key: one(env, budget) for key, one in renders}

    return Template(False, _paths(members.values()), render)


def _list_template(value: Json, items: list[Template]) -> Template:
    if all(one.constant for one in items):
        return _constant(value)
    renders = [one.render for one in items]

    def render(env: Env, budget: Budget) -> Json:
        return [one(env, budget) for one in renders]

    return Template(False, _paths(items), render)


def _paths(parts: Iterable[Template | Expression]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(path for one in parts for path in one.paths))


def _text_template(
    text: str, path: str, depth: int, wrong: list[ExpressionSyntaxError]
) -> Template:
    parts, mistakes = _parts(text)
    for mistake in mistakes:
        mistake.path = path
    wrong += mistakes
    expressions = [part for part in parts if isinstance(part, Expression)]
    if not expressions:
        return _constant(text)
    if len(parts) == 1:
        whole = expressions[0]
        return Template(False, whole.paths, _embedded(whole, depth) if depth else whole.evaluate)
    return Template(False, _paths(expressions), _text(parts))


def _parts(text: str) -> tuple[list[str | Expression], list[ExpressionSyntaxError]]:
    """The text cut into plain pieces and expressions, and what is wrong with others of it. Behind
    one that has no end nothing can be told apart."""
    parts: list[str | Expression] = []
    wrong: list[ExpressionSyntaxError] = []
    place = 0
    while (start := text.find("{{", place)) >= 0:
        if start > place:
            parts.append(text[place:start])
        try:
            end = _end(text, start)
        except ExpressionSyntaxError as error:
            return parts, [*wrong, error]
        try:
            parts.append(_compile(text[start + 2 : end], text, start + 2))
        except ExpressionSyntaxError as error:
            wrong.append(error)
        place = end + 2
    if place < len(text):
        parts.append(text[place:])
    return parts, wrong


def _embedded(expression: Expression, depth: int) -> Render:
    """A value inside a larger one: paid for each time it is put there, however it was made."""
    evaluate = expression.evaluate

    def render(env: Env, budget: Budget) -> Json:
        value = evaluate(env, budget)
        if type(value) is list or type(value) is dict:
            measure(value, budget, depth)
        return value

    return render


def _text(parts: Sequence[str | Expression]) -> Render:
    pieces = [part if isinstance(part, str) else part.evaluate for part in parts]

    def render(env: Env, budget: Budget) -> Json:
        made = []
        for piece in pieces:
            value = piece if type(piece) is str else piece(env, budget)  # type: ignore[operator]  # not text
            made.append(value if type(value) is str else to_text(value, budget))
        text = "".join(made)
        budget.allocate(len(text))
        return text

    return render


def _in_our_words(error: Exception) -> str:
    match error:
        case ZeroDivisionError():
            return "division by zero"
        case OverflowError():
            return "the result is too large a number"
        case RecursionError() | MemoryError():
            return "the value is too large"
        case TypeError():
            return "values of these kinds do not go together"
    return "the value cannot be used like this"
