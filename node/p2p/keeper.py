"""Holds live connections to several different peers: redials lost ones, and learns of new ones from those it has.

Over `/neugrid/peers/1` a peer sends one frame, a JSON array with the multiaddrs it listens on, and gets one frame
back, a JSON array of multiaddrs of other peers, each ending in /p2p/<peer id>.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID

from node.p2p.addresses import host_and_port, ip_and_port, is_dialable, may_hear, reachable, split_peer
from node.p2p.book import Book
from node.p2p.containment import contained
from node.p2p.host import dial
from node.p2p.limits import Limits
from node.p2p.streams import FrameReader, framed

log = logging.getLogger(__name__)

PEERS: Final = TProtocol("/neugrid/peers/1")
_TOLD: Final = 16
_MOST_TOLD: Final = 64
_MAX_FRAME: Final = 32 * 1024
_PACE: Final = 0.25
_DIAL: Final = 5.0
_DIALS: Final = 8
_EXCHANGE: Final = 30.0
_EXCHANGE_HUNGRY: Final = 2.0
_SAVE: Final = 10.0
_ADDRESSES: Final = msgspec.json.Decoder(list[str])


class Keeper:
    """The connections of this host; `is_banned` says whom not to dial."""

    def __init__(self, host: BasicHost, book: Book, limits: Limits, is_banned: Callable[[str], bool]) -> None:
        self._host, self._book, self._limits, self._is_banned = host, book, limits, is_banned
        self._dialling: dict[str, trio.Event] = {}
        self.announced: tuple[str, ...] = ()

    # --- connections --------------------------------------------------------------------------------------------

    def connected(self) -> set[str]:
        """The ids of the peers connected now."""
        connections = self._host.get_network().connections
        return {str(peer) for peer, live in connections.items() if any(not c.is_closed for c in live)}

    def own_addresses(self) -> tuple[str, ...]:
        """Where others can reach this host, without the peer id."""
        if self.announced:
            return self.announced
        listeners = self._host.get_network().listeners.values()
        return reachable(str(address) for listener in listeners for address in listener.get_addrs())

    async def reach(self, peer: str) -> bool:
        """Connect to a peer by what the book knows, or wait for a dial that is under way; False when that fails."""
        if peer in self.connected():
            return True
        under_way = self._dialling.get(peer)
        if under_way is not None:
            await under_way.wait()
            return peer in self.connected()
        return await self._dial(peer)

    async def _dial(self, peer: str) -> bool:
        done = self._dialling[peer] = trio.Event()
        try:
            addresses = [address for known in self._book.addresses(peer) for address in await _resolved(known)]
            is_up = await dial(self._host, ID.from_base58(peer), addresses, _DIAL)
        except ValueError:
            is_up = False
        finally:
            del self._dialling[peer]
            done.set()
        if is_up:
            self._book.connected(peer)
        else:
            self._book.failed(peer, trio.current_time())
        return is_up

    async def run(self) -> None:
        """Dial whoever is missing, four times a second, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._every, self._exchange_once)
            nursery.start_soon(self._save)
            known: set[str] = set()
            while True:
                connected = self.connected()
                for peer in connected - known:
                    nursery.start_soon(self._exchange_with, peer)
                known = connected
                for peer in connected:
                    self._book.connected(peer)
                free = _DIALS - len(self._dialling)
                for peer in self._book.due(connected, self._limits.connections, trio.current_time())[: max(0, free)]:
                    if peer not in self._dialling and not self._is_banned(peer):
                        nursery.start_soon(contained(self._dial), peer)
                await trio.sleep(_PACE)

    async def _every(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            is_hungry = len(self.connected()) < self._limits.connections
            await trio.sleep((_EXCHANGE_HUNGRY if is_hungry else _EXCHANGE) * random.uniform(0.8, 1.2))  # noqa: S311
            await work()

    async def _save(self) -> None:
        while True:
            await trio.sleep(_SAVE)
            self._book.save()

    # --- exchange -----------------------------------------------------------------------------------------------

    async def _exchange_once(self) -> None:
        """Ask one random neighbour."""
        connected = sorted(self.connected())
        if not connected:
            return
        await self._exchange_with(random.choice(connected))  # noqa: S311

    async def _exchange_with(self, peer: str) -> None:
        try:
            with trio.move_on_after(5):
                await self.exchange(peer)
        except Exception as error:  # noqa: BLE001 - a neighbour may speak no such protocol; that is no fault
            log.debug("no peers from %s: %r", peer, error)

    async def exchange(self, peer: str) -> None:
        """Tell a connected peer where we are and learn from its answer."""
        stream = await self._host.new_stream(ID.from_base58(peer), [PEERS])
        try:
            await stream.write(framed(msgspec.json.encode(self.own_addresses())))
            self._learn(stream, await FrameReader(stream, _MAX_FRAME).frame())
        finally:
            await stream.close()

    async def handle(self, stream: INetStream) -> None:
        """The other side of an exchange: a peer speaks for its own addresses only."""
        with trio.fail_after(10):
            told = _ADDRESSES.decode(await FrameReader(stream, _MAX_FRAME).frame())
            peer, ip = str(stream.muxed_conn.peer_id), _ip_of(stream)
            places = [split_peer(text)[0] for text in told[:_MOST_TOLD]]
            self._book.learn(peer, [p for p in places if may_hear(p, ip)] + _seen_at(places, ip), first=True)
            self._book.connected(peer)
            known = self._book.sample(_TOLD, without=peer)
            answer = [f"{place}/p2p/{other}" for other, places in known for place in places if may_hear(place, ip)]
            await stream.write(framed(msgspec.json.encode(answer)))
            await stream.close()

    def _learn(self, stream: INetStream, answer: bytes) -> None:
        ip = _ip_of(stream)
        for text in _ADDRESSES.decode(answer)[:_MOST_TOLD]:
            place, peer = split_peer(text)
            if peer and is_dialable(place) and may_hear(place, ip):
                self._book.learn(peer, [place])


def _ip_of(stream: INetStream) -> str:
    remote = stream.get_remote_address()
    return str(remote[0]) if remote else ""


def _seen_at(places: list[str], ip: str) -> list[str]:
    """The IP we see the peer at, with the ports it listens on: right when it does not know its own address."""
    ports = [place[1] for text in places if (place := ip_and_port(text))]
    return [f"/ip{6 if ':' in ip else 4}/{ip}/tcp/{port}" for port in ports[:1]] if ip else []


async def _resolved(address: str) -> list[str]:
    """The address with names replaced by IPs."""
    host = host_and_port(address)
    if host is None or not host[0].startswith("dns"):
        return [address]
    try:
        found = await trio.socket.getaddrinfo(host[1], host[2], type=trio.socket.SOCK_STREAM)
    except OSError:
        return []
    ips = dict.fromkeys(str(place[0]) for *_, place in found)
    wanted = {"dns4": (4,), "dns6": (6,)}.get(host[0], (4, 6))
    return [f"/ip{v}/{ip}/tcp/{host[2]}" for ip in ips if (v := 6 if ":" in ip else 4) in wanted]
