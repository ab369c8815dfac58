"""Which database a node has, by its settings. The data directory belongs to one node, wherever its database is."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from market.errors import ConfigError, Conflict
from node.adapters import sqlite
from node.adapters.backups import Side, sqlite_side
from node.adapters.locks import held
from node.adapters.storage import SqlStorage, open_storage
from node.config import Config, database_password
from node.migrations import HEAD
from node.ports import Calls


@asynccontextmanager
async def open_database(config: Config) -> AsyncIterator[SqlStorage]:
    """The node's storage, for this node alone; raises what `open_storage` and `open_postgres` raise."""
    if not config.storage.url:
        async with open_storage(file_of(config)) as storage:
            yield storage
        return
    from node.adapters.postgres_storage import (
        Use,
        open_postgres,
    )  # the driver takes 0.15 s and 10 MB that SQLite does without

    with held(file_of(config)):
        async with open_postgres(config.storage.url, database_password(), use=Use.NODE) as storage:
            yield storage


@contextmanager
def at_one_moment(config: Config) -> Iterator[Side]:
    """The node's database as it is now, to be read, whether the node runs or not.

    Conflict when there is none yet, or it has not this program's schema; Unavailable when it can not be read.
    """
    if config.storage.url:
        from node.adapters import postgres_backups
        from node.adapters.postgres_places import database_at

        with postgres_backups.at_one_moment(database_at(config.storage.url, database_password())) as side:
            yield side
        return
    path = file_of(config)
    if not path.exists():
        raise Conflict(f"there is no {path} yet")
    connection = sqlite.open_reader(path)
    try:
        revision = sqlite.revision_of(connection)
        if revision != HEAD:
            raise Conflict(f"{path} has schema {revision or 'none'}, and this program's is {HEAD}")
        connection.rows("BEGIN", {})
        yield sqlite_side(connection)
    finally:
        connection.close()


@asynccontextmanager
async def open_beside(config: Config) -> AsyncIterator[SqlStorage]:
    """The same database for an API process beside the node; ConfigError where it is a file, which a node has alone."""
    from node.adapters.postgres_storage import Use, open_postgres

    if not config.storage.url:
        raise ConfigError("API processes beside a node need PostgreSQL: set storage.url")
    async with open_postgres(config.storage.url, database_password(), use=Use.API) as storage:
        yield storage


@contextmanager
def open_calls(config: Config) -> Iterator[Calls | None]:
    """Where calls are counted for all processes of the node; None where there is one alone."""
    if not config.storage.url:
        yield None
        return
    from node.adapters.postgres_calls import PostgresCalls
    from node.adapters.postgres_places import database_at

    calls = PostgresCalls(database_at(config.storage.url, database_password()))
    try:
        yield calls
    finally:
        calls.close()


def look_at_server(config: Config) -> str:
    """What a look at the PostgreSQL server says in one sentence; raises what keeps a node from using it."""
    from node.adapters import postgres
    from node.adapters.postgres_places import database_at

    connection = postgres.Connection(database_at(config.storage.url, database_password()))
    try:
        postgres.require_durable(connection)
        version = connection.rows("SHOW server_version", {})[0][0]
        revision = postgres.revision_of(connection)
    finally:
        connection.close()
    return f"PostgreSQL {version} answers and syncs; " + (f"schema {revision}" if revision else "no tables yet")


def file_of(config: Config) -> Path:
    """The SQLite file; the lock of the data directory is beside it, also where the database is elsewhere."""
    return config.folder / "node.db"
