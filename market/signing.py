"""secp256k1 over fixed-layout digests: who signed these bytes. One key is peer id and chain address.

Vouchers use EIP-712 (https://eips.ethereum.org/EIPS/eip-712), because the chain checks them; all else that
peers sign is hashed with keccak-256 under its own domain prefix, so that no signature fits two purposes.
"""

from functools import lru_cache
from typing import Final

import sha3
from coincurve import PrivateKey, PublicKey
from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

from market.errors import BadSignature
from market.units import Address

SIGNATURE_SIZE: Final = 65
DIGEST_SIZE: Final = 32
_HALF_ORDER: Final = bytes.fromhex("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0")
"""Half the order of the group: a larger s is the second form of the same signature (EIP-2), and is refused."""
_UNCOMPRESSED: Final = 2
_SIGNATURE: Final = ffi.typeof("secp256k1_ecdsa_recoverable_signature *")
_KEY: Final = ffi.typeof("secp256k1_pubkey *")
_POINT: Final = ffi.typeof("unsigned char[65]")
_POINT_SIZE: Final = ffi.new("size_t *", 65)
"""In and out, and the same each time, so that all calls share it."""


def keccak(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (not SHA3-256)."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


def address_of(public_key: PublicKey) -> Address:
    """The chain address of a secp256k1 public key."""
    return Address("0x" + keccak(public_key.format(compressed=False)[1:])[-20:].hex())


class Signer:
    """A secp256k1 key that signs 32-byte digests; the secret stays inside."""

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self.address = address_of(self._key.public_key)
        self.public_key = self._key.public_key.format(compressed=True)

    def sign(self, digest: bytes) -> bytes:
        """65 bytes `r || s || v` with v in {27, 28} and low s."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([signature[64] + 27])


def recover(digest: bytes, signature: bytes) -> Address:
    """The address that signed `digest`; BadSignature when the bytes are no canonical signature (low s, v 27 or 28)."""
    return Address("0x" + recover_bytes(digest, signature).hex())


def recover_bytes(digest: bytes, signature: bytes) -> bytes:
    """The 20 bytes of the address that signed `digest`; BadSignature as `recover`.

    Calls libsecp256k1 as coincurve binds it, without the objects in between: every gossiped message passes here.
    """
    if len(signature) != SIGNATURE_SIZE or signature[64] not in (27, 28) or len(digest) != DIGEST_SIZE:
        raise BadSignature("a signature is 65 bytes r || s || v with v 27 or 28", length=len(signature))
    if signature[32:64] > _HALF_ORDER:
        raise BadSignature("the signature is not in its canonical form: s is high")
    parsed, key = ffi.new(_SIGNATURE), ffi.new(_KEY)
    context = GLOBAL_CONTEXT.ctx
    if not (
        lib.secp256k1_ecdsa_recoverable_signature_parse_compact(context, parsed, signature, signature[64] - 27)
        and lib.secp256k1_ecdsa_recover(context, key, parsed, digest)
    ):
        raise BadSignature("the signature does not recover to a key")
    point = ffi.new(_POINT)
    lib.secp256k1_ec_pubkey_serialize(context, point, _POINT_SIZE, key, _UNCOMPRESSED)
    return keccak(ffi.buffer(point)[1:])[12:]


def require_signer(digest: bytes, signature: bytes, expected: Address) -> None:
    """BadSignature unless `expected` signed `digest`."""
    signer = recover(digest, signature)
    if signer != expected:
        raise BadSignature("signed by another key", expected=expected, got=signer)


@lru_cache(maxsize=64)
def eip712_domain(chain_id: int, contract: Address) -> bytes:
    """The domain separator of Channels: `{name "Neugrid Channels", version "1", chainId, verifyingContract}`."""
    kind = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    return keccak(
        keccak(kind) + keccak(b"Neugrid Channels") + keccak(b"1") + chain_id.to_bytes(32, "big") + _word(contract)
    )


def eip712_digest(domain: bytes, struct_hash: bytes) -> bytes:
    """`keccak(0x1901 || domain || struct)`."""
    return keccak(b"\x19\x01" + domain + struct_hash)


def _word(address: Address) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])
