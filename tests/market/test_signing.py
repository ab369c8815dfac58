"""Signing: digests as the rest of the world computes them, and exactly one signature per digest and key."""

import hashlib

import pytest
from coincurve import PublicKey
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BadSignature
from market.signing import eip712_domain, keccak, recover, recover_bytes, require_signer
from market.vouchers import channel_id, voucher_digest
from tests.builders import CHAIN_ID, CHANNELS, DOMAIN, a_signer, an_address

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
digests = st.binary(min_size=32, max_size=32)
secrets = st.integers(1, ORDER - 1)


def mirrored(signature: bytes) -> bytes:
    """The other signature that the curve accepts for the same digest and key: -s, and the other parity."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def typed_voucher(channel: str, cumulative: int, chain_id: int = CHAIN_ID) -> dict[str, object]:
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Voucher": [{"name": "channel", "type": "bytes32"}, {"name": "cumulative", "type": "uint256"}],
        },
        "primaryType": "Voucher",
        "domain": {"name": "Neugrid Channels", "version": "1", "chainId": chain_id, "verifyingContract": CHANNELS},
        "message": {"channel": bytes.fromhex(channel), "cumulative": cumulative},
    }


def test_keccak_is_the_one_of_ethereum() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak(b"") != hashlib.sha3_256(b"").digest()


@given(secrets)
def test_a_key_has_the_address_that_wallets_show(secret: int) -> None:
    assert an_address(secret) == Account.from_key(secret.to_bytes(32, "big")).address.lower()


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**256 - 1), st.integers(1, 2**64))
def test_a_voucher_has_the_digest_that_wallets_sign(channel: bytes, cumulative: int, chain_id: int) -> None:
    signable = encode_typed_data(full_message=typed_voucher(channel.hex(), cumulative, chain_id))
    theirs = keccak(b"\x19" + signable.version + signable.header + signable.body)
    assert voucher_digest(eip712_domain(chain_id, CHANNELS), channel.hex(), cumulative) == theirs


def test_wallets_and_we_recover_each_others_signatures() -> None:
    channel = channel_id(an_address(1), an_address(2), an_address(3))
    signable = encode_typed_data(full_message=typed_voucher(channel, 7))
    digest = voucher_digest(DOMAIN, channel, 7)
    ours = a_signer(5).sign(digest)
    assert Account.recover_message(signable, signature=ours).lower() == an_address(5)
    theirs = Account.sign_message(signable, private_key=(5).to_bytes(32, "big")).signature
    assert bytes(theirs) == ours
    assert recover(digest, bytes(theirs)) == an_address(5)


@given(secrets, digests)
def test_who_signed_is_recovered(secret: int, digest: bytes) -> None:
    signer = a_signer(secret)
    signature = signer.sign(digest)
    require_signer(digest, signature, signer.address)
    assert recover_bytes(digest, signature).hex() == signer.address[2:]


@given(secrets, digests)
def test_the_mirrored_signature_is_refused_though_the_curve_accepts_it(secret: int, digest: bytes) -> None:
    signer = a_signer(secret)
    other = mirrored(signer.sign(digest))
    raw = other[:64] + bytes([other[64] - 27])
    key = PublicKey.from_signature_and_message(raw, digest, hasher=None)
    assert key.format(compressed=True) == signer.public_key
    with pytest.raises(BadSignature, match="canonical"):
        recover(digest, other)


@given(digests, st.integers(0, 64 * 8 - 1))
def test_a_flipped_bit_never_leaves_the_signer(digest: bytes, bit: int) -> None:
    signature = bytearray(a_signer().sign(digest))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignature):
        require_signer(digest, bytes(signature), an_address())


@pytest.mark.parametrize(
    "signature",
    [b"", bytes(64), bytes(66), bytes(64) + b"\x1b", bytes(65), b"\xff" * 64 + b"\x1b", b"\x01" * 64 + b"\x1d",
     ORDER.to_bytes(32, "big") + bytes(31) + b"\x01\x1b", bytes(32) + bytes(31) + b"\x01\x1b",
     bytes(31) + b"\x01" + bytes(32) + b"\x1b"],
    ids=lambda signature: f"{len(signature)} bytes {signature[:2].hex()}..{signature[-1:].hex()}",
)  # fmt: skip
def test_bytes_that_are_no_signature_are_refused(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        recover(keccak(b"x"), signature)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_only_whole_digests_are_looked_at(size: int) -> None:
    with pytest.raises(BadSignature):
        recover(bytes(size), a_signer().sign(keccak(b"x")))


def test_another_signer_than_expected_is_refused_with_both_names() -> None:
    digest = keccak(b"x")
    with pytest.raises(BadSignature) as refused:
        require_signer(digest, a_signer(1).sign(digest), an_address(2))
    assert refused.value.details == {"expected": an_address(2), "got": an_address(1)}


def test_domains_differ_by_chain_and_contract() -> None:
    other = an_address(9)
    assert len({eip712_domain(1, CHANNELS), eip712_domain(2, CHANNELS), eip712_domain(1, other)}) == 3
