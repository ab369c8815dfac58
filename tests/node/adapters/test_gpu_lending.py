"""GPUs are lent one tenant each, by model and VRAM, and asked for as the engine offers them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from market.errors import Unavailable
from node.adapters.base_images import RECIPES
from node.adapters.docker_engine.gpu_lending import cdi_names, device_requests, lendable
from node.ports import ContainerSpec
from tests.builders import a_gpu, resources
from tests.node.adapters.daemons import Daemon, a_daemon
from tests.node.adapters.engines import MIB, a_container, a_node, a_runtime, run, texts

pytestmark = pytest.mark.anyio
GIB = 2**30
SMALL, LARGE, OTHER = (
    a_gpu(uuid="GPU-small", vram=40 * GIB),
    a_gpu(uuid="GPU-large", vram=80 * GIB),
    a_gpu(uuid="GPU-other", model="nvidia-t4", vram=16 * GIB),
)
GPUS = (LARGE, OTHER, SMALL)


@pytest.mark.parametrize(
    ("need", "taken", "lent"),
    [
        ({"gpus": 1}, (), ("GPU-other",)),
        ({"gpus": 1, "gpu_model": "nvidia-a100"}, (), ("GPU-small",)),
        ({"gpus": 1, "vram": 41 * GIB}, (), ("GPU-large",)),
        ({"gpus": 2, "gpu_model": "nvidia-a100"}, (), ("GPU-small", "GPU-large")),
        ({"gpus": 1, "gpu_model": "nvidia-a100"}, ("GPU-small",), ("GPU-large",)),
        ({"gpus": 2, "gpu_model": "nvidia-a100"}, ("GPU-small",), ("GPU-large",)),
        ({"gpus": 1, "gpu_model": "A100"}, (), ("GPU-small",)),
        ({"gpus": 1, "gpu_model": "Tesla T4"}, (), ("GPU-other",)),
        ({"gpus": 1, "gpu_model": "nvidia-h100"}, (), ()),
        ({"gpus": 1}, ("GPU-small", "GPU-large", "GPU-other"), ()),
        ({"gpus": 0}, (), ()),
    ],
)
def test_the_smallest_free_gpu_that_does_is_lent(need: dict[str, Any], taken: tuple[str, ...], lent: Any) -> None:
    assert lendable(GPUS, taken, resources(**need)) == lent


def test_a_gpu_without_an_id_can_not_be_lent() -> None:
    assert lendable((a_gpu(uuid=""),), (), resources(gpus=1)) == ()


def discovered(*names: str) -> dict[str, Any]:
    return {"DiscoveredDevices": [{"Source": "cdi", "ID": name} for name in names]}


def test_an_engine_that_has_found_the_gpus_is_asked_by_their_cdi_names() -> None:
    names = cdi_names(("GPU-1",), discovered("nvidia.com/gpu=GPU-1", "nvidia.com/gpu=all"))
    assert device_requests(("GPU-1",), names) == [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1"]}]


@pytest.mark.parametrize(
    "info", [{}, {"DiscoveredDevices": None}, discovered("nvidia.com/gpu=0"), discovered("vendor.com/gpu=GPU-1")]
)
def test_an_engine_that_has_not_found_every_gpu_is_asked_by_their_ids(info: dict[str, Any]) -> None:
    assert cdi_names(("GPU-1",), info) == ()
    assert device_requests(("GPU-1",), ())[0]["Driver"] == "nvidia"


def test_a_container_without_gpus_asks_for_no_device() -> None:
    assert device_requests((), ()) == []


HOOK = "#!/bin/sh\ncat >/dev/null\n"
"""What dockerd looks for in its PATH before it offers NVIDIA's driver, and runs before every such container."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    programs = tmp_path_factory.mktemp("programs")
    (programs / "nvidia-container-runtime-hook").write_text(HOOK)
    (programs / "nvidia-container-runtime-hook").chmod(0o755)
    with a_daemon(tmp_path_factory.mktemp("engine") / "own", programs=str(programs)) as daemon:
        yield daemon


def with_gpu(*command: str, **changes: Any) -> ContainerSpec:
    spec = a_container(*command, **changes)
    amount = resources(memory=64 * MIB, gpus=1, gpu_model="nvidia-a100")
    return type(spec)(**{name: getattr(spec, name) for name in spec.__struct_fields__} | {"resources": amount})


@pytest.mark.docker
async def test_a_gpu_has_one_tenant_at_a_time_whatever_node_asks(daemon: Daemon, tmp_path: Path) -> None:
    async with (
        a_runtime(a_node(), tmp_path / "a", address=daemon.address, gpus=(SMALL,)) as ours,
        a_runtime(a_node(), tmp_path / "b", address=daemon.address, gpus=(SMALL,)) as theirs,
    ):
        holder = with_gpu("sleep", "60")
        await ours.start(holder)
        with pytest.raises(Unavailable, match="1 GPUs are wanted and 0 are free"):
            await theirs.start(with_gpu("true"))
        await ours.stop(holder.name, grace=0)
        end, _ = await run(theirs, with_gpu("true"))
        assert end.code == 0


@pytest.mark.docker
async def test_the_engine_records_and_sees_the_lent_gpu_and_no_other(daemon: Daemon, tmp_path: Path) -> None:
    async with a_runtime(a_node(), tmp_path, address=daemon.address, gpus=GPUS) as runtime:
        spec = with_gpu("env", env={"NVIDIA_VISIBLE_DEVICES": "all"})
        _, lines = await run(runtime, spec)
        assert [line for line in texts(lines) if line.startswith("NVIDIA_VIS")] == ["NVIDIA_VISIBLE_DEVICES=GPU-small"]
        (request,) = (await runtime._inspect(spec.name))["HostConfig"]["DeviceRequests"]
        assert (request["Driver"], request["DeviceIDs"]) == ("nvidia", ["GPU-small"])


@pytest.mark.docker
async def test_what_hooks_obey_reaches_neither_the_container_nor_a_command_inside(
    daemon: Daemon, tmp_path: Path
) -> None:
    """CVE-2025-23266: an image's LD_PRELOAD ran in a hook outside of the container."""
    client = docker.APIClient(daemon.address, version="auto")
    archive = tmp_path / "rootfs.tar"
    with archive.open("wb") as target:
        subprocess.run(["sh", str(RECIPES / "busybox" / "rootfs.sh")], stdout=target, check=True)
    settings = ["ENV LD_PRELOAD=/evil.so", "ENV NVIDIA_VISIBLE_DEVICES=all", "ENV KEPT=1"]
    client.import_image_from_file(str(archive), repository="evil", tag="latest", changes=settings)
    async with a_runtime(a_node(), tmp_path, address=daemon.address) as runtime:
        spec = a_container("sh", "-c", "env; echo told; sleep 60", image="evil:latest")
        await runtime.start(spec)
        async for line in runtime.logs(spec.name):
            if line.text == "told":
                break
        inside = client.exec_start(client.exec_create(spec.name, ["env"])["Id"]).decode()
        await runtime.stop(spec.name, grace=0)
        outside = client.logs(spec.name).decode()
    client.close()
    for env in (inside, outside):
        assert "KEPT=1" in env
        assert "LD_PRELOAD" not in env
        assert "NVIDIA" not in env
