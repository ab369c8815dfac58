"""PostgreSQL: sessions, their settings, their errors, and the SQL that is its own. Nothing else knows the server."""

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, Insert, Table, create_engine
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import NullPool

from market.errors import ConfigError, Conflict, NeugridError, Unavailable
from node.adapters.postgres_session import Raw, Session
from node.adapters.statements import Statements, Values

_DIALECT: Final = PGDialect_psycopg(paramstyle="pyformat")  # type: ignore[no-untyped-call]
_SESSION: Final = (
    "timezone=UTC",
    "idle_in_transaction_session_timeout=60s",
    "tcp_keepalives_idle=5",
    "tcp_keepalives_interval=2",
    "tcp_keepalives_count=3",
    "tcp_user_timeout=15s",
)
"""The server ends the session of a machine that vanished within a quarter of a minute, and with it its locks."""
_NETWORK: Final = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""The same for a server that vanished; seconds, the last in milliseconds."""
WRITING: Final = 30
READING: Final = 5
"""Seconds that one statement may take: reads are in the loop, and everybody waits. Migrations take what they need."""
GRACE: Final = 5
"""...and how much longer the server may be silent about it."""
REST: Final = 4
"""A server that does not answer is left alone for as many times as long as it let us wait: reads are in the loop."""
IN_DOUBT: Final = 10.0
"""Seconds that a lost answer to COMMIT is asked after."""
_DURABLE: Final = {"synchronous_commit": ("on", "remote_apply"), "fsync": ("on",), "full_page_writes": ("on",)}
_REASONS: Final = {
    "08": "the connection is lost",
    "25": "it does not take writes now",
    "40": "it has undone the transaction",
    "53": "it lacks disk, memory or connections",
    "55": "another program has locked it",
    "57": "the server ended the statement or the session",
    "58": "the server's disk gives errors",
    "XX": "the server found itself damaged",
}
"""By the first two characters of SQLSTATE; https://www.postgresql.org/docs/current/errcodes-appendix.html."""
_SPOILED: Final = "25P02"
"""The transaction was spoiled by an earlier error: this statement's own fault it is not, nor the server's."""


class Database(Struct, frozen=True):
    """Where the database is; `password` overrides that of the URL. `name` is how messages call it, without secrets."""

    url: str
    password: str = ""
    name: str = ""

    def __repr__(self) -> str:
        return f"Database({self.name})"


class Connection:
    """A session with transactions in its caller's hands, opened anew when it was lost; foreign errors leave it as ours.

    Once the session fails inside of a transaction, the transaction is spoiled: until `rollback` every call repeats
    the error. `prepare` is done at the beginning of every session, and may refuse it; `opening` follows every BEGIN.
    """

    def __init__(
        self,
        database: Database,
        prepare: "Callable[[Connection], None] | None" = None,
        *,
        opening: tuple[str, ...] = (),
        patience: int = READING,
    ) -> None:
        self._database = database
        self._patience = patience
        self._prepare = prepare
        self._opening = opening
        self._session: Session | None = None
        self._is_open = False
        self._is_owed = False
        self._spoiled: NeugridError | None = None
        self._asleep = (0.0, "")
        self.sessions = 0
        """Sessions that were opened so far."""

    def rows(self, sql: str, values: Values) -> list[Any]:
        """Run one statement and fetch all its rows; outside of a transaction once more when the session was lost."""
        had_session = self._session is not None
        try:
            return self._asked((sql,), values)
        except Unavailable:
            if self._is_open or not had_session or self._session is not None:
                raise
        return self._asked((sql,), values)

    def later(self, sql: str, values: Values) -> None:
        """Send a statement that nobody waits for; what is wrong with it is raised by a later call before the commit."""
        self._is_owed = True
        self._send(sql, values)

    def begin(self) -> None:
        """Start a transaction; in a new session when the last one was lost."""
        for opening in ("BEGIN", *self._opening):
            self.rows(opening, {})
            self._is_open = True

    def commit(self) -> None:
        """Returns when everything since `begin` is on the server's disk.

        When the answer is lost, the server is asked whether it committed. Where it does not say so in time, Unavailable
        says that this is not known.
        """
        number = self.rows("SELECT pg_current_xact_id_if_assigned()::text", {})[0][0]
        try:
            self.rows("COMMIT", {})
        except Unavailable as error:
            if self._session is not None or number is None:
                raise
            self._ask_after(number, error)
        self._is_open = False

    def rollback(self) -> None:
        """Undo everything since `begin`, if anything is left of it; never fails."""
        self._is_open, self._spoiled = False, None
        try:
            self._settle()
            if self._session is not None and not self._session.is_idle:
                self._asked(("ROLLBACK",), {})
        except NeugridError:
            self._drop()

    def mark(self) -> None:
        """Open a savepoint."""
        self._send("SAVEPOINT work", {})

    def keep(self) -> None:
        """Close the savepoint and keep its writes; raises what is wrong with one that was sent `later`."""
        self._send("RELEASE work", {})
        if self._is_owed:
            self._received()

    def undo(self) -> None:
        """Undo the writes since the savepoint and close it."""
        self._settle()
        self._asked(("ROLLBACK TO work", "RELEASE work"), {})

    def guarded(self, sql: str, values: Values) -> None:
        """Run one statement that may fail without spoiling the transaction."""
        self._send("SAVEPOINT each", {})
        self._settle()
        try:
            self.rows(sql, values)
        except NeugridError:
            self._asked(("ROLLBACK TO each", "RELEASE each"), {})
            raise
        self._send("RELEASE each", {})

    def open(self) -> None:
        """Open the session now; Unavailable when the server does not answer, and whatever `prepare` raises."""
        self._opened()

    def close(self) -> None:
        """End the session, and its locks with it, so that they are free when this returns."""
        self.rollback()
        if self._session is not None:
            with contextlib.suppress(NeugridError):
                self.rows("SELECT pg_advisory_unlock_all()", {})
        self._drop()

    def _asked(self, statements: tuple[str, ...], values: Values) -> list[Any]:
        for sql in statements:
            self._send(sql, values)
        return self._received()

    def _send(self, sql: str, values: Values) -> None:
        if self._spoiled:
            raise self._spoiled
        session = self._opened()
        try:
            session.send(sql, values)
        except psycopg.Error as error:
            raise self._translated(session, error) from error

    def _received(self) -> list[Any]:
        session, self._is_owed = self._opened(), False
        try:
            return session.receive()
        except psycopg.Error as error:
            raise self._translated(session, error) from error

    def _settle(self) -> None:
        """Fetch what waits, whatever it is; a session that is lost has nothing."""
        if self._session is not None and self._session.waiting:
            with contextlib.suppress(NeugridError):
                self._received()

    def _opened(self) -> Session:
        if self._session is not None:
            return self._session
        self._session = self._connected()
        self.sessions += 1
        try:
            if self._prepare is not None:
                self._prepare(self)
        except NeugridError:
            self._drop()
            raise
        return self._session

    def _connected(self) -> Session:
        until, reason = self._asleep
        began = time.monotonic()
        if began < until:
            raise Unavailable(reason)
        try:
            return Session(connected(self._database, self._patience), self._patience + GRACE)
        except Unavailable as error:
            now = time.monotonic()
            self._asleep = (now + REST * (now - began), error.message)
            raise

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _ask_after(self, number: str, lost: Unavailable) -> None:
        """Return when transaction `number` was committed, whose COMMIT had no answer; raises `lost` when it was not."""
        self.rollback()
        deadline = time.monotonic() + IN_DOUBT
        while time.monotonic() < deadline:
            with contextlib.suppress(NeugridError):
                status = self.rows("SELECT pg_xact_status(%(number)s::xid8)", {"number": number})[0][0]
                if status == "committed":
                    return
                if status == "aborted":
                    break
            time.sleep(0.05)
        else:
            raise Unavailable(f"{lost.message}; whether the last writes were stored is not known") from lost
        raise lost

    def _translated(self, session: Session, error: psycopg.Error) -> NeugridError:
        name, state = self._database.name, error.sqlstate or ""
        if state == psycopg.errors.UniqueViolation.sqlstate:
            return Conflict(f"taken already: {error.diag.constraint_name}")
        reason = _REASONS["08"] if session.is_lost else "" if state == _SPOILED else _REASONS.get(state[:2], "")
        if not reason:
            return NeugridError(f"the database {name} refused a statement: {_first_line(error)}")
        problem = Unavailable(f"the database {name} does not work: {reason} ({_first_line(error)})")
        if self._is_open:
            self._spoiled = problem
        if session.is_lost:
            self._drop()
        return problem


