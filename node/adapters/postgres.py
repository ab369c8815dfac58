"""PostgreSQL: sessions, their settings, their errors, and the SQL that is its own. Nothing else knows the server."""

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import Engine, Insert, Table, create_engine
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import NullPool

from market.errors import ConfigError, Conflict, NeugridError, Unavailable
from node.adapters.commits import Care
from node.adapters.postgres_places import Database, connected, first_line
from node.adapters.postgres_session import Encoded, Raw, Session, encoded
from node.adapters.statements import Statements, Values

R = TypeVar("R")
_DIALECT: Final = PGDialect_psycopg(paramstyle="pyformat")  # type: ignore[no-untyped-call]
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
_OTHERS: Final = {"server_encoding": ("UTF8",), "default_transaction_isolation": ("read committed",)}
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


class Connection:
    """A session with transactions in its caller's hands, opened anew when it was lost; foreign errors leave it as ours.

    Once the session fails inside of a transaction, the transaction is spoiled: until `rollback` every call repeats
    the error. The same goes for what the server refuses of a piece of work that was kept: others may have built on it.
    `prepare` is done at the beginning of every session, and may refuse it; `opening` follows every BEGIN,
    `part` is done before every COMMIT. A transaction waits until it alone has the advisory lock `lock`.
    """

    def __init__(
        self,
        database: Database,
        prepare: "Callable[[Connection], None] | None" = None,
        *,
        opening: tuple[str, ...] = (),
        part: "Callable[[Connection], None] | None" = None,
        lock: int = 0,
        patience: int = READING,
    ) -> None:
        self._database = database
        self._patience = patience
        self._prepare = prepare
        self._part = part
        place = f" FROM pg_advisory_xact_lock({lock})" if lock else ""
        self._opening = ("BEGIN", *opening, f"SELECT pg_current_xact_id()::text{place}")
        self._session: Session | None = None
        self._is_open = False
        self._held: list[tuple[str, Encoded]] | None = None
        """What is to be sent of the present piece of work; None outside of one, and once it has a savepoint."""
        self._has_savepoint = True
        """False while the writes of a piece of work are sent at its end, which has none: it can not be undone then."""
        self._care = Care()
        self._kept = 0
        """Statements that wait and are of work that was kept."""
        self._number = ""
        self._spoiled: NeugridError | None = None
        self._asleep = (0.0, "")
        self.sessions = 0
        """Sessions that were opened so far."""
        self.age = 0
        """Is another one when what was read in a transaction may not be so any longer."""

    def rows(self, sql: str, values: Values, *, first: tuple[str, ...] = ()) -> list[Any]:
        """Run one statement and fetch all its rows; outside of a transaction once more when the session was lost.

        What comes `first` has the same values, is in the same round trip and, without an open one, transaction.
        """
        return self._once_more(lambda: self._asked((*first, sql), values))

    def later(self, sql: str, values: Values) -> None:
        """Send a statement that nobody waits for; what is wrong with it is raised by a later call, or by `commit`."""
        if self._held is None:
            self._send(sql, encoded(values))
        else:
            self._held.append((sql, encoded(values)))

    def begin(self) -> None:
        """Start a transaction; in a new session when the last one was lost."""
        self._number = self._once_more(self._begun)
        self._is_open = True
        self._care.begin()
        self.age += 1

    def commit(self) -> None:
        """Returns when everything since `begin` is on the server's disk.

        When the answer is lost, the server is asked whether it committed. Where it does not say so in time, Unavailable
        says that this is not known.
        """
        if self._part is not None:
            self._part(self)
        try:
            self.rows("COMMIT", {})
        except Unavailable as error:
            if self._session is not None:
                raise
            self._ask_after(error)
        if self._session is not None and self._session.said == "ROLLBACK":  # what it says of a spoiled transaction
            raise NeugridError(f"the database {self._database.name} undid the transaction")
        self._is_open = False

    def rollback(self) -> None:
        """Undo everything since `begin`, if anything is left of it; never fails."""
        self._is_open, self._spoiled, self._held, self._has_savepoint = False, None, None, True
        try:
            self._settle()
            if self._session is not None and not self._session.is_idle:
                self._asked(("ROLLBACK",), {})
        except NeugridError:
            self._drop()

    def mark(self) -> None:
        """Begin a piece of work. It has a savepoint once it asks for something: until then it can still be dropped."""
        self._held, self._has_savepoint = [], True
        self._care.count()
        if self._care.is_taken:
            self._save()

    def keep(self) -> None:
        """End the piece of work and keep its writes, without waiting for what was sent `later`."""
        if self._held is None:
            self._send("RELEASE work", {})
        else:
            self._has_savepoint = False
            self._send_held()
        if self._care.is_taken:
            self._received()
        self._kept = self._opened().waiting

    def undo(self) -> None:
        """End the piece of work and undo its writes."""
        self.age += 1
        held, self._held = self._held, None
        if held is None:
            self._settle()
            self._asked(("ROLLBACK TO work", "RELEASE work"), {})

    def open(self) -> None:
        """Open the session now; Unavailable when the server does not answer, and whatever `prepare` raises."""
        self._opened()

    def close(self) -> None:
        """End the session, and its locks with it, so that they are free when this returns."""
        self.rollback()
        if self._session is not None:
            with contextlib.suppress(NeugridError):
                self._asked(("SELECT pg_advisory_unlock_all()",), {})
        self._drop()

    def _once_more(self, act: Callable[[], R]) -> R:
        """`act`, and again in a new session when the present one was lost since it was used last."""
        had_session = self._session is not None
        try:
            return act()
        except Unavailable:
            if self._is_open or not had_session or self._session is not None:
                raise
        return act()

    def _begun(self) -> str:
        """Open a transaction; the number by which the server knows it."""
        return str(self._asked(self._opening, {})[0][0])

    def _asked(self, statements: tuple[str, ...], values: Values) -> list[Any]:
        if self._held is not None:
            self._save()
        ready = encoded(values)
        for sql in statements:
            self._send(sql, ready)
        return self._received()

    def _save(self) -> None:
        """Open the savepoint of the present piece of work, and send what was held back of it."""
        self._send("SAVEPOINT work", {})
        self._send_held()

    def _send_held(self) -> None:
        held, self._held = self._held or [], None
        for sql, values in held:
            self._send(sql, values)

    def _send(self, sql: str, values: Encoded) -> None:
        if self._spoiled:
            raise self._spoiled
        session = self._opened()
        if session.is_full:
            self._received()
        try:
            session.send(sql, values)
        except psycopg.Error as error:
            raise self._translated(session, error) from error

    def _received(self) -> list[Any]:
        session, kept, self._kept = self._opened(), self._kept, 0
        try:
            return session.receive()
        except psycopg.Error as error:
            problem = self._translated(session, error)
            if (session.failed < kept or not self._has_savepoint) and self._is_open and not self._spoiled:
                self._spoiled = problem = self._care.shared(problem)
            raise problem from error

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

    def _ask_after(self, lost: Unavailable) -> None:
        """Return when the transaction was committed whose COMMIT had no answer; raises `lost` when it was not."""
        self.rollback()
        deadline = time.monotonic() + IN_DOUBT
        while time.monotonic() < deadline:
            with contextlib.suppress(NeugridError):
                status = self.rows("SELECT pg_xact_status(%(number)s::xid8)", {"number": self._number})[0][0]
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
            return NeugridError(f"the database {name} refused a statement: {first_line(error)}")
        problem = Unavailable(f"the database {name} does not work: {reason} ({first_line(error)})")
        if self._is_open:
            self._spoiled = problem
        if session.is_lost:
            self._drop()
        return problem


def require_durable(connection: Connection) -> None:
    """ConfigError unless the server syncs what it commits, keeps text in UTF-8, and took our isolation level."""
    for setting, allowed in {**_DURABLE, **_OTHERS}.items():
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
    """The SQL of this engine."""
    return Statements(_compiled, _replace)


def _compiled(statement: Any, columns: list[str] | None) -> str:
    return str(statement.compile(dialect=_DIALECT, column_keys=columns))


def _replace(table: Table, columns: list[str], key: str) -> Insert:
    new = insert(table)
    changed = {name: new.excluded[name] for name in columns if name != key}
    return new.on_conflict_do_update(index_elements=[key], set_=changed)
