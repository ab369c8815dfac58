"""Commands inside of running containers, over the engine's exec calls and a connection that is taken over.

An engine that can not get rid of a command's output does not notice that its container died, and holds up every kill
of it for 10 s. So output is always taken, into a buffer; a reader that leaves it full for too long ends its command.
And an engine whose client goes away lets the command run on: so closing a session kills it and what it started.
"""

import asyncio
import contextlib
import struct
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

from market.errors import InvalidParameters, NeugridError, NotFound, RateLimited, Unavailable
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.insides import Inside
from node.adapters.docker_engine.reaping import kill_session

HEADER: Final = struct.Struct(">BxxxL")
STDOUT: Final = 1
CHUNK: Final = 64 * 1024
BUFFER: Final = 2**20
"""Bytes of output that wait for a slow reader."""
STALL: Final = 15.0
"""Seconds that the buffer may be full without anybody reading."""
MAX_SESSIONS: Final = 8
"""At most so many at a time in one container: each costs it processes and memory of its own."""
MAX_COMMAND: Final = 128 * 1024
LATE: Final = 0.01
"""Seconds after which the engine is asked first whether a command has ended; doubled up to half a second."""
ENDING: Final = 5.0
"""Seconds that killing a command may take."""
SIZE_TRIES: Final = 8

Frame = tuple[int, bytes]
"""The stream (1 stdout, 2 stderr) and some bytes of it."""


