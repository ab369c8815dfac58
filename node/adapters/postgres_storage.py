"""Durable state on PostgreSQL: the port `Storage` over two sessions, and who may open a database at the same time."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from market.errors import Conflict
from node.adapters import postgres
from node.adapters.postgres import Connection
from node.adapters.postgres_places import Database, database_at
from node.adapters.rows import body_of, shape_of
from node.adapters.storage import SqlStorage, SqlTx, serving
from node.migrations import HEAD, migrate

OWNER: Final = int.from_bytes(b"ng-owner")
WRITER: Final = int.from_bytes(b"ng-write")
"""Keys of advisory locks, which each database has for itself: who uses it, and who writes."""
LEAVING: Final = 1.0
"""Seconds that the server may take to see that the process before has ended."""


class PostgresTx(SqlTx):
    """The open transaction of the writer's thread. On PostgreSQL an error spoils it, so that none may come of a row."""

    _connection: Connection

    def insert(self, noun: Struct) -> None:
        shape = shape_of(type(noun))
        row = {**shape.columns(noun), "body": body_of(noun)}
        statement = self._statements.insert(shape, row)
        if shape.key not in row:
            self._connection.later(statement, row)
        elif not self._connection.rows(statement, row):
            raise Conflict(f"taken already: {shape.table}.{shape.key} or another column that is unique")

    def put(self, noun: Struct) -> None:
        shape = shape_of(type(noun))
        row = {**shape.columns(noun), "body": body_of(noun)}
        run = self._connection.guarded if shape.unique else self._connection.later
        run(self._statements.put(shape, row), row)

    def delete(self, noun: type[Struct], id: str) -> None:
        shape = shape_of(noun)
        self._connection.later(self._statements.delete(shape), {"key": shape.key_of(id)})


@asynccontextmanager
async def open_postgres(url: str, password: str = "", *, shared: bool = False) -> AsyncIterator[SqlStorage]:
    """The database at `url`, made or migrated to this program's schema; `password` overrides that of the URL.

    Without `shared` it is this process's alone, until its session ends. With `shared` several processes may have it
    open: the groups of their writers follow each other, as if one wrote, and nothing is migrated. What must be done by
    one of them alone is behind `leading`.

    Raises Conflict when another process has it, a newer program wrote it, or it would have to be migrated though it is
    shared; ConfigError when it does not sync what it commits; Unavailable when it can not be used.
    """
    writer, reader = await asyncio.to_thread(_opened, database_at(url, password), shared)
    statements = postgres.statements()
    async with serving(SqlStorage(reader, writer, PostgresTx(writer, statements), statements)) as storage:
        yield storage


def _opened(database: Database, shared: bool) -> tuple[Connection, Connection]:
    writer, reader = writer_of(database, shared), Connection(database)
    try:
        writer.open()
        revision = postgres.revision_of(writer)
        if shared and revision < HEAD:
            raise Conflict(f"{database.name} has schema {revision or 'none'}: migrate it by a node that has it alone")
        migrate(revision, lambda: postgres.engine_over(database), database.name)
        reader.open()
    except BaseException:
        writer.close()
        reader.close()
        raise
    return writer, reader


def writer_of(database: Database, shared: bool = False) -> Connection:
    """A session that writes and holds the database, for itself or together with others, whenever it is opened."""
    kind, opening = ("_shared", (f"SELECT pg_advisory_xact_lock({WRITER})",)) if shared else ("", ())

    def prepare(session: Connection) -> None:
        postgres.require_durable(session)
        deadline = time.monotonic() + LEAVING
        while not session.rows(f"SELECT pg_try_advisory_lock{kind}({OWNER})", {})[0][0]:
            if time.monotonic() > deadline:
                raise Conflict(f"the database {database.name} is in use by another node; stop it first")
            time.sleep(0.02)

    return Connection(database, prepare, opening=opening, patience=postgres.WRITING)
