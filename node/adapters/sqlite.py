"""SQLite: connections, their settings, their errors, and the SQL that is its own. Nothing else knows the engine."""

import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection as CoreConnection
from sqlalchemy import Engine, Insert, Table, create_engine, event
from sqlalchemy.dialects.sqlite import dialect, insert
from sqlalchemy.pool import StaticPool

from market.errors import Conflict, NeugridError, Unavailable
from node.adapters.statements import Statements, Values

_DIALECT = dialect(paramstyle="named")
_TAKEN: Final = (
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_ROWID,
)
_REASONS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another program has locked it",
    sqlite3.SQLITE_LOCKED: "another program has locked it",
    sqlite3.SQLITE_IOERR: "the disk gives errors",
    sqlite3.SQLITE_READONLY: "it can not be written to",
    sqlite3.SQLITE_CANTOPEN: "it can not be opened",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
}
_DURABLE: Final = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "temp_store=MEMORY")
"""FULL syncs the log before COMMIT returns; NORMAL lost half of the acknowledged commits in simulated power cuts."""


class Connection:
    """One connection with transactions in its caller's hands; foreign errors leave it as ours.

    Once a statement fails for a reason outside the statement, its transaction is spoiled: SQLite may have rolled it
    back already, so that a later statement would commit on its own. Until `rollback` every call repeats the error.
    """

    def __init__(self, path: Path, raw: sqlite3.Connection) -> None:
        self._path = path
        self.raw = raw
        self._is_open = False
        self._spoiled: NeugridError | None = None
        self.age = 0
        """Is another one when what was read in a transaction may not be so any longer."""

    def rows(self, sql: str, values: Values) -> list[Any]:
        """Run one statement and fetch all its rows."""
        if self._spoiled:
            raise self._spoiled
        try:
            return self.raw.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def begin(self) -> None:
        """Start a transaction that holds the right to write."""
        self.rows("BEGIN IMMEDIATE", {})
        self._is_open = True
        self.age += 1

    def commit(self) -> None:
        """Returns when everything since `begin` is on disk."""
        self.rows("COMMIT", {})
        self._is_open = False

    def rollback(self) -> None:
        """Undo everything since `begin`, if anything is left of it; never fails."""
        self._is_open, self._spoiled = False, None
        if self.raw.in_transaction:
            self.raw.rollback()

    def mark(self) -> None:
        """Open a savepoint."""
        self.rows("SAVEPOINT work", {})

    def keep(self) -> None:
        """Close the savepoint and keep its writes."""
        self.rows("RELEASE work", {})

    def undo(self) -> None:
        """Undo the writes since the savepoint and close it."""
        self.age += 1
        self.rows("ROLLBACK TO work", {})
        self.rows("RELEASE work", {})

    def close(self) -> None:
        self.raw.close()

    def _translated(self, error: sqlite3.Error) -> NeugridError:
        code = getattr(error, "sqlite_errorcode", 0)
        if code in _TAKEN:
            return Conflict(f"taken already: {str(error).rpartition(': ')[2]}")
        if code & 0xFF in _REASONS:
            problem = Unavailable(f"the database {self._path} does not work: {_REASONS[code & 0xFF]} ({error})")
            self._spoiled = problem if self._is_open else None
            return problem
        return NeugridError(f"the database {self._path} refused a statement: {error}")


def open_writer(path: Path) -> Connection:
    """The one connection that writes; makes the file, readable by its owner alone, when there is none.

    Raises Unavailable when the file can not be used.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return _open(path, _DURABLE)


def open_reader(path: Path) -> Connection:
    """A connection that sees what is committed and can write nothing."""
    return _open(path, ("query_only=ON", "busy_timeout=1000"))


def revision_of(connection: Connection) -> str:
    """The migration that the database is at, "" when it is fresh."""
    if not connection.rows("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'", {}):
        return ""
    rows = connection.rows("SELECT version_num FROM alembic_version", {})
    return str(rows[0][0]) if rows else ""


def engine_over(connection: Connection) -> Engine:
    """The connection as SQLAlchemy's engine, for migrations; its transactions hold changes of tables, too."""
    engine = create_engine("sqlite://", creator=lambda: connection.raw, poolclass=StaticPool)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def statements() -> Statements:
    """The SQL of this engine."""
    return Statements(_compiled, _replace)


def _open(path: Path, settings: tuple[str, ...]) -> Connection:
    raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    connection = Connection(path, raw)
    try:
        for setting in settings:
            connection.rows(f"PRAGMA {setting}", {})
    except NeugridError:
        connection.close()
        raise
    return connection


def _begin_immediate(connection: CoreConnection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _compiled(statement: Any, columns: list[str] | None) -> str:
    return str(statement.compile(dialect=_DIALECT, column_keys=columns))


def _replace(table: Table, columns: list[str], key: str) -> Insert:
    new = insert(table)
    changed = {name: new.excluded[name] for name in columns if name != key}
    return new.on_conflict_do_update(index_elements=[key], set_=changed)
