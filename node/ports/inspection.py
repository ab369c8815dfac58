"""A look at the machine and its engine: may strangers' work be sold on it, and under which isolation tier."""

from typing import Final, Protocol

from msgspec import Struct

RISKS: Final = (
    "runc-version",
    "engine-version",
    "containerd-version",
    "nvidia-toolkit-version",
    "python-version",
    "engine-address",
    "clock",
    "disk",
)
"""What an operator may take upon itself by name; the offers then say so. Nothing else can be overridden."""
TIERS: Final = ("hardened", "gvisor", "gpu")
"""Isolation tiers that can be measured on the node's own machine."""
SWARM_TIER: Final = "swarm"
"""The one that can be measured on the machines of a swarm."""


class Finding(Struct, frozen=True, kw_only=True):
    """One check: `status` is "ok", "warning" or "failed"."""

    check: str
    status: str
    message: str


class Inspector(Protocol):
    """Looks the machine over; it changes nothing, and what it starts for a trial is gone afterwards."""

    async def inspect(self) -> tuple[Finding, ...]:
        """Every check, in a fixed order. Raises Unavailable without engine: then nothing is known."""
        ...
