"""Where a devnet keeps its chain: state nodes and an index of blocks, transactions and logs, in one SQLite file.

Writes gather in memory and become durable together in `commit`, once a block, so that a kill leaves whole blocks.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from eth.db.backends.base import BaseDB
from msgspec import Struct

_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS nodes (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS blocks (number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS transactions (
  hash BLOB PRIMARY KEY, block INTEGER NOT NULL, position INTEGER NOT NULL, sender BLOB NOT NULL, raw BLOB NOT NULL,
  succeeded INTEGER NOT NULL, gas INTEGER NOT NULL, price INTEGER NOT NULL, contract BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS transactions_by_block ON transactions (block, position);
CREATE TABLE IF NOT EXISTS logs (
  block INTEGER NOT NULL, position INTEGER NOT NULL, tx BLOB NOT NULL, tx_position INTEGER NOT NULL,
  address BLOB NOT NULL, topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB, data BLOB NOT NULL,
  PRIMARY KEY (block, position)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS logs_by_address ON logs (address, block);
CREATE INDEX IF NOT EXISTS logs_by_transaction ON logs (tx);
"""
_CACHED_NODES: Final = 50_000


class TransactionRow(Struct, frozen=True, array_like=True):
    """A mined transaction: `raw` as it was sent, `gas` used, `price` paid per gas in wei."""

    hash: bytes
    block: int
    position: int
    sender: bytes
    raw: bytes
    succeeded: bool
    gas: int
    price: int
    contract: bytes | None


class LogRow(Struct, frozen=True, array_like=True):
    """A log: `position` in its block, `tx_position` of its transaction."""

    block: int
    position: int
    tx: bytes
    tx_position: int
    address: bytes
    topic0: bytes | None
    topic1: bytes | None
    topic2: bytes | None
    topic3: bytes | None
    data: bytes

    @property
    def topics(self) -> list[bytes]:
        return [topic for topic in (self.topic0, self.topic1, self.topic2, self.topic3) if topic is not None]


class LogFilter(Struct, frozen=True, kw_only=True):
    """Which logs are wanted; an empty address or topic list means any."""

    first: int
    last: int
    addresses: tuple[bytes, ...] = ()
    topics: tuple[tuple[bytes, ...], ...] = ()


class Store(BaseDB):
    """Key-value for the EVM, tables for the questions. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self._sql = sqlite3.connect(path, check_same_thread=False)
        self._sql.executescript(_SCHEMA)
        self._fresh: dict[bytes, bytes | None] = {}
        self._known: dict[bytes, bytes] = {}

    def __getitem__(self, key: bytes) -> bytes:
        value = self._fresh[key] if key in self._fresh else self._known.get(key) or self._load(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._fresh[key] = value

    def __delitem__(self, key: bytes) -> None:
        self._fresh[key] = None

    def _exists(self, key: bytes) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def _load(self, key: bytes) -> bytes | None:
        row = self._sql.execute("SELECT value FROM nodes WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if len(self._known) > _CACHED_NODES:
            self._known.clear()
        self._known[key] = row[0]
        return bytes(row[0])

    def commit(self) -> None:
        """Make everything since the last commit durable, at once."""
        kept = [(key, value) for key, value in self._fresh.items() if value is not None]
        gone = [(key,) for key, value in self._fresh.items() if value is None]
        self._sql.executemany("INSERT OR REPLACE INTO nodes VALUES (?, ?)", kept)
        self._sql.executemany("DELETE FROM nodes WHERE key = ?", gone)
        self._sql.commit()
        for (key,) in gone:
            self._known.pop(key, None)
        self._known.update(kept)
        self._fresh.clear()

    def discard(self) -> None:
        """Forget everything since the last commit."""
        self._sql.rollback()
        self._fresh.clear()

    def close(self) -> None:
        self._sql.close()

    # --- the index ---

    def add_block(self, number: int, digest: bytes, rows: Iterable[TransactionRow], logs: Iterable[LogRow]) -> None:
        self._sql.execute("INSERT INTO blocks VALUES (?, ?)", (number, digest))
        self._insert("transactions", 9, rows)
        self._insert("logs", 10, logs)

    def rewind(self, number: int) -> None:
        """Forget the blocks above `number`."""
        for table, column in (("blocks", "number"), ("transactions", "block"), ("logs", "block")):
            self._sql.execute(f"DELETE FROM {table} WHERE {column} > ?", (number,))  # noqa: S608 - names of ours

    def block_number(self, digest: bytes) -> int | None:
        row = self._sql.execute("SELECT number FROM blocks WHERE hash = ?", (digest,)).fetchone()
        return row and int(row[0])

    def block_hash(self, number: int) -> bytes | None:
        row = self._sql.execute("SELECT hash FROM blocks WHERE number = ?", (number,)).fetchone()
        return row and bytes(row[0])

    def transaction(self, digest: bytes) -> TransactionRow | None:
        found = self._transactions("hash = ?", (digest,))
        return found[0] if found else None

    def transactions_in(self, block: int) -> list[TransactionRow]:
        return self._transactions("block = ? ORDER BY position", (block,))

    def logs_of(self, transaction: bytes) -> list[LogRow]:
        return self._logs("tx = ?", (transaction,))

    def logs(self, wanted: LogFilter) -> list[LogRow]:
        """The matching logs in the order of the chain."""
        where, values = ["block BETWEEN ? AND ?"], [wanted.first, wanted.last]
        choices = {"address": wanted.addresses} | {f"topic{n}": topic for n, topic in enumerate(wanted.topics)}
        for column, accepted in choices.items():
            if accepted:
                where.append(f"{column} IN ({', '.join('?' * len(accepted))})")
                values.extend(accepted)  # type: ignore[arg-type]
        return self._logs(" AND ".join(where), values)

    def fact(self, name: str) -> int | None:
        row = self._sql.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row and int(row[0])

    def set_fact(self, name: str, value: int) -> None:
        self._sql.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _insert(self, table: str, width: int, rows: Iterable[TransactionRow | LogRow]) -> None:
        values = [tuple(getattr(row, name) for name in row.__struct_fields__) for row in rows]
        self._sql.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", values)  # noqa: S608

    def _transactions(self, where: str, values: Sequence[Any]) -> list[TransactionRow]:
        found = self._sql.execute(f"SELECT * FROM transactions WHERE {where}", values)  # noqa: S608
        return [TransactionRow(*row) for row in found]

    def _logs(self, where: str, values: Sequence[Any]) -> list[LogRow]:
        found = self._sql.execute(f"SELECT * FROM logs WHERE {where} ORDER BY block, position", values)  # noqa: S608
        return [LogRow(*row) for row in found]
