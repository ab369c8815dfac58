"""The kernel's tables as text: whose neighbour the host is, and where there is room for a bridge."""

import socket
import struct
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from node.adapters.egress.host import (
    POOL,
    addresses_of,
    free_subnets,
    is_within,
    own_networks,
    own_networks6,
    routes_of,
)

HEAD = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 51.15.0.0
        /24 link UNICAST
        |-- 51.15.0.7
           /32 host LOCAL
        |-- 51.15.0.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
Local:
     |-- 127.0.0.1
        /32 host LOCAL
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    lines = [
        _line("eth0", "0.0.0.0", "51.15.0.1", "0.0.0.0"),
        _line("eth0", "51.15.0.0", "0.0.0.0", "255.255.255.0"),
        _line("eth0", "45.0.0.0", "51.15.0.9", "255.0.0.0"),
        _line("tun0", "0.0.0.0", "0.0.0.0", "128.0.0.0"),
        _line("br0", "198.19.0.0", "0.0.0.0", "255.255.128.0"),
    ]
    (tmp_path / "route").write_text(HEAD + "\n".join(lines) + "\n")
    (tmp_path / "fib_trie").write_text(TRIE)
    return tmp_path


def test_the_hosts_addresses_and_networks_are_found_and_those_behind_a_gateway_are_not(kernel: Path) -> None:
    assert own_networks(kernel) == ("127.0.0.1", "198.19.0.0/17", "51.15.0.0/24", "51.15.0.7")


def test_networks_of_ipv6_are_found_and_a_link_to_everywhere_is_its_own_address_alone(kernel: Path) -> None:
    assert own_networks6(kernel) == ()
    lines = ["2a0104f8000100020000000000000003 02 40 00 80 eth0", "2a01000000000000000000000000000a 05 00 00 80 tun0"]
    (kernel / "if_inet6").write_text("\n".join(lines) + "\n")
    assert own_networks6(kernel) == ("2a01:4f8:1:2::/64", "2a01::a/128")
    assert is_within("2a01:4f8:1:2::99", own_networks6(kernel))


def test_an_address_is_within_the_networks_or_not(kernel: Path) -> None:
    assert is_within("51.15.0.200", own_networks(kernel))
    assert not is_within("51.15.1.1", own_networks(kernel))


def test_a_bridge_gets_no_subnet_that_the_host_uses(kernel: Path) -> None:
    found = [IPv4Network(subnet) for subnet in free_subnets(kernel)]
    assert len(found) == 128
    assert all(subnet.subnet_of(POOL) and not subnet.overlaps(IPv4Network("198.19.0.0/17")) for subnet in found)


def test_routes_that_stand_for_everything_else_are_left_out(kernel: Path) -> None:
    assert [str(route.network) for route in routes_of((kernel / "route").read_text())] == [
        "51.15.0.0/24", "45.0.0.0/8", "198.19.0.0/17",
    ]  # fmt: skip


@pytest.mark.skipif(not Path("/proc/net/fib_trie").exists(), reason="only Linux tells its routes this way")
def test_this_machines_loopback_is_its_own() -> None:
    assert "127.0.0.1" in own_networks()


def test_no_text_is_an_empty_table() -> None:
    assert routes_of("") == ()
    assert addresses_of("") == ()


def _line(interface: str, destination: str, gateway: str, mask: str) -> str:
    numbers = [_hex(text) for text in (destination, gateway)]
    return f"{interface} {numbers[0]} {numbers[1]} 0003 0 0 0 {_hex(mask)} 0 0 0"


def _hex(address: str) -> str:
    return f"{struct.unpack('=I', socket.inet_aton(address))[0]:08X}"
