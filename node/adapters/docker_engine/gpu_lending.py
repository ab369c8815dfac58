"""Which GPUs a container gets, and how the engine is asked for them: pure functions."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from market.offers import Gpu
from market.resources import Resources, is_model

KIND: Final = "nvidia.com/gpu"
"""Of a CDI name: `nvidia.com/gpu=<uuid>`."""


def lendable(gpus: Sequence[Gpu], taken: Collection[str], need: Resources) -> tuple[str, ...]:
    """Ids of free GPUs of the wanted model and VRAM, at most as many as are wanted; the smallest that do come first."""
    fitting = [gpu for gpu in gpus if gpu.uuid and gpu.uuid not in taken and _fits(gpu, need)]
    return tuple(gpu.uuid for gpu in sorted(fitting, key=lambda gpu: gpu.vram)[: need.gpus])


def _fits(gpu: Gpu, need: Resources) -> bool:
    return is_model(need.gpu_model, gpu.model[:64]) and gpu.vram >= need.vram


def cdi_names(uuids: Sequence[str], info: dict[str, Any]) -> tuple[str, ...]:
    """The CDI names of these GPUs when the engine has found every one of them, else none.

    CDI (engine 28, or 25 with the feature on) injects the device from a file that root wrote, so that no hook runs on
    the host with an image's environment.
    """
    found = {item.get("ID") for item in info.get("DiscoveredDevices") or () if item.get("Source") == "cdi"}
    names = tuple(f"{KIND}={uuid}" for uuid in uuids)
    return names if set(names) <= found else ()


def device_requests(uuids: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    """The engine's device requests: by CDI name where there are names, else by id through the NVIDIA runtime."""
    if names:
        return [{"Driver": "cdi", "DeviceIDs": list(names)}]
    if uuids:
        return [{"Driver": "nvidia", "DeviceIDs": list(uuids), "Capabilities": [["gpu", "compute", "utility"]]}]
    return []
