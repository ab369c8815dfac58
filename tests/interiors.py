"""Containers from inside as rules: a few commands, files in a dictionary, ports that answer what they are asked."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from market.errors import NotFound, Refused
from market.units import Timestamp
from node.ports import ByteStream, Sample
from tests.streams import MemoryStream, memory_streams


class FakeSession:
    """A command: "cat" gives back what it is told, "size" says what it was resized to, "exit" ends with its word."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._inner, self._outer = memory_streams()
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.is_closed = False
        if command[0] == "exit":
            self._end(int(command[1]))

    async def read(self, most: int = 65_536) -> bytes:
        return await self._outer.read(most)

    async def write(self, data: bytes) -> None:
        if self._command[0] == "cat":
            await self._inner.write(data)

    async def resize(self, rows: int, columns: int) -> None:
        if self._command[0] == "size":
            await self._inner.write(f"{rows}x{columns}".encode())

    async def exit_code(self) -> int:
        return await self._code

    async def close_writing(self) -> None:
        self._end(0)

    async def close(self) -> None:
        self.is_closed = True

    def _end(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)
            self._closing = asyncio.ensure_future(self._inner.close_writing())


class FakeContainers:
    """`running` names the containers; `files` is what is inside, `listening` the ports with an echo behind them."""

    def __init__(self, *running: str) -> None:
        self.running = set(running)
        self.files: dict[str, bytes] = {}
        self.listening: set[int] = set()
        self.sessions: list[FakeSession] = []
        self.dialled: list[MemoryStream] = []

    async def dial(self, name: str, port: int) -> ByteStream:
        self._require(name)
        if port not in self.listening:
            raise Refused("nobody listens", codes=("PORT_CLOSED",))
        mine, theirs = memory_streams()
        self.dialled.append(theirs)
        return mine

    async def execute(
        self, name: str, command: Sequence[str], *, has_terminal: bool = False, rows: int = 24, columns: int = 80
    ) -> FakeSession:
        self._require(name)
        self.sessions.append(FakeSession(command))
        return self.sessions[-1]

    async def pack(self, name: str, path: str) -> AsyncIterator[bytes]:
        self._require(name)
        if path not in self.files:
            raise NotFound(f"there is no {path}")
        yield self.files[path]

    async def unpack(self, name: str, path: str, chunks: AsyncIterator[bytes], limit: int) -> None:
        self._require(name)
        self.files[path] = b"".join([chunk async for chunk in chunks])

    async def sample(self, name: str) -> Sample:
        self._require(name)
        return Sample(at=Timestamp(1), cpu=1, memory=1)

    def _require(self, name: str) -> None:
        if name not in self.running:
            raise NotFound("no such container runs", id=name)
