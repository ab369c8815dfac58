"""Sealed gossip for tests of the network."""

import time

from msgspec import Struct

from market.messages import Kind, seal
from market.signing import Signer
from tests.builders import NETWORK, a_signer

TOPIC = f"neugrid/1/{NETWORK.hex()}/offers/cpu/eu"


class Words(Struct):
    """A payload; the network does not look inside."""

    text: str


def now_ms() -> int:
    """The present, as messages carry it."""
    return time.time_ns() // 1_000_000


def a_message(seq: int = 1, *, by: Signer | None = None, **changes: object) -> bytes:
    """A fresh, sealed gossip message of `by`; `network`, `kind`, `text`, `now` and `ttl` can be changed."""
    values = {"network": NETWORK, "kind": Kind.OFFERS, "text": "hello", "now": now_ms(), "ttl": 60_000} | changes
    return seal(
        by or a_signer(),
        values["network"],  # type: ignore[arg-type]
        values["kind"],  # type: ignore[arg-type]
        Words(str(values["text"])),
        seq=seq,
        now=values["now"],  # type: ignore[arg-type]
        ttl=values["ttl"],  # type: ignore[arg-type]
    )
