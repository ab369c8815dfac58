"""Durable state in SQL, and on SQLite: nouns in, nouns out; reads in the event loop, writes in groups (`commits`)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from node.adapters import sqlite
from node.adapters.commits import GroupCommit, Transactions
from node.adapters.locks import held
from node.adapters.rows import SMALL, Columns, Shape, body_of, shape_of
from node.adapters.statements import Statements, Values, values_of
from node.migrations import migrate
from node.ports import Bells, Tx

N = TypeVar("N", bound=Struct)
M = TypeVar("M", bound=Struct)
R = TypeVar("R")
FEW: Final = 100
"""Nouns that a search may find to be remembered in its transaction."""


class Connection(Transactions, Protocol):
    """What a storage needs of a connection; all raise NeugridError."""

    @property
    def age(self) -> int: ...
    def rows(self, sql: str, values: Values) -> list[Any]: ...
    def later(self, sql: str, values: Values) -> None: ...
    def close(self) -> None: ...


class SqlReader:
    """Reads over one connection; the SQL comes ready, the rows become nouns by their JSON body alone."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements

    def get(self, noun: type[N], id: str) -> N | None:
        shape = shape_of(noun)
        rows = self._connection.rows(self._statements.get(shape), {"key": shape.key_of(id)})
        return shape.decode(*rows[0]) if rows else None

    def find(
        self,
        noun: type[N],
        *,
        limit: int = 0,
        offset: int = 0,
        after: tuple[int, str] | None = None,
        newest: bool = False,
        **where: object,
    ) -> list[N]:
        shape = shape_of(noun)
        sql = self._statements.find(shape, where, limit > 0, after is not None, newest)
        values = {**values_of(where), "limit": limit, "offset": offset, **_place(shape, after)}
        return self._found(noun, sql, values)

    def count(self, noun: type[Struct], **where: object) -> int:
        sql = self._statements.count(shape_of(noun), where)
        return int(self._connection.rows(sql, values_of(where))[0][0])

    def _found(self, noun: type[N], sql: str, values: Values) -> list[N]:
        shape = shape_of(noun)
        return [shape.decode(*row) for row in self._connection.rows(sql, values)]


class SqlTx(SqlReader):
    """The open transaction of the writer's thread; it knows what it has read or written, for nobody else writes."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        super().__init__(connection, statements)
        self._age = -1
        self._nouns: dict[tuple[type[Struct], str], Any] = {}
        self._pages: dict[type[Struct], dict[tuple[object, ...], list[Any]]] = {}

    def get(self, noun: type[N], id: str) -> N | None:
        self._look()
        if shape_of(noun).key != "id":
            return super().get(noun, id)
        if (noun, id) not in self._nouns:
            self._nouns[noun, id] = super().get(noun, id)
        known: N | None = self._nouns[noun, id]
        return known

    def put(self, noun: Struct) -> None:
        self._store(noun, self._statements.put)

    def insert(self, noun: Struct) -> None:
        self._store(noun, self._statements.insert)

    def delete(self, noun: type[Struct], id: str) -> None:
        shape = shape_of(noun)
        self._write(shape, self._statements.delete(shape), {"key": shape.key_of(id)})
        self._look()
        self._pages.pop(noun, None)
        self._nouns[noun, id] = None

    def _found(self, noun: type[N], sql: str, values: Values) -> list[N]:
        self._look()
        pages, question = self._pages.setdefault(noun, {}), (sql, *values.items())
        if question not in pages:
            found = super()._found(noun, sql, values)
            if len(found) > FEW:
                return found
            pages[question] = found
        return [*pages[question]]

    def _store(self, noun: Any, statement: Callable[[Shape, Columns], str]) -> None:
        shape = shape_of(type(noun))
        body = body_of(noun)
        row = {**shape.columns(noun), "body": body}
        self._write(shape, statement(shape, row), row)
        self._look()
        self._pages.pop(type(noun), None)
        if shape.key == "id" and len(body) <= SMALL:
            self._nouns[type(noun), noun.id] = noun
        else:
            self._nouns.pop((type(noun), getattr(noun, "id", "")), None)

    def _write(self, shape: Shape, sql: str, values: Values) -> None:
        """Wait for reads alone, and for columns that may be taken."""
        run = self._connection.rows if shape.unique else self._connection.later
        run(sql, values)

    def _look(self) -> None:
        """Forget everything that may be otherwise by now."""
        if self._age != self._connection.age:
            self._age = self._connection.age
            self._nouns.clear()
            self._pages.clear()

    def announce(self, ids: Sequence[str]) -> None:
        """Nobody else has a file of SQLite open."""


class SqlStorage(SqlReader):
    """The port `Storage` on two connections: one reads in the loop, one writes in its thread, as `tx`."""

    def __init__(
        self, reader: Connection, writer: Connection, tx: Tx, statements: Statements, bells: Bells | None = None
    ) -> None:
        super().__init__(reader, statements)
        self.bells = bells
        """What other processes on the database announce; None where there are none."""
        self._writer = writer
        self._group: GroupCommit[Tx] = GroupCommit(writer, tx)

    @property
    def commits(self) -> int:
        """Transactions committed since the storage was opened; fewer than writes under load."""
        return self._group.commits

    def start(self) -> None:
        """Start the writer's thread."""
        self._group.start()

    def pair(self, noun: type[N], id: str, column: str, other: type[M]) -> tuple[N | None, M | None]:
        shape, others = shape_of(noun), shape_of(other)
        rows = self._connection.rows(self._statements.pair(shape, column, others), {"key": shape.key_of(id)})
        if not rows:
            return None, None
        key, body, other_key, other_body = rows[0]
        return shape.decode(key, body), None if other_body is None else others.decode(other_key, other_body)

    def write(self, work: Callable[[Tx], R]) -> "asyncio.Future[R]":
        return self._group.write(work)

    async def close(self) -> None:
        """Commit what waits, then close; writes after it raise Unavailable."""
        await self._group.close()
        self._connection.close()
        self._writer.close()


@asynccontextmanager
async def open_storage(path: Path) -> AsyncIterator[SqlStorage]:
    """The SQLite file `path`, made or migrated to this program's schema, for this process alone.

    Raises Conflict when another process has it or a newer program wrote it, Unavailable when it can not be used.
    """
    with held(path):
        writer, reader = await asyncio.to_thread(_opened, path)
        statements = sqlite.statements()
        async with serving(SqlStorage(reader, writer, SqlTx(writer, statements), statements)) as storage:
            yield storage


@asynccontextmanager
async def serving(storage: SqlStorage) -> AsyncIterator[SqlStorage]:
    """The storage with its writer's thread; closed at the end."""
    storage.start()
    try:
        yield storage
    finally:
        await storage.close()


def _opened(path: Path) -> tuple[sqlite.Connection, sqlite.Connection]:
    writer = sqlite.open_writer(path)
    try:
        migrate(sqlite.revision_of(writer), lambda: sqlite.engine_over(writer), str(path))
        return writer, sqlite.open_reader(path)
    except BaseException:
        writer.close()
        raise


def _place(shape: Shape, after: tuple[int, str] | None) -> Values:
    if after is None:
        return {}
    places: dict[str, Any] = {"created": after[0], shape.key: shape.key_of(after[1])}
    return {f"after_{name}": places[name] for name in shape.order}
