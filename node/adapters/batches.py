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
_ROWS: Final = re.compile(r"(.*VALUES )(\([^()]*\))(.*)", re.DOTALL)
_TABLE: Final = re.compile(r"(?:INSERT INTO|DELETE FROM) (\S+)")
_NAME: Final = re.compile(r":(\w+)")


class _Parts(Struct, frozen=True):
    """A statement: its table, what comes before and behind its row, and the names of the placeholders there, in order.

    There are no names where it takes no other row: it deletes, or has a single column.
    """

    table: str
    before: str = ""
    names: tuple[str, ...] = ()
    behind: str = ""


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
        table = _parts_of(sql).table
        at = last.get(table)
        if at is not None and batches[at][0] == sql:
            batches[at][1].append(values)
        else:
            last[table] = len(batches)
            batches.append((sql, [values]))
    for sql, rows in batches:
        yield from _statements(sql, rows)


def _statements(sql: str, rows: list[Values]) -> Iterator[tuple[str, Any]]:
    names = _parts_of(sql).names
    if not names:
        yield from ((sql, row) for row in rows)
        return
    values_of = itemgetter(*names)
    for first in range(0, len(rows), MOST):
        taken = rows[first : first + MOST]
        yield _of_many(sql, len(taken)), [value for row in taken for value in values_of(row)]


@lru_cache(maxsize=1024)
def _of_many(sql: str, rows: int) -> str:
    parts = _parts_of(sql)
    row = f"({', '.join('?' * len(parts.names))})"
    return parts.before + ", ".join([row] * rows) + parts.behind


@lru_cache(maxsize=256)
def _parts_of(sql: str) -> _Parts:
    table = _TABLE.match(sql)
    assert table is not None, sql  # noqa: S101  (nothing else is written)
    found = _ROWS.fullmatch(sql)
    names = tuple(_NAME.findall(found[2])) if found else ()
    return _Parts(table[1], found[1], names, found[3]) if found and len(names) > 1 else _Parts(table[1])
