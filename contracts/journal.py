"""The wallet's journal: every transaction is on disk, signed, before the network hears of it. One file per account."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from contracts.follow import Mined, Sent, State
from contracts.transactions import Fees, Signed
from contracts.values import Call, Receipt
from market.errors import WrongChain
from market.units import Address, Timestamp

_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS wallet (chain_id INTEGER NOT NULL, genesis TEXT NOT NULL, account TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sent (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, nonce INTEGER NOT NULL UNIQUE, target TEXT, data BLOB NOT NULL,
  value TEXT NOT NULL, gas INTEGER NOT NULL, most TEXT NOT NULL, tip TEXT NOT NULL, raw BLOB NOT NULL,
  hash TEXT NOT NULL, state TEXT NOT NULL, sent_at INTEGER);
CREATE INDEX IF NOT EXISTS sent_by_state ON sent (state, nonce);
CREATE TABLE IF NOT EXISTS versions (hash TEXT PRIMARY KEY, sent INTEGER NOT NULL REFERENCES sent);
CREATE TABLE IF NOT EXISTS mined (
  sent INTEGER PRIMARY KEY REFERENCES sent, hash TEXT NOT NULL, block INTEGER NOT NULL, block_hash TEXT NOT NULL,
  succeeded INTEGER NOT NULL, gas INTEGER NOT NULL, fee TEXT NOT NULL);
"""


class Journal:
    """Rows of one account on one chain. Each method is one durable transaction; used by one thread."""

    def __init__(self, path: Path | str) -> None:
        self._sql = sqlite3.connect(path, check_same_thread=False)
        self._sql.executescript(_SCHEMA)

    def close(self) -> None:
        self._sql.close()

    def bind(self, chain_id: int, genesis: str, account: Address) -> None:
        """Take this chain and account for good; WrongChain when the journal belongs to another."""
        found = self._sql.execute("SELECT chain_id, genesis, account FROM wallet").fetchone()
        mine = (chain_id, genesis, account)
        if found is None:
            with self._sql:
                self._sql.execute("INSERT INTO wallet VALUES (?, ?, ?)", mine)
        elif found != mine:
            raise WrongChain("the wallet's journal belongs to another chain or account", expected=found, got=mine)

    def add(self, key: str, nonce: int, call: Call, gas: int, fees: Fees, signed: Signed) -> Sent:
        """Keep a new transaction."""
        with self._sql:
            row = self._sql.execute(
                "INSERT INTO sent (key, nonce, target, data, value, gas, most, tip, raw, hash, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'signed') RETURNING id",
                (
                    key, nonce, call.to, call.data, str(call.value), gas, str(fees.most), str(fees.tip), signed.raw,
                    signed.hash,
                ),
            ).fetchone()  # fmt: skip
            self._sql.execute("INSERT INTO versions VALUES (?, ?)", (signed.hash, row[0]))
        return Sent(id=row[0], key=key, nonce=nonce, call=call, gas=gas, fees=fees, raw=signed.raw, hash=signed.hash)

    def replace(self, id: int, fees: Fees, signed: Signed) -> None:
        """Keep a newer version with the same nonce; older ones stay known by their hashes."""
        with self._sql:
            self._sql.execute(
                "UPDATE sent SET most = ?, tip = ?, raw = ?, hash = ?, sent_at = NULL WHERE id = ?",
                (str(fees.most), str(fees.tip), signed.raw, signed.hash, id),
            )
            self._sql.execute("INSERT INTO versions VALUES (?, ?)", (signed.hash, id))

    def mark_sent(self, id: int, now: Timestamp) -> None:
        with self._sql:
            self._sql.execute("UPDATE sent SET sent_at = ? WHERE id = ?", (now, id))

    def mark(self, id: int, state: State) -> None:
        with self._sql:
            self._sql.execute("UPDATE sent SET state = ? WHERE id = ?", (state.value, id))

    def mark_mined(self, id: int, mined: Mined, state: State) -> None:
        with self._sql:
            self._sql.execute("UPDATE sent SET state = ? WHERE id = ?", (state.value, id))
            self._sql.execute(
                "INSERT OR REPLACE INTO mined VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, mined.hash, mined.block, mined.block_hash, mined.succeeded, mined.gas, str(mined.fee)),
            )

    def reopen_from(self, nonce: int) -> None:
        """Take the settled transactions that the chain has lost (a deep reorg) back to SIGNED, to be sent again."""
        with self._sql:
            self._sql.execute(
                "UPDATE sent SET state = 'signed', sent_at = NULL WHERE nonce >= ? AND state = 'final'", (nonce,)
            )

    def find(self, key: str) -> Sent | None:
        found = self._rows("key = ?", key)
        return found[0] if found else None

    def unsettled(self) -> list[Sent]:
        """What is neither final nor lost, in nonce order."""
        return self._rows("state IN ('signed', 'mined') ORDER BY nonce")

    def open_versions(self) -> list[tuple[int, str]]:
        """(id, hash) of every version of what is unsettled: any of them may be the one that gets mined."""
        found = self._sql.execute(
            "SELECT sent, versions.hash FROM versions JOIN sent ON sent.id = sent WHERE state IN ('signed', 'mined')"
        )
        return [(id, hash) for id, hash in found]

    def receipt(self, id: int) -> Receipt:
        """How a mined transaction ended."""
        hash, block, succeeded, gas, fee = self._sql.execute(
            "SELECT hash, block, succeeded, gas, fee FROM mined WHERE sent = ?", (id,)
        ).fetchone()
        return Receipt(hash=hash, succeeded=bool(succeeded), gas=gas, fee=int(fee), block=block)

    def next_nonce(self) -> int:
        """One above the highest nonce in the journal."""
        return int(self._sql.execute("SELECT coalesce(max(nonce) + 1, 0) FROM sent").fetchone()[0])

    def entries(self) -> list[dict[str, Any]]:
        """Everything ever sent, oldest first, for people to read."""
        found = self._sql.execute(
            "SELECT key, coalesce(mined.hash, sent.hash), nonce, state, block, mined.gas, fee, succeeded"
            " FROM sent LEFT JOIN mined ON mined.sent = sent.id ORDER BY nonce"
        )
        names = ("key", "hash", "nonce", "state", "block", "gas", "fee", "succeeded")
        entries = [dict(zip(names, row, strict=True)) for row in found]
        return [entry | {"succeeded": _truth(entry["succeeded"])} for entry in entries]

    def _rows(self, where: str, *values: Any) -> list[Sent]:
        columns = "id, key, nonce, target, data, value, gas, most, tip, raw, hash, state, sent_at"
        found: Iterable[Any] = self._sql.execute(f"SELECT {columns} FROM sent WHERE {where}", values)  # noqa: S608 - ours
        return [_sent(*row) for row in found]


def _sent(id: int, key: str, nonce: int, target: str | None, data: bytes, value: str, *rest: Any) -> Sent:
    gas, most, tip, raw, hash, state, sent_at = rest
    call = Call(to=None if target is None else Address(target), data=data, value=int(value))
    fees = Fees(most=int(most), tip=int(tip))
    return Sent(
        id=id, key=key, nonce=nonce, call=call, gas=gas, fees=fees, raw=raw, hash=hash, state=State(state),
        sent_at=sent_at,
    )  # fmt: skip


def _truth(value: int | None) -> bool | None:
    return None if value is None else bool(value)
