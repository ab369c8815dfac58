"""A name server on loopback that knows a dict of names."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from node.adapters.egress.dns import NO_SUCH_NAME, OK, Answer, read_question, write_reply


class _Server(asyncio.DatagramProtocol):
    def __init__(self, known: Mapping[str, tuple[str, ...]], is_silent: bool) -> None:
        self._known = known
        self._is_silent = is_silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        question = read_question(data)
        found = self._known.get(question.name)
        answer = Answer(NO_SUCH_NAME) if found is None else Answer(OK, found, 60)
        if not self._is_silent:
            self._transport.sendto(write_reply(question, answer), addr)  # type: ignore[attr-defined]


@asynccontextmanager
async def a_name_server(
    known: Mapping[str, tuple[str, ...]], is_silent: bool = False
) -> AsyncIterator[tuple[str, int]]:
    """The address and port of a server; a silent one never answers."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Server(known, is_silent), local_addr=("127.0.0.1", 0))
    yield transport.get_extra_info("sockname")
    transport.close()
