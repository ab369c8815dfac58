"""Who is one client, and whether there is a place for him."""

import pytest

from node.api.places import Places, Room, client_at


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_an_address_or_the_network_of_a_customer(address: str, client: str) -> None:
    assert client_at(address) == client


def test_places_are_counted_by_client_and_in_all() -> None:
    places = Places(Room(connections=4, each=2, proxies=("10.0.0.0/8", "no network")))
    assert [bool(places.take(address)) for address in ("2001:db8::1", "2001:db8::2", "2001:db8::3")] == [0, 0, 1]
    assert [places.take("10.0.0.1")[:12] for _ in range(3)] == [b"", b"", b"HTTP/1.1 503"]
    places.give_back("2001:db8::1")
    assert places.take("2001:db8::9") == b""
