"""Where a stranger may connect to: a table of what must never be reached, in every spelling, and of what must."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.egress import FORBIDDEN4, is_forbidden, is_named, without_overlap

NEVER = [
    "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1",
    "::127.0.0.1", "::169.254.169.254", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:93.184.216.34",
    "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1", "2001::1", "2001:2::1", "2001:10::1",
    "2001:20::1", "2001:db8::1", "2002:a9fe:a9fe::", "2002:7f00:1::1", "2620:4f:8000::1", "3fff::1", "4000::1",
    "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2606:4700::1111%1",
    "127.1", "0177.0.0.1", "2130706433", "0x7f.1", "10.0.0", "1.2.3.4.5", "localhost", "example.com", "10.0.0.1/8",
    "169.254.169.254:80", "[::1]", "①②⑦.0.0.1", "256.1.1.1", "01.2.3.4", "-1", "1.2.3.4\x00",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.1", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
    "223.255.255.255", "2606:4700::1111", "2a00:1450:4001:80b::200e", "2400:cb00::1",
]  # fmt: skip


@pytest.mark.parametrize("address", [*NEVER, "", " 8.8.8.8", "8.8.8.8\n"])
def test_what_is_somebodys_own_is_forbidden_however_it_is_spelled(address: str) -> None:
    assert is_forbidden(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_allowed(address: str) -> None:
    assert not is_forbidden(address)


@given(st.ip_addresses())
def test_nothing_that_python_itself_calls_private_is_allowed(address: object) -> None:
    assert is_forbidden(str(address)) or address.is_global  # type: ignore[attr-defined]


@given(st.text(max_size=40))
def test_every_text_has_a_verdict(text: str) -> None:
    assert is_forbidden(text) in (True, False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.com", True),
        ("Example.COM.", True),
        ("www.example.com", False),
        ("example.com.evil.org", False),
        ("notexample.com", False),
        ("com", False),
        ("", False),
    ],
)
def test_a_host_is_itself_and_neither_a_part_nor_a_whole(name: str, expected: bool) -> None:
    assert is_named(name, ("example.com", "pypi.org")) is expected


def test_networks_without_overlap_cover_the_same() -> None:
    assert without_overlap(["10.0.0.5", "10.0.0.0/24", "10.0.1.0/24", "8.8.8.8"]) == ("8.8.8.8/32", "10.0.0.0/23")


@given(st.lists(st.sampled_from(FORBIDDEN4)), st.ip_addresses(v=4))
def test_no_address_is_lost_or_won_when_overlap_goes(networks: list[IPv4Network], address: IPv4Address) -> None:
    left = without_overlap(map(str, networks))
    assert any(address in network for network in networks) == any(address in IPv4Network(one) for one in left)
