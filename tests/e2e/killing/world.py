"""What outlives the nodes: the air between them, container engines, the chain; each life comes in by one socket."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from market.errors import PeerUnreachable, Unavailable
from node.ports import Peer
from tests.e2e.killing.containers import Engine
from tests.e2e.killing.ledger import Ledger, Wallet
from tests.e2e.killing.pace import Pace
from tests.e2e.killing.roles import Role
from tests.e2e.killing.wires import Wire


class Life:
    """One life of a node, as far as it is heard of: its stage, its port, its connection."""

    def __init__(self, role: Role, number: int) -> None:
        self.role = role
        self.number = number
        self.stage = "forked"
        self.port = 0
        self.answers = False
        self.ended = asyncio.Event()
        self.topics: set[str] = set()
        self.wire: Wire | None = None


class World:
    """Serves the socket; `lives` holds the present life of each node."""

    def __init__(self, socket: Path, roles: Iterable[Role], pace: Pace, seed: int) -> None:
        rng = Random(seed)
        self.violations: list[str] = []
        self.ledger = Ledger(rng, self.violations)
        self.roles = {role.name: role for role in roles}
        self.engines = {name: Engine(pace, rng, self.violations) for name in self.roles}
        self.lives = {name: Life(role, 0) for name, role in self.roles.items()}
        self._serving = {name: asyncio.Event() for name in self.roles}
        self.last_words: Counter[tuple[str, str, str]] = Counter()
        self.calls: Counter[str] = Counter()
        self._wallets = {name: Wallet(self.ledger, role.wallet) for name, role in self.roles.items()}
        for wallet in self._wallets:
            self.ledger.tokens[self.roles[wallet].wallet] = 10**12
        self.minted = self.ledger.total()
        self.is_open = asyncio.Event()
        self._socket = socket
        self._pace = pace

    async def serve(self) -> None:
        """Let lives in until cancelled."""
        server = await asyncio.start_unix_server(self._let_in, self._socket)
        self.is_open.set()
        async with server:
            await server.serve_forever()

    def now(self) -> int:
        """The time of the nodes."""
        return self._pace.now()

    def expect(self, name: str) -> int:
        """A new life of this node is about to begin; its number."""
        self.lives[name] = Life(self.roles[name], self.lives[name].number + 1)
        return self.lives[name].number

    async def port_of(self, name: str) -> int:
        """Where the node serves HTTP, as soon as it does."""
        await self._serving[name].wait()
        return self.lives[name].port

    def bury(self, name: str) -> None:
        """The life ended; nobody reaches it any more."""
        self.lives[name].answers = False
        self._serving[name].clear()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A life says its name and number first; one that was killed before that, or replaced since, is not heard."""
        name, _, number = (await reader.readline()).decode().strip().partition(" ")
        life = self.lives.get(name)
        if life is None or str(life.number) != number:
            writer.close()
            return
        life.wire = Wire(reader, writer, lambda call, args: self._answer(life, call, args))
        await life.wire.run()
        life.answers = False
        life.ended.set()

    async def _answer(self, life: Life, call: str, args: list[Any]) -> Any:
        part, _, name = call.rpartition(".")
        self.calls[call] += 1
        if part == "engine":
            return await getattr(self.engines[life.role.name], name)(*args)
        if part == "chain":
            return await getattr(self._wallets[life.role.name], name)(*args)
        return await getattr(self, f"_{name}")(life, *args)

    # --- what a life says of itself ---

    async def _stage(self, life: Life, stage: str, port: int) -> None:
        life.stage = stage
        if stage == "serving" and self.lives[life.role.name] is life:
            life.port = port
            self._serving[life.role.name].set()

    async def _remember(self, life: Life, last: str, pending: str) -> None:
        self.last_words[(life.role.kind, last, pending)] += 1

    # --- the air ---

    async def _open(self, life: Life) -> None:
        life.answers = True

    async def _subscribe(self, life: Life, topic: str) -> None:
        life.topics.add(topic)

    async def _publish(self, life: Life, topic: str, data: bytes) -> None:
        for other in self.lives.values():
            if other is not life and other.answers and other.wire and topic in other.topics:
                other.wire.tell("gossip", topic, data)

    async def _peers(self, life: Life) -> list[Peer]:
        return [Peer(other.role.peer) for other in self.lives.values() if other is not life and other.answers]

    async def _ask(self, life: Life, peer: str, data: bytes, timeout: float) -> bytes:
        other = next((other for other in self.lives.values() if other.role.peer == peer), None)
        if other is None or other.wire is None or not other.answers:
            raise PeerUnreachable("no connection")
        try:
            async with asyncio.timeout(timeout / self._pace.speed):
                answer: bytes = await other.wire.call("answer", life.role.peer, data)
        except TimeoutError:
            raise Unavailable("no answer in time") from None
        return answer
