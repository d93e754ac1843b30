"""From text to syntax: where an expression ends, and whether it is safe to parse.

One rule: Python's parser sees a source only after its length and the nesting of its brackets have
been bounded here, so that it can neither recurse too deep nor take long. Columns count characters
from 1; what is wrong is said in the words of someone who wrote the template, not the parser's.
"""

from __future__ import annotations

import ast
import re
import unicodedata  # noqa: F401  # or the parser imports it at the first "\N{BULLET}" it meets
import warnings
from collections.abc import Iterator

from engine.expression_values import MAX_DEPTH, ExpressionSyntaxError

MAX_SOURCE_BYTES = 4096
MAX_NODES = 500
_HINTED = 1024
"""As much of a source is searched for common mistakes; some of the patterns take its square."""

_MARK = re.compile(r"""['"()\[\]{}#]""")
_STRING_ENDS = {
    quote: re.compile(rf"\\.|\n|{quote}" if len(quote) == 1 else rf"\\.|{quote}", re.DOTALL)
    for quote in ("'", '"', "'''", '"""')
}
_CLOSES = {")": "(", "]": "[", "}": "{"}
_EQUALS_HINT = "write `==` to compare; `=` does not assign here"
_HINTS = tuple(
    (re.compile(pattern), hint)
    for pattern, hint in (
        (r"[\u2018\u2019\u201c\u201d\u00ab\u00bb]", "use straight quotes: ' or \""),
        (r"`", "use ' or \" around text"),
        (r"&&", "write `and` instead of `&&`"),
        (r"\|\|", "write `or` instead of `||`"),
        (r"[=!]==", "write `==` and `!=`"),
        (r"<>", "write `!=` instead of `<>`"),
        (r"=>|->", "there are no functions to define here"),
        (r"\bif\b[^=]*[^=<>!]=[^=]", _EQUALS_HINT),
        (r"!(?!=)", "write `not` instead of `!`"),
        (r"\?\?", "write `default(x, y)` instead of `x ?? y`"),
        (r"\?\.", "write `default(a.b, y)` for what may be missing"),
        (r"\?", "write `x if condition else y`"),
        (r"\$", "names have no `$`: write `nodes.fetch.output`, `input`, `username`"),
        (r"\bnodes\.\w*-", "write nodes['the-id'] for an id that is not a plain name"),
        (r"\w\.\d+\b", "write items[0] for the first item"),
        (r"\b(AND|OR|NOT|IN|IF|ELSE)\b", "write `and`, `or`, `not`, `in`, `if`, `else` small"),
        (r"\belse\s+if\b|\belif\b", "write `a if x else b if y else c`"),
        (r"\bthen\b", "write `x if condition else y`"),
        (r"\bif\b(?!.*\belse\b)", "an `if` needs its `else`: `x if condition else y`"),
        (r";", "one expression only, without `;`"),
        (r"\b(import|for|while|def|class|return|print|del|assert|with)\b", "one expression only"),
    )
)


