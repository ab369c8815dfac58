"""GPUs as NVML reports them; the only file that imports pynvml.

No library or no driver means no GPU. A figure that a driver does not know stays at its default: a missing symbol, a
feature of other cards or a permission must not hide a card that works.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import pynvml

from market.offers import Gpu
from node.ports import Clock, GpuUse

T = TypeVar("T")
SAMPLE_EVERY: Final = 10_000
"""Milliseconds between two measurements: asking NVML wakes a GPU that sleeps."""


def installed_gpus() -> tuple[Gpu, ...]:
    """Every GPU of this machine, in NVML's order; empty where there is no driver."""
    return _each(_gpu)


def gpus_in_use() -> tuple[GpuUse, ...]:
    """What every GPU does now."""
    return _each(_use)


class NvmlGpus:
    """The GPUs as `Gpus`: one measurement serves all who ask within ten seconds."""

    def __init__(self, clock: Clock, measure: Callable[[], tuple[GpuUse, ...]] = gpus_in_use) -> None:
        self._clock = clock
        self._measure = measure
        self._measured_at = 0
        self._last: tuple[GpuUse, ...] = ()
        self._measuring = asyncio.Lock()

    async def use(self) -> tuple[GpuUse, ...]:
        """What each of them does, as of at most ten seconds ago."""
        async with self._measuring:
            if not self._measured_at or self._clock.now() - self._measured_at >= SAMPLE_EVERY:
                self._last = await asyncio.to_thread(self._measure)
                self._measured_at = self._clock.now()
            return self._last


def _each(question: Callable[[Any], T]) -> tuple[T, ...]:
    """The answer of every GPU that can be asked."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = (_handle(index) for index in range(_asked(pynvml.nvmlDeviceGetCount, 0)))
        return tuple(question(handle) for handle in handles if handle is not None)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _handle(index: int) -> Any:
    try:
        return pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError:
        return None


def _gpu(handle: Any) -> Gpu:
    return Gpu(
        model=_text(_asked(lambda: pynvml.nvmlDeviceGetName(handle), "unknown")),
        uuid=_text(_asked(lambda: pynvml.nvmlDeviceGetUUID(handle), "")),
        vram=_asked(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total), 0),
        driver=_text(_asked(pynvml.nvmlSystemGetDriverVersion, "")),
        cuda=_cuda(_asked(pynvml.nvmlSystemGetCudaDriverVersion, 0)),
        mig=_asked(lambda: bool(pynvml.nvmlDeviceGetMigMode(handle)[0]), default=False),
        utilisation=_utilisation(handle),
    )


def _use(handle: Any) -> GpuUse:
    return GpuUse(
        uuid=_text(_asked(lambda: pynvml.nvmlDeviceGetUUID(handle), "")),
        model=_text(_asked(lambda: pynvml.nvmlDeviceGetName(handle), "unknown")),
        driver=_text(_asked(pynvml.nvmlSystemGetDriverVersion, "")),
        vram=_asked(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total), 0),
        vram_used=_asked(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).used), 0),
        utilisation=_utilisation(handle),
        temperature=_asked(lambda: int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)), 0),
        power=_asked(lambda: int(pynvml.nvmlDeviceGetPowerUsage(handle)), 0),
    )


def _utilisation(handle: Any) -> int:
    return min(100, _asked(lambda: int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu), 0))


def _asked(question: Callable[[], T], default: T) -> T:
    try:
        return question()
    except pynvml.NVMLError:
        return default


def _cuda(version: int) -> str:
    """12040 -> "12.4"; "" when unknown."""
    return f"{version // 1000}.{version % 1000 // 10}" if version else ""


def _text(value: str | bytes) -> str:
    return (value.decode(errors="replace") if isinstance(value, bytes) else value)[:128]
