"""The control group of all workloads: made heavy where that can be done, and left to the engine elsewhere."""

import os
from pathlib import Path
from typing import Any

import pytest

from node.adapters.docker_engine.groups import Group, weigh
from tests.node.adapters.engines import a_container, a_node, a_runtime

pytestmark = pytest.mark.anyio


class Engine:
    """Tells what it is."""

    def __init__(self, is_local: bool = True, **info: object) -> None:
        self.is_local = is_local
        self.info = {"CgroupDriver": "cgroupfs", **info}

    async def call(self, _: object) -> dict[str, object]:
        return self.info


def a_group(engine: Engine, root: Path) -> Group:
    return Group(engine, root)  # type: ignore[arg-type]


@pytest.mark.parametrize("controller", ["cpu", "cpu,cpuacct"])
async def test_in_the_first_version_it_weighs_by_the_cores_of_the_machine(tmp_path: Path, controller: str) -> None:
    (tmp_path / controller).mkdir()
    assert await a_group(Engine(), tmp_path).parent() == "/neugrid"
    shares = int((tmp_path / controller / "neugrid/cpu.shares").read_text())
    assert shares == min(262_144, 4096 * (os.cpu_count() or 1))


async def test_in_the_second_version_it_weighs_four_times_another_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    assert await a_group(Engine(), tmp_path).parent() == "/neugrid"
    assert (tmp_path / "neugrid/cpu.weight").read_text() == "400"


async def test_who_may_not_change_it_uses_it_as_it_is(tmp_path: Path) -> None:
    assert not weigh(tmp_path)
    group = a_group(Engine(), tmp_path)
    assert await group.parent() == "/neugrid"
    (tmp_path / "cpu").mkdir()
    assert await group.parent() == "/neugrid"
    assert (tmp_path / "cpu/neugrid/cpu.shares").exists(), "it is tried again"


@pytest.mark.parametrize(
    "engine",
    [
        Engine(CgroupDriver="systemd"),
        Engine(CgroupDriver="none"),
        Engine(is_local=False),
        Engine(SecurityOptions=["name=seccomp", "name=rootless"]),
    ],
)
async def test_elsewhere_the_engine_has_its_own_ways(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "cpu").mkdir()
    assert await a_group(engine, tmp_path).parent() == ""
    assert not (tmp_path / "cpu/neugrid").exists()


@pytest.mark.docker
async def test_a_workload_is_in_the_group(engine: None, tmp_path: Path) -> None:
    async with a_runtime(a_node(), tmp_path / "volumes") as runtime:
        if not (parent := await runtime._starter._group.parent()):
            pytest.skip("this engine has control groups of its own ways")
        spec = a_container("sleep", "60")
        await runtime.start(spec)
        seen: dict[str, Any] = await runtime._inspect(spec.name)
        groups = Path(f"/proc/{seen['State']['Pid']}/cgroup").read_text().splitlines()
        assert any(line.endswith(f"{parent}/{seen['Id']}") for line in groups)
