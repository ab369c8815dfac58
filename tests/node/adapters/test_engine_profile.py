"""The hardened profile as data: no field of a spec and no wish of an image can widen it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import ConfigError, InvalidParameters
from market.units import MilliCpu, Seconds
from node.adapters.docker_engine.profile import (
    FIRST_USER,
    USERS,
    ImageFacts,
    Placement,
    create_request,
    environment,
    facts_of,
    folder_of,
    user_of,
)
from node.adapters.docker_engine.settings import SECCOMP, read_seccomp
from node.ports import ContainerSpec
from tests.builders import resources


def a_request(placement: Placement | None = None, image: ImageFacts | None = None, **changes: Any) -> dict[str, Any]:
    given = {"command": ("true",), "env": {}, "resources": resources(), "timeout": Seconds(60)} | changes
    spec = ContainerSpec(name="l-a1", lease="l", image="busybox", **given)
    return create_request(spec, image or ImageFacts(id="sha256:1"), placement or Placement(), "node", "{}")


def test_every_container_is_locked_down() -> None:
    host = a_request()["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["ReadonlyRootfs"]
    assert host["NetworkMode"] == "none"
    assert host["Memory"] == host["MemorySwap"] == 2**30
    assert host["NanoCpus"] == 10**9
    assert host["PidsLimit"] == 320
    assert not host["Privileged"]
    assert not {"Binds", "Devices", "CapAdd", "PidMode", "UTSMode", "CgroupParent", "Runtime"} & set(host)


def test_a_workload_weighs_by_its_cores_and_may_be_in_a_group() -> None:
    half, many = resources(cpu=MilliCpu(500)), resources(cpu=MilliCpu(1_024_000))
    assert a_request(resources=half)["HostConfig"]["CpuShares"] == 2048
    assert a_request(resources=many)["HostConfig"]["CpuShares"] == 262_144
    assert a_request(Placement(group="/neugrid"))["HostConfig"]["CgroupParent"] == "/neugrid"


def test_scratch_space_is_small_against_memory_so_that_filling_it_is_no_memory_fault() -> None:
    host = a_request(resources=resources(memory=16 * 2**20))["HostConfig"]
    assert "size=4194304" in host["Tmpfs"]["/tmp"]
    assert host["ShmSize"] == 4 * 2**20


@pytest.mark.parametrize("user", ["", "root", "0", "0:0", "nobody", "app:app", "-1", "4294967296"])
def test_a_user_that_may_be_root_becomes_one_that_the_container_has_for_itself(user: str) -> None:
    image = ImageFacts(id="x", user=user)
    users = {user_of(f"lse_{number}-a1", image) for number in range(50)}
    numbers = [int(user.partition(":")[0]) for user in users]
    assert len(users) >= 48
    assert users == {f"{number}:{number}" for number in numbers}
    assert all(FIRST_USER <= number < FIRST_USER + USERS <= 2**16 for number in numbers)
    assert user_of("lse_1-a1", image) == user_of("lse_1-a1", image)


@pytest.mark.parametrize(("user", "expected"), [("1000", "1000:1000"), ("1000:50", "1000:50"), ("1000:0", "1000:1000")])
def test_a_number_above_zero_is_the_images_own_user(user: str, expected: str) -> None:
    assert user_of("lse_1-a1", ImageFacts(id="x", user=user)) == expected


@pytest.mark.parametrize("folder", ["/proc/self/fd/8", "/sys", "/dev/fd", "work", "/app/../proc/self"])
def test_a_working_folder_of_the_kernel_is_refused(folder: str) -> None:
    with pytest.raises(InvalidParameters):
        folder_of(ImageFacts(id="x", folder=folder))


def test_variables_that_hooks_obey_are_set_neither_by_the_job_nor_by_the_image() -> None:
    found = environment({"LD_PRELOAD": "/x.so", "NVIDIA_VISIBLE_DEVICES": "all", "A": "1"}, ("LD_AUDIT=/y.so", "B=2"))
    assert found == ["HOME=/tmp", "USER=job", "A=1", "LD_AUDIT"]


def test_the_images_home_is_kept_and_the_jobs_wins() -> None:
    assert "HOME=/tmp" not in environment({}, ("HOME=/app",))
    assert "HOME=/job" in environment({"HOME": "/job"}, ("HOME=/app",))


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)))
def test_no_name_smuggles_a_second_variable_in(env: dict[str, str]) -> None:
    names = {entry.partition("=")[0] for entry in environment(env, ())}
    assert names <= set(env) | {"HOME", "USER"}
    assert not any(name.upper().startswith(("LD_", "NVIDIA_")) for name in names)


def test_volumes_of_the_image_are_covered_by_small_tmpfs() -> None:
    mounts = a_request(image=ImageFacts(id="x", volumes=("/data",)))["HostConfig"]["Mounts"]
    assert [(mount["Type"], mount["Target"], mount["TmpfsOptions"]["SizeBytes"]) for mount in mounts] == [
        ("tmpfs", "/data", 16 * 2**20)
    ]


@pytest.mark.parametrize("timeout", [0, 60])
@pytest.mark.parametrize("path", ["/proc", "/proc/", "/proc/sys", "/sys", "//proc", "/x/../dev", "/", "data"])
def test_an_image_that_wants_a_volume_over_the_kernels_own_folders_is_refused(path: str, timeout: int) -> None:
    with pytest.raises(InvalidParameters):
        a_request(image=ImageFacts(id="x", volumes=(path,)), timeout=Seconds(timeout))


@pytest.mark.parametrize("label", ["neugrid.sandbox", "neugrid.egress"])
def test_an_image_that_poses_as_something_of_the_nodes_own_is_refused(label: str) -> None:
    with pytest.raises(InvalidParameters, match=label):
        a_request(image=facts_of({"Id": "x", "Config": {"Labels": {label: ""}}}))
    assert (
        a_request(image=facts_of({"Id": "x", "Config": {"Labels": {"neugrid.node": "another"}}}))["Labels"][
            "neugrid.node"
        ]
        == "node"
    )


def test_too_many_volumes_are_refused() -> None:
    with pytest.raises(InvalidParameters):
        a_request(image=ImageFacts(id="x", volumes=tuple(f"/v{n}" for n in range(9))))


def test_gpus_are_lent_by_their_ids() -> None:
    host = a_request(Placement(gpus=("GPU-1",)))["HostConfig"]
    assert host["DeviceRequests"][0]["DeviceIDs"] == ["GPU-1"]


def test_the_system_call_filter_denies_by_default_and_names_no_dangerous_call() -> None:
    profile = json.loads(read_seccomp(SECCOMP))
    names = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert not names & {
        "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "ptrace", "process_vm_readv", "keyctl",
        "add_key", "bpf", "io_uring_setup", "io_uring_enter", "userfaultfd", "perf_event_open", "kexec_load",
        "init_module", "finit_module", "open_by_handle_at", "reboot", "swapon", "syslog", "fsopen", "open_tree",
        "move_mount", "io_setup",
    }  # fmt: skip


def test_no_filter_is_no_start(tmp_path: Any) -> None:
    with pytest.raises(ConfigError):
        read_seccomp(tmp_path / "none.json")
