"""Hand-made doubles of the ports, each with a list or a dict inside; the port tests hold them to the real ones."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from market.errors import Conflict, NotFound
from market.units import Timestamp
from node.adapters.rows import UNTIL, Columns, Shape, body_of, shape_of
from node.ports import CodeResult, CodeRun, CodeSpec, Language, Tx
from tests.builders import NOW

N = TypeVar("N", bound=Struct)
R = TypeVar("R")


# --- clock ---------------------------------------------------------------------------------------------------------


class FakeClock:
    """Time that moves only when the test says so."""

    def __init__(self, now: int = NOW) -> None:
        self._now = now

    def now(self) -> Timestamp:
        return Timestamp(self._now)

    def advance(self, milliseconds: int) -> None:
        self._now += milliseconds


# --- storage -------------------------------------------------------------------------------------------------------

Key = str | int
Rows = dict[Key, tuple[Columns, str]]
"""By key: the columns that are searched by, and the JSON body."""


class MemoryStorage:
    """`Storage` in dicts; also keeps bodies as JSON, so that what can not be stored fails here as well."""

    def __init__(self) -> None:
        self._tables: dict[str, Rows] = {}
        self._last_seq = 0
        self._undo: list[Callable[[], None]] = []

    def get(self, noun: type[N], id: str) -> N | None:
        shape = shape_of(noun)
        key = shape.key_of(id)
        row = self._rows(shape).get(key)
        return shape.decode(key, row[1]) if row else None

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
        found = sorted(self._fitting(shape, where), key=lambda row: _place(shape, row[0]), reverse=newest)
        if after is not None:
            last = _place(shape, {"created": after[0], shape.key: shape.key_of(after[1])})
            found = [row for row in found if (_place(shape, row[0]) < last if newest else _place(shape, row[0]) > last)]
        return [
            shape.decode(columns[shape.key], body)
            for columns, body in (found[offset : offset + limit] if limit else found)
        ]

    def count(self, noun: type[Struct], **where: object) -> int:
        return len(self._fitting(shape_of(noun), where))

    async def write(self, work: Callable[[Tx], R]) -> R:
        self._undo = []
        try:
            result = work(self)
        except BaseException:
            for undo in reversed(self._undo):
                undo()
            raise
        await asyncio.sleep(0)
        return result

    def put(self, noun: Struct) -> None:
        shape = shape_of(type(noun))
        columns = shape.columns(noun)
        if shape.key not in columns:
            self._last_seq += 1
            columns[shape.key] = self._last_seq
        self._refuse_twins(shape, columns)
        self._set(shape, columns[shape.key], (columns, body_of(noun)))

    def insert(self, noun: Struct) -> None:
        shape = shape_of(type(noun))
        if shape.columns(noun).get(shape.key) in self._rows(shape):
            raise Conflict(f"taken already: {shape.table}.{shape.key}")
        self.put(noun)

    def delete(self, noun: type[Struct], id: str) -> None:
        shape = shape_of(noun)
        self._set(shape, shape.key_of(id), None)

    def _rows(self, shape: Shape) -> Rows:
        return self._tables.setdefault(shape.table, {})

    def _fitting(self, shape: Shape, where: dict[str, object]) -> list[tuple[Columns, str]]:
        for name in where:
            shape.column(name)
        return [row for row in self._rows(shape).values() if all(_fits(shape, row[0], *item) for item in where.items())]

    def _refuse_twins(self, shape: Shape, columns: Columns) -> None:
        for name in shape.unique:
            for key, (other, _) in self._rows(shape).items():
                if other[name] == columns[name] and key != columns[shape.key]:
                    raise Conflict(f"taken already: {shape.table}.{name}")

    def _set(self, shape: Shape, key: Key, row: tuple[Columns, str] | None) -> None:
        rows = self._rows(shape)
        before = rows.pop(key, None)
        if row is not None:
            rows[key] = row
        self._undo.append(lambda: _restore(rows, key, before))


def _restore(rows: Rows, key: Key, row: tuple[Columns, str] | None) -> None:
    rows.pop(key, None)
    if row is not None:
        rows[key] = row


def _place(shape: Shape, columns: Columns) -> tuple[Any, ...]:
    return tuple(columns[name] for name in shape.order)


def _fits(shape: Shape, columns: Columns, name: str, wanted: Any) -> bool:
    column = shape.column(name)
    if name.endswith(UNTIL):
        return columns[column] <= wanted and (column != "deadline" or columns[column] > 0)
    return columns[column] in wanted if isinstance(wanted, tuple | list) else columns[column] == wanted


# --- sandboxes -----------------------------------------------------------------------------------------------------

Program = Callable[[str, str], CodeRun]
"""From code and input to how it ends."""


class FakeSandboxes:
    """Runs "code" as rules: `programs` by language; by default the input comes back after "hello "."""

    def __init__(self, *languages: str) -> None:
        self.programs: dict[str, Program] = dict.fromkeys(languages or ("python",), _hello)
        self.specs: list[CodeSpec] = []
        self.failure: Exception | None = None
        """Raised instead of an answer."""

    async def languages(self) -> tuple[Language, ...]:
        return tuple(Language(name=name, version="1.0", aliases=(name[:2],)) for name in self.programs)

    async def run(self, spec: CodeSpec) -> CodeResult:
        self.specs.append(spec)
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        program = next((self.programs[name] for name in self.programs if spec.language in (name, name[:2])), None)
        if program is None:
            raise NotFound(f"there is no language {spec.language!r}", language=spec.language)
        runs = tuple(program(spec.code, text) for text in spec.inputs)
        failed = [run for run in runs if run.error == "CompilationError"]
        return CodeResult(runs=tuple(failed[:1]) or runs)

    async def close(self) -> None:
        self.programs.clear()


def _hello(code: str, stdin: str) -> CodeRun:
    return CodeRun(stdout=f"hello {stdin}\n", milliseconds=1)
