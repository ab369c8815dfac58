"""A PostgreSQL database as one side of a backup: read as it is at one moment, replaced in one transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from market.errors import Conflict
from node.adapters import postgres, sqlite
from node.adapters.backups import Side, copy, sqlite_side
from node.adapters.postgres import Connection
from node.adapters.postgres_places import Database
from node.adapters.postgres_storage import writer_of
from node.adapters.rows import SHAPES
from node.adapters.sqlite import Connection as SqliteConnection
from node.migrations import HEAD, migrate

_SEQUENCE = "pg_get_serial_sequence(%(table)s, 'seq')"
_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


def postgres_side(connection: Connection) -> Side:
    """The database of `connection` as a side."""

    def counted(table: str) -> int:
        return int(
            connection.rows(f"SELECT coalesce(pg_sequence_last_value({_SEQUENCE}::regclass), 0)", {"table": table})[0][
                0
            ]
        )

    def count_from(table: str, number: int) -> None:
        if number:
            connection.rows(f"SELECT setval({_SEQUENCE}, %(number)s)", {"table": table, "number": number})

    return Side(
        connection=connection,
        statements=postgres.statements(),
        add=connection.later,
        counted=counted,
        count_from=count_from,
    )


def copy_of_postgres(database: Database) -> Callable[[SqliteConnection], None]:
    """Fills a backup with the database, which may be in use; Conflict when it has not this program's schema."""

    def fill(target: SqliteConnection) -> None:
        with at_one_moment(database) as source:
            fill_with(source, target)

    return fill


@contextmanager
def at_one_moment(database: Database) -> Iterator[Side]:
    """The database as it is now, to be read; Conflict when it has not this program's schema."""
    source = Connection(database, opening=(_ONE_MOMENT,), patience=postgres.WRITING)
    try:
        revision = postgres.revision_of(source)
        if revision != HEAD:
            raise Conflict(f"{database.name} has schema {revision or 'none'}, and this program's is {HEAD}")
        source.begin()
        yield postgres_side(source)
    finally:
        source.close()


def fill_with(source: Side, target: SqliteConnection) -> None:
    """All rows of `source` into a fresh SQLite file."""
    migrate(sqlite.revision_of(target), lambda: sqlite.engine_over(target), "the backup")
    target.begin()
    copy(source, sqlite_side(target))
    target.commit()


@contextmanager
def held_alone(database: Database) -> Iterator[Connection]:
    """A session of the database, which has this program's schema then and is this process's alone."""
    connection = writer_of(database)
    try:
        connection.open()
        migrate(postgres.revision_of(connection), lambda: postgres.engine_over(database), database.name)
        yield connection
    finally:
        connection.close()


def replace_rows(connection: Connection, source: Side) -> None:
    """Put the rows of `source` in the place of all that is there, in one transaction."""
    connection.begin()
    try:
        connection.rows(f"TRUNCATE {', '.join(shape.table for shape in SHAPES.values())} RESTART IDENTITY", {})
        copy(source, postgres_side(connection))
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
