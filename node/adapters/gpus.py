"""GPUs as NVML reports them; the only file that imports pynvml.

No library or no driver means no GPU. A figure that a driver does not know stays at its default: a missing symbol, a
feature of other cards or a permission must not hide a card that works.
"""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import pynvml

from market.offers import Gpu

T = TypeVar("T")


def installed_gpus() -> tuple[Gpu, ...]:
    """Every GPU of this machine, in NVML's order; empty where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(gpu for index in range(_asked(pynvml.nvmlDeviceGetCount, 0)) if (gpu := _gpu(index)))
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _gpu(index: int) -> Gpu | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError:
        return None
    return Gpu(
        model=_text(_asked(lambda: pynvml.nvmlDeviceGetName(handle), "unknown")),
        uuid=_text(_asked(lambda: pynvml.nvmlDeviceGetUUID(handle), "")),
        vram=_asked(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total), 0),
        driver=_text(_asked(pynvml.nvmlSystemGetDriverVersion, "")),
        cuda=_cuda(_asked(pynvml.nvmlSystemGetCudaDriverVersion, 0)),
        mig=_asked(lambda: bool(pynvml.nvmlDeviceGetMigMode(handle)[0]), default=False),
        utilisation=min(100, _asked(lambda: int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu), 0)),
    )


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
