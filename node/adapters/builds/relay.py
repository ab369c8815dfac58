"""The only way out of a clone: a port inside of its namespace that leads to one address, and counts what comes."""

import asyncio
import contextlib
import socket

from node.adapters.builds.hosts import Place

MAX_CONNECTIONS = 16
BLOCK = 65_536
CONNECT = 10.0


class Relay:
    """Passes connections on to `place` until `limit` bytes have come from there."""

    def __init__(self, place: Place, limit: int) -> None:
        self._place = place
        self._left = limit
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_connected = False
        """Whether the place ever took a connection."""

    @property
    def is_exhausted(self) -> bool:
        """Whether more came than may come."""
        return self._left < 0

    async def open(self, listening: socket.socket) -> None:
        """Serve on `listening`, which is the relay's from now on."""
        self._server = await asyncio.start_server(self._serve, sock=listening, backlog=MAX_CONNECTIONS)

    async def close(self) -> None:
        """End all connections."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= MAX_CONNECTIONS or self.is_exhausted:
            writer.close()
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, TimeoutError):
            await self._pass_on(reader, writer)
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, port = self._place.address, self._place.port
        far_reader, far_writer = await asyncio.wait_for(asyncio.open_connection(address, port), CONNECT)
        self.is_connected = True
        outward = asyncio.create_task(_pump(reader, far_writer))
        try:
            while (chunk := await far_reader.read(BLOCK)) and not self._counts_out(chunk):
                writer.write(chunk)
                await writer.drain()
        finally:
            outward.cancel()
            await asyncio.gather(outward, return_exceptions=True)
            far_writer.close()

    def _counts_out(self, chunk: bytes) -> bool:
        self._left -= len(chunk)
        return self.is_exhausted


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(BLOCK):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
