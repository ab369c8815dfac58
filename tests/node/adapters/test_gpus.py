"""GPUs through NVML, without a GPU: the library's soname leads to a double that the test compiles."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from market.offers import Gpu
from market.units import Timestamp
from node.adapters.gpus import NvmlGpus, installed_gpus
from node.ports import GpuUse

GIB = 2**30

LIBRARY = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } rates_t;
static int device;
int nvmlInitWithFlags(unsigned int flags) { return INIT; }
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) { *handle = &device; return index ? SECOND : 0; }
int nvmlDeviceGetName(void *d, char *name, unsigned int n) { strncpy(name, "NVIDIA Fake 9000", n); return 0; }
int nvmlDeviceGetMemoryInfo(void *d, memory_t *m) { m->total = 24ull << 30; m->used = 3ull << 30; return 0; }
#ifdef FULL
int nvmlDeviceGetUUID(void *d, char *id, unsigned int n) { strncpy(id, "GPU-fake-0001", n); return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned int n) { strncpy(text, "555.42", n); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12050; return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12050; return 0; }
int nvmlDeviceGetMigMode(void *d, unsigned int *now, unsigned int *next) { *now = 1; *next = 1; return 0; }
int nvmlDeviceGetUtilizationRates(void *d, rates_t *r) { r->gpu = 37; r->memory = 5; return 0; }
int nvmlDeviceGetTemperature(void *d, int sensor, unsigned int *t) { *t = 61; return 0; }
int nvmlDeviceGetPowerUsage(void *d, unsigned int *milliwatts) { *milliwatts = 215500; return 0; }
#endif
const char *nvmlErrorString(int code) { return "fake"; }
"""
REPORT = "import msgspec; from node.adapters import gpus; print(msgspec.json.encode(gpus.{}()).decode())"


def reported(folder: Path, *options: str) -> tuple[Gpu, ...]:
    """The GPUs that a process sees whose NVML is the double, compiled with `options`."""
    return msgspec.json.decode(answer(folder, "installed_gpus", *options), type=tuple[Gpu, ...])


def used(folder: Path, *options: str) -> tuple[GpuUse, ...]:
    """What they do now."""
    return msgspec.json.decode(answer(folder, "gpus_in_use", *options), type=tuple[GpuUse, ...])


def answer(folder: Path, question: str, *options: str) -> bytes:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the double of NVML")
    (folder / "nvml.c").write_text(LIBRARY)
    library = folder / "libnvidia-ml.so.1"
    given = [f"-D{option}" for option in ("INIT=0", "SECOND=0", *options)]
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, *given, folder / "nvml.c"], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(question)], env=environment, capture_output=True, check=True
    )
    return done.stdout


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("there is a driver here")
    assert installed_gpus() == ()


def test_every_figure_of_a_gpu_is_told(tmp_path: Path) -> None:
    gpu = Gpu(
        model="NVIDIA Fake 9000",
        uuid="GPU-fake-0001",
        vram=24 * GIB,
        driver="555.42",
        cuda="12.5",
        mig=True,
        utilisation=37,
    )
    assert reported(tmp_path, "FULL") == (gpu, gpu)


def test_a_figure_that_the_library_does_not_know_hides_no_gpu(tmp_path: Path) -> None:
    gpu = Gpu(model="NVIDIA Fake 9000", vram=24 * GIB)
    assert reported(tmp_path) == (gpu, gpu)


def test_a_broken_gpu_does_not_hide_the_working_one(tmp_path: Path) -> None:
    assert len(reported(tmp_path, "SECOND=15")) == 1  # NVML_ERROR_GPU_IS_LOST


def test_a_library_without_a_driver_means_no_gpus(tmp_path: Path) -> None:
    assert reported(tmp_path, "INIT=9") == ()  # NVML_ERROR_DRIVER_NOT_LOADED


def test_what_every_gpu_does_is_told(tmp_path: Path) -> None:
    gpu = GpuUse(
        uuid="GPU-fake-0001",
        model="NVIDIA Fake 9000",
        driver="555.42",
        vram=24 * GIB,
        vram_used=3 * GIB,
        utilisation=37,
        temperature=61,
        power=215_500,
    )
    assert used(tmp_path, "FULL") == (gpu, gpu)


def test_a_figure_that_nobody_knows_is_zero_and_a_broken_gpu_is_left_out(tmp_path: Path) -> None:
    assert used(tmp_path, "SECOND=15") == (GpuUse(uuid="", model="NVIDIA Fake 9000", vram=24 * GIB, vram_used=3 * GIB),)


class MovedClock:
    def __init__(self) -> None:
        self.time = 1

    def now(self) -> Timestamp:
        return Timestamp(self.time)


@pytest.mark.anyio
async def test_ten_seconds_of_questions_are_one_measurement() -> None:
    measured: list[GpuUse] = []

    def measure() -> tuple[GpuUse, ...]:
        measured.append(GpuUse(uuid=f"GPU-{len(measured)}", model="x"))
        return (measured[-1],)

    clock = MovedClock()
    gpus = NvmlGpus(clock, measure)
    answers = await asyncio.gather(*(gpus.use() for _ in range(5)))
    clock.time += 9_999
    answers.append(await gpus.use())
    assert {answer[0].uuid for answer in answers} == {"GPU-0"}
    clock.time += 1
    assert (await gpus.use())[0].uuid == "GPU-1"
    assert len(measured) == 2
