"""Hand-made doubles of the ports, each with a list or a dict inside; the port tests hold them to the real ones."""

import asyncio
import contextlib
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from market.errors import Conflict, InvalidParameters, NotFound, Refused, Unavailable
from market.units import Timestamp
from node.adapters.rows import UNTIL, Columns, Shape, body_of, shape_of
from node.ports import ByteStream, CodeResult, CodeRun, CodeSpec, Language, Sample, Tx
from tests.builders import NOW

N = TypeVar("N", bound=Struct)
M = TypeVar("M", bound=Struct)
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


# --- credentials ---------------------------------------------------------------------------------------------------


class FakePasswords:
    """Hashes that cost nothing."""

    async def hash(self, password: str) -> str:
        return f"hash of {password}"

    async def fits(self, password: str, hash: str) -> bool:
        return hash == f"hash of {password}"


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
        self.announced: list[str] = []

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

    def pair(self, noun: type[N], id: str, column: str, other: type[M]) -> tuple[N | None, M | None]:
        shape, found = shape_of(noun), self.get(noun, id)
        name = shape.column(column)
        return found, self.get(other, shape.columns(found)[name]) if found else None

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

    def announce(self, ids: Sequence[str]) -> None:
        self.announced += ids

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
        self.gate = asyncio.Event()
        """Nothing ends while it is not set."""
        self.gate.set()

    async def languages(self) -> tuple[Language, ...]:
        return tuple(Language(name=name, version="1.0", aliases=(name[:2],)) for name in self.programs)

    async def run(self, spec: CodeSpec) -> CodeResult:
        self.specs.append(spec)
        await self.gate.wait()
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


# --- containers ----------------------------------------------------------------------------------------------------

Served = Callable[[ByteStream], Awaitable[None]]
Command = Callable[[ByteStream, Sequence[str]], Awaitable[int]]


class FakeStream:
    """One end of a connection in memory; `pair` makes both."""

    def __init__(self) -> None:
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._rest = b""
        self._has_ended = False
        self._is_closed = False
        self.other: FakeStream

    @classmethod
    def pair(cls) -> "tuple[FakeStream, FakeStream]":
        near, far = cls(), cls()
        near.other, far.other = far, near
        return near, far

    async def read(self, most: int = 65_536) -> bytes:
        if not self._rest and not self._has_ended:
            self._rest = await self._inbox.get()
            self._has_ended = not self._rest
        data, self._rest = self._rest[:most], self._rest[most:]
        return data

    async def write(self, data: bytes) -> None:
        if self._is_closed or self.other._is_closed:
            raise Unavailable("the connection broke")
        if data:
            self.other._inbox.put_nowait(data)

    async def close_writing(self) -> None:
        self.other._inbox.put_nowait(b"")

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._inbox.put_nowait(b"")
            self.other._inbox.put_nowait(b"")


class FakeSession(FakeStream):
    """A command in a fake container; `size` is what its terminal was told last."""

    size: tuple[int, int] | None = None
    running: "asyncio.Task[int]"

    async def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)

    async def exit_code(self) -> int:
        return await self.running

    async def close(self) -> None:
        self.running.cancel()
        await super().close()


class FakeContainers:
    """`Containers` of rules: what listens on a port and what a command does are coroutines over a stream."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.running: set[str] = set()
        self.ports: dict[tuple[str, int], Served] = {}
        self.commands: dict[str, Command] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        """By container and absolute path."""
        self.samples: dict[str, Sample] = {}
        self.sessions: list[FakeSession] = []
        self.why_not = ""
        self._serving: set[asyncio.Task[None]] = set()

    async def dial(self, name: str, port: int) -> FakeStream:
        self._check(name)
        if (name, port) not in self.ports:
            raise Refused("nothing listens", codes=("PORT_CLOSED",))
        near, far = FakeStream.pair()
        task = asyncio.ensure_future(self._serve(self.ports[name, port], far))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return near

    async def execute(
        self, name: str, command: Sequence[str], *, has_terminal: bool = False, rows: int = 24, columns: int = 80
    ) -> FakeSession:
        self._check(name)
        if not command:
            raise InvalidParameters("no command", field="command")
        near, far = FakeSession.pair()
        assert isinstance(near, FakeSession)
        near.size = (rows, columns) if has_terminal else None
        near.running = asyncio.ensure_future(self._run(command, far))
        self.sessions.append(near)
        return near

    async def pack(self, name: str, path: str) -> AsyncIterator[bytes]:
        self._check(name)
        found = {file: data for (owner, file), data in self.files.items() if owner == name}
        found = {file: data for file, data in found.items() if f"{file}/".startswith(f"{path.rstrip('/')}/")}
        if not found:
            raise NotFound(f"no {path}")
        archive, top = io.BytesIO(), path.rstrip("/").rpartition("/")[0]
        with tarfile.open(fileobj=archive, mode="w") as target:
            for file, data in found.items():
                member = tarfile.TarInfo(f".{file.removeprefix(top)}")
                member.size = len(data)
                target.addfile(member, io.BytesIO(data))
        yield archive.getvalue()

    async def unpack(self, name: str, path: str, chunks: AsyncIterator[bytes], limit: int) -> None:
        self._check(name)
        data = b"".join([chunk async for chunk in chunks])
        if len(data) > limit:
            raise InvalidParameters("too large", field="archive", expected=str(limit))
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive:
                    if file := archive.extractfile(member):
                        self.files[name, f"{path.rstrip('/')}/{member.name.removeprefix('./')}"] = file.read()
        except tarfile.TarError as error:
            raise Conflict(f"no archive: {error}") from error

    async def sample(self, name: str) -> Sample:
        self._check(name)
        return self.samples.get(name) or Sample(at=self._clock.now(), cpu=0, memory=0)

    def _check(self, name: str) -> None:
        if self.why_not:
            raise Unavailable(self.why_not)
        if name not in self.running:
            raise NotFound(f"no container {name!r} runs here")

    async def _serve(self, served: Served, stream: FakeStream) -> None:
        with contextlib.suppress(Unavailable):  # whoever dialled has gone
            await served(stream)
        await stream.close()

    async def _run(self, command: Sequence[str], stream: FakeStream) -> int:
        try:
            if command[0] not in self.commands:
                await stream.write(f"{command[0]}: not found".encode())
                return 127
            return await self.commands[command[0]](stream, command)
        finally:
            await stream.close_writing()
