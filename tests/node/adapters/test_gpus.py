"""GPUs through NVML, without a GPU: the library's soname leads to a double that the test compiles."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from market.offers import Gpu
from node.adapters.gpus import installed_gpus

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
int nvmlDeviceGetMemoryInfo(void *d, memory_t *m) { m->total = 24ull << 30; m->free = m->total; m->used = 0; return 0; }
#ifdef FULL
int nvmlDeviceGetUUID(void *d, char *id, unsigned int n) { strncpy(id, "GPU-fake-0001", n); return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned int n) { strncpy(text, "555.42", n); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12050; return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12050; return 0; }
int nvmlDeviceGetMigMode(void *d, unsigned int *now, unsigned int *next) { *now = 1; *next = 1; return 0; }
int nvmlDeviceGetUtilizationRates(void *d, rates_t *r) { r->gpu = 37; r->memory = 5; return 0; }
#endif
const char *nvmlErrorString(int code) { return "fake"; }
"""
REPORT = (
    "import msgspec, sys; from node.adapters.gpus import installed_gpus as g; print(msgspec.json.encode(g()).decode())"
)


def reported(folder: Path, *options: str) -> tuple[Gpu, ...]:
    """What a process sees whose NVML is the double, compiled with `options`."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the double of NVML")
    (folder / "nvml.c").write_text(LIBRARY)
    library = folder / "libnvidia-ml.so.1"
    given = [f"-D{option}" for option in ("INIT=0", "SECOND=0", *options)]
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, *given, folder / "nvml.c"], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", REPORT], env=environment, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=tuple[Gpu, ...])


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
