"""The network process's end of the socket to the node: reads commands, writes events in as few writes as possible."""

import logging
from collections.abc import AsyncIterator
from typing import Final

import trio

from node.p2p.frames import COMMANDS, AnyCommand, AnyEvent, Arrived, Unframer, frame

log = logging.getLogger(__name__)

_READ: Final = 256 * 1024
_MOST_GOSSIP: Final = 20_000
_BATCH: Final = 500


class Link:
    """Events go into a queue and leave together; gossip is batched, and dropped when the node does not keep up."""

    def __init__(self, socket: trio.SocketStream) -> None:
        self._socket = socket
        self._events: list[bytes] = []
        self._gossip: list[tuple[str, bytes]] = []
        self._news = trio.Event()
        self.dropped = 0

    def send(self, event: AnyEvent) -> None:
        """Queue an event."""
        self._events.append(frame(event))
        self._news.set()

    def send_gossip(self, topic: str, data: bytes) -> None:
        """Queue a message of verified gossip."""
        if len(self._gossip) >= _MOST_GOSSIP:
            self.dropped += 1
            return
        self._gossip.append((topic, data))
        self._news.set()

    async def commands(self) -> AsyncIterator[AnyCommand]:
        """Commands until the node closes the socket."""
        unframer = Unframer()
        while data := await self._socket.receive_some(_READ):
            for body in unframer.feed(data):
                yield COMMANDS.decode(body)

    async def write(self) -> None:
        """Write what is queued, until cancelled."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._events or self._gossip:
                await self._socket.send_all(self._batch())

    def _batch(self) -> bytes:
        parts, self._events = self._events, []
        for start in range(0, len(self._gossip), _BATCH):
            parts.append(frame(Arrived(self._gossip[start : start + _BATCH])))
        self._gossip = []
        return b"".join(parts)
