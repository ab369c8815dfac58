"""Durable state on PostgreSQL: the port `Storage` over two sessions, and who may open a database at the same time."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Final

from market.errors import Conflict
from node.adapters import postgres
from node.adapters.postgres import Connection
from node.adapters.postgres_bells import PostgresBells
from node.adapters.postgres_places import Database, database_at
from node.adapters.statements import Statements
from node.adapters.storage import SqlStorage, SqlTx, serving
from node.migrations import HEAD, migrate

OWNER: Final = int.from_bytes(b"ng-owner")
NODE: Final = int.from_bytes(b"the-node")
WRITER: Final = int.from_bytes(b"ng-write")
"""Keys of advisory locks, which each database has for itself: who uses it, who is its node, and who writes."""
STALLED: Final = 10
"""Seconds for which a process that stands still in a transaction keeps the others from writing."""
LEAVING: Final = 1.0
"""Seconds that the server may take to see that the process before has ended."""


class Use(Enum):
    """As what a process opens a database: alone, as the one node on it, or as the API beside that node."""

    ALONE = "alone"
    NODE = "node"
    API = "api"


class PostgresTx(SqlTx):
    """The open transaction of the writer's thread, which tells other processes of what changed."""

    _connection: Connection

    def __init__(self, connection: Connection, statements: Statements, bells: PostgresBells) -> None:
        super().__init__(connection, statements)
        self._bells = bells

    def announce(self, ids: Sequence[str]) -> None:
        self._bells.announce(ids)


@asynccontextmanager
async def open_postgres(url: str, password: str = "", *, use: Use = Use.ALONE) -> AsyncIterator[SqlStorage]:
    """The database at `url`, made or migrated to this program's schema; `password` overrides that of the URL.

    One node and any number of API processes may have it open together, or one process alone. The groups of their
    writers follow each other, as if one wrote. The locks are of the writer's session: who lost them writes no more.

    Raises Conflict when others have it, a newer program wrote it, or it would have to be migrated while others have
    it; ConfigError when it does not sync what it commits; Unavailable when it can not be used.
    """
    database = database_at(url, password)
    statements, bells = postgres.statements(), PostgresBells(database)
    writer, reader = await asyncio.to_thread(_opened, database, use, bells)
    tx = PostgresTx(writer, statements, bells)
    async with serving(SqlStorage(reader, writer, tx, statements, bells)) as storage:
        yield storage


def _opened(database: Database, use: Use, bells: PostgresBells) -> tuple[Connection, Connection]:
    writer, reader = writer_of(database, use, bells), Connection(database)
    try:
        writer.open()
        revision = postgres.revision_of(writer)
        if revision != HEAD:
            _migrate(writer, revision, database, use)
        reader.open()
    except BaseException:
        writer.close()
        reader.close()
        raise
    return writer, reader


def _migrate(writer: Connection, revision: str, database: Database, use: Use) -> None:
    """Bring the schema up to date, alone with the database."""
    is_alone = use is Use.ALONE or (use is Use.NODE and _took(writer, OWNER, ""))
    if revision < HEAD and not is_alone:
        have = f"{database.name} has schema {revision or 'none'}"
        raise Conflict(f"{have}, this program {HEAD}: stop its API processes, and let the node start alone")
    migrate(revision, lambda: postgres.engine_over(database), database.name)
    if use is Use.NODE:
        writer.rows(f"SELECT pg_advisory_unlock({OWNER})", {})


def writer_of(database: Database, use: Use = Use.ALONE, bells: PostgresBells | None = None) -> Connection:
    """A session that writes and holds the database as `use` says, whenever it is opened."""
    is_shared = use is not Use.ALONE

    def prepare(session: Connection) -> None:
        postgres.require_durable(session)
        deadline = time.monotonic() + LEAVING
        while not _holds(session, use):
            if time.monotonic() > deadline:
                raise Conflict(f"the database {database.name} is in use by another node; stop it first")
            time.sleep(0.02)
        if is_shared:
            session.rows(f"SET idle_in_transaction_session_timeout = '{STALLED}s'", {})

    part, lock = (bells.ring if bells and is_shared else None), (WRITER if is_shared else 0)
    return Connection(database, prepare, part=part, lock=lock, patience=postgres.WRITING)


def _holds(session: Connection, use: Use) -> bool:
    """Whether the session has the locks of its use now; one that it has already may be taken again."""
    if use is Use.NODE and not _took(session, NODE, ""):
        return False
    return _took(session, OWNER, "" if use is Use.ALONE else "_shared")


def _took(session: Connection, key: int, kind: str) -> bool:
    return bool(session.rows(f"SELECT pg_try_advisory_lock{kind}({key})", {})[0][0])
