"""What a hostile workload may try, and what it gets."""

import asyncio
from pathlib import Path
from typing import Any

import docker
import pytest

from market.errors import OutputRefused
from market.units import Seconds
from node.adapters.docker_engine import watch
from node.adapters.docker_engine.logs import MISSING
from node.adapters.runtime import DockerRuntime
from tests.node.adapters.engines import MIB, PYTHON, a_container, python, run, texts, user_in

pytestmark = [pytest.mark.anyio, pytest.mark.docker]

SYSTEM_CALLS = """
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
calls = dict(mount=165, unshare=272, setns=308, ptrace=101, bpf=321, keyctl=250, io_uring_setup=425, userfaultfd=323,
             perf_event_open=298, kexec_load=246, init_module=175, chroot=161, clone3=435)
print(sorted(name for name, number in calls.items() if libc.syscall(number, 1, 0, 0, 0) >= 0))
print(libc.syscall(56, 0x10000011, 0, 0, 0) < 0)
def opens(family, kind):
    try:
        socket.socket(family, kind).close()
        return True
    except OSError:
        return False
print([opens(family, kind) for family, kind in ((40, 1), (38, 5), (17, 3), (2, 3), (2, 1), (1, 1))])
"""


async def test_the_profile_holds_inside_of_the_container(runtime: DockerRuntime) -> None:
    script = "grep -E '^(Uid|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ls /sys/class/net"
    spec = a_container("sh", "-c", script)
    _, lines = await run(runtime, spec)
    words = [line.text.split() for line in lines]
    status = {word[0]: word[1] for word in words if len(word) > 1}
    assert status == {
        "Uid:": user_in(spec),
        "CapPrm:": "0000000000000000",
        "CapEff:": "0000000000000000",
        "CapBnd:": "0000000000000000",
        "NoNewPrivs:": "1",
        "Seccomp:": "2",
    }
    assert words[-1] == ["lo"]


async def test_dangerous_system_calls_are_refused(runtime: DockerRuntime) -> None:
    _, lines = await run(runtime, python(SYSTEM_CALLS))
    assert texts(lines) == ["[]", "True", "[False, False, False, False, True, True]"]


async def test_nothing_but_scratch_space_can_be_written_and_that_is_bounded(runtime: DockerRuntime) -> None:
    fill = "head -c 40000000 /dev/zero > /tmp/x || head -c 40000000 /dev/zero > /dev/shm/x"
    script = f"touch /x /bin/x /dev/x /proc/x /sys/x && echo wrote; {fill}; stat -c %s /tmp/x /dev/shm/x"
    end, lines = await run(runtime, a_container("sh", "-c", f"({script}) 2>/dev/null"))
    assert end.reason == "exited"
    assert texts(lines) == [str(16 * MIB), str(16 * MIB)]


