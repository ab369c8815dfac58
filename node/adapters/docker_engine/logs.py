"""Lines of a container's output: the engine's frames taken apart, capped, and drained whether or not anybody reads.

They come from the engine's log driver and not from an attached stream: an attached stream that nobody reads blocks the
container and every kill of it, while the driver's files can be read twice, which is how a restarted node goes on.
"""

import asyncio
import contextlib
import struct
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, Final

from msgspec import Struct

from market.dialogue import LogPlace
from market.errors import NeugridError, Unavailable
from market.units import Timestamp
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.exits import timestamp_of
from node.adapters.docker_engine.places import Resumption
from node.ports import LogLine

MAX_LINE: Final = 16 * 1024
LINE_COST: Final = 64
"""Bytes that a line costs besides its text, so that empty lines are bounded too."""
STREAMS: Final = {1: "stdout", 2: "stderr"}
SAID: Final = 200
"""Bytes that are repeated of what the engine says about a log that it can not read on."""
HEADER: Final = struct.Struct(">BxxxL")
MOST_WAITING: Final = 4 * 2**20
"""Bytes that wait for the node; a container that writes faster than that only fills the engine's files."""
NODE: Final = "node"
CUT: Final = " [cut]"
MISSING: Final = "[lines are missing here: the engine no longer has them]"


class Place(Struct):
    """How far a log was read: each stream's last line, and the bytes of all lines so far."""

    ends: dict[str, LogPlace] = {}
    skip: int = 0
    """Lines that are passed over, from the first one on."""
    size: int = 0
    is_full: bool = False
    """The limit is reached: nothing of what follows is kept."""


class LineReader:
    """Frames of the engine's log stream (8 bytes header, then "<time> <text>") in any chunks, lines out.

    Deterministic: the same stream gives the same lines again, so that one that was read up to `place`, which moves with
    every line, goes on there. A line over `MAX_LINE` bytes is cut; after `limit` bytes (0 = never), those that were cut
    off included, one last line says so, and the rest is dropped. Where the engine has thrown away lines that nobody
    read, one line says that. Raises Unavailable when the engine itself has lost its place: the log can be read again.
    """

    def __init__(self, place: Place, limit: int) -> None:
        self._place = place
        self._limit = limit
        self._before = Resumption(tuple(place.ends.values()))
        self._buffer = bytearray()
        self._open: dict[str, tuple[Timestamp, bytearray]] = {}
        self._cut_off: Counter[str] = Counter()
        """Bytes of the open lines that are not kept."""

    @property
    def since(self) -> int:
        """Seconds since the epoch from which the stream must begin; 0 = from its first line."""
        return self._before.since

    @property
    def is_full(self) -> bool:
        """The limit is reached."""
        return self._place.is_full

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
            self._take(STREAMS.get(kind, ""), bytes(self._buffer[at : at + size]), lines)
            at += size
        del self._buffer[:at]
        return lines

    def end(self) -> list[LogLine]:
        """The lines that ended without a newline."""
        lines: list[LogLine] = []
        for stream in list(self._open):
            if stream in self._open:  # the limit closes all of them
                self._close(stream, lines)
        return lines

    def _take(self, stream: str, frame: bytes, lines: list[LogLine]) -> None:
        """One message of the log driver; a line over 16 KiB comes as several, all but the last without newline."""
        if self._place.is_full:
            return
        time, _, text = frame.partition(b" ")
        _, line = self._open.setdefault(stream, (_written_at(stream, time, frame), bytearray()))
        kept = text[: MAX_LINE + 1 - len(line)]
        line += kept
        self._cut_off[stream] += len(text) - len(kept)
        # A line that never ends counts while it comes: else it would be read for ever.
        is_over = self._limit and self._place.size + self._cut_off[stream] >= self._limit
        if text.endswith(b"\n") or is_over:
            self._close(stream, lines)

    def _close(self, stream: str, lines: list[LogLine]) -> None:
        at, line = self._open.pop(stream)
        text = line.removesuffix(b"\n")
        shown = text[:MAX_LINE].decode(errors="replace") + (CUT if len(text) > MAX_LINE else "")
        self._emit(
            LogLine(at=at, stream=stream, text=shown), len(text) + LINE_COST + self._cut_off.pop(stream, 0), lines
        )

    def _emit(self, line: LogLine, size: int, lines: list[LogLine]) -> None:
        if self._before.is_known(line):
            return
        if self._before.is_behind_gap(line):
            lines.append(LogLine(at=line.at, stream=NODE, text=MISSING))
        place = self._place
        place.ends[line.stream] = _behind(place.ends.get(line.stream), line)
        place.size += size
        if self._limit and place.size >= self._limit:
            self._open.clear()
            place.is_full = True
            line = LogLine(
                line.at, line.stream, f"[the log limit of {self._limit} bytes is reached: the rest is not kept]"
            )
        if place.skip:
            place.skip -= 1
        else:
            lines.append(line)


