"""Calls both ways over one Unix socket: how a node reaches the world that outlives it, and is reached by it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Any

import msgspec
from msgspec import Struct

from market import errors
from market.errors import NeugridError, Unavailable

Answer = Callable[[str, list[Any]], Awaitable[Any]]


class Frame(Struct, array_like=True):
    """A call, or with an empty `name` the answer to one; `number` 0 awaits none. `error` is (class, message)."""

    number: int
    name: str
    body: Any = None
    error: tuple[str, str] | None = None


_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder(Frame).decode


class Wire:
    """One end of a connection; `run` it, and it answers calls with `answer`, each in a task of its own.

    `on_answer` is called for each answer that comes, before it is handed on.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Answer,
        on_answer: Callable[[], None] | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._on_answer = on_answer
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_cut = False

    async def call(self, name: str, *args: Any) -> Any:
        """What the other end answers; Unavailable when it goes away first."""
        if self.is_cut:
            raise Unavailable("the other end is gone")
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(Frame(number, name, args))
        try:
            result = await future
            if self._on_answer:
                self._on_answer()
            return result
        finally:
            self._waiting.pop(number, None)

    def tell(self, name: str, *args: Any) -> None:
        """Call without waiting for an answer."""
        self._send(Frame(0, name, args))

    async def run(self) -> None:
        """Take what comes until the other end is gone; calls that wait fail then."""
        try:
            while True:
                size = int.from_bytes(await self._reader.readexactly(4), "big")
                self._take(_decode(await self._reader.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionError):
            self._cut()

    def _take(self, frame: Frame) -> None:
        if frame.name:
            task = asyncio.create_task(self._serve(frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        future = self._waiting.get(frame.number)
        if future is not None and not future.done():
            if frame.error:
                future.set_exception(_error_of(*frame.error))
            else:
                future.set_result(frame.body)

    async def _serve(self, frame: Frame) -> None:
        try:
            answer = Frame(frame.number, "", await self._answer(frame.name, frame.body))
        except NeugridError as error:
            answer = Frame(frame.number, "", error=(type(error).__name__, error.message))
        if frame.number:
            self._send(answer)

    def _send(self, frame: Frame) -> None:
        if not (self.is_cut or self._writer.is_closing()):
            data = _encode(frame)
            self._writer.write(len(data).to_bytes(4, "big") + data)

    def _cut(self) -> None:
        self.is_cut = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable("the other end is gone"))
        for task in self._tasks:
            task.cancel()
        with suppress(OSError):
            self._writer.close()


def _error_of(name: str, message: str) -> NeugridError:
    kind: type[NeugridError] = getattr(errors, name, NeugridError)
    return kind(message)