class Sessions:
    """The open sessions of one node, counted by container."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: Counter[str] = Counter()
        self._unwanted: set[asyncio.Task[None]] = set()

    async def start(
        self, inside: Inside, command: Sequence[str], has_terminal: bool = False, rows: int = 24, columns: int = 80
    ) -> "ExecSession":
        """Run `command` as the container's own user, with its privileges and limits and nothing else.

        Raises NotFound when the container has ended, RateLimited when too many sessions are open in it.
        """
        _check(command)
        container = inside.container
        if self._open[container] >= MAX_SESSIONS:
            raise RateLimited(f"at most {MAX_SESSIONS} commands at a time run in one container", limit=MAX_SESSIONS)
        self._open[container] += 1
        starting = asyncio.create_task(self._started(inside, command, has_terminal))
        starting.add_done_callback(lambda _: self._count(container, starting))
        try:
            session = await asyncio.shield(starting)
            if has_terminal:
                with contextlib.suppress(NeugridError):  # it ended before it had a size
                    await session.resize(rows, columns)
        except asyncio.CancelledError:
            starting.add_done_callback(self._end)  # whoever gave up waiting must not leave it running
            raise
        return session

    async def _started(self, inside: Inside, command: Sequence[str], has_terminal: bool) -> "ExecSession":
        wanted = {"stdin": True, "tty": has_terminal}
        try:
            made = await self._engine.call(lambda client: client.exec_create(inside.container, list(command), **wanted))
            body = {"Detach": False, "Tty": has_terminal}
            reader, writer = await self._engine.hijacked(f"/exec/{made['Id']}/start", body)
        except NeugridError as error:
            if not inside.is_alive():
                raise NotFound("the container has ended") from error
            raise
        return ExecSession(self._engine, inside, made["Id"], (reader, writer), has_terminal)

    def _count(self, container: str, starting: "asyncio.Task[ExecSession]") -> None:
        """A session counts until its output has ended, one that did not start no more."""
        if starting.cancelled() or starting.exception() is not None:
            self._leave(container)
        else:
            starting.result().reading.add_done_callback(lambda _: self._leave(container))

    def _end(self, starting: "asyncio.Task[ExecSession]") -> None:
        if not starting.cancelled() and starting.exception() is None:
            ending = asyncio.create_task(starting.result().close())
            self._unwanted.add(ending)
            ending.add_done_callback(self._unwanted.discard)

    def _leave(self, container: str) -> None:
        self._open[container] -= 1
        if self._open[container] <= 0:
            del self._open[container]


class ExecSession:
    """One command: `Session`.

    Without a terminal, stdout and stderr are one stream, in the order in which the engine took them from their two
    pipes: what was written to both within a moment may change places.
    A command that is not in the image says so as output and ends with 126 or 127, as in a shell.
    """

    def __init__(
        self,
        engine: Engine,
        inside: Inside,
        id: str,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        has_terminal: bool,
    ) -> None:
        self._engine = engine
        self._inside = inside
        self._id = id
        self._reader, self._writer = connection
        self._has_terminal = has_terminal
        self._frames: deque[Frame] = deque()
        self._waiting = 0
        self._came = asyncio.Event()
        self._went = asyncio.Event()
        self._error: NeugridError | None = None
        self.reading = asyncio.create_task(self._take_all())

    async def read(self, most: int = 65_536) -> bytes:
        """Some output, at most `most` bytes; b"" when there is no more."""
        return (await self.frame(most))[1]

    async def frame(self, most: int = 65_536) -> Frame:
        """Some output and the stream that it came on; b"" when there is no more."""
        while not self._frames:
            if self.reading.done():
                if self._error is not None:
                    raise self._error
                return STDOUT, b""
            self._came.clear()
            await self._came.wait()
        stream, data = self._frames.popleft()
        if len(data) > most:
            self._frames.appendleft((stream, data[most:]))
        self._waiting -= len(data[:most])
        self._went.set()
        return stream, data[:most]

    async def write(self, data: bytes) -> None:
        """Send input; waits while the command does not read it."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, RuntimeError) as error:
            raise Unavailable("the command takes no more input") from error

    async def close_writing(self) -> None:
        """The end of the input."""
        with contextlib.suppress(OSError, RuntimeError):  # it has ended in this moment
            if not self._writer.is_closing():
                self._writer.write_eof()

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its size; until the command has really begun, the engine has no terminal to tell."""
        if not (1 <= rows <= 1000 and 1 <= columns <= 1000):
            raise InvalidParameters(
                "a terminal has 1 to 1000 rows and columns", field="rows", value=f"{rows}x{columns}"
            )
        for number in range(SIZE_TRIES):
            try:
                return await self._engine.call(lambda client: client.exec_resize(self._id, rows, columns))
            except NeugridError:
                if number == SIZE_TRIES - 1 or self.reading.done():
                    raise
                await asyncio.sleep(LATE * 2**number)
        return None

    async def exit_code(self) -> int:
        """How the command ended; the output has to be read meanwhile, or before. NotFound when the container ended."""
        await asyncio.wait([self.reading])
        delay = LATE
        while (seen := await self._inspect())["Running"] or seen["ExitCode"] is None:
            if not self._inside.is_alive():
                raise NotFound("the container has ended, and the command with it")
            await asyncio.sleep(delay)
            delay = min(2 * delay, 0.5)
        return int(seen["ExitCode"])

    async def close(self) -> None:
        """End the command with all that it started, and let go of the connection."""
        self.reading.cancel()
        self._let_go()
        await self._end()

    def _let_go(self) -> None:
        """Close the connection; input that an engine does not take within `ENDING` is thrown away with it.

        Its writer would wait for ever else, and the connection stand.
        """
        self._writer.close()
        asyncio.get_running_loop().call_later(ENDING, self._writer.transport.abort)

    async def _end(self) -> None:
        with contextlib.suppress(TimeoutError, NeugridError):  # engine or container are gone, and the command with them
            async with asyncio.timeout(ENDING):
                delay = LATE
                while not await self._has_ended():
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, 0.5)

    async def _has_ended(self) -> bool:
        """Whether nothing of the command runs; kills what does. One that is about to begin has no number yet."""
        seen = await self._inspect()
        killed = 0
        if seen["Pid"]:
            killed = await asyncio.to_thread(kill_session, self._inside.container, seen["Pid"])
        is_over = not seen["Running"] and seen["ExitCode"] is not None
        return (is_over and not killed) or not self._inside.is_alive()

    async def _inspect(self) -> dict[str, Any]:
        seen: dict[str, Any] = await self._engine.call(lambda client: client.exec_inspect(self._id))
        return seen

    async def _take_all(self) -> None:
        """Take the output to its end, whether or not anybody reads it."""
        try:
            while frame := await self._next():
                await self._keep(frame)
        except (OSError, EOFError) as error:
            self._error = Unavailable(f"the container engine broke the connection: {error}", service="docker")
        except Unavailable as error:
            self._error = error
            self._let_go()
            await self._end()
        finally:
            self._came.set()
            self._let_go()

    async def _next(self) -> Frame | None:
        if self._has_terminal:
            data = await self._reader.read(CHUNK)
            return (STDOUT, data) if data else None
        head = await self._reader.read(1)
        if not head:
            return None
        stream, size = HEADER.unpack(head + await self._reader.readexactly(HEADER.size - 1))
        while size > CHUNK:
            await self._keep((stream, await self._reader.readexactly(CHUNK)))
            size -= CHUNK
        return stream, await self._reader.readexactly(size)

    async def _keep(self, frame: Frame) -> None:
        while self._waiting >= BUFFER:
            self._went.clear()
            try:
                await asyncio.wait_for(self._went.wait(), STALL)
            except TimeoutError as error:
                raise Unavailable(f"nobody read the command's output for {STALL:.0f} s: it was ended") from error
        if frame[1]:
            self._frames.append(frame)
            self._waiting += len(frame[1])
            self._came.set()


def _check(command: Sequence[str]) -> None:
    size = sum(len(word) for word in command)
    if not command or not command[0] or size > MAX_COMMAND or any("\0" in word for word in command):
        expected = f"at least one word, at most {MAX_COMMAND} characters, no NUL"
        raise InvalidParameters("this is not a command", field="command", value=str(size), expected=expected)
