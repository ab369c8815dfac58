r"""What peers say: one signed envelope of fixed layout around a typed JSON payload.

Layout, big-endian: magic "NG1" (3) | network (8) | kind (1) | sender (20) | seq (8) | issued_at ms (8) |
expires_at ms (8) | payload length (4) | payload | signature r || s || v (65).
The signature is over keccak256("neugrid message v1\n" || all bytes before it), taken from the bytes as received.
"""

import struct
from enum import IntEnum
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from market.errors import BadMessage, BadSignature, StaleMessage
from market.signing import SIGNATURE_SIZE, Signer, keccak, recover_bytes
from market.units import Address, Timestamp

T = TypeVar("T")

MAGIC: Final = b"NG1"
_HEADER: Final = struct.Struct(">3s8sB20sQQQI")
_SENDER: Final = slice(12, 32)
_PREFIX: Final = b"neugrid message v1\n"
MAX_GOSSIP: Final = 16 * 1024
MAX_DIRECT: Final = 4 * 1024 * 1024
FUTURE_SKEW: Final = 5_000
"""Milliseconds that a sender's clock may be ahead of ours."""


class Kind(IntEnum):
    """The kinds of message. 1..9 are gossiped, 10 and up go over direct streams."""

    OFFERS = 1
    ORDER = 2
    WITHDRAW = 3
    PROPOSE = 10
    COMMIT = 11
    RELEASE = 12
    RENEW = 13
    CANCEL = 14
    BID = 15
    STATEMENT = 16
    FINISH = 17
    LOGS = 18
    FILE = 19
    BOOK = 20
    REFUND = 22
    PAY = 23
    EXTEND = 24
    RUN = 25
    SAMPLES = 26
    REPLY = 40
    REFUSAL = 41


_KINDS: Final = {int(kind): kind for kind in Kind}
GOSSIP_KINDS: Final = frozenset({Kind.OFFERS, Kind.ORDER, Kind.WITHDRAW})


class Envelope(Struct, frozen=True):
    """A verified message: `payload` is still the JSON of its kind's struct, `raw` the bytes as received."""

    kind: Kind
    sender: Address
    seq: int
    issued_at: Timestamp
    expires_at: Timestamp
    payload: bytes
    raw: bytes


class Header(Struct, frozen=True):
    """The fields in front of the payload, read without checking the signature: for cheap refusals first."""

    kind: Kind
    sender: Address
    seq: int
    issued_at: Timestamp
    expires_at: Timestamp
    length: int


def network_id(chain_id: int, channels: Address) -> bytes:
    """8 bytes that name the market: the start of keccak(chain id as 32 bytes || Channels address)."""
    return keccak(chain_id.to_bytes(32, "big") + bytes.fromhex(channels[2:]))[:8]


def seal(signer: Signer, network: bytes, kind: Kind, payload: Struct, *, seq: int, now: int, ttl: int) -> bytes:
    """The signed bytes of a message; `now` and `ttl` in ms."""
    body = msgspec.json.encode(payload)
    sender = bytes.fromhex(signer.address[2:])
    head = _HEADER.pack(MAGIC, network, kind, sender, seq, now, now + ttl, len(body)) + body
    return head + signer.sign(keccak(_PREFIX + head))


def read_header(data: bytes, network: bytes, limit: int = MAX_GOSSIP) -> Header:
    """The header of `data`; BadMessage when size, magic, network or kind are wrong. The signature is not looked at."""
    if not _HEADER.size + SIGNATURE_SIZE <= len(data) <= limit:
        raise BadMessage("wrong size", expected=f"at most {limit} bytes", got=len(data))
    magic, net, kind, sender, seq, issued, expires, length = _HEADER.unpack_from(data)
    if magic != MAGIC or net != network:
        raise BadMessage("a message of another network", expected=network.hex(), got=net.hex())
    if len(data) != _HEADER.size + length + SIGNATURE_SIZE:
        raise BadMessage("the length does not fit", expected=length, got=len(data))
    known = _KINDS.get(kind)
    if known is None:
        raise BadMessage("unknown kind of message", got=kind)
    return Header(known, Address("0x" + sender.hex()), seq, issued, expires, length)


def check_fresh(header: Header, now: int) -> None:
    """StaleMessage unless it was issued (5 s of skew allowed) and has not expired."""
    if not header.issued_at - FUTURE_SKEW <= now < header.expires_at:
        raise StaleMessage("expired or from the future", issued=header.issued_at, expires=header.expires_at, now=now)


def open_envelope(data: bytes, network: bytes, now: int, limit: int = MAX_GOSSIP) -> Envelope:
    """The verified message in `data`. Raises BadMessage, StaleMessage or BadSignature, cheap checks first."""
    header = read_header(data, network, limit)
    check_fresh(header, now)
    signer = recover_bytes(keccak(_PREFIX + data[:-SIGNATURE_SIZE]), data[-SIGNATURE_SIZE:])
    if signer != data[_SENDER]:
        raise BadSignature("signed by another key than the sender's", expected=header.sender, got="0x" + signer.hex())
    payload = data[_HEADER.size : -SIGNATURE_SIZE]
    return Envelope(header.kind, header.sender, header.seq, header.issued_at, header.expires_at, payload, data)


def payload_of(envelope: Envelope, decoder: "msgspec.json.Decoder[T]") -> T:
    """The typed payload; BadMessage when it does not decode within its bounds."""
    try:
        return decoder.decode(envelope.payload)
    except msgspec.ValidationError as error:
        raise BadMessage(f"the payload does not fit: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage("the payload is not JSON") from error
