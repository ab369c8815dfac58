"""Which addresses can be dialled, and whose word counts for which."""

import pytest

from node.p2p.addresses import ip_and_port, is_dialable, may_hear, reachable, split_peer

GOOD = ["/ip4/203.0.113.7/tcp/4001", "/ip6/2001:db8::7/tcp/1", "/dns4/node.example/tcp/65535"]
BAD = [
    "",
    "/",
    "/ip4/203.0.113.7",
    "/ip4/203.0.113.7/udp/4001",
    "/ip4/300.0.0.1/tcp/1",
    "/ip4/::1/tcp/1",
    "/ip4/1.2.3.4/tcp/65536",
    "/ip4/1.2.3.4/tcp/-1",
    "/ip4/1.2.3.4/tcp/0",
    "/ip4/0.0.0.0/tcp/4001",
    "/ip6/::/tcp/4001",
    "/ip4/1.2.3.4/tcp/4001/ws",
    "/dns4/" + "x" * 300 + "/tcp/1",
]


@pytest.mark.parametrize("address", GOOD)
def test_plain_tcp_addresses_can_be_dialled(address: str) -> None:
    assert is_dialable(address)


@pytest.mark.parametrize("address", BAD)
def test_others_cannot(address: str) -> None:
    assert not is_dialable(address)


def test_the_peer_is_split_off() -> None:
    assert split_peer("/ip4/1.2.3.4/tcp/5/p2p/16Uiu2") == ("/ip4/1.2.3.4/tcp/5", "16Uiu2")
    assert split_peer("/ip4/1.2.3.4/tcp/5") == ("/ip4/1.2.3.4/tcp/5", None)


@pytest.mark.parametrize(
    ("address", "teller", "counts"),
    [
        ("/ip4/127.0.0.1/tcp/1", "127.0.0.1", True),
        ("/ip4/127.0.0.1/tcp/1", "10.0.0.1", False),
        ("/ip4/10.0.0.9/tcp/1", "10.0.0.1", True),
        ("/ip4/10.0.0.9/tcp/1", "8.8.8.8", False),
        ("/ip4/8.8.4.4/tcp/1", "8.8.8.8", True),
        ("/dns4/node.example/tcp/1", "8.8.8.8", True),
    ],
)
def test_a_stranger_cannot_send_us_to_our_own_network(address: str, teller: str, counts: bool) -> None:
    assert may_hear(address, teller) is counts


def test_all_interfaces_become_addresses_that_can_be_dialled() -> None:
    found = reachable(["/ip4/0.0.0.0/tcp/4001"])
    assert "/ip4/127.0.0.1/tcp/4001" in found
    assert all(is_dialable(address) for address in found)


def test_a_port_is_read() -> None:
    assert ip_and_port("/ip4/127.0.0.1/tcp/4001/p2p/x") == ("127.0.0.1", 4001)
