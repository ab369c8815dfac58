"""A requester's priced demand, blinded: what is needed and at which price, with a digest in place of the workload."""

from typing import Annotated

from msgspec import Meta, Struct

from market.offers import AddressText, Capabilities, Id, Millis, ShortText
from market.resources import Resources
from market.workloads import Sha256


class Constraints(Struct, frozen=True, kw_only=True):
    """Where and with whom a job may run; "" and 0 mean no matter. `min_reputation` is 0..1000."""

    region: ShortText = ""
    isolation: ShortText = ""
    min_reputation: Annotated[int, Meta(ge=0, le=1000)] = 0
    avoid: Annotated[tuple[AddressText, ...], Meta(max_length=64)] = ()
    """Providers that must not be asked: those that lost an attempt of this job."""
    only: Annotated[tuple[AddressText, ...], Meta(max_length=64)] = ()
    """The providers of which it must be one; none: anybody."""
    needs: Capabilities = ()
    """What the provider must be able to do, by the names of `Offer.capabilities`."""


class Order(Struct, frozen=True, kw_only=True):
    """A blinded demand. `max_rate` in 1e-9 base units per second, `duration` in seconds, times in epoch ms."""

    id: Id
    requester: AddressText
    peer: ShortText
    resources: Resources
    constraints: Constraints = Constraints()
    max_rate: Annotated[int, Meta(ge=0, le=2**60)]
    duration: Annotated[int, Meta(ge=1, le=30 * 86400)]
    spec_digest: Sha256
    bid_window: Annotated[int, Meta(ge=0, le=600_000)] = 1000
    """How long bids are collected, in ms; 0 = the first fitting bid wins."""
    issued_at: Millis
    expires_at: Millis
