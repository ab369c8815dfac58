"""Signed questions to peers, and the answers to theirs: seal, ask, open, dispatch."""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final, TypeVar

import msgspec
import structlog
from msgspec import Struct

from market.dialogue import MAX_CHUNK, Refusal
from market.errors import BadMessage, BadSignature, NeugridError, Refused, StaleMessage, Unavailable
from market.messages import MAX_DIRECT, Envelope, Kind, open_envelope, payload_of, read_header, seal
from market.signing import Signer
from market.units import PeerId
from node.p2p.rates import Buckets
from node.ports import Clock, Network

T = TypeVar("T", bound=Struct)
Answerer = Callable[[Envelope, Any], Awaitable[Struct | bytes]]
TTL: Final = 30_000
DEAR: Final = {Kind.BOOK: (2.0, 100.0), Kind.REFUND: (0.1, 6.0), Kind.SAMPLES: (100.0, 2000.0)}
"""Questions that cost much to answer: how many one peer may ask a second, and at once."""
_FILE: Final = b"F"
_refusal = msgspec.json.Decoder(Refusal)
_log = structlog.get_logger("peers")


class Peers:
    """The voice of this node: every message is signed with the node's key."""

    def __init__(self, network: Network, signer: Signer, network_id: bytes, clock: Clock) -> None:
        self.network = network
        self.signer = signer
        self.network_id = network_id
        self.clock = clock
        self._seq = count(clock.now() * 1000)
        self._rates = {kind: Buckets(rate, burst) for kind, (rate, burst) in DEAR.items()}
        self._answers: dict[Kind, tuple[msgspec.json.Decoder[Any], Answerer]] = {}

    def seal(self, kind: Kind, payload: Struct, ttl: int = TTL) -> bytes:
        """The signed bytes of one message of ours; `ttl` in ms."""
        return seal(self.signer, self.network_id, kind, payload, seq=next(self._seq), now=self.clock.now(), ttl=ttl)

    async def publish(self, topic: str, kind: Kind, payload: Struct, ttl: int) -> bytes:
        """Gossip one message and return its bytes, for snapshots."""
        data = self.seal(kind, payload, ttl)
        await self.network.publish(topic, data)
        return data

    async def ask(
        self, peer: str, kind: Kind, payload: Struct, answer: msgspec.json.Decoder[T], timeout: float = 5.0
    ) -> T:
        """The peer's typed answer. Raises Refused with its codes, PeerUnreachable, Unavailable or BadMessage."""
        data = await self.network.request(PeerId(peer), self.seal(kind, payload), timeout)
        envelope = open_envelope(data, self.network_id, self.clock.now(), MAX_DIRECT)
        if envelope.kind is Kind.REFUSAL:
            refusal = payload_of(envelope, _refusal)
            raise Refused(refusal.message or ", ".join(refusal.codes), codes=refusal.codes)
        if envelope.kind is not Kind.REPLY:
            raise BadMessage("not an answer", got=envelope.kind.name)
        return payload_of(envelope, answer)

    async def fetch(self, peer: str, payload: Struct, timeout: float = 30.0) -> bytes:
        """The bare bytes that answer a GetFile; Refused when the peer does not give them."""
        data = await self.network.request(PeerId(peer), self.seal(Kind.FILE, payload), timeout)
        if data[:1] == _FILE and len(data) <= MAX_CHUNK + 1:
            return data[1:]
        envelope = open_envelope(data, self.network_id, self.clock.now(), MAX_DIRECT)
        refusal = payload_of(envelope, _refusal)
        raise Refused(refusal.message, codes=refusal.codes)

    def on(self, kind: Kind, payload: type[Struct], answer: Answerer) -> None:
        """Say who answers messages of `kind`."""
        self._answers[kind] = (msgspec.json.Decoder(payload), answer)

    async def answer(self, peer: PeerId, data: bytes) -> bytes:
        """The bytes that answer a request; every failure becomes a signed refusal with a code."""
        try:
            reply = await self._dispatch(peer, data)
        except (BadMessage, BadSignature, StaleMessage) as error:
            reply = Refusal((error.code,), error.message[:512])
        except Refused as error:
            reply = Refusal(tuple(str(code) for code in error.details.get("codes", ())), error.message[:512])  # type: ignore[attr-defined]
        except NeugridError as error:
            reply = Refusal((error.code,), error.message[:512])
        except Exception:
            _log.exception("request failed", peer=peer)
            reply = Refusal(("INTERNAL_ERROR",))
        if isinstance(reply, bytes):
            return _FILE + reply
        return self.seal(Kind.REFUSAL if isinstance(reply, Refusal) else Kind.REPLY, reply)

    async def _dispatch(self, peer: PeerId, data: bytes) -> Struct | bytes:
        rate = self._rates.get(read_header(data, self.network_id, MAX_DIRECT).kind)
        if rate is not None and not rate.take(peer, self.clock.now() / 1000):
            raise Refused("asked too often", codes=("TOO_OFTEN",))
        envelope = open_envelope(data, self.network_id, self.clock.now(), MAX_DIRECT)
        known = self._answers.get(envelope.kind)
        if known is None:
            raise Unavailable("this node does not answer such messages", kind=envelope.kind.name)
        decoder, answer = known
        return await answer(envelope, payload_of(envelope, decoder))
