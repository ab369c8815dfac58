"""Questions to the host's own name servers, with the times to live that `getaddrinfo` does not tell."""

import asyncio
import contextlib
import ipaddress
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from market.errors import BadMessage, Unavailable
from node.adapters.egress.dns import NO_SUCH_NAME, OK, Answer, read_answer, write_query

NameServer = tuple[str, int]
SETTINGS: Final = Path("/etc/resolv.conf")
MAX_SERVERS: Final = 3
ROUNDS: Final = 2
PATIENCE: Final = 2.0
"""Seconds that one name server may take for one question."""


class NameServers:
    """The name servers to ask, in this order; none means the host's, looked up anew for each question."""

    def __init__(self, servers: Sequence[NameServer] = (), patience: float = PATIENCE) -> None:
        self._servers = servers
        self._patience = patience

    async def addresses(self, name: str) -> Answer:
        """The IPv4 addresses of `name`; Unavailable when no server gave a clear answer."""
        servers = self._servers or _hosts_servers()
        for server in list(servers) * ROUNDS:
            with contextlib.suppress(TimeoutError, OSError):
                answer = await asyncio.wait_for(_ask(server, name), self._patience)
                if answer.code in (OK, NO_SUCH_NAME):
                    return answer
        raise Unavailable(f"no name server answers for {name}", service="dns")


def servers_of(settings: str) -> tuple[NameServer, ...]:
    """The name servers in the text of /etc/resolv.conf."""
    words = [line.split() for line in settings.splitlines()]
    named = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and _is_address(word[1])]
    return tuple((address, 53) for address in named[:MAX_SERVERS])


def _hosts_servers() -> tuple[NameServer, ...]:
    with contextlib.suppress(OSError):
        return servers_of(SETTINGS.read_text(errors="replace"))
    return ()


async def _ask(server: NameServer, name: str) -> Answer:
    loop = asyncio.get_running_loop()
    number = secrets.randbits(16)
    listener = _Listener(loop.create_future(), number, name)
    transport, _ = await loop.create_datagram_endpoint(lambda: listener, remote_addr=server)
    try:
        transport.sendto(write_query(number, name))
        return await listener.answer
    finally:
        transport.close()


class _Listener(asyncio.DatagramProtocol):
    """Waits for the one answer; its socket is connected, so that nobody but the server is heard."""

    def __init__(self, answer: "asyncio.Future[Answer]", number: int, name: str) -> None:
        self.answer = answer
        self._number = number
        self._name = name

    def datagram_received(self, data: bytes, addr: object) -> None:
        with contextlib.suppress(BadMessage):
            answer = read_answer(data, self._number, self._name)
            if not self.answer.done():
                self.answer.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


def _is_address(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(text))
    return False
