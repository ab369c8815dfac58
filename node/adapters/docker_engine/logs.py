"""Lines of a container's output: the engine's frames taken apart, capped, and drained whether or not anybody reads.

They come from the engine's log driver and not from an attached stream: an attached stream that nobody reads blocks the
container and every kill of it, while the driver's files can be read twice, which is how a restarted node goes on.
"""

import asyncio
import contextlib
import struct
import threading
from collections.abc import AsyncGenerator
from typing import Any, Final

from market.errors import NeugridError, NotFound
from market.units import Timestamp
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.exits import timestamp_of
from node.ports import LogLine

MAX_LINE: Final = 16 * 1024
LINE_COST: Final = 64
"""Bytes that a line costs besides its text, so that empty lines are bounded too."""
STREAMS: Final = {1: "stdout", 2: "stderr"}
HEADER: Final = struct.Struct(">BxxxL")
CUT: Final = " [cut]"


class LineReader:
    """Frames of the engine's log stream (8 bytes header, then "<time> <text>") in any chunks, lines out.

    Deterministic: reading the same stream again gives the same lines, so that `skip` finds its place. A line over
    `MAX_LINE` bytes is cut; after `limit` bytes one last line says so, and the rest is dropped.
    """

    def __init__(self, skip: int, limit: int) -> None:
        self.count = 0
        self._skip = skip
        self._left = limit
        self._limit = limit
        self._buffer = bytearray()
        self._open: dict[str, tuple[Timestamp, bytearray]] = {}

    def feed(self, chunk: bytes) -> list[LogLine]:
        """The lines that `chunk` completes."""
        self._buffer += chunk
        lines: list[LogLine] = []
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            kind, size = HEADER.unpack_from(self._buffer, at)
            if len(self._buffer) - at - HEADER.size < size:
                break
            at += HEADER.size
            self._take(STREAMS.get(kind, "stdout"), bytes(self._buffer[at : at + size]), lines)
            at += size
        del self._buffer[:at]
        return lines

    def end(self) -> list[LogLine]:
        """The lines that ended without a newline."""
        lines: list[LogLine] = []
        for stream in list(self._open):
            self._close(stream, lines)
        return lines

    def _take(self, stream: str, frame: bytes, lines: list[LogLine]) -> None:
        """One message of the log driver; a line over 16 KiB comes as several, all but the last without newline."""
        if self._left <= 0:
            return
        time, _, text = frame.partition(b" ")
        _, line = self._open.setdefault(stream, (timestamp_of(time.decode()), bytearray()))
        line += text[: MAX_LINE + 1 - len(line)]
        if text.endswith(b"\n"):
            self._close(stream, lines)

    def _close(self, stream: str, lines: list[LogLine]) -> None:
        at, line = self._open.pop(stream)
        text = line.removesuffix(b"\n")
        shown = text[:MAX_LINE].decode(errors="replace") + (CUT if len(text) > MAX_LINE else "")
        self._left -= len(text) + LINE_COST
        if self._left <= 0:
            shown = f"[the log limit of {self._limit} bytes is reached: the rest is not kept]"
            self._open.clear()
        self.count += 1
        if self.count > self._skip:
            lines.append(LogLine(at=at, stream=stream, text=shown))


async def follow(engine: Engine, name: str, skip: int, limit: int) -> AsyncGenerator[list[LogLine], None]:
    """Lines of `name` after the first `skip`, in batches, until the engine closes the stream.

    Raises Unavailable when the engine goes away, NotFound when there is no such container.
    """
    reader = LineReader(skip, limit)
    drain = _Drain(engine, name, reader)
    threading.Thread(target=drain.run, name=f"logs-{name}", daemon=True).start()
    try:
        while (batch := await drain.batches.get()) is not None:
            if isinstance(batch, NeugridError):
                raise batch
            yield batch
    finally:
        drain.close()


class _Drain:
    """Reads one stream to its end in a thread; what waits for a slow reader is bounded by the reader's limit."""

    def __init__(self, engine: Engine, name: str, reader: LineReader) -> None:
        self.batches: asyncio.Queue[list[LogLine] | NeugridError | None] = asyncio.Queue()
        self._engine = engine
        self._name = name
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._answer: Any = None

    def run(self) -> None:
        try:
            self._engine.blocking(self._read)
        except NeugridError as error:
            self._post(error)
        self._post(None)

    def close(self) -> None:
        self._is_closed = True
        if self._answer is not None:
            threading.Thread(target=self._answer.close, daemon=True).start()

    def _read(self, client: Client) -> None:
        where = f"{client.base_url}/v{client.api_version}/containers/{self._name}/logs"
        wanted = {"follow": 1, "stdout": 1, "stderr": 1, "timestamps": 1}
        self._answer = client.get(where, params=wanted, stream=True, timeout=(60, None))
        if self._answer.status_code == 404:
            raise NotFound(f"there is no container {self._name}")
        self._answer.raise_for_status()
        for chunk in self._answer.iter_content(None):
            if self._is_closed:
                return
            if lines := self._reader.feed(chunk):
                self._post(lines)
        if lines := self._reader.end():
            self._post(lines)

    def _post(self, batch: list[LogLine] | NeugridError | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop closed in this moment
            self._loop.call_soon_threadsafe(self.batches.put_nowait, batch)