class _Unclosed(Exception):
    """A text literal that does not end; `place` is where it starts."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def end_of_expression(text: str, start: int) -> int:
    """The index of the `}}` that ends the expression starting at `start`, -1 if there is none.

    Braces in text literals and those of object literals end nothing. Where the expression is
    itself broken, its end is the next `}}`, so that the error can show it.
    """
    openers: list[str] = []
    try:
        for place, mark in _structure(text, start, min(len(text), start + MAX_SOURCE_BYTES)):
            if mark in "([{":
                openers.append(mark)
            elif mark != "#" and openers and openers[-1] == _CLOSES[mark]:
                openers.pop()
            elif mark == "}" and text.startswith("}}", place):
                return place
    except _Unclosed:
        return text.find("}}", start)
    return text.find("}}", start)


def parse(source: str) -> tuple[ast.expr, int]:
    """The syntax tree of an expression and its number of nodes. Raises `ExpressionSyntaxError`."""
    if not source.strip():
        raise ExpressionSyntaxError("the expression is empty")
    if len(source) > MAX_SOURCE_BYTES or len(source.encode(errors="replace")) > MAX_SOURCE_BYTES:
        raise ExpressionSyntaxError(f"the expression is longer than {MAX_SOURCE_BYTES} bytes")
    _require_balance(source)
    tree = _parsed(source)
    size = sum(1 for node in ast.walk(tree) if counts(node))
    if size > MAX_NODES:
        raise ExpressionSyntaxError(
            f"the expression has more than {MAX_NODES} parts",
            hint="split it over several nodes or variables",
        )
    return tree, size


def counts(node: ast.AST) -> bool:
    """Whether a syntax node is one of the 500, and costs a unit of fuel."""
    return isinstance(node, ast.expr | ast.comprehension)


def position(source: str, node: ast.AST) -> tuple[int, int]:
    """Line and column of a node in its source."""
    line: int = getattr(node, "lineno", 1)
    offset: int = getattr(node, "col_offset", 0) - (1 if line == 1 else 0)
    lines = source.split("\n")
    text = lines[line - 1] if line <= len(lines) else ""
    return line, len(text.encode(errors="replace")[: max(0, offset)].decode(errors="ignore")) + 1


def _parsed(source: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            # A regular expression in quotes makes Python warn of its backslashes.
            warnings.simplefilter("ignore")
            tree = ast.parse(f"({source}\n)", mode="eval").body
    except SyntaxError as error:
        raise _explained(source, error) from None
    except (ValueError, RecursionError, MemoryError, OverflowError):
        raise ExpressionSyntaxError("this is not an expression that can be read") from None
    return tree


def _structure(text: str, start: int, stop: int) -> Iterator[tuple[int, str]]:
    """Brackets and comment signs outside text literals. Raises `_Unclosed`."""
    place = start
    while (match := _MARK.search(text, place, stop)) is not None:
        at, mark = match.start(), match[0]
        if mark not in "'\"":
            yield at, mark
            place = at + 1
            continue
        place = _end_of_literal(text, at, stop)


def _end_of_literal(text: str, start: int, stop: int) -> int:
    quote = text[start]
    quote = quote * 3 if text.startswith(quote * 3, start) else quote
    for match in _STRING_ENDS[quote].finditer(text, start + len(quote), stop):
        if match[0] == quote:
            return match.end()
        if match[0] == "\n":
            break
    raise _Unclosed(start)


def _require_balance(source: str) -> None:
    openers: list[tuple[int, str]] = []
    try:
        for place, mark in _structure(source, 0, len(source)):
            if mark == "#":
                raise _at(source, place, "comments are not allowed in an expression")
            if mark in "([{":
                openers.append((place, mark))
            elif not openers or openers.pop()[1] != _CLOSES[mark]:
                raise _at(source, place, f"`{mark}` closes nothing")
            if len(openers) > MAX_DEPTH:
                raise _at(source, place, f"brackets are nested deeper than {MAX_DEPTH}")
    except _Unclosed as unclosed:
        quote = source[unclosed.place]
        raise _at(source, unclosed.place, f"the text is not closed: a {quote} is missing") from None
    if openers:
        place, mark = openers[-1]
        raise _at(source, place, f"`{mark}` is never closed")


def _at(source: str, place: int, message: str, hint: str | None = None) -> ExpressionSyntaxError:
    line = source.count("\n", 0, place) + 1
    return ExpressionSyntaxError(message, line, place - source.rfind("\n", 0, place), hint)


def _explained(source: str, error: SyntaxError) -> ExpressionSyntaxError:
    lines = source.split("\n")
    line = min(error.lineno or 1, len(lines))
    column = (error.offset or 1) - (1 if line == 1 else 0)
    if (error.lineno or 1) > len(lines):
        column = len(lines[-1]) + 1
    code = _without_literals(source)[:_HINTED]
    hint = next((hint for pattern, hint in _HINTS if pattern.search(code)), None)
    if hint is None and "==" in error.msg:
        hint = _EQUALS_HINT
    message = "this is not an expression"
    if hint is None and error.msg and not error.msg.startswith("invalid syntax"):
        message = f"{message}: {error.msg}"
    return ExpressionSyntaxError(message, line, max(1, column), hint)


def _without_literals(source: str) -> str:
    """The source with its text literals emptied, so that hints look at code alone."""
    parts: list[str] = []
    place = 0
    while (match := _MARK.search(source, place)) is not None:
        parts.append(source[place : match.start()])
        place = match.end()
        if match[0] in "'\"":
            place = _end_of_literal(source, match.start(), len(source))
            parts.append("''")
        else:
            parts.append(match[0])
    return "".join(parts) + source[place:]
