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
from node.adapters.batches import Write, batched
from node.adapters.commits import Care
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
LARGE: Final = 2**20
"""Bytes of what waits to be written, give or take..."""
ROW: Final = 256
"""...for each row beside its body."""
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
        self._kept: list[Write] = []
        """What finished pieces of work of the transaction have still to write..."""
        self._held: list[Write] = []
        """...and the present one."""
        self._size = 0
        self._is_at_work = False
        self._has_savepoint = False
        """Whether the present piece of work is to be undone in the database, too."""
        self._care = Care()
        self._refused: NeugridError | None = None
        """Why nothing of the present piece of work is kept, though it may have hidden it from itself."""
        self.age = 0
        """Is another one when what was read in a transaction may not be so any longer."""

    def rows(self, sql: str, values: Values) -> list[Any]:
        """Run one statement, behind all that was to be written before it, and fetch all its rows."""
        if self._is_at_work:
            self._catch_up()
        return self._run(sql, values)

    def later(self, sql: str, values: Values) -> None:
        """Write together with others what nobody waits for; a later call or `commit` raises what is wrong with it.

        OverflowError or UnicodeEncodeError for values that no column takes: they shall trouble nobody else.
        """
        for value in values.values():
            if isinstance(value, str):
                value.isascii() or value.encode()
            elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise OverflowError("a column has 64 bits")
        self._held.append((sql, values))
        self._size += ROW + len(values.get("body", ""))
        if self._size >= LARGE:
            self._catch_up()

    def begin(self) -> None:
        """Start a transaction that holds the right to write."""
        self._run("BEGIN IMMEDIATE", {})
        self._is_open = True
        self._care.begin()
        self._size = 0
        self.age += 1

    def commit(self) -> None:
        """Returns when everything since `begin` is on disk."""
        self._write_kept()
        self._run("COMMIT", {})
        self._is_open = False

    def rollback(self) -> None:
        """Undo everything since `begin`, if anything is left of it; never fails."""
        self._is_open, self._spoiled = False, None
        self._kept, self._held, self._is_at_work = [], [], False
        if self.raw.in_transaction:
            self.raw.rollback()

    def mark(self) -> None:
        """Begin a piece of work. It has a savepoint once it asks for something: until then it can still be dropped."""
        self._care.count()
        self._is_at_work, self._has_savepoint, self._refused = True, False, None
        if self._care.is_taken:
            self._save()

    def keep(self) -> None:
        """End the piece of work and keep its writes."""
        if self._has_savepoint:
            self._write_held()
            self._run("RELEASE work", {})
        else:
            self._kept += self._held
            self._held = []
        self._is_at_work = False

    def undo(self) -> None:
        """End the piece of work and undo its writes."""
        self.age += 1
        self._held, self._is_at_work = [], False
        if self._has_savepoint:
            self._run("ROLLBACK TO work", {})
            self._run("RELEASE work", {})

    def close(self) -> None:
        self.raw.close()

    def _run(self, sql: str, values: Any) -> list[Any]:
        if self._spoiled:
            raise self._spoiled
        try:
            return self.raw.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _catch_up(self) -> None:
        if not self._has_savepoint:
            self._save()
        self._write_held()
        self._size = 0

    def _save(self) -> None:
        """Open the savepoint of the present piece of work, behind all that others have to write."""
        self._write_kept()
        self._run("SAVEPOINT work", {})
        self._has_savepoint = True

    def _write_held(self) -> None:
        if self._refused:
            raise self._refused
        if not self._held:
            return
        held, self._held = self._held, []
        try:
            for sql, values in batched(held):
                self._run(sql, values)
        except NeugridError as error:
            self._refused = error
            raise

    def _write_kept(self) -> None:
        """Others may have built on what is kept: when the database refuses it, it refuses all of the transaction."""
        kept, self._kept = self._kept, []
        try:
            for sql, values in batched(kept):
                self._run(sql, values)
        except NeugridError as error:
            self._spoiled = self._spoiled or self._care.shared(error)
            raise self._spoiled from error

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
