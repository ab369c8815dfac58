"""Type-2 transactions (EIP-1559) and their RLP: what the wallet signs, byte for byte."""

from typing import Final

from msgspec import Struct

from contracts.values import Call
from market.signing import Signer, keccak
from market.units import Address

_TYPE: Final = b"\x02"

Rlp = bytes | int | list["Rlp"]


class Fees(Struct, frozen=True):
    """What a transaction offers per gas, in wei: `most` in all, of which `tip` to the block's maker."""

    most: int
    tip: int


class Unsigned(Struct, frozen=True, kw_only=True):
    """A transaction before it is signed."""

    chain_id: int
    nonce: int
    call: Call
    gas: int
    fees: Fees


class Signed(Struct, frozen=True):
    """The bytes to broadcast and the hash (0x-hex) they will be known by."""

    raw: bytes
    hash: str


def sign_transaction(transaction: Unsigned, signer: Signer) -> Signed:
    """Sign with the chain id inside, so that no other chain takes it (EIP-155)."""
    fields = _fields(transaction)
    signature = signer.sign(keccak(_TYPE + encode_rlp(fields)))
    r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
    raw = _TYPE + encode_rlp([*fields, signature[64] - 27, r, s])
    return Signed(raw=raw, hash="0x" + keccak(raw).hex())


def contract_address(sender: Address, nonce: int) -> Address:
    """Where the contract that `sender` deploys with `nonce` will be."""
    return Address("0x" + keccak(encode_rlp([bytes.fromhex(sender[2:]), nonce]))[-20:].hex())


def encode_rlp(item: Rlp) -> bytes:
    """Recursive length prefix (https://ethereum.org/en/developers/docs/data-structures-and-encoding/rlp/)."""
    if isinstance(item, list):
        payload = b"".join(map(encode_rlp, item))
        return _length(len(payload), 0xC0) + payload
    raw = item.to_bytes((item.bit_length() + 7) // 8, "big") if isinstance(item, int) else item
    if len(raw) == 1 and raw[0] < 0x80:
        return raw
    return _length(len(raw), 0x80) + raw


def _fields(transaction: Unsigned) -> list[Rlp]:
    call, fees = transaction.call, transaction.fees
    to = bytes.fromhex(call.to[2:]) if call.to else b""
    head: list[Rlp] = [transaction.chain_id, transaction.nonce, fees.tip, fees.most, transaction.gas]
    return [*head, to, call.value, call.data, []]


def _length(size: int, offset: int) -> bytes:
    if size < 56:
        return bytes([offset + size])
    raw = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(raw)]) + raw
