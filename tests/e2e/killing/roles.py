"""Who takes part: names, keys, addresses and folders of the nodes, the same in every life."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from market.messages import network_id
from market.signing import Signer
from market.units import Address, PeerId
from node.parts import Identity

CHAIN_ID = 31337
CHANNELS = Address("0x" + "c0" * 20)


class Role(Struct, frozen=True):
    """One node; `kind` is "requester" or "provider"."""

    name: str
    kind: str
    folder: Path
    price: int = 2_000
    """What a provider asks for a core, in base units per second."""

    @property
    def peer(self) -> PeerId:
        """Its name in the air."""
        return PeerId(f"peer-{self.name}")

    @property
    def wallet(self) -> Address:
        """The address that pays and earns."""
        return self._key("wallet").address

    @property
    def secret(self) -> str:
        """What its API key is made of; `life` gives it the form of a key."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:43]

    def identity(self) -> Identity:
        """Its keys."""
        return Identity(
            node=self._key("node"),
            vouchers=self._key("vouchers"),
            wallet=self.wallet,
            network_id=network_id(CHAIN_ID, CHANNELS),
        )

    def _key(self, use: str) -> Signer:
        return Signer(hashlib.sha256(f"{self.name}:{use}".encode()).digest())


def cast(folder: Path, pairs: int) -> Iterator[tuple[Role, Role]]:
    """So many pairs of a requester and a provider, all in one market; no two providers ask the same."""
    for number in range(pairs):
        requester = Role(f"requester{number}", "requester", folder / f"requester{number}")
        provider = Role(f"provider{number}", "provider", folder / f"provider{number}", 2_000 + 100 * number)
        yield requester, provider
