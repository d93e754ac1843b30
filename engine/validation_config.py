"""Judges a node's configuration against its `NodeSpec`: types, bounds, and everything that is
compiled later (templates, expressions, conditions).

The one rule: each string is compiled on its own, so that a finding points at the very value that
is wrong, however deep it lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from engine.conditions import KEYS, ConditionError, compile_condition, count_bare, unknown_keys
from engine.context import Json, JsonObject
from engine.definition_config import NodeSource
from engine.definition_fields import has_type
from engine.expressions import (
    ExpressionSyntaxError,
    compile_expression,
    compile_reference,
    compile_template,
)
from engine.issues import Findings, last_name, listed, pointer, sentence, shown
from engine.nodes.base import Field, JsonType, NodeSpec
from engine.nodes.delay import numeric
from engine.secret_names import SECRETS
from engine.static_names import Mention, Moment

_ARTICLES: dict[JsonType, str] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "an array",
    "any": "any value",
}

_SECRETS_IN = "Use them in the `headers`, `params` or `body` of an action_webhook."

Paths = Iterable[tuple[str, ...]]


@dataclass(slots=True)
class ConfigJudge:
    """Judges configurations and collects the names their expressions mention."""

    findings: Findings
    mentions: list[Mention] = field(default_factory=list)

    def judge(self, node_id: str, config: JsonObject, spec: NodeSpec, source: NodeSource) -> None:
        """Reports everything wrong with one node's canonical configuration."""
        missing: set[str] = set()
        for each in spec.fields:
            value = config.get(each.name)
            if each.required and (value is None or (isinstance(value, str) and not value.strip())):
                missing.add(each.name)
                self._missing(node_id, spec, each, source)
            elif each.name in config and (value is not None or "any" in each.types):
                # The condition of a `loop_while` is tested before each iteration.
                moment: Moment = "turn" if spec.type == "loop_while" else "run"
                _FieldJudge(self, node_id, each, source.of(each.name), moment).judge(value)
        for found in spec.check(config):
            name = found.path[1:].split("/", 1)[0]
            if found.code == "MISSING_CONFIG" and name in missing:
                continue
            report = self.findings.warn if found.warning else self.findings.error
            code = "BAD_CONFIG" if found.code == "VALIDATION" else found.code
            path = source.below_config(found.path)
            hint = None if found.hint is None else sentence(found.hint)
            if found.meant:
                hint = self.findings.nearest.hint(last_name(found.path), found.meant)
            report(code, sentence(found.message), path, node=node_id, hint=hint)

    def conditional(self, expression: str, place: str, node_id: str, moment: Moment) -> None:
        """Judges the `conditional` of a connection leaving the node."""
        try:
            self.mention(compile_expression(expression).paths, place, node_id, moment=moment)
        except ExpressionSyntaxError as error:
            self.syntax(error, place, node_id)

    def mention(
        self,
        paths: Paths,
        place: str,
        node_id: str,
        names: tuple[str, ...] = (),
        target: str | None = None,
        moment: Moment = "run",
        *,
        secrets: bool = False,
    ) -> None:
        """Remembers free names for the static look at variables; `secrets` says whether secrets
        may be used here."""
        if not secrets and any(path[0] == SECRETS for path in paths if path):
            message = "Secrets cannot be used here."
            self.findings.error("SECRET_MISPLACED", message, place, node=node_id, hint=_SECRETS_IN)
            return
        self.mentions.extend(
            Mention(path, place, node_id, names, target, moment) for path in paths if path
        )

    def syntax(self, error: ExpressionSyntaxError, place: str, node_id: str | None) -> None:
        """Reports an expression that cannot be compiled, and the others beside it."""
        for each in (error, *error.also):
            self.findings.error(
                "EXPRESSION_SYNTAX",
                sentence(f"{each.message} (line {each.line}, column {each.column})"),
                place,
                node=node_id,
                hint=None if each.hint is None else sentence(each.hint),
            )

    def _missing(self, node_id: str, spec: NodeSpec, each: Field, source: NodeSource) -> None:
        self.findings.error(
            "MISSING_CONFIG",
            f"{spec.type} needs `{each.name}`.",
            source.of(each.name),
            node=node_id,
            hint=f"Give {_one_of(each)}.",
        )


def count_expressions(config: JsonObject, spec: NodeSpec) -> int:
    """How many expressions a node's configuration has, without compiling one."""
    return sum(_expressions_of(config.get(each.name), each) for each in spec.fields)


def _expressions_of(value: Json, each: Field) -> int:
    if each.kind == "literal":
        return 0
    braces = sum(text.count("{{") for text, _ in _texts(value, ""))
    match each.kind:
        case "condition":
            return braces + count_bare(value)
        case "expressions" if isinstance(value, dict):
            return braces + sum(map(_is_bare, value.values()))
        case "expression" | "reference":
            return braces + _is_bare(value)
    return braces


def _is_bare(value: Json) -> bool:
    return isinstance(value, str) and "{{" not in value


