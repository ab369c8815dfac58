"""Many writes as few statements: rows for one table that nobody waits for go into one INSERT."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from msgspec import Struct

from node.adapters.statements import Values

Write = tuple[str, Values]
"""A statement with named placeholders, and their values."""
MOST: Final = 32
"""Rows in one statement: as many as there are clients that wait for each other, and few enough to be remembered."""
_INSERT: Final = re.compile(r"(INSERT INTO (\S+) .*VALUES )(\([^()]*\))(.*)", re.DOTALL)
_TABLE: Final = re.compile(r"(?:INSERT INTO|DELETE FROM) (\S+)")
_NAME: Final = re.compile(r":(\w+)")


class _Insert(Struct, frozen=True):
    """An INSERT in parts: what comes before the row, the names of its placeholders in order, what comes behind it."""

    before: str
    names: tuple[str, ...]
    behind: str


def batched(writes: Sequence[Write]) -> Iterator[tuple[str, Any]]:
    """Statements that do the same, and their values.

    The order of what happens to a table stays; between tables it does not matter, for none knows of another.
    """
    if len(writes) == 1:
        yield writes[0]
        return
    batches: list[tuple[str, list[Values]]] = []
    last: dict[str, int] = {}
    for sql, values in writes:
        at = last.get(_table_of(sql))
        if at is not None and batches[at][0] == sql:
            batches[at][1].append(values)
        else:
            last[_table_of(sql)] = len(batches)
            batches.append((sql, [values]))
    for sql, rows in batches:
        yield from _statements(sql, rows)


def _statements(sql: str, rows: list[Values]) -> Iterator[tuple[str, Any]]:
    insert = _insert_of(sql)
    if insert is None:
        yield from ((sql, row) for row in rows)
        return
    values_of = itemgetter(*insert.names)
    for first in range(0, len(rows), MOST):
        taken = rows[first : first + MOST]
        yield _of_many(sql, len(taken)), [value for row in taken for value in values_of(row)]


@lru_cache(maxsize=1024)
def _of_many(sql: str, rows: int) -> str:
    insert = _insert_of(sql)
    assert insert is not None  # noqa: S101  (its caller has looked)
    row = f"({', '.join('?' * len(insert.names))})"
    return insert.before + ", ".join([row] * rows) + insert.behind


@lru_cache(maxsize=256)
def _insert_of(sql: str) -> _Insert | None:
    """The parts of an INSERT of more than one column; None of anything else."""
    found = _INSERT.fullmatch(sql)
    names = tuple(_NAME.findall(found[3])) if found else ()
    return _Insert(found[1], names, found[4]) if found and len(names) > 1 else None


@lru_cache(maxsize=256)
def _table_of(sql: str) -> str:
    found = _TABLE.match(sql)
    assert found is not None, sql  # noqa: S101  (nothing else is written)
    return found[1]
