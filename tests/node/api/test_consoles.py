"""What a client may say on a console."""

import asyncio
from typing import Any

import pytest
from litestar.exceptions import WebSocketDisconnect

from market.errors import InvalidParameters
from node.actions.console_doors import FrameKind
from node.api.consoles import _hear


class Client:
    """Says so much, and goes; both ends of the conversation in one."""

    def __init__(self, *messages: bytes) -> None:
        self.messages = list(messages)
        self.passed_on: list[tuple[FrameKind, bytes]] = []

    async def receive_bytes(self) -> bytes:
        if not self.messages:
            raise WebSocketDisconnect(detail="gone")
        return self.messages.pop(0)

    async def say(self, kind: FrameKind, body: bytes) -> None:
        self.passed_on.append((kind, body))


def hear(client: Any) -> None:
    asyncio.run(_hear(client, client))


def test_what_fits_is_passed_on() -> None:
    size = b'{"rows":24,"columns":80}'
    client = Client(b"\x00abc", b"\x02" + size, b"\x01")
    with pytest.raises(WebSocketDisconnect):
        hear(client)
    assert client.passed_on == [(FrameKind.DATA, b"abc"), (FrameKind.SIZE, size), (FrameKind.END, b"")]


@pytest.mark.parametrize(
    "message", [b"", b"\x03", b"\xff", b"\x02", b"\x02{}", b'\x02{"rows":-1,"columns":2}', b"\x02\xff"]
)
def test_what_does_not_fit_is_the_clients_fault(message: bytes) -> None:
    client = Client(message)
    with pytest.raises(InvalidParameters):
        hear(client)
    assert not client.passed_on
