"""What a workload needs and what a machine has; does one fit into the other, and what does it cost."""

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from market.gpus import gpu_model
from market.units import Bytes, MilliCpu, Rate

Count = Annotated[int, Meta(ge=0, le=1024)]
Size = Annotated[int, Meta(ge=0, le=2**60)]
Price = Annotated[int, Meta(ge=0, le=2**60)]
Name = Annotated[str, Meta(max_length=64)]


class Resources(Struct, frozen=True, kw_only=True):
    """An amount of machine: cpu in milli-cores, memory, disk and vram in bytes; `gpu_model` "" means any.

    The model is named as a driver or a requester does; `market.gpus` says which names mean the same.
    """

    cpu: Annotated[int, Meta(ge=0, le=4_096_000)]
    memory: Size
    disk: Size = 0
    gpus: Count = 0
    gpu_model: Name = ""
    vram: Size = 0
    """Needed or present per GPU."""


class Prices(Struct, frozen=True, kw_only=True):
    """Prices per second in 1e-9 base units: per core, per GiB of memory, per GiB of disk, per GPU."""

    cpu: Price
    memory: Price
    disk: Price = 0
    gpu: Price = 0


GIB = 2**30
LEAST_MEMORY = 6 * 2**20
"""Container engines refuse less."""


def misfits(need: Resources, have: Resources) -> tuple[str, ...]:
    """The names of the constraints on which `have` is too small for `need`; empty when it fits."""
    found = [name for name in ("cpu", "memory", "disk", "gpus") if getattr(need, name) > getattr(have, name)]
    if need.gpus and not is_model(need.gpu_model, have.gpu_model):
        found.append("gpu_model")
    if need.gpus and need.vram > have.vram:
        found.append("vram")
    return tuple(found)


def is_model(wanted: str, found: str) -> bool:
    """Whether a GPU of this name is of the wanted model, however either is spelled; "" is any."""
    return wanted in ("", found) or gpu_model(wanted) == gpu_model(found)


def is_sellable(need: Resources) -> bool:
    """Whether a container of this size can be: some of a core, and the least memory."""
    return need.cpu > 0 and need.memory >= LEAST_MEMORY


def share_of(have: Resources, thousandths: int) -> Resources:
    """That part of cores, memory and disk; GPUs are not divided."""
    return replace(
        have,
        cpu=have.cpu * thousandths // 1000,
        memory=have.memory * thousandths // 1000,
        disk=have.disk * thousandths // 1000,
    )


def price_of(need: Resources, prices: Prices) -> Rate:
    """The rate for `need`: the sum of each amount times its price, rounded up once."""
    scaled = (
        need.cpu * prices.cpu * GIB
        + (need.memory * prices.memory + need.disk * prices.disk) * 1000
        + need.gpus * prices.gpu * 1000 * GIB
    )
    return Rate(-(-scaled // (1000 * GIB)))


def minus(have: Resources, taken: Resources) -> Resources:
    """What is left of `have`; never below zero, the GPU's model and VRAM stay."""
    return Resources(
        cpu=MilliCpu(max(0, have.cpu - taken.cpu)),
        memory=Bytes(max(0, have.memory - taken.memory)),
        disk=Bytes(max(0, have.disk - taken.disk)),
        gpus=max(0, have.gpus - taken.gpus),
        gpu_model=have.gpu_model,
        vram=have.vram,
    )
