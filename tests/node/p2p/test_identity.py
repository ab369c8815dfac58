"""One key is the peer id, the origin of gossip and the address on the chain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BadMessage
from node.p2p.identity import address_of_peer, address_of_raw, base58, from_base58, peer_id_of
from tests.builders import a_signer

KNOWN = "16Uiu2HAmJSJYLvvUHuUfZFmPvYfCKwyLiuLkYGmUwYgSVHJQkv3N"


def test_a_peer_id_holds_the_address_of_its_key() -> None:
    signer = a_signer(7)
    assert address_of_peer(peer_id_of(signer.public_key)) == signer.address


def test_the_raw_bytes_of_a_peer_id_hold_the_address_too() -> None:
    signer = a_signer(7)
    assert address_of_raw(from_base58(peer_id_of(signer.public_key))) == signer.address


def test_peer_ids_of_secp256k1_keys_start_as_everywhere() -> None:
    assert peer_id_of(a_signer(1).public_key).startswith("16Uiu2HA")


@given(st.binary(max_size=40))
def test_base58_returns_what_it_was_given(data: bytes) -> None:
    assert from_base58(base58(data)) == data


@pytest.mark.parametrize(
    "text", ["", "0OIl", "Qm" + "a" * 44, "12D3KooWHbcFcrGPXKUrHcxvd8MXEeUzRYyvY8fQcpEBxncSUwhj", "1" * 500]
)
def test_other_ids_are_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        address_of_peer(text)  # type: ignore[arg-type]
