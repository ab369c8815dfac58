"""Puts the host together: TCP, Noise and yamux only, our doors, our gossip, and none of the library's autopilots."""

import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import trio
from coincurve import PrivateKey
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer import muxer_multistream
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.tools.anyio_service import background_trio_service
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from node.p2p import bytepath
from node.p2p.addresses import ip_and_port
from node.p2p.containment import Doors, GuardedSwarm, WatchedYamux, guarded
from node.p2p.limits import Limits

log = logging.getLogger(__name__)


class CannotListen(Exception):
    """An address is taken or does not exist here."""


def build_host(secret: bytes, limits: Limits) -> BasicHost:
    """A host that listens nowhere yet. Noise is the only security offered: the library would also take plain text."""
    keys = create_new_key_pair(PrivateKey(secret).secret)
    peerstore, me = PeerStore(), ID.from_pubkey(keys.public_key)
    peerstore.add_key_pair(me, keys)
    # Their classes are fixed inside the library, so ours take their place there.
    WatchedYamux.limits = limits
    bytepath.install()
    vars(muxer_multistream)["Yamux"] = WatchedYamux
    noise = Noise(keys, noise_privkey=create_noise_key_pair().private_key)
    upgrader = TransportUpgrader({NOISE: noise}, {TProtocol(YAMUX): WatchedYamux})
    swarm = GuardedSwarm(me, peerstore, upgrader, transports=[TCP()], connection_config=_connections())
    swarm.doors = Doors(limits)
    swarm.auto_connector = cast(AutoConnector, _NoAutopilot())
    host = BasicHost(swarm, disable_identify_address_discovery=True)
    # Identifying each neighbour costs two streams and tells nothing that our own exchange does not.
    swarm.notifees = [notifee for notifee in swarm.notifees if type(notifee).__name__ != "_IdentifyNotifee"]
    swarm.set_stream_handler(guarded(host._swarm_stream_handler))
    return host


class _NoAutopilot:
    """Stands where the library's auto-connector dials every address it has heard of, a thousand at a time."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        """Nothing to run."""

    async def maybe_connect(self) -> None:
        """Never: the keeper connects."""


def _connections() -> ConnectionConfig:
    """Our keeper and doors decide, so the library's limits lie beyond ours."""
    return ConnectionConfig(
        max_connections=2000,
        min_connections=0,
        low_watermark=0,
        high_watermark=2000,
        max_connections_per_peer=2,
        inbound_upgrade_timeout=10,
        outbound_upgrade_timeout=10,
        outbound_stream_protocol_negotiation_timeout=5,
        inbound_stream_protocol_negotiation_timeout=5,
        enable_health_monitoring=False,
    )


@asynccontextmanager
async def running(host: BasicHost, listen: Sequence[str]) -> AsyncIterator[None]:
    """Run the host until the block ends, then close every connection (the library's own `run` leaves them open)."""
    swarm = host.get_network()
    for address in listen:
        _require_free(address)
    async with background_trio_service(swarm):
        try:
            if listen and not await swarm.listen(*map(Multiaddr, listen)):
                raise CannotListen(f"cannot listen on {', '.join(listen)}")
            yield
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 2, shield=True):
                await host.close()


def _require_free(address: str) -> None:
    """The library binds with SO_REUSEPORT, so that two nodes would silently share a port; look before."""
    place = ip_and_port(address)
    if place is None:
        raise CannotListen(f"{address} is not /ip4/<address>/tcp/<port> or /ip6/<address>/tcp/<port>")
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            raise CannotListen(f"cannot listen on {address}: {error.strerror}") from error


async def dial(host: BasicHost, peer: ID, addresses: Sequence[str], timeout: float) -> bool:
    """Connect to `peer` by the first address that works; the library's own dial waits 0.25 s and refuses for 60 s."""
    swarm = cast(GuardedSwarm, host.get_network())
    for address in addresses:
        if swarm.get_connections(peer):
            return True
        with trio.move_on_after(timeout):
            try:
                await swarm._dial_addr_single_attempt(Multiaddr(address), peer)
            except Exception as error:  # noqa: BLE001 - whatever the other end does in the handshake
                log.debug("dialling %s: %r", address, error)
            else:
                return True
    return bool(swarm.get_connections(peer))