async def test_what_the_engine_was_asked_for_is_what_it_applies(runtime: DockerRuntime) -> None:
    spec = a_container("true")
    await run(runtime, spec)
    host = docker.APIClient(version="auto").inspect_container(spec.name)["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 64 * MIB
    assert host["ReadonlyRootfs"]
    assert host["Init"]
    assert (host["PidsLimit"], host["NetworkMode"], host["CapDrop"]) == (320, "none", ["ALL"])
    assert not host["Binds"]
    assert not host["Privileged"]


async def test_who_runs_out_of_memory_again_and_again_is_ended(
    runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each memory kill is work for the engine, which would do little else; a slow machine manages one a second."""
    monkeypatch.setattr(watch, "OOMS", watch.OOMS // 10)
    bombs = "import os\nwhile True:\n  if os.fork() == 0: x = bytearray(10**9)\n  os.wait()"
    end, _ = await run(runtime, python(bombs, memory=16 * MIB))
    assert (end.code, end.reason) == (137, "oom")


async def test_a_few_memory_kills_of_children_are_its_own_affair(runtime: DockerRuntime) -> None:
    bombs = "import os\nfor _ in range(9):\n  if os.fork() == 0: x = bytearray(10**9)\n  os.wait()\nprint('still here')"
    _, lines = await run(runtime, python(bombs))
    assert texts(lines) == ["still here"]


async def test_a_memory_bomb_is_out_of_memory(runtime: DockerRuntime) -> None:
    end, _ = await run(runtime, python("x = bytearray(10**9)"))
    assert (end.code, end.reason) == (137, "oom")


async def test_a_memory_bomb_in_a_child_is_never_success(runtime: DockerRuntime) -> None:
    spec = a_container("sh", "-c", "python -c 'x = bytearray(10**9)'; exit 0", image=PYTHON)
    end, _ = await run(runtime, spec)
    assert (end.code, end.reason) == (0, "oom")


async def test_a_fork_bomb_stays_in_its_box_and_dies_at_the_deadline(runtime: DockerRuntime) -> None:
    code = "import os, time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.2)"
    end, _ = await run(runtime, python(code, timeout=Seconds(2), memory=256 * MIB))
    assert end.reason in ("timeout", "oom")


async def test_a_flood_of_output_that_nobody_reads_is_bounded_and_can_be_killed(runtime: DockerRuntime) -> None:
    spec = a_container("yes", "x" * 100)
    await runtime.start(spec)
    lines = runtime.logs(spec.name)
    unread = runtime.logs(spec.name)
    await anext(unread)
    async with asyncio.timeout(120):
        seen = [await anext(lines)]
        while "limit" not in seen[-1].text:
            seen.append(await anext(lines))
        await runtime.stop(spec.name, grace=0)
        assert (await runtime.wait(spec.name)).reason == "killed"
        assert [line async for line in lines] == []
        rest = [line async for line in unread]
    # The engine throws away what is not read in time, and one line says so; up to the limit there are as many.
    read, left = ([line for line in each if line.text != MISSING] for each in (seen, rest))
    assert len(left) == len(read) - 1
    assert sum(len(line.text) for line in seen) < 9 * MIB


@pytest.mark.parametrize(
    "make",
    [
        "ln -s /etc/passwd /output/x",
        "ln -s / /output/d; true",
        "mkfifo /output/x",
        "mkdir /output/d; echo a > /output/d/x; ln /output/d/x /output/d/y",
    ],
)
async def test_outputs_that_are_no_plain_files_are_refused(runtime: DockerRuntime, tmp_path: Path, make: str) -> None:
    spec = a_container("sh", "-c", make, has_outputs=True)
    await run(runtime, spec)
    wanted = "d/etc/passwd" if "/ /output/d" in make else "d" if "/output/d" in make else "x"
    with pytest.raises(OutputRefused):
        await runtime.outputs(spec.name, [wanted], tmp_path / "store", 10**6)


async def test_the_output_folder_is_a_disk_of_the_agreed_size(runtime: DockerRuntime) -> None:
    script = "head -c 100000000 /dev/zero > /output/x 2>/dev/null; du -m /output/x | cut -f1"
    _, lines = await run(runtime, a_container("sh", "-c", script, has_outputs=True, disk=8 * MIB))
    assert 7 <= int(lines[-1].text) <= 9


async def test_an_image_can_not_weaken_the_profile(runtime: DockerRuntime) -> None:
    client = docker.APIClient(version="auto")
    wishes = ["VOLUME /data", "USER root", "ENV LD_PRELOAD=/evil.so NVIDIA_VISIBLE_DEVICES=all KEPT=yes"]
    made = await _image_with(client, [*wishes, 'HEALTHCHECK CMD ["true"]'])
    try:
        fill = "head -c 30000000 /dev/zero > /data/x 2>/dev/null; stat -c %s /data/x"
        spec = a_container("sh", "-c", f"id -u; env | grep -cE '^(LD_|NVIDIA_)'; echo $KEPT; {fill}", image=made)
        _, lines = await run(runtime, spec)
        assert texts(lines) == [user_in(spec), "0", "yes", str(16 * MIB)]
        mounts = client.inspect_container(spec.name)["Mounts"]
        assert [mount["Type"] for mount in mounts] == ["tmpfs"]
        await runtime.remove(spec.name)
    finally:
        client.remove_image(made, force=True)


async def _image_with(client: Any, changes: list[str]) -> str:
    """An image like busybox with `changes`; no network is needed for it."""
    holder = client.create_container("busybox:latest", ["true"])
    try:
        answer = client.commit(holder, repository="neugrid-test", tag="hostile", changes=changes)
        return str(answer["Id"])
    finally:
        client.remove_container(holder, v=True, force=True)