@dataclass(frozen=True, slots=True)
class _FieldJudge:
    """Judges the value of one configuration key."""

    judge_: ConfigJudge
    node_id: str
    field: Field
    place: str
    moment: Moment

    def judge(self, value: Json) -> None:
        match self.field.kind:
            case "literal":
                self._literal(value)
            case "condition":
                self._condition(value)
            case "expression":
                self._expression(value, self.place)
            case "expressions":
                self._expressions(value)
            case "template":
                if self._fits_template(value):
                    self._templates(value, self.place)
            case "reference":
                self._reference(value)

    def _literal(self, value: Json) -> None:
        if _fits(value, self.field.types):
            self._bounds(value)
        else:
            self._wrong_type(value)

    def _fits_template(self, value: Json) -> bool:
        """A text with `{{` may become anything; one without is what it says."""
        if isinstance(value, str) and "{{" in value:
            return True
        if _fits(value, self.field.types):
            self._bounds(value)
            return True
        if isinstance(value, str) and _fits(0, self.field.types):
            # As a running step reads it.
            number = numeric(value)
            if number is not None:
                self._range(number, shown(value))
                return True
        self._wrong_type(value)
        return False

    def _reference(self, value: Json) -> None:
        if not isinstance(value, str):
            if _fits(value, self.field.types):
                self._templates(value, self.place)
            else:
                self._wrong_type(value)
            return
        try:
            self._mention(compile_reference(value).paths, self.place)
        except ExpressionSyntaxError as error:
            self._mention(error.paths, self.place)
            self.judge_.syntax(error, self.place, self.node_id)

    def _condition(self, value: Json) -> None:
        findings = self.judge_.findings
        try:
            self._mention(compile_condition(value, findings.nearest.to).paths, self.place)
        except ConditionError as error:
            self._mention(error.paths, self.place)
            for each in (error, *error.also):
                findings.error(
                    "BAD_CONDITION" if each.code == "VALIDATION" else each.code,
                    sentence(each.message),
                    self.place + each.path,
                    node=self.node_id,
                    hint=None if each.hint is None else sentence(each.hint),
                )
        for path, key in unknown_keys(value):
            findings.warn(
                "UNKNOWN_CONFIG_KEY",
                f"A rule of a condition has no '{key}'; it is kept, but does nothing.",
                pointer(self.place + path, key),
                node=self.node_id,
                hint=findings.nearest.hint(key, KEYS),
            )

    def _expressions(self, value: Json) -> None:
        if not isinstance(value, dict):
            self._wrong_type(value)
            return
        for name, each in value.items():
            place = pointer(self.place, name)
            if isinstance(each, str) and "{{" not in each:
                self._expression(each, place, name)
            else:
                self._templates(each, place, name)

    def _expression(self, value: Json, place: str, target: str | None = None) -> None:
        if not isinstance(value, str):
            self._literal(value)
            return
        try:
            self._mention(compile_expression(value).paths, place, target)
        except ExpressionSyntaxError as error:
            self.judge_.syntax(error, place, self.node_id)

    def _templates(self, value: Json, place: str, target: str | None = None) -> None:
        for text, where in _texts(value, place):
            if "{{" not in text:
                continue
            try:
                self._mention(compile_template(text).paths, where, target)
            except ExpressionSyntaxError as error:
                self._mention(error.paths, where, target)
                self.judge_.syntax(error, where, self.node_id)

    def _mention(self, paths: Paths, place: str, target: str | None = None) -> None:
        self.judge_.mention(
            paths,
            place,
            self.node_id,
            self.field.locals,
            target,
            self.moment,
            secrets=self.field.secrets,
        )

    def _bounds(self, value: Json) -> None:
        each = self.field
        if each.choices and value not in each.choices:
            names = [str(choice) for choice in each.choices]
            nearest = self.judge_.findings.nearest
            self._report(
                "BAD_CONFIG_VALUE",
                f"`{each.name}` must be one of {listed(names)}, not {shown(value)}.",
                nearest.hint(value, names) if isinstance(value, str) else None,
            )
        if has_type(value, "number"):
            self._range(value, str(value))

    def _range(self, value: float, written: str) -> None:
        each = self.field
        low, high = each.minimum, each.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            least = "" if low is None else f" at least {low:.15g}"
            most = "" if high is None else f" at most {high:.15g}"
            both = " and" if least and most else ""
            self._report(
                "BAD_CONFIG_VALUE",
                f"`{each.name}` must be{least}{both}{most}, not {written}.",
                None,
            )

    def _wrong_type(self, value: Json) -> None:
        self._report(
            "BAD_CONFIG_TYPE",
            f"`{self.field.name}` must be {_one_of(self.field)}, not {shown(value)}.",
            None,
        )

    def _report(self, code: str, message: str, hint: str | None) -> None:
        self.judge_.findings.error(code, message, self.place, node=self.node_id, hint=hint)


def _fits(value: Json, types: tuple[JsonType, ...]) -> bool:
    return any(_is(value, each) for each in types)


def _is(value: Json, json_type: JsonType) -> bool:
    if json_type == "any":
        return True
    if json_type == "array":
        return isinstance(value, list)
    return has_type(value, json_type)


def _one_of(each: Field) -> str:
    described = " or ".join(_ARTICLES[json_type] for json_type in each.types)
    match each.kind:
        case "literal":
            return described
        case "condition":
            return "a condition: a rule, a list of rules, or an expression"
        case "expressions":
            return "an object of expressions"
        case "reference":
            return "the name of a variable, an expression or a literal value"
        case "template" | "expression":
            extra = "" if "string" in each.types or "any" in each.types else " or {{ … }}"
            return described + extra


def _texts(value: Json, place: str) -> Iterator[tuple[str, str]]:
    """Every string in a JSON value, keys aside, with its pointer, in document order."""
    stack: list[tuple[Json, str]] = [(value, place)]
    while stack:
        current, where = stack.pop()
        if isinstance(current, str):
            yield current, where
        elif isinstance(current, dict):
            stack += [(v, pointer(where, k)) for k, v in reversed(current.items())]
        elif isinstance(current, list):
            stack += [(v, pointer(where, i)) for i, v in reversed(list(enumerate(current)))]
