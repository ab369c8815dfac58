"""How gossip comes in, is judged and is handed to the node; and how this node's own messages are signed.

Replaced in the library's Pubsub: reading (whole buffers instead of bytes, in one task instead of a task for each
message), judging (our gate, synchronous, cheap things first), handing over (a sink instead of a channel that drops at
32) and the registration of a neighbour (no race between its first packet and a new subscription).
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import trio
from coincurve import PublicKey
from google.protobuf.message import DecodeError
from libp2p.abc import IHost, INetStream
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.pubsub import pubsub as library
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX

from market.errors import BadMessage
from market.messages import MAX_GOSSIP
from node.p2p.containment import contain_tasks
from node.p2p.gate import Arrival, Gate, Verdict
from node.p2p.identity import address_of_raw, key_in
from node.p2p.outbox import Outbox
from node.p2p.router import Router, packed
from node.p2p.streams import BadStream, FrameReader, StreamEnded

log = logging.getLogger(__name__)

INVALID, FLOOD = 100, 1
MAX_TOPIC: Final = 200
_MAX_RPC: Final = 1024 * 1024
_MOST_CONTROLS: Final = 64
_MOST_IDS: Final = 1_000
_MOST_ASKED: Final = 128
_BREATH: Final = 16
_SIGNED: Final = PUBSUB_SIGNING_PREFIX.encode()

vars(library)["env_to_send_in_RPC"] = lambda _host: (b"", False)

Sink = Callable[[str, bytes], None]
Accuse = Callable[[ID, int], None]


class Mesh(Pubsub):
    """Pubsub whose messages pass `gate` and end in `sink`; faults of a neighbour go to `accuse`."""

    router: Any
    peer_queues: Any
    sign_key: Any

    def __init__(self, host: IHost, router: Router, gate: Gate, sink: Sink, accuse: Accuse) -> None:
        super().__init__(host, router, seen_ttl=120)
        self._gate, self._sink, self._accuse = gate, sink, accuse
        # Starting at the second, as the library does, makes a busy node repeat ids after a restart.
        self.counter = time.time_ns()
        self.counts = dict.fromkeys(Verdict, 0)

    async def run(self) -> None:
        contain_tasks(self.manager)
        await super().run()

    # --- in -----------------------------------------------------------------------------------------------------

    async def stream_handler(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        try:
            await self.continuously_read_stream(stream)
        except StreamEnded:
            await stream.close()
        except (BadStream, DecodeError, UnicodeDecodeError) as error:
            log.info("gossip of %s: %s", peer, error)
            if not isinstance(error, BadStream) or "frame" in str(error):
                self._accuse(peer, INVALID)
            await stream.reset()

    async def continuously_read_stream(self, stream: INetStream) -> None:
        peer, reader = stream.muxed_conn.peer_id, FrameReader(stream, _MAX_RPC)
        while True:
            data = reader.ready()
            if data is None:
                data = await reader.frame()
            rpc = rpc_pb2.RPC()
            rpc.ParseFromString(data)
            rpc.ClearField("senderRecord")
            await self._take(peer, rpc)

    async def _take(self, peer: ID, rpc: Any) -> None:
        for count, message in enumerate(rpc.publish, 1):
            self.receive(peer, message)
            if count % _BREATH == 0:
                await trio.lowlevel.checkpoint()
        if len(rpc.subscriptions) > self.max_subscriptions_per_peer:
            self._accuse(peer, INVALID)
            del rpc.subscriptions[self.max_subscriptions_per_peer :]
        for subscription in rpc.subscriptions:
            if len(subscription.topicid) <= MAX_TOPIC:
                self.handle_subscription(peer, subscription)
        if rpc.HasField("control"):
            self._trim(peer, rpc.control)
            await self.router.handle_rpc(rpc, peer)

    def _trim(self, peer: ID, control: Any) -> None:
        """Leave in a control message what an honest neighbour can mean; the library keeps state for all of it."""
        for part in (control.graft, control.prune, control.ihave, control.iwant):
            if len(part) > _MOST_CONTROLS:
                self._accuse(peer, INVALID)
                del part[_MOST_CONTROLS:]
        prunes = [prune for prune in control.prune if prune.topicID in self.topic_ids]
        del control.prune[:]
        for prune in prunes:
            prune.ClearField("peers")
            prune.backoff = min(prune.backoff, 3600)
            control.prune.append(prune)
        ihaves = [ihave for ihave in control.ihave if ihave.topicID in self.topic_ids]
        del control.ihave[:]
        for ihave in ihaves:
            del ihave.messageIDs[_MOST_IDS:]
            control.ihave.append(ihave)
        for iwant in control.iwant:
            del iwant.messageIDs[_MOST_ASKED:]
        control.ClearField("idontwant")

    def receive(self, peer: ID, message: Any) -> Verdict | None:
        """Judge one message; hand it over and pass it on when it is good. None for one that was here before."""
        message_id = message.from_id + message.seqno
        if self.seen_messages.has(message_id):
            outbox = self.peer_queues.get(peer)
            if outbox is not None:
                outbox.forget(message_id)
            return None
        try:
            verdict = self._judge(peer, message)
        except (BadMessage, ValueError):
            verdict = Verdict.REJECT
        self.counts[verdict] += 1
        if verdict is Verdict.ACCEPT:
            self._sink(message.topicIDs[0], message.data)
            self.router.relay(peer, message)
        elif verdict is not Verdict.IGNORE:
            self._accuse(peer, INVALID if verdict is Verdict.REJECT else FLOOD)
        return verdict

    def _judge(self, peer: ID, message: Any) -> Verdict:
        topics = message.topicIDs
        if len(topics) != 1 or len(message.seqno) > 8 or len(message.data) > MAX_GOSSIP:
            return Verdict.REJECT
        if topics[0] not in self.subscribed_topics_receive or message.from_id == self.my_id.to_bytes():
            return Verdict.IGNORE
        origin = address_of_raw(message.from_id)
        arrival = Arrival(str(peer), origin, message.data, lambda: self._is_authentic(message))
        return self._gate.judge(arrival, time.time_ns() // 1_000_000, trio.current_time())

    def _is_authentic(self, message: Any) -> bool:
        """Ids count as seen only when they are signed: else a forger could make a true message look old."""
        if not is_signed(message):
            return False
        self._mark_msg_seen(message)
        return True

    # --- out ----------------------------------------------------------------------------------------------------

    async def publish(self, topic_id: str | list[str], data: bytes) -> None:
        """Sign `data` as StrictSign asks and pass it on; the key is inside the peer id, so it is not repeated."""
        topics = [topic_id] if isinstance(topic_id, str) else topic_id
        message = rpc_pb2.Message(data=data, topicIDs=topics, from_id=self.my_id.to_bytes(), seqno=self._next_seqno())
        message.signature = self.sign_key.sign(_SIGNED + message.SerializeToString())
        self._mark_msg_seen(message)
        self.router.relay(self.my_id, message)

    @property
    def is_congested(self) -> bool:
        """Whether any neighbour is so far behind that a publisher should wait."""
        return any(outbox.is_congested for outbox in self.peer_queues.values())

    async def message_all_peers(self, raw_msg: bytes, announce: Any = None) -> None:
        rpc = rpc_pb2.RPC()
        rpc.ParseFromString(raw_msg)
        frame = packed(rpc)
        for outbox in self.peer_queues.values():
            outbox.push(frame)

    async def handle_sending_messages(self, peer_id: ID, stream: INetStream, queue: Any) -> None:
        try:
            while (chunk := await queue.take()) is not None:
                await stream.write(chunk)
        except StreamError as error:
            log.debug("gossip to %s: %s", peer_id, error)
            if self.peers.get(peer_id) is stream:
                self._handle_dead_peer(peer_id)

    # --- neighbours ---------------------------------------------------------------------------------------------

    async def _handle_new_peer(self, peer_id: ID) -> None:
        if peer_id in self.peers or self.is_peer_blacklisted(peer_id):
            return
        try:
            with trio.fail_after(10):
                stream = await self.host.new_stream(peer_id, self.protocols)
        except trio.TooSlowError as error:
            raise SwarmException(f"{peer_id} does not answer") from error
        if peer_id in self.peers:
            await stream.reset()
            return
        self.router.add_peer(peer_id, stream.get_protocol())
        outbox = Outbox()
        self.peers[peer_id], self.peer_queues[peer_id] = stream, outbox
        outbox.push(packed(self._hello()))
        self.manager.run_task(self.handle_sending_messages, peer_id, stream, outbox)
        await self._send_recent_messages_to_new_peer(peer_id)

    def _hello(self) -> Any:
        topics = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic) for topic in self.topic_ids]
        return rpc_pb2.RPC(subscriptions=topics)


def is_signed(message: Any) -> bool:
    """Whether the key in `from` signed the message (StrictSign; secp256k1 over SHA-256, DER)."""
    unsigned = rpc_pb2.Message(
        data=message.data, topicIDs=message.topicIDs, from_id=message.from_id, seqno=message.seqno
    )
    try:
        return PublicKey(key_in(message.from_id)).verify(message.signature, _SIGNED + unsigned.SerializeToString())
    except Exception:  # noqa: BLE001 - coincurve raises plain exceptions on a malformed signature
        return False
