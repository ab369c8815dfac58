"""Measures the machine that the node sells: cores, memory, disk, one core's speed, and GPUs as NVML reports them.

What a container limit or an affinity mask withholds from the node is not there to be sold.
"""

import asyncio
import hashlib
import os
import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from market.offers import Gpu, Hardware
from market.resources import Resources
from node.adapters.gpus import installed_gpus

BENCHMARK_SECONDS: Final = 0.1
ROUNDS: Final = 3
BLOCK: Final = b"\0" * 1024
"""One hash of the benchmark covers this and the digest before it, so that the chain can not run in parallel."""


class LocalMachine:
    """The machine the node runs on; `disk` is a folder on the file system that is sold, `root` is / except in tests."""

    def __init__(self, disk: Path, root: Path = Path("/"), *, sells_gpus: bool = True) -> None:
        self._disk = disk
        self._sells_gpus = sells_gpus
        self._root = root

    async def measure(self) -> tuple[Resources, Hardware]:
        """What is there in total, and the facts about it; takes 0.1 s of one core."""
        return await asyncio.to_thread(self._measure)

    def _measure(self) -> tuple[Resources, Hardware]:
        gpus = installed_gpus()
        hardware = Hardware(cpu_model=cpu_model(self._root), benchmark=benchmark(), gpus=gpus)
        return self._resources(gpus), hardware

    def _resources(self, gpus: tuple[Gpu, ...]) -> Resources:
        same = sold(gpus) if self._sells_gpus else ()
        return Resources(
            cpu=milli_cores(self._root),
            memory=memory(self._root),
            disk=shutil.disk_usage(self._disk).free,
            gpus=len(same),
            gpu_model=same[0].model[:64] if same else "",
            vram=min((gpu.vram for gpu in same), default=0),
        )


def sold(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Those of the first one's model: an offer names one model, and a job gets what the offer names."""
    return tuple(gpu for gpu in gpus if gpu.model == gpus[0].model)


def milli_cores(root: Path) -> int:
    """Thousandths of cores that this process may use: affinity, and the quota of its control group (v1 or v2)."""
    cores = len(os.sched_getaffinity(0)) * 1000
    for quota, period in _quotas(root / "sys/fs/cgroup"):
        if quota > 0 and period > 0:
            cores = min(cores, quota * 1000 // period)
    return max(1, cores)


def memory(root: Path) -> int:
    """Bytes of memory: the machine's, or less when the control group says so."""
    total = _total_memory(root)
    groups = root / "sys/fs/cgroup"
    limits = [_number(groups / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([total, *(limit for limit in limits if limit > 0)])


def cpu_model(root: Path) -> str:
    """The processor's name, or its architecture where the kernel tells no name."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()[:128]
    return platform.machine()


def benchmark() -> int:
    """Hashes per second of one core: the best of three runs of a SHA-256 chain, each link over 1056 bytes."""
    return max(_chain(BENCHMARK_SECONDS / ROUNDS) for _ in range(ROUNDS))


def _chain(seconds: float) -> int:
    digest, count = b"\0" * 32, 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(256):
            digest = hashlib.sha256(BLOCK + digest).digest()
        count += 256
    return int(count / elapsed)


def _quotas(groups: Path) -> list[tuple[int, int]]:
    quota, _, period = _text(groups / "cpu.max").partition(" ")
    unified = (_parsed(quota), _parsed(period))
    return [unified, (_number(groups / "cpu/cpu.cfs_quota_us"), _number(groups / "cpu/cpu.cfs_period_us"))]


def _total_memory(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _number(path: Path) -> int:
    return _parsed(_text(path))


def _parsed(text: str) -> int:
    """The number, or 0 for "max", nothing and "no limit"."""
    try:
        return int(text)
    except ValueError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
