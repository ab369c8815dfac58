"""The name server of one workload: it listens inside of the workload's namespace, and nowhere else.

It answers for IPv4 addresses alone, tells no address that nobody may connect to (a name may point anywhere: rebinding),
and under "list" opens an address before it tells it.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from market.egress import is_forbidden, is_named
from market.errors import BadMessage, NeugridError
from market.workloads import Egress
from node.adapters.egress.dns import (
    IPV4,
    MAX_ADDRESSES,
    MAX_QUERY,
    NO_SUCH_NAME,
    OK,
    SERVER_FAILURE,
    Answer,
    Question,
    is_resolvable,
    read_question,
    write_reply,
)

MAX_AT_ONCE: Final = 16
"""Questions of one workload that are worked on; more are dropped, and clients ask again."""
RATE: Final = 50
"""Questions a second of one workload; the same number may come at once."""
MAX_REMEMBERED: Final = 256
SHORTEST: Final = 5
LONGEST: Final = 300
"""Seconds that an answer may hold, whatever its name server says."""
GRACE: Final = 60
"""Seconds that an address stays open after its answer's time: programs connect late. Connections outlive it."""

Admit = Callable[[tuple[str, ...], int], Awaitable[None]]
"""Opens addresses for some seconds."""


class Names(Protocol):
    """What knows the addresses of names."""

    async def addresses(self, name: str) -> Answer: ...


class Resolver:
    """Decides what a workload is told; `is_own` says whether an address is the host's or a neighbour's."""

    def __init__(self, egress: Egress, names: Names, admit: Admit, is_own: Callable[[str], bool]) -> None:
        self._egress = egress
        self._names = names
        self._admit = admit
        self._is_own = is_own
        self._remembered: dict[str, tuple[Answer, float]] = {}

    async def answer(self, question: Question) -> Answer:
        """What the workload is told; never an address that it could not or should not reach."""
        if not is_resolvable(question.name) or not self._is_allowed(question.name):
            return Answer(NO_SUCH_NAME)
        if question.kind != IPV4:
            return Answer(OK)
        try:
            return await self._looked_up(question.name)
        except NeugridError:
            return Answer(SERVER_FAILURE)

    def _is_allowed(self, name: str) -> bool:
        return self._egress.policy == "web" or is_named(name, self._egress.hosts)

    async def _looked_up(self, name: str) -> Answer:
        remembered, until = self._remembered.get(name, (Answer(OK), 0.0))
        left = int(until - time.monotonic())
        if left > 0:
            return Answer(remembered.code, remembered.addresses, left)
        answer = self._cleaned(await self._names.addresses(name))
        if answer.addresses and self._egress.policy == "list":
            await self._admit(answer.addresses, answer.ttl + GRACE)
        self._remember(name, answer)
        return answer

    def _cleaned(self, answer: Answer) -> Answer:
        """Without forbidden addresses; a name that has no others does not exist."""
        good = tuple(dict.fromkeys(a for a in answer.addresses if not is_forbidden(a) and not self._is_own(a)))
        code = NO_SUCH_NAME if answer.addresses and not good else answer.code
        return Answer(code, good[:MAX_ADDRESSES], min(max(answer.ttl, SHORTEST), LONGEST))

    def _remember(self, name: str, answer: Answer) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[name] = (answer, time.monotonic() + answer.ttl)


class Service(asyncio.DatagramProtocol):
    """A resolver on a socket of its namespace, until it is closed."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._tokens, self._at = float(RATE), 0.0

    async def open(self, bound: socket.socket) -> None:
        """Answer on `bound`, which is the service's from now on."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=bound)

    def close(self) -> None:
        """Answer no more."""
        for task in self._tasks:
            task.cancel()
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) <= MAX_QUERY and len(self._tasks) < MAX_AT_ONCE and self._may_ask():
            task = asyncio.get_running_loop().create_task(self._serve(data, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _may_ask(self) -> bool:
        now = time.monotonic()
        self._tokens, self._at = min(RATE, self._tokens + (now - self._at) * RATE), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def _serve(self, data: bytes, client: tuple[str, int]) -> None:
        with contextlib.suppress(BadMessage, OSError):
            question = read_question(data)
            reply = write_reply(question, await self._resolver.answer(question))
            if self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(reply, client)
