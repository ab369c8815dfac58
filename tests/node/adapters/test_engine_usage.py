"""What a container uses, from the files of both versions of control groups and from the engine."""

from pathlib import Path
from typing import Any, cast

import pytest

from node.adapters.docker_engine.insides import Inside
from node.adapters.docker_engine.usage import Usage, groups_of, traffic_of, usage_from_engine, usage_of

OLD = "9:name=systemd:/docker/abc\n4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"
NEW = "0::/system.slice/docker-abc.scope\n"
DEVICES = """Inter-|   Receive                           |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo:  999999      10    0    0    0     0          0         0  999999      10    0    0    0     0       0
  eth0:    1500      10    0    0    0     0          0         0     700       9    0    0    0     0       0
  eth1:1000000000000 10    0    0    0     0          0         0       3       9    0    0    0     0       0
"""


class Files:
    """The files of a process, as `Inside` gives them."""

    def __init__(self, groups: str) -> None:
        self._files = {"cgroup": groups, "net/dev": DEVICES}

    def read(self, name: str) -> str:
        return self._files[name]


def process(groups: str) -> Inside:
    return cast(Inside, Files(groups))


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_version_1(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "cpuacct/docker/abc/cpuacct.usage": "123456789\n",
            "memory/docker/abc/memory.usage_in_bytes": "5000\n",
            "memory/docker/abc/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
        },
    )
    found = usage_of(process(OLD), root)
    assert found == Usage(cpu=123456789, memory=3000, received=1000000001500, sent=703)


def test_version_2(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "system.slice/docker-abc.scope/cpu.stat": "usage_usec 42\nuser_usec 40\n",
            "system.slice/docker-abc.scope/memory.current": "5000\n",
            "system.slice/docker-abc.scope/memory.stat": "anon 1\ninactive_file 6000\n",
        },
    )
    found = usage_of(process(NEW), root)
    assert (found.cpu, found.memory) == (42_000, 0)


def test_files_that_are_not_there_are_an_error_of_the_system(tmp_path: Path) -> None:
    for groups in (OLD, NEW):
        with pytest.raises(OSError, match="No such file"):
            usage_of(process(groups), tmp_path)


def test_a_controller_is_found_by_its_name_whatever_it_is_mounted_with() -> None:
    assert groups_of(OLD)["cpuacct"] == groups_of(OLD)["cpu"] == "/docker/abc"
    assert groups_of(NEW) == {"": "/system.slice/docker-abc.scope"}


def test_a_namespace_without_interfaces_has_no_traffic() -> None:
    assert traffic_of("\n".join(DEVICES.splitlines()[:3])) == (0, 0)


@pytest.mark.parametrize("cache", ["total_inactive_file", "inactive_file"])
def test_the_engines_answer_is_read_alike(cache: str) -> None:
    stats: dict[str, Any] = {
        "cpu_stats": {"cpu_usage": {"total_usage": 7}},
        "memory_stats": {"usage": 5000, "stats": {cache: 2000}},
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 3, "tx_bytes": 4}},
    }
    assert usage_from_engine(stats) == Usage(cpu=7, memory=3000, received=4, sent=6)
