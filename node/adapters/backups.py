"""Backups: one SQLite file with every row, whichever database it is of, and a table that says that it is one.

As every noun is the same row everywhere, a backup of one kind of database can be restored into another.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from market.errors import Conflict, InvalidParameters, NeugridError
from market.units import Timestamp
from node.adapters import sqlite
from node.adapters.rows import SHAPES, Shape, shape_of
from node.adapters.sqlite import Connection as SqliteConnection
from node.adapters.statements import Statements
from node.adapters.storage import Connection
from node.migrations import migrate

N = TypeVar("N", bound=Struct)
NUMBERED: Final = ("entry", "happened")
"""The tables whose rows the database numbers."""
PAGE: Final = 500
"""Rows that are in memory at a time."""
_HEAD: Final = b"SQLite format 3\0"


class Side(Struct, frozen=True, kw_only=True):
    """A database that rows are read from or written to, at this program's schema.

    `add` writes a row; `counted` is the highest number that a table of NUMBERED gave so far, which `count_from` sets.
    """

    connection: Connection
    statements: Statements
    add: Callable[[str, dict[str, Any]], object]
    counted: Callable[[str], int]
    count_from: Callable[[str, int], object]


class Made(Struct, frozen=True, kw_only=True):
    """What a backup says about itself; `made_at` in ms."""

    made_at: Timestamp
    program: str


def sqlite_side(connection: SqliteConnection) -> Side:
    """A SQLite file as a side."""

    def counted(table: str) -> int:
        rows = connection.rows("SELECT seq FROM sqlite_sequence WHERE name = :table", {"table": table})
        return int(rows[0][0]) if rows else 0

    def count_from(table: str, number: int) -> None:
        values = {"table": table, "number": number}
        connection.rows("DELETE FROM sqlite_sequence WHERE name = :table", {"table": table})
        connection.rows("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :number)", values)

    return Side(
        connection=connection,
        statements=sqlite.statements(),
        add=connection.rows,
        counted=counted,
        count_from=count_from,
    )


def copy(source: Side, target: Side) -> None:
    """Every row of `source` into the empty `target`, in one transaction of it."""
    for shape in SHAPES.values():
        for row in rows_of(source, shape):
            target.add(target.statements.insert(shape, row), row)
    for table in NUMBERED:
        target.count_from(table, source.counted(table))


def digest(side: Side) -> bytes:
    """The same for two databases with the same rows, and b"" for one without any."""
    found, is_empty = hashlib.sha256(), True
    for shape in SHAPES.values():
        for row in rows_of(side, shape):
            is_empty = False
            found.update(msgspec.json.encode([shape.table, *row.values()]) + b"\n")
    return b"" if is_empty else found.digest()


def rows_of(side: Side, shape: Shape) -> Iterator[dict[str, Any]]:
    """Whole rows in order of their keys."""
    names, after = (*shape.names, "body"), None
    while True:
        sql = side.statements.page(shape, after is not None)
        values = {"limit": PAGE, "offset": 0, "after": after}
        page = [dict(zip(names, row, strict=True)) for row in side.connection.rows(sql, values)]
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1][shape.key]


def walk(side: Side, noun: type[N]) -> Iterator[N]:
    """All nouns of a type in order of their keys; NeugridError where columns do not say what the body says."""
    shape = shape_of(noun)
    for row in rows_of(side, shape):
        found: N = shape.decode(row[shape.key], row.pop("body"))
        if shape.columns(found) != row:
            raise NeugridError(f"the stored {noun.__name__} {row[shape.key]} was changed: its columns and body differ")
        yield found


def save(fill: Callable[[SqliteConnection], None], file: Path, made: Made) -> None:
    """Make the backup `file`: `fill` makes its rows. It is whole and on disk, or not there.

    Raises Conflict when there is such a file already, Unavailable when it can not be written.
    """
    if file.exists():
        raise Conflict(f"{file} is there already", path=str(file))
    part = file.with_name(file.name + ".part")
    try:
        with _alone(part) as target:
            fill(target)
            target.rows("CREATE TABLE backup (made_at INTEGER NOT NULL, program TEXT NOT NULL)", {})
            target.rows("INSERT INTO backup VALUES (:made_at, :program)", msgspec.structs.asdict(made))
            _require_whole(target, part)
        os.link(part, file)  # fails where somebody made it in the meantime
        _sync_folder(file)
    finally:
        remove(part)


def copy_of_sqlite(path: Path) -> Callable[[SqliteConnection], None]:
    """Fills a backup with the SQLite database at `path`, which may be in use; as it is at one moment."""

    def fill(target: SqliteConnection) -> None:
        source = sqlite.open_reader(path)
        try:
            if not sqlite.revision_of(source):
                raise Conflict(f"{path} is no database of a node")
            source.raw.backup(target.raw)
        except sqlite3.Error as error:
            raise NeugridError(f"{path} can not be copied: {error}") from error
        finally:
            source.close()

    return fill


@contextmanager
def opened(file: Path, place: Path) -> Iterator[tuple[SqliteConnection, Made]]:
    """A copy of the backup `file` at `place`, at this program's schema and without the mark of a backup.

    Raises InvalidParameters for what is no whole backup, Conflict for one of a newer program. The caller removes it.
    """
    _require_backup(file)
    place.write_bytes(b"")
    place.chmod(0o600)
    with file.open("rb") as source, place.open("wb") as target:
        while chunk := source.read(2**20):
            target.write(chunk)
    with _alone(place) as connection:
        _require_whole(connection, file)
        made = _made(connection, file)
        migrate(sqlite.revision_of(connection), lambda: sqlite.engine_over(connection), str(file))
        connection.rows("DROP TABLE backup", {})
        yield connection, made


def remove(path: Path) -> None:
    """Remove a SQLite file and what may be beside it."""
    for name in (path.name, path.name + "-wal", path.name + "-shm", path.name + "-journal"):
        path.with_name(name).unlink(missing_ok=True)


@contextmanager
def _alone(path: Path) -> Iterator[SqliteConnection]:
    """A SQLite file without a log beside it at the end, and on disk."""
    connection = sqlite.open_writer(path)
    try:
        yield connection
        connection.rows("PRAGMA journal_mode=DELETE", {})
    finally:
        connection.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _require_backup(file: Path) -> None:
    with file.open("rb") as opened:
        if opened.read(len(_HEAD)) != _HEAD:
            raise InvalidParameters(f"{file} is no backup of a node")


def _require_whole(connection: SqliteConnection, file: Path) -> None:
    found = connection.rows("PRAGMA integrity_check", {})
    if found != [("ok",)]:
        raise InvalidParameters(f"{file} is damaged: {found[0][0]}")


def _made(connection: SqliteConnection, file: Path) -> Made:
    try:
        [(made_at, program)] = connection.rows("SELECT made_at, program FROM backup", {})
    except (NeugridError, ValueError):
        raise InvalidParameters(f"{file} is no backup of a node: only `neugrid db backup` makes one") from None
    return Made(made_at=Timestamp(made_at), program=str(program))


def _sync_folder(file: Path) -> None:
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
