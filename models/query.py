"""pyDAL as a compiler: expressions in, SQL with `$1 …` and its values out.

pyDAL's drivers block, so none of them is used: the adapter registered here has no driver and no
connection. Its one rule: a value never becomes part of the SQL text. Building takes 0.2-0.6 ms,
so dynamic reads are built here and every state transition is a literal SQL constant elsewhere; what
is read all the time is built once, with blanks for its values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydal import DAL
from pydal.adapters import adapters
from pydal.adapters.base import SQLAdapter
from pydal.adapters.postgres import PostgreBoolean
from pydal.dialects import dialects
from pydal.dialects.postgre import PostgreDialectBooleanJSON
from pydal.objects import Expression
from pydal.objects import Query as PydalQuery

_PLACEHOLDER = re.compile(r"\$(\d+)")


@dataclass(frozen=True, slots=True)
class Query:
    """One SQL statement and the values of its placeholders, as `AsyncDAL` runs it."""

    sql: str
    args: tuple[Any, ...]


class Blank(str):
    """Stands for a value while a statement is compiled that is to be used with other values
    (`filled`). `value` finds it in what they come from; if `several`, all values of an array."""

    value: Callable[[Any], Any]
    several: bool

    def __new__(cls, name: str, value: Callable[[Any], Any], *, several: bool = False) -> Self:
        """`name` says nothing but where it sorts, and whether it has letters beyond ASCII."""
        blank = super().__new__(cls, name)
        blank.value, blank.several = value, several
        return blank


@adapters.register_for("asyncpg")
class AsyncpgAdapter(PostgreBoolean):  # type: ignore[misc]  # pyDAL has no types
    """PostgreSQL without a connection; `represent` binds instead of quoting."""

    driver = object()  # a driver is looked for unless there is one; this one is never called
    driver_name = "none"

    def _initialize_(self) -> None:
        self.binds: list[Any] | None = None

    def _config_json(self) -> None:
        """The dialect is `AsyncpgDialect`, registered below; there is no server to ask."""

    def bind(self, value: Any) -> str:
        """Keeps the value for the statement being compiled and returns its placeholder."""
        if self.binds is None:
            raise RuntimeError("SQL is compiled by models.query; a sub-select is .nested_select()")
        self.binds.append(value)
        return f"${len(self.binds)}"

    def adapt(self, value: Any) -> str:
        return self.bind(value)

    def represent(self, value: Any, field_type: Any) -> str:
        if isinstance(value, Expression):
            return self.expand(value)  # type: ignore[no-any-return]  # pyDAL has no types
        return self.bind(value)

    def _expand(
        self,
        expression: Any,
        field_type: Any = None,
        colnames: bool = False,
        query_env: dict[str, Any] | None = None,
    ) -> str:
        if field_type is None and isinstance(expression, str):
            return self.bind(expression)  # an untyped operand: pyDAL would paste it in
        expanded = super()._expand(expression, field_type, colnames, query_env or {})
        return expanded  # type: ignore[no-any-return]  # pyDAL has no types

    def _insert(self, table: Any, fields: Any) -> str:
        sql = SQLAdapter._insert(self, table, fields)  # PostgreSQL's asks for the id unbidden
        return sql  # type: ignore[no-any-return]  # pyDAL has no types

    def compile(self, build: Callable[[], str]) -> Query:
        """Runs one of pyDAL's `_select`-like builders and gathers what it bound.

        pyDAL expands some columns twice; placeholders are renumbered in the order of the text
        and values that no placeholder names are left out.
        """
        binds: list[Any] = []
        self.binds = binds
        try:
            text = build()
        finally:
            self.binds = None
        order: dict[int, int] = {}

        def renumber(match: re.Match[str]) -> str:
            return f"${order.setdefault(int(match[1]), len(order) + 1)}"

        sql = _PLACEHOLDER.sub(renumber, text).removesuffix(";")
        return Query(sql, tuple(binds[old - 1] for old in order))


@dialects.register_for(AsyncpgAdapter)
class AsyncpgDialect(PostgreDialectBooleanJSON):  # type: ignore[misc]  # pyDAL has no types
    """PostgreSQL's dialect where pyDAL's would look into a value that is now a placeholder."""

    def like(
        self, first: Any, second: Any, escape: str | None = None, query_env: Any = None
    ) -> str:
        sql = super().like(first, _literal_backslash(second, escape), escape, query_env or {})
        return sql  # type: ignore[no-any-return]  # pyDAL has no types

    def ilike(
        self, first: Any, second: Any, escape: str | None = None, query_env: Any = None
    ) -> str:
        sql = super().ilike(first, _literal_backslash(second, escape), escape, query_env or {})
        return sql  # type: ignore[no-any-return]  # pyDAL has no types

    def contains(
        self, first: Any, second: Any, case_sensitive: bool = True, query_env: Any = None
    ) -> str:
        """Of a text, as pyDAL means it; of a list, that it has exactly this element."""
        env = query_env or {}
        if first.type.startswith("list:"):
            element = self.adapter.represent(second, first.type)
            return f"({element} = ANY({self.expand(first, query_env=env)}))"
        if isinstance(second, Blank):
            pattern = Blank(second, lambda source: self._containing(second.value(source)))
            like = self.like if case_sensitive else self.ilike
            return like(first, pattern, escape="\\", query_env=env)
        sql = super().contains(first, second, case_sensitive, env)
        return sql  # type: ignore[no-any-return]  # pyDAL has no types

    def _containing(self, text: str) -> str:
        return f"%{self._like_escaper_default(text)}%"

    def count(self, value: Any, distinct: Any = None, query_env: Any = None) -> str:
        if isinstance(value, str) and value == "*":
            return "COUNT(*)"
        sql = super().count(value, distinct, query_env or {})
        return sql  # type: ignore[no-any-return]  # pyDAL has no types

    def select(self, *args: Any, limitby: tuple[int, int] | None = None, **kwargs: Any) -> str:
        """Binds LIMIT and OFFSET too, so that every page of a list is one prepared statement."""
        parts = list(args)
        if len(parts) > 6:
            limitby, parts[6] = parts[6], None
        sql: str = super().select(*parts, **kwargs).removesuffix(";")
        if limitby:
            first, end = limitby
            sql += f" LIMIT {self.adapter.bind(end - first)} OFFSET {self.adapter.bind(first)}"
        return sql + ";"


def _literal_backslash(pattern: Any, escape: str | None) -> Any:
    """A backslash in a LIKE pattern means itself unless the caller chose an escape character."""
    if escape is None and isinstance(pattern, str):
        return pattern.replace("\\", "\\\\")
    return pattern


def compiler() -> DAL:
    """A pyDAL database that only compiles: no connection, no migration files."""
    return DAL("asyncpg://", migrate=False, migrate_enabled=False, attempts=1)


def select(
    db: DAL,
    query: Any,
    *fields: Any,
    orderby: Any = None,
    limitby: tuple[int, int] | None = None,
    groupby: Any = None,
    left: Any = None,
    distinct: bool = False,
) -> Query:
    """Compiles a SELECT of `fields` (all of the table's if none is given) where `query` holds.

    `orderby` is a field, `~field` for descending, or a list of them; `limitby` is
    `(first, end)`; `left` is `table.on(condition)` or a list of them.
    """
    given = {"orderby": orderby, "limitby": limitby, "groupby": groupby, "left": left}
    options = {name: value for name, value in given.items() if value is not None}
    return _compile(db, lambda: db(query)._select(*fields, distinct=distinct, **options))


def count(db: DAL, query: Any) -> Query:
    """Compiles `SELECT count(*)` where `query` holds."""
    return _compile(db, lambda: db(query)._count())


def insert(db: DAL, table: Any, values: dict[str, Any], returning: Sequence[Any] = ()) -> Query:
    """Compiles an INSERT of one row. Raises `KeyError` for a column the table does not have."""
    _refuse_unknown(table, values)
    return _returning(db, lambda: table._insert(**values), returning)


def update(db: DAL, query: Any, values: dict[str, Any], returning: Sequence[Any] = ()) -> Query:
    """Compiles an UPDATE of the rows where `query` holds. A value may be an expression, such as
    `table.version + 1`. Raises `KeyError` for a column the table does not have."""
    _refuse_unknown(db._adapter.get_table(query), values)
    return _returning(db, lambda: db(query)._update(**values), returning)


def delete(db: DAL, query: Any, returning: Sequence[Any] = ()) -> Query:
    """Compiles a DELETE of the rows where `query` holds."""
    return _returning(db, lambda: db(query)._delete(), returning)


def raw(db: DAL, sql: str, kind: Any) -> Expression:
    """An expression that pyDAL cannot say, in SQL of our own: never with a value in it. `kind` is
    the type as which values beside it are bound."""
    return Expression(db, sql, type=kind)


def flag(db: DAL, query: Any, name: str) -> Expression:
    """A condition as a column: whether it holds for the row, under this name."""

    def written(condition: Any, query_env: Any = None) -> str:
        return str(db._adapter.expand(condition, query_env=query_env or {}))

    return Expression(db, written, query, type="boolean").with_alias(name)


Comparison = Literal["<", "<=", ">", ">="]


def rows_compare(db: DAL, columns: Sequence[Any], how: Comparison, values: Sequence[Any]) -> Any:
    """The condition that a row of columns lies on this side of a row of values, which may be
    expressions: one comparison, where an index of these columns starts or ends."""

    def written(left: Any, right: Any, query_env: Any = None) -> str:
        env = query_env or {}
        names = ", ".join(db._adapter.expand(column, query_env=env) for column in left)
        given = ", ".join(
            db._adapter.represent(value, column.type)
            for column, value in zip(left, right, strict=True)
        )
        return f"(({names}) {how} ({given}))"

    return PydalQuery(db, written, tuple(columns), tuple(values))


def formula(db: DAL, sql: str, kind: Any, *parts: tuple[Any, Any]) -> Expression:
    """An expression in SQL of our own, in which each `{}` stands for a value or an expression; each
    of `parts` is one and its type. `kind` is the type of the whole."""

    def written(given: Any, query_env: Any = None) -> str:
        return sql.format(*(db._adapter.represent(value, of) for value, of in given))

    return Expression(db, written, parts, type=kind)


def none_of(db: DAL, column: Any, values: Sequence[Any], kind: str) -> Any:
    """The condition that a column, which is never null, has none of these values, bound as one
    array of this type. As a sub-select it is hashed once; `<> ALL` of a parameter would be
    compared with every value, for every row."""

    def written(left: Any, right: Any, query_env: Any = None) -> str:
        name = db._adapter.expand(left, query_env=query_env or {})
        return f"({name} NOT IN (SELECT unnest({db._adapter.bind(list(right))}::{kind}[])))"

    return PydalQuery(db, written, column, tuple(values))


def filled(statement: Query, source: Any) -> Query:
    """A statement that was compiled with blanks, with the values that they find in `source`."""
    return Query(statement.sql, tuple(_filled(arg, source) for arg in statement.args))


def _filled(arg: Any, source: Any) -> Any:
    if isinstance(arg, Blank):
        return arg.value(source)
    if isinstance(arg, list) and arg and isinstance(arg[0], Blank):
        first = arg[0]
        return list(first.value(source)) if first.several else [each.value(source) for each in arg]
    return arg


def compose(template: str, *parts: Query) -> Query:
    """A statement made of compiled ones: each `{}` of the template is the next part's SQL, its
    placeholders numbered on from those before."""
    texts: list[str] = []
    args: list[Any] = []
    for part in parts:
        texts.append(_numbered_from(len(args), part.sql))
        args.extend(part.args)
    return Query(template.format(*texts), tuple(args))


def _numbered_from(first: int, sql: str) -> str:
    return _PLACEHOLDER.sub(lambda match: f"${int(match[1]) + first}", sql)


def _compile(db: DAL, build: Callable[[], str]) -> Query:
    compiled: Query = db._adapter.compile(build)
    return compiled


def _returning(db: DAL, build: Callable[[], str], fields: Sequence[Any]) -> Query:
    query = _compile(db, build)
    if not fields:
        return query
    columns = ", ".join(field._rname for field in fields)
    return Query(f"{query.sql} RETURNING {columns}", query.args)


def _refuse_unknown(table: Any, values: dict[str, Any]) -> None:
    """pyDAL drops what it does not know without a word; a misspelt column must not vanish."""
    unknown = [name for name in values if name not in table.fields]
    if unknown:
        raise KeyError(f"{table._tablename} has no column {', '.join(map(repr, unknown))}")
