"""Peer ids without libp2p: one secp256k1 key is the peer id, the origin of gossip and the address on the chain.

A peer id is the identity multihash of the key's protobuf, in base58 (libp2p spec, "Peer Ids and Keys"):
0x00 0x25 | 0x08 0x02 (type secp256k1) 0x12 0x21 (33 bytes follow) | compressed key.
"""

from functools import lru_cache
from typing import Final

from coincurve import PublicKey

from market.errors import BadMessage
from market.signing import address_of
from market.units import Address, PeerId

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_PREFIX: Final = bytes([0x00, 0x25, 0x08, 0x02, 0x12, 0x21])
_SIZE: Final = len(_PREFIX) + 33
_MAX_TEXT: Final = 64


def peer_id_of(public_key: bytes) -> PeerId:
    """The peer id of a compressed (33 bytes) secp256k1 key."""
    if len(public_key) != 33:
        raise BadMessage("a compressed secp256k1 key has 33 bytes", got=len(public_key))
    return PeerId(base58(_PREFIX + public_key))


@lru_cache(maxsize=4096)
def address_of_peer(peer: PeerId) -> Address:
    """The chain address of a peer; BadMessage when the id does not hold a secp256k1 key."""
    return address_of(PublicKey(key_in(from_base58(peer))))


@lru_cache(maxsize=4096)
def address_of_raw(raw: bytes) -> Address:
    """The chain address of a peer id given as its raw bytes, as gossip carries it."""
    return address_of(PublicKey(key_in(raw)))


def key_in(raw: bytes) -> bytes:
    """The compressed key inside the raw bytes of a peer id; BadMessage when it is another kind of id."""
    if len(raw) != _SIZE or not raw.startswith(_PREFIX):
        raise BadMessage("not the peer id of a secp256k1 key", got=raw[:64].hex())
    return raw[len(_PREFIX) :]


def base58(data: bytes) -> str:
    """Base58 with Bitcoin's alphabet; leading zero bytes become `1`."""
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        digits = _ALPHABET[rest] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def from_base58(text: str) -> bytes:
    """The bytes behind a base58 text; BadMessage when a letter does not belong or it is too long for a peer id."""
    if len(text) > _MAX_TEXT or not all(letter in _VALUES for letter in text):
        raise BadMessage("not base58", got=text[:_MAX_TEXT])
    number = 0
    for letter in text:
        number = number * 58 + _VALUES[letter]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
