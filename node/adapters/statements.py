"""The SQL of all reads and writes, built with SQLAlchemy Core and compiled once per shape of the question."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Insert,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    false,
    func,
    literal_column,
    select,
    tuple_,
)

from node.adapters.rows import UNTIL, Columns, Shape
from node.adapters.tables import table

Values = dict[str, Any]
"""Values by the names of the placeholders."""
Compile = Callable[[Any, list[str] | None], str]
"""(Core statement, columns to insert) to SQL text with named placeholders; every dialect has its own."""
Replace = Callable[[Table, list[str], str], Insert]
"""(table, columns, key) to the statement that inserts or replaces; every dialect has its own."""

Where = Mapping[str, object]


class Statements:
    """SQL text for every question; `compile` and `replace` are all that differs between databases."""

    def __init__(self, compile: Compile, replace: Replace) -> None:
        self._compile = compile
        self._replace = replace
        self._known: dict[tuple[Any, ...], str] = {}

    def get(self, shape: Shape) -> str:
        """Key and body of the row with key `:key`."""
        known = self._known.get((shape.table, "get"))
        return known or self._learn((shape.table, "get"), _rows(shape).where(_is_key(shape)))

    def pair(self, shape: Shape, column: str, other: Shape) -> str:
        """Key and body of the row with key `:key`, and of the row of `other` whose key its column holds."""
        question = (shape.table, "pair", column, other.table)
        known = self._known.get(question)
        return known or self._learn(question, _paired(shape, column, other).where(_is_key(shape)))

    def delete(self, shape: Shape) -> str:
        """Delete the row with key `:key`."""
        known = self._known.get((shape.table, "delete"))
        return known or self._learn((shape.table, "delete"), delete(table(shape.table)).where(_is_key(shape)))

    def insert(self, shape: Shape, columns: Columns) -> str:
        """Insert a row; the placeholders have the names of the columns."""
        question = (shape.table, "insert", len(columns))
        known = self._known.get(question)
        return known or self._learn(question, table(shape.table).insert(), list(columns))

    def put(self, shape: Shape, columns: Columns) -> str:
        """Insert a row, or replace the one with the same key."""
        question = (shape.table, "put", len(columns))
        known = self._known.get(question)
        names = list(columns)
        return known or self._learn(question, self._replace(table(shape.table), names, shape.key), names)

    def count(self, shape: Shape, where: Where) -> str:
        """How many rows fit; values from `values_of`."""
        question = (shape.table, "count", *_outline(where))
        known = self._known.get(question)
        return known or self._learn(question, _counted(shape, where))

    def find(self, shape: Shape, where: Where, has_limit: bool, has_after: bool, newest: bool) -> str:
        """Key and body of the rows that fit, in order; values from `values_of`, `:limit`, `:offset`, `:after_*`."""
        question = (shape.table, "find", has_limit, has_after, newest, *_outline(where))
        known = self._known.get(question)
        return known or self._learn(question, _found(shape, where, has_limit, has_after, newest))

    def page(self, shape: Shape, has_after: bool) -> str:
        """Whole rows in order of their keys, behind the key `:after`; `:limit` of them from `:offset` on."""
        question = (shape.table, "page", has_after)
        known = self._known.get(question)
        return known or self._learn(question, _paged(shape, has_after))

    def _learn(self, question: tuple[Any, ...], statement: Any, columns: list[str] | None = None) -> str:
        self._known[question] = self._compile(statement, columns)
        return self._known[question]


def values_of(where: Where) -> Values:
    """The values of the placeholders of `where`."""
    values: Values = {}
    for name, value in where.items():
        if isinstance(value, tuple | list):
            values |= {f"{name}_{i}": _plain(each) for i, each in enumerate(_padded(value))}
        else:
            values[name] = _plain(value)
    return values


def _plain(value: object) -> object:
    return str(value) if isinstance(value, str) else value


def _padded(values: tuple[Any, ...] | list[Any]) -> list[Any]:
    """Filled up to a power of two by repeating the last, so that few statements serve all lengths."""
    missing = (1 << (len(values) - 1).bit_length()) - len(values) if values else 0
    return [*values, *[values[-1]] * missing] if missing else list(values)


def _outline(where: Where) -> list[Any]:
    outline: list[Any] = []
    for name, value in where.items():
        outline += (name, len(_padded(value)) if isinstance(value, tuple | list) else -1)
    return outline


def _rows(shape: Shape) -> Select[Any]:
    columns = table(shape.table).c
    return select(columns[shape.key], columns.body)


def _paired(shape: Shape, column: str, other: Shape) -> Select[Any]:
    own, others = table(shape.table).c, table(other.table).c
    rows = select(own[shape.key], own.body, others[other.key], others.body)
    is_named = others[other.key] == own[shape.column(column)]
    return rows.join_from(table(shape.table), table(other.table), is_named, isouter=True)


def _is_key(shape: Shape) -> ColumnElement[bool]:
    return table(shape.table).c[shape.key] == bindparam("key")


def _counted(shape: Shape, where: Where) -> Select[Any]:
    return select(func.count()).select_from(table(shape.table)).where(*_conditions(shape, where))


def _found(shape: Shape, where: Where, has_limit: bool, has_after: bool, newest: bool) -> Select[Any]:
    order = [table(shape.table).c[name] for name in shape.order]
    found = _rows(shape).where(*_conditions(shape, where))
    if has_after:
        place, last = tuple_(*order), tuple_(*(bindparam(f"after_{name}") for name in shape.order))
        found = found.where(place < last if newest else place > last)
    found = found.order_by(*(column.desc() if newest else column for column in order))
    return found.limit(bindparam("limit")).offset(bindparam("offset")) if has_limit else found


def _paged(shape: Shape, has_after: bool) -> Select[Any]:
    columns = table(shape.table).c
    rows = select(*(columns[name] for name in (*shape.names, "body"))).order_by(columns[shape.key])
    behind = rows.where(columns[shape.key] > bindparam("after")) if has_after else rows
    return behind.limit(bindparam("limit")).offset(bindparam("offset"))


def _conditions(shape: Shape, where: Where) -> list[ColumnElement[bool]]:
    return [_condition(shape, name, value) for name, value in where.items()]


def _condition(shape: Shape, name: str, value: object) -> ColumnElement[bool]:
    column: ColumnElement[Any] = table(shape.table).c[shape.column(name)]
    if name.endswith(UNTIL):
        past = column <= bindparam(name)
        return and_(column > literal_column("0"), past) if shape.column(name) == "deadline" else past
    if isinstance(value, tuple | list):
        return column.in_([bindparam(f"{name}_{i}") for i in range(len(_padded(value)))]) if value else false()
    return column == bindparam(name)