def _behind(last: LogPlace | None, line: LogLine) -> LogPlace:
    """The place behind a line, which follows `last` in its stream."""
    count = last.count + 1 if last is not None and last.at == line.at else 1
    return LogPlace(line.stream, line.at, count)


def _written_at(stream: str, time: bytes, frame: bytes) -> Timestamp:
    """The time of a message; an engine that can not follow its own files says so in between, on a third stream."""
    try:
        if stream:
            return timestamp_of(time.decode())
    except ValueError:
        pass
    said = frame[:SAID].decode(errors="replace").strip()
    raise Unavailable(f"the engine lost its place in a log: {said}", service="docker")


async def follow(
    engine: Engine, name: str, place: Place, limit: int, is_live: bool = True, kind: str = "containers"
) -> AsyncGenerator[list[LogLine], None]:
    """Lines of `name` after `place`, which moves with them; live ones come until the engine closes the stream.

    `kind` is what has that name: "services" are relayed from whichever machine they are on. Raises Unavailable when
    the engine goes away, NotFound when there is no such container.
    """
    drain = _Drain(engine, f"/{kind}/{name}/logs", LineReader(place, limit), is_live)
    threading.Thread(target=drain.run, name=f"logs-{name}", daemon=True).start()
    try:
        while not drain.is_done or drain.lines:
            await drain.woken.wait()
            drain.woken.clear()
            if batch := drain.taken():
                yield batch
        if drain.error is not None:
            raise drain.error
    finally:
        drain.close()


class _Drain:
    """Reads one stream to its end, or to the limit, in a thread that stands still while MOST_WAITING bytes wait."""

    def __init__(self, engine: Engine, path: str, reader: LineReader, is_live: bool) -> None:
        self.woken = asyncio.Event()
        self.lines: list[LogLine] = []
        self.is_done = False
        self.error: NeugridError | None = Unavailable("the log can not be read", service="docker")
        self._engine = engine
        self._path = path
        self._reader = reader
        self._is_live = is_live
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._taken = threading.Condition()
        self._is_closed = False
        self._stream: Any = None

    def taken(self) -> list[LogLine]:
        """All lines that have come since the last call."""
        with self._taken:
            lines, self.lines, self._waiting = self.lines, [], 0
            self._taken.notify()
        return lines

    def run(self) -> None:
        try:
            self._engine.blocking(self._read)
            self.error = None
        except NeugridError as error:
            self.error = error
        finally:  # whatever it was, nobody waits for ever
            self.is_done = True
            self._wake()

    def close(self) -> None:
        """End the stream: nobody reads any more."""
        with self._taken:
            self._is_closed = True
            self._taken.notify()
        if self._stream is not None and not self.is_done:
            with contextlib.suppress(OSError, AttributeError):  # it may have ended by itself in this moment
                self._stream.close()

    def _read(self, _: Client) -> None:
        wanted = {"since": self._reader.since} if self._reader.since else {}
        self._stream = self._engine.stream(
            self._path, follow=int(self._is_live), stdout=1, stderr=1, timestamps=1, **wanted
        )
        for chunk in self._stream:
            self._add(self._reader.feed(chunk))
            if self._is_closed or self._reader.is_full:
                self._stream.close()
                return
        self._add(self._reader.end())

    def _add(self, lines: list[LogLine]) -> None:
        if lines:
            with self._taken:
                was_empty = not self.lines
                self.lines += lines
                self._waiting += sum(len(line.text) + LINE_COST for line in lines)
            if was_empty:
                self._wake()
            with self._taken:
                self._taken.wait_for(lambda: self._waiting < MOST_WAITING or self._is_closed)

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop closed in this moment
            self._loop.call_soon_threadsafe(self.woken.set)
