"""A node's ports to the world that outlives it: network, containers and chain over one wire."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from market.dialogue import LogPlace
from market.errors import NotFound, PeerUnreachable
from market.offers import Hardware
from market.resources import Resources
from market.units import GIB, Address, Amount, Bytes, MilliCpu, PeerId, Timestamp
from node.ports import (
    Balances,
    ByteStream,
    ChainNews,
    ChannelOnChain,
    Claim,
    Container,
    ContainerSpec,
    Exit,
    Gossip,
    Image,
    IncomingNews,
    LogLine,
    OutputFile,
    Peer,
    Receipt,
    RequestHandler,
    RuntimeHealth,
    StreamHandler,
)
from tests.e2e.killing.roles import CHAIN_ID, CHANNELS
from tests.e2e.killing.wires import Wire


class WiredNetwork:
    def __init__(self, wire: Wire, peer: PeerId) -> None:
        self._wire = wire
        self._peer = peer
        self._queue: asyncio.Queue[Gossip] = asyncio.Queue()
        self._handler: RequestHandler | None = None

    @property
    def peer(self) -> PeerId:
        return self._peer

    async def take(self, call: str, args: list[Any]) -> Any:
        """What comes over the wire."""
        if call == "gossip":
            self._queue.put_nowait(Gossip(*args))
            return None
        if self._handler is None:
            raise NotFound("nobody answers here")
        return await self._handler(*args)

    async def open_stream(self, peer: PeerId, head: bytes, timeout: float = 5.0) -> ByteStream:
        raise PeerUnreachable("this wire carries no streams", peer=peer)

    def serve_streams(self, handler: StreamHandler) -> None:
        """Nobody opens any."""

    async def publish(self, topic: str, data: bytes) -> None:
        await self._wire.call("publish", topic, data)

    async def subscribe(self, topic: str) -> None:
        await self._wire.call("subscribe", topic)

    async def gossip(self) -> AsyncIterator[Gossip]:
        while True:
            yield await self._queue.get()

    async def request(self, peer: PeerId, data: bytes, timeout: float = 5.0) -> bytes:
        answer: bytes = await self._wire.call("ask", peer, data, timeout)
        return answer

    def serve(self, handler: RequestHandler) -> None:
        self._handler = handler
        self._wire.tell("open")

    async def connect(self, address: str) -> None:
        pass

    async def peers(self) -> tuple[Peer, ...]:
        return msgspec.convert(await self._wire.call("peers"), tuple[Peer, ...])

    async def addresses(self) -> tuple[str, ...]:
        return ()


class WiredRuntime:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def health(self) -> RuntimeHealth:
        return RuntimeHealth(is_ok=True, version="wired")

    async def ensure_image(self, reference: str, *, requester: str = "") -> Image:
        return msgspec.convert(await self._wire.call("engine.ensure_image", reference), Image)

    async def images(self) -> tuple[str, ...]:
        return ("busybox",)

    async def start(self, spec: ContainerSpec) -> Timestamp:
        return Timestamp(await self._wire.call("engine.start", spec))

    async def wait(self, name: str) -> Exit:
        return msgspec.convert(await self._wire.call("engine.wait", name), Exit)

    async def logs(self, name: str, skip: int = 0, after: Sequence[LogPlace] = ()) -> AsyncIterator[LogLine]:
        assert not after, "the load is work that ends, which is read from its first line"
        number = skip
        while (line := await self._wire.call("engine.line", name, number)) is not None:
            yield msgspec.convert(line, LogLine)
            number += 1

    async def outputs(self, name: str, wanted: Sequence[str], store: Path, limit: int) -> tuple[OutputFile, ...]:
        found = []
        for path in wanted:
            content: bytes = await self._wire.call("engine.output", name, path)
            digest = sha256(content).hexdigest()
            part = store / f"{name}.taken"
            part.write_bytes(content)
            part.replace(store / digest)
            found.append(OutputFile(path=path, digest=digest, size=len(content)))
        return tuple(found)

    async def stop(self, name: str, grace: int = 5) -> None:
        await self._wire.call("engine.stop", name)

    async def remove(self, name: str) -> None:
        await self._wire.call("engine.remove", name)

    async def containers(self) -> tuple[Container, ...]:
        return msgspec.convert(await self._wire.call("engine.containers"), tuple[Container, ...])


class LargeMachine:
    """More than the load ever needs."""

    async def measure(self) -> tuple[Resources, Hardware]:
        total = Resources(cpu=MilliCpu(512_000), memory=Bytes(1024 * GIB), disk=Bytes(1024 * GIB))
        return total, Hardware(cpu_model="wired", benchmark=1000)


class WiredChain:
    chain_id = CHAIN_ID
    channels = CHANNELS

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def balances(self, address: Address) -> Balances:
        return msgspec.convert(await self._wire.call("chain.balances", address), Balances)

    async def channel(self, channel: str) -> ChannelOnChain:
        return msgspec.convert(await self._wire.call("chain.channel", channel), ChannelOnChain)

    async def earned(self, payee: Address) -> Amount:
        return Amount(await self._wire.call("chain.earned", payee))

    async def deposit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt:
        return await self._send("deposit", signer, payee, amount, key)

    async def claim(self, payee: Address, claims: Sequence[Claim], key: str) -> Receipt:
        return await self._send("claim", payee, list(claims), key)

    async def withdraw(self, to: Address, key: str) -> Receipt:
        return await self._send("withdraw", to, key)

    async def release(self, payer: Address, signer: Address, amount: Amount, key: str) -> Receipt:
        return await self._send("release", payer, signer, amount, key)

    async def start_exit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt:
        return await self._send("start_exit", signer, payee, amount, key)

    async def finish_exit(self, signer: Address, payee: Address, key: str) -> Receipt:
        return await self._send("finish_exit", signer, payee, key)

    async def journal(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._wire.call("chain.journal")
        return found

    async def news(self, cursor: str) -> AsyncIterator[ChainNews]:
        while True:
            news = msgspec.convert(await self._wire.call("chain.news", cursor), ChainNews)
            cursor = news.cursor
            yield news

    async def pay(self, to: Address, amount: Amount, key: str) -> Receipt:
        return await self._send("pay", to, amount, key)

    async def received(self, cursor: str) -> AsyncIterator[IncomingNews]:
        await asyncio.Event().wait()
        yield IncomingNews(transfers=(), cursor=cursor)

    async def _send(self, name: str, *args: Any) -> Receipt:
        return msgspec.convert(await self._wire.call(f"chain.{name}", *args), Receipt)