def database_at(url: str, password: str = "") -> Database:
    """The database that a URL names; ConfigError when it is none of PostgreSQL."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        raise ConfigError("storage.url is no URL of PostgreSQL such as postgresql://user@host:5432/name") from None
    place = f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}"
    return Database(url, password, f"{parts.get('dbname', '')} at {place}")


def connected(database: Database, seconds: int) -> Raw:
    """A new session whose statements take at most `seconds`, or any time with 0; Unavailable without a server."""
    settings = " ".join(f"-c {setting}" for setting in (*_SESSION, f"statement_timeout={seconds}s"))
    secret = {"password": database.password} if database.password else {}
    fixed = {"application_name": "neugrid", "client_encoding": "UTF8", "options": settings}
    try:
        return psycopg.connect(database.url, autocommit=True, **fixed, **_NETWORK, **secret)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise Unavailable(f"the database {database.name} can not be reached: {_first_line(error)}") from error


def require_durable(connection: Connection) -> None:
    """ConfigError unless the server syncs what it commits, and keeps text in UTF-8."""
    for setting, allowed in {**_DURABLE, "server_encoding": ("UTF8",)}.items():
        found = connection.rows(f"SHOW {setting}", {})[0][0]
        if found not in allowed:
            raise ConfigError(f"the database has {setting} = {found}, and must have {allowed[0]}", setting=setting)


def revision_of(connection: Connection) -> str:
    """The migration that the database is at, "" when it is fresh."""
    if connection.rows("SELECT to_regclass('alembic_version')", {})[0][0] is None:
        return ""
    rows = connection.rows("SELECT version_num FROM alembic_version", {})
    return str(rows[0][0]) if rows else ""


def engine_over(database: Database) -> Engine:
    """The database as SQLAlchemy's engine, for migrations; its transactions hold changes of tables, too."""

    def session() -> Raw:
        raw = connected(database, 0)
        raw.autocommit = False
        return raw

    return create_engine("postgresql+psycopg://", creator=session, poolclass=NullPool)


def statements() -> Statements:
    """The SQL of this engine; what it inserts it returns the key of, nothing where the row was there."""
    return Statements(_compiled, _replace, _insert)


def _compiled(statement: Any, columns: list[str] | None) -> str:
    return str(statement.compile(dialect=_DIALECT, column_keys=columns))


def _insert(table: Table) -> Insert:
    key = next(iter(table.primary_key))
    return insert(table).on_conflict_do_nothing().returning(key)


def _replace(table: Table, columns: list[str], key: str) -> Insert:
    new = insert(table)
    changed = {name: new.excluded[name] for name in columns if name != key}
    return new.on_conflict_do_update(index_elements=[key], set_=changed)


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
