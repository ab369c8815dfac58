"""A provider's standing ask: hardware as measured, prices, free capacity, region and isolation tier."""

from typing import Annotated

from msgspec import Meta, Struct

from market.resources import Prices, Resources

ShortText = Annotated[str, Meta(max_length=128)]
AddressText = Annotated[str, Meta(pattern=r"^0x[0-9a-f]{40}$(?!\n)")]
"""`$` alone would let a newline pass, and with it a second spelling of the same address."""
Id = Annotated[str, Meta(pattern=r"^[a-z]{2,8}_[0-9a-zA-Z]{6,64}$(?!\n)")]
Millis = Annotated[int, Meta(ge=0, le=2**53)]
Capabilities = Annotated[tuple[Annotated[str, Meta(max_length=32)], ...], Meta(max_length=32)]


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU as NVML reports it; vram in bytes, utilisation in percent."""

    model: ShortText
    uuid: ShortText = ""
    vram: Annotated[int, Meta(ge=0, le=2**50)] = 0
    driver: ShortText = ""
    cuda: ShortText = ""
    mig: bool = False
    utilisation: Annotated[int, Meta(ge=0, le=100)] = 0


class Hardware(Struct, frozen=True, kw_only=True):
    """What was measured on the machine; `benchmark` is hashes per second of one core in the node's CPU benchmark."""

    cpu_model: ShortText = ""
    benchmark: Annotated[int, Meta(ge=0, le=2**40)] = 0
    gpus: Annotated[tuple[Gpu, ...], Meta(max_length=64)] = ()


class Offer(Struct, frozen=True, kw_only=True):
    """One standing ask of one provider; a later `seq` replaces an earlier one. Times in ms since the epoch."""

    id: Id
    provider: AddressText
    payee: AddressText
    """Who is paid: the payee of the channels."""
    peer: ShortText
    seq: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    total: Resources
    free: Resources
    prices: Prices
    region: ShortText = "local"
    isolation: ShortText = "hardened"
    capabilities: Capabilities = ()
    """What beyond work that ends can be bought here: "service", "runner", "build", "egress:web", ..."""
    hardware: Hardware = Hardware()
    images: Annotated[tuple[ShortText, ...], Meta(max_length=64)] = ()
    risks: Annotated[tuple[ShortText, ...], Meta(max_length=16)] = ()
    """What is below the floor on the provider's machine, by name, and sold all the same."""
    notice: Annotated[int, Meta(ge=0, le=86_400)] = 0
    """Seconds of notice the provider gives before it ends a lease by its own wish."""
    issued_at: Millis
    expires_at: Millis


def offer_prefix(provider: str) -> str:
    """How the ids of a provider's offers begin: nobody else can take them."""
    return f"off_{provider[2:22]}"
