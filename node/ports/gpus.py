"""What the GPUs of this machine do now."""

from typing import Protocol

from msgspec import Struct


class GpuUse(Struct, frozen=True, kw_only=True):
    """One GPU now: percent, bytes, degrees Celsius, milliwatts; 0 for what its driver does not tell."""

    uuid: str
    model: str
    driver: str = ""
    vram: int = 0
    vram_used: int = 0
    utilisation: int = 0
    temperature: int = 0
    power: int = 0


class Gpus(Protocol):
    """The GPUs of this machine."""

    async def use(self) -> tuple[GpuUse, ...]:
        """What each of them does; measured at most every ten seconds, whoever asks."""
        ...
