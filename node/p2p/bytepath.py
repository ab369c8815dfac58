"""The way of bytes through libp2p with fewer stops: each lock or checkpoint on it is a turn of trio's loop (15 us).

Same wire format, same flow control. TCP is read ahead in 64 KiB instead of 2 bytes and then the rest; a yamux stream
is read without locks (one task reads it) and returns credit once half of its window is used up.
"""

import struct
from typing import Any, Final

import trio
from libp2p.io import trio as trio_io
from libp2p.io.exceptions import ConnectionClosedError, IOException
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import HEADER_SIZE, MAX_MESSAGE_SIZE, TYPE_DATA, YAMUX_HEADER_FORMAT
from libp2p.transport.tcp import tcp

from market.messages import MAX_DIRECT

_READ: Final = 64 * 1024
_BODY: Final = MAX_MESSAGE_SIZE - HEADER_SIZE
_STALLED: Final = 30.0
_STUCK: Final = 8.0
"""A frame is written within this; a peer that answers no ping is cut sooner."""
_LOOK: Final = 0.25
"""How often a writer without credit looks whether its stream still stands: that it was reset wakes nobody."""
_HEADER: Final = struct.Struct(YAMUX_HEADER_FORMAT)


class ReadAhead(trio_io.TrioTCPStream):
    """A TCP stream that takes what has come and hands it out in the pieces asked for."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self._ahead, self._at = b"", 0

    async def read(self, n: int | None = None) -> bytes:
        if self._at >= len(self._ahead):
            self._ahead, self._at = await super().read(_READ), 0
        end = len(self._ahead) if n is None else min(len(self._ahead), self._at + n)
        piece = self._ahead[self._at : end]
        self._at = end
        return piece


class QuickStream(yamux.YamuxStream):
    """A yamux stream for one reader and one writer; `patience` is how long it waits for a peer that does not read."""

    most_window = MAX_DIRECT
    patience: float | None = None
    _window_left = 0
    _credit: trio.Event | None = None

    @property
    def send_window(self) -> int:
        """Bytes that the peer still takes; the library raises it when credit comes, and that wakes the writer."""
        return self._window_left

    @send_window.setter
    def send_window(self, left: int) -> None:
        self._window_left = left
        if left > 0 and self._credit is not None:
            self._credit.set()

    async def write(self, data: bytes) -> None:
        view, sent = memoryview(data), 0
        while sent < len(view):
            size = min(await self._window(), _BODY, len(view) - sent)
            self.send_window -= size
            header = _HEADER.pack(0, TYPE_DATA, 0, self.stream_id, size)
            try:
                await self.conn._write_frame(header + view[sent : sent + size])
            except IOException as error:
                raise MuxedStreamError("the connection broke") from error
            sent += size

    async def _window(self) -> int:
        """How much may be sent; waits for credit, and gives up on a reader that returns none for too long."""
        deadline = trio.current_time() + (_STALLED if self.patience is None else self.patience)
        while self._window_left <= 0 and not (self.closed or self.send_closed):
            if trio.current_time() > deadline:
                raise MuxedStreamError("the peer does not read")
            self._credit = trio.Event()
            with trio.move_on_after(_LOOK):
                await self._credit.wait()
        if self.closed or self.send_closed:
            raise MuxedStreamError("the stream is closed for sending")
        return self._window_left

    def _apply_autotune_epoch(self, buffered: int) -> int:
        """The window grows no further than this stream's own limit."""
        if self.target_recv_window >= self.most_window:
            self.epoch_start = trio.current_time()
            return 0
        return int(super()._apply_autotune_epoch(buffered))

    async def read(self, n: int | None = -1) -> bytes:
        while True:
            buffer = self.conn.stream_buffers.get(self.stream_id)
            if buffer:
                return await self._take(buffer, len(buffer) if n is None or n < 0 else n)
            if self.reset_received:
                raise MuxedStreamReset("the stream was reset")
            event = self.conn.stream_events.get(self.stream_id)
            if buffer is None or event is None or self.recv_closed or self.conn.event_shutting_down.is_set():
                raise MuxedStreamEOF("the stream has ended")
            if event.is_set():
                event = self.conn.stream_events[self.stream_id] = trio.Event()
            await event.wait()

    async def _take(self, buffer: bytearray, n: int) -> bytes:
        data = bytes(memoryview(buffer)[:n])
        del buffer[:n]
        self._pending_recv_release += len(data)
        if self._pending_recv_release >= self._grow_threshold():
            await self._auto_tune_and_send_window_update()
        if self.closed and not buffer:
            await self.conn._finalize_stream(self, fully_closed=True)
        return data


async def write_frame(connection: Any, data: bytes) -> None:
    """Write one yamux frame; in place of `Yamux._write_frame`, which formats two log lines and yields twice.

    Whoever is cancelled inside of a frame would make nonsense of all that follows: the end of everybody's connection.
    A connection that takes no bytes for so long is cut.
    """
    lock = connection._write_lock
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()
    try:
        with trio.CancelScope(deadline=trio.current_time() + _STUCK, shield=True) as scope:
            await connection.secured_conn.write(bytes(data))
        if scope.cancelled_caught:
            await connection._cut("takes no bytes")
            raise ConnectionClosedError("the peer takes no bytes")
    finally:
        lock.release()


def install() -> None:
    """Put these where the library names its own; no stream's window grows beyond what one request may hold."""
    vars(yamux)["MAX_WINDOW_SIZE"] = MAX_DIRECT
    vars(tcp)["TrioTCPStream"] = ReadAhead
    vars(yamux)["YamuxStream"] = QuickStream
