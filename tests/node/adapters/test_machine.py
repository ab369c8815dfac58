"""What the node sells is what it may use itself."""

import asyncio
import os
from pathlib import Path

import pytest

from node.adapters.machine import LocalMachine, benchmark, cpu_model, memory, milli_cores, sold
from tests.builders import a_gpu

GIB = 2**30


def a_root(folder: Path, **files: str) -> Path:
    """A file system with 8 GiB of memory and `files`; "__" in a name stands for a slash."""
    proc = {"proc__meminfo": "MemTotal:        8388608 kB\nMemFree: 1 kB\n"}
    for name, text in (proc | files).items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_this_machine_is_measured(tmp_path: Path) -> None:
    resources, hardware = asyncio.run(LocalMachine(tmp_path).measure())
    assert 1 <= resources.cpu <= len(os.sched_getaffinity(0)) * 1000
    assert resources.memory > 2**27
    assert resources.disk > 0
    assert resources.gpus == len([gpu for gpu in hardware.gpus if gpu.model == resources.gpu_model])
    assert hardware.benchmark > 10_000
    assert hardware.cpu_model


def test_affinity_limits_the_cores(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert milli_cores(a_root(tmp_path)) == 1000
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys__fs__cgroup__cpu.max": "50000 100000\n"}, 500),
        ({"sys__fs__cgroup__cpu__cpu.cfs_quota_us": "25000", "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000"}, 250),
    ],
)
def test_a_quota_of_either_control_group_version_limits_the_cores(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert milli_cores(a_root(tmp_path, **files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8 * GIB),
        ({"sys__fs__cgroup__memory.max": "max\n"}, 8 * GIB),
        ({"sys__fs__cgroup__memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ({"sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712\n"}, 8 * GIB),
        ({"sys__fs__cgroup__memory__memory.limit_in_bytes": f"{GIB}\n"}, GIB),
    ],
)
def test_memory_is_what_the_control_group_leaves(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert memory(a_root(tmp_path, **files)) == expected


def test_the_processor_has_a_name(tmp_path: Path) -> None:
    assert cpu_model(a_root(tmp_path, proc__cpuinfo="processor : 0\nmodel name\t: Fast CPU 9\n")) == "Fast CPU 9"
    assert cpu_model(tmp_path / "nothing")


def test_the_benchmark_repeats_itself() -> None:
    """Within a factor of three, for a shared machine: it must rank machines, not measure noise."""
    first, second = benchmark(), benchmark()
    assert max(first, second) < 3 * min(first, second)


def test_of_several_models_the_first_is_sold() -> None:
    a, b = a_gpu(uuid="GPU-a"), a_gpu(uuid="GPU-b", model="nvidia-l4")
    assert sold((a, b, a)) == (a, a)
    assert sold(()) == ()
