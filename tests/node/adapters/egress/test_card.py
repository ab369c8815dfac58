"""Rules at the card: the kernel takes them, whatever networks the host is in."""

import pytest

from market.errors import Unavailable
from node.adapters.egress.card import card_rules
from node.adapters.egress.namespace import load_nowhere

pytestmark = pytest.mark.anyio

OWN = ("192.0.2.1", "10.0.0.0/8", "10.1.0.0/16", "8.8.0.0/16")


def test_the_hosts_networks_are_forbidden_beside_everybodys_private_ones() -> None:
    script = card_rules("198.19.0.2", "02:42:c6:13:00:02", OWN)
    assert "8.8.0.0/16" in script
    assert "169.254.0.0/16" in script
    assert "10.1.0.0/16" not in script  # a part of one that is there already


async def test_the_kernel_takes_them() -> None:
    try:
        await load_nowhere("list ruleset\n")
    except Unavailable as error:
        pytest.skip(f"no packet rules here: {error.message}")
    await load_nowhere(card_rules("198.19.0.2", "02:42:c6:13:00:02", OWN, card="lo"))
