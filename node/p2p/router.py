"""The gossipsub 1.1 router: who gets a message, and the heartbeat that keeps the mesh.

Answers to GRAFT, PRUNE, IHAVE and IWANT stay the library's. Replaced are sending (one serialisation for all
neighbours, no signed record in each RPC, nothing dropped at 32), publishing (no limit of 10 messages a second, own
messages go to every subscriber, as the specification asks and the library does not) and the heartbeat (1 s, no
adaptive slowing to 30 s, one neighbour's GRAFTs never sent to another, neighbours in back-off still hear IHAVE).
"""

import logging
import random
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any, Final, cast

import trio
from libp2p.custom_types import TProtocol
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.peer.id import ID
from libp2p.pubsub import gossipsub
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.rcmgr import Direction

from node.p2p.containment import contain_tasks
from node.p2p.limits import Limits
from node.p2p.streams import framed

log = logging.getLogger(__name__)

PROTOCOLS: Final = (TProtocol("/meshsub/1.1.0"), TProtocol("/meshsub/1.0.0"))
"""1.2 is not offered: its IDONTWANT for every message doubles the cost of each delivery."""
_LAZY: Final = 6
_OUTBOUND: Final = 2
_REPLAY: Final = 60.0
_MOST_REPLAYED: Final = 4 * 1024 * 1024

vars(gossipsub)["env_to_send_in_RPC"] = lambda _host: (b"", False)
"""Signed records are neither sent nor read; making one parses and signs every address, for each RPC."""


def packed(rpc: Any) -> bytes:
    """An RPC as it goes on the wire."""
    if rpc.HasField("senderRecord"):
        rpc.ClearField("senderRecord")
    return framed(rpc.SerializeToString())


class Router(GossipSub):
    """GossipSub with our publish, heartbeat and sending."""

    pubsub: Any

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            protocols=list(PROTOCOLS),
            degree=limits.degree,
            degree_low=limits.degree_low,
            degree_high=limits.degree_high,
            gossip_window=5,
            gossip_history=10,
            heartbeat_initial_delay=0.1,
            heartbeat_interval=1,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
        )
        self.scorer = None
        self._pace = limits.heartbeat
        self._own: deque[tuple[float, str, bytes]] = deque()
        self._own_bytes = 0

    async def run(self) -> None:
        contain_tasks(self.manager)
        await super().run()

    async def publish(self, msg_forwarder: ID, pubsub_msg: Any) -> None:
        self.relay(msg_forwarder, pubsub_msg)

    def relay(self, forwarder: ID, message: Any) -> None:
        """Queue a message for those who should have it; own ones for all subscribers, others' for the mesh."""
        self.mcache.put(message)
        topic, is_own = message.topicIDs[0], forwarder == self.pubsub.my_id
        frame = packed(rpc_pb2.RPC(publish=[message]))
        if is_own:
            self._keep(topic, frame)
        origin, relayed = message.from_id, b"" if is_own else message.from_id + message.seqno
        for peer in self.pubsub.peer_topics.get(topic, ()) if is_own else self.mesh.get(topic, ()):
            outbox = self.pubsub.peer_queues.get(peer)
            if outbox is not None and peer != forwarder and peer.to_bytes() != origin:
                outbox.push(frame, relayed)

    def _keep(self, topic: str, frame: bytes) -> None:
        """Remember a message of ours for a minute, 4 MiB of them at most."""
        now = trio.current_time()
        self._own.append((now, topic, frame))
        self._own_bytes += len(frame)
        while self._own[0][0] < now - _REPLAY or self._own_bytes > _MOST_REPLAYED:
            self._own_bytes -= len(self._own.popleft()[2])

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """What this node published in the last minute, for a neighbour that has only now subscribed."""
        outbox, oldest = self.pubsub.peer_queues.get(peer_id), trio.current_time() - _REPLAY
        for at, own_topic, frame in list(self._own) if outbox else ():
            if own_topic == topic and at >= oldest:
                outbox.push(frame)

    def send_rpc(self, peer_id: ID, rpc: Any, priority: bool = False) -> None:
        outbox = self.pubsub.peer_queues.get(peer_id)
        if outbox is not None:
            outbox.push(packed(rpc))

    async def emit_control_message(self, control_msg: Any, to_peer: ID) -> None:
        self.send_rpc(to_peer, rpc_pb2.RPC(control=control_msg))

    async def heartbeat(self) -> None:
        """Once a second: repair each mesh, tell others what we have, forget what is old."""
        while True:
            await trio.sleep(self._pace)
            try:
                self._beat()
            except Exception:
                log.exception("a heartbeat failed")

    def _beat(self) -> None:
        control: defaultdict[ID, Any] = defaultdict(rpc_pb2.ControlMessage)
        for topic, mesh in self.mesh.items():
            self._mend(topic, mesh, control)
            self._advertise(topic, mesh, control)
        for peer, message in control.items():
            self.send_rpc(peer, rpc_pb2.RPC(control=message))
        self.mcache.shift()
        self._periodic_security_cleanup()
        self._forget_back_offs()

    def _mend(self, topic: str, mesh: set[ID], control: dict[ID, Any]) -> None:
        known = self._subscribers(topic)
        mesh &= known
        if len(mesh) < self.degree_low:
            free = [peer for peer in known - mesh if not self._check_back_off(peer, topic)]
            for peer in _some(free, self.degree - len(mesh)):
                mesh.add(peer)
                control[peer].graft.append(rpc_pb2.ControlGraft(topicID=topic))
        elif len(mesh) > self.degree_high:
            for peer in mesh - self._worth_keeping(mesh):
                mesh.discard(peer)
                self._add_back_off(peer, topic, False)
                control[peer].prune.append(rpc_pb2.ControlPrune(topicID=topic, backoff=self.prune_back_off))

    def _worth_keeping(self, mesh: set[ID]) -> set[ID]:
        """`degree` of them, two of which we dialled ourselves: an attacker cannot choose those."""
        swarm = self.pubsub.host.get_network()
        dialled = [
            peer
            for peer in mesh
            if any(cast(SwarmConn, c).direction is Direction.OUTBOUND for c in swarm.get_connections(peer))
        ]
        keep = set(_some(dialled, _OUTBOUND))
        return keep | set(_some(mesh - keep, self.degree - len(keep)))

    def _advertise(self, topic: str, mesh: set[ID], control: dict[ID, Any]) -> None:
        ids = self.mcache.window(topic)
        others = self._subscribers(topic) - mesh
        for peer in _some(others, max(_LAZY, len(others) // 4)) if ids else ():
            control[peer].ihave.append(rpc_pb2.ControlIHave(topicID=topic, messageIDs=ids[-1000:]))

    def _subscribers(self, topic: str) -> set[ID]:
        return {peer for peer in self.pubsub.peer_topics.get(topic, ()) if peer in self.peer_protocol}

    def _forget_back_offs(self) -> None:
        now = time.time_ns() // 10**9
        for topic, peers in list(self.back_off.items()):
            for peer in [peer for peer, until in peers.items() if until <= now]:
                del peers[peer]
            if not peers:
                del self.back_off[topic]


def _some(peers: Iterable[ID], count: int) -> list[ID]:
    pool = list(peers)
    return random.sample(pool, min(max(0, count), len(pool)))
