"""One session with PostgreSQL: statements prepared once, sent without waiting, and answered together.

A round trip costs a switch between two processes, far more than the statement itself. So what nobody waits for goes
along with the next one that somebody does: libpq's pipeline, https://www.postgresql.org/docs/current/libpq-pipeline-mode.html.
"""

import re
import select
from collections.abc import Callable, Mapping
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from node.adapters.statements import Values

MOST: Final = 256
"""Statements that wait for their answers: bounds what lies in the buffers of both sides."""
_GOOD: Final = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
_NUL, _ESCAPE, _BOTH = "\x01\x01", "\x01\x02", re.compile("\x01(.)", re.DOTALL)
"""PostgreSQL has no text with the character NUL: it becomes two characters U+0001, which itself becomes U+0001 U+0002.
So every text comes back as it was, and their order stays. Bodies are JSON, in which neither stands as it is."""
_NAME: Final = re.compile(r"%\((\w+)\)s")
_INTEGERS: Final = (20, 21, 23, 26)
_BOOLEAN: Final = 16
"""Numbers of types: bigint, smallint, integer and oid; https://www.postgresql.org/docs/current/catalog-pg-type.html."""

Encoded = Mapping[str, bytes | None]
Raw = psycopg.Connection[tuple[Any, ...]]


class _Prepared(Struct, frozen=True):
    """A statement that the server knows by `name`; `names` are its values in the order of their numbers."""

    name: bytes
    names: tuple[str, ...]


class Session:
    """An open session in autocommit; its server is lost when it is silent for `patience` seconds.

    All raise `psycopg.Error`, which says nothing about which of the statements that waited has failed.
    """

    def __init__(self, raw: Raw, patience: float) -> None:
        self._raw = raw
        self._libpq = raw.pgconn
        self._patience = patience * 1000
        self._input = select.poll()
        self._input.register(raw.fileno(), select.POLLIN)
        self._known: dict[str, _Prepared] = {}
        self._fresh: list[str] = []
        self._count = 0
        self.waiting = 0
        """Statements whose answers were not fetched yet."""
        self.failed = 0
        """Which of the statements that waited had the last error."""
        self.said = ""
        """What the server said that it did last: "COMMIT", "INSERT 0 1"."""
        self._libpq.enter_pipeline_mode()

    @property
    def is_full(self) -> bool:
        """Whether so many statements wait that their answers are to be fetched first."""
        return self.waiting >= MOST

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone."""
        return self._libpq.status != ConnStatus.OK

    @property
    def is_idle(self) -> bool:
        """Whether no transaction is open."""
        return self._libpq.transaction_status == TransactionStatus.IDLE

    def send(self, sql: str, values: Encoded) -> None:
        """Send one statement with placeholders `%(name)s`; its answer waits."""
        known = self._known.get(sql) or self._prepare(sql)
        self._libpq.send_query_prepared(known.name, [values[name] for name in known.names])
        self.waiting += 1

    def receive(self) -> list[Any]:
        """Fetch all answers that wait; the rows of the last one, or the first error."""
        waiting, self.waiting, self._fresh, fresh = self.waiting, 0, [], self._fresh
        self._libpq.pipeline_sync()
        results = [self._next() for _ in range(waiting)]
        self._answer()  # the end of the pipeline
        for self.failed, result in enumerate(results):
            if result.status not in _GOOD:
                for sql in fresh:
                    del self._known[sql]
                raise self._error(result)
        if not results:
            return []
        self.said = (results[-1].command_status or b"").decode()
        return _decoded(results[-1])

    def close(self) -> None:
        self._raw.close()

    def _error(self, result: PGresult) -> psycopg.Error:
        error = error_from_result(result)
        if error.sqlstate is None:  # libpq's own word, not the server's: nothing more will come
            self.close()
        return error

    def _next(self) -> PGresult:
        result = self._answer()
        if result is None or self.is_lost:
            said = self._libpq.error_message.decode(errors="replace").strip()
            self.close()
            raise psycopg.OperationalError(said or "no answer came")
        self._answer()  # each result ends in nothing
        return result

    def _answer(self) -> PGresult | None:
        """What comes next; other threads run while this one waits."""
        while self._libpq.is_busy():
            if not self._input.poll(self._patience):
                self.close()
                raise psycopg.OperationalError("no answer came in time")
            self._libpq.consume_input()
        return self._libpq.get_result()

    def _prepare(self, sql: str) -> _Prepared:
        """Names are never given twice, so that it does not matter which statements of a failed pipeline are known."""
        names = tuple(_NAME.findall(sql))
        numbers = iter(range(1, len(names) + 1))
        text = _NAME.sub(lambda _: f"${next(numbers)}", sql).replace("%%", "%")
        self._count += 1
        known = _Prepared(f"s{self._count}".encode(), names)
        self._libpq.send_prepare(known.name, text.encode())
        self.waiting += 1
        self._known[sql] = known
        self._fresh.append(sql)
        return known


def encoded(values: Values) -> Encoded:
    """Values as the server reads them."""
    return {name: _encoded(value) for name, value in values.items()}


def _encoded(value: object) -> bytes | None:
    if isinstance(value, str):
        is_plain = "\0" not in value and "\x01" not in value
        return (value if is_plain else value.replace("\x01", _ESCAPE).replace("\0", _NUL)).encode()
    return None if value is None else str(value).encode()


def _decoded(result: PGresult) -> list[Any]:
    loads = [_loader(result.ftype(column)) for column in range(result.nfields)]
    rows = range(result.ntuples)
    return [tuple(_value(result.get_value(row, column), load) for column, load in enumerate(loads)) for row in rows]


def _value(found: bytes | None, load: Callable[[bytes], Any]) -> Any:
    return None if found is None else load(found)


def _loader(kind: int) -> Callable[[bytes], Any]:
    if kind in _INTEGERS:
        return int
    return (lambda found: found == b"t") if kind == _BOOLEAN else _text


def _text(found: bytes) -> str:
    if b"\x01" not in found:
        return found.decode()
    return _BOTH.sub(lambda pair: "\0" if pair[0] == _NUL else "\x01", found.decode())
