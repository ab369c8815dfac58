"""What stays up: no time limit, places to write to, and folders that outlive the container."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from market.errors import Conflict, InvalidParameters, NotFound, Unavailable
from market.units import Seconds, Timestamp
from market.workloads import Volume
from node.adapters.docker_engine import owners
from node.adapters.docker_engine.profile import ImageFacts, places_of
from node.adapters.docker_engine.volumes import has_loop_devices, volumes_of
from node.adapters.runtime import DockerRuntime
from node.ports import ContainerSpec
from tests.node.adapters.engines import (
    MIB,
    a_container,
    a_node,
    a_runtime,
    are_let_go,
    nothing_left,
    run,
    texts,
    user_in,
)

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
FAR = Timestamp(2**52)
DATA = Volume(name="data", path="/data", size=8 * MIB)
DISKS = [
    pytest.param(True, marks=pytest.mark.skipif(not has_loop_devices(), reason="no loop devices without root")),
    False,
]


@pytest.fixture(params=DISKS, ids=["disks", "plain"])
async def runtime(
    engine: None, tmp_path: Path, anyio_backend: str, request: pytest.FixtureRequest
) -> AsyncIterator[DockerRuntime]:
    node, folder = a_node(), tmp_path / "volumes"
    with nothing_left(node, folder):
        async with a_runtime(node, folder, has_loop_devices=request.param) as runtime:
            yield runtime
            for container in await runtime.containers():
                await runtime.remove(container.name)
            await runtime.drop_kept_volumes(FAR)
            assert await runtime.kept_volumes() == ()
            (folder / "kept").rmdir() if (folder / "kept").exists() else None


def a_service(*command: str, owner: str = "somebody", **changes: Any) -> ContainerSpec:
    return a_container(*command, timeout=Seconds(0), owner=owner, **{"disk": 16 * MIB, **changes})


def shell(script: str, **changes: Any) -> ContainerSpec:
    return a_service("sh", "-c", script, **changes)


async def said(runtime: DockerRuntime, spec: ContainerSpec) -> list[str]:
    return texts((await run(runtime, spec))[1])


async def test_a_service_writes_where_services_write_and_nowhere_else(runtime: DockerRuntime) -> None:
    script = (
        "echo 1 > /run/x.pid; mkdir -p /var/log/x /var/lib/x; echo 2 > /var/log/x/log; cat /run/x.pid /var/log/x/log"
    )
    spec = shell(f"{script}; touch /x /etc/x 2>/dev/null || echo no; id -u")
    assert await said(runtime, spec) == ["1", "2", "no", user_in(spec)]
    assert await said(runtime, shell("ls -A /run")) == []


async def test_what_the_image_has_there_is_there_and_is_the_services_own(runtime: DockerRuntime) -> None:
    image = await _image(
        runtime, "mkdir -p /var/lib/app /run/app && echo given > /var/lib/app/file && chmod 600 /var/lib/app/file"
    )
    try:
        spec = shell(
            "cat /var/lib/app/file; echo new > /var/lib/app/file; cat /var/lib/app/file; touch /run/app/x; ls /run/app",
            image=image,
        )
        assert await said(runtime, spec) == ["given", "new", "x"]
        assert (await said(runtime, shell("cat /var/lib/app/file", image=image))) == ["given"]
    finally:
        for container in await runtime.containers():
            await runtime.remove(container.name)
        await runtime._engine.call(lambda client: client.remove_image(image, force=True))


async def test_a_volume_is_found_again_by_the_next_container_of_its_owner(runtime: DockerRuntime) -> None:
    first = shell("echo kept > /data/x; mkdir /data/d; echo done", volumes=(DATA,))
    assert await said(runtime, first) == ["done"]
    await runtime.remove(first.name)
    assert await said(runtime, shell("cat /data/x; ls -A /data", volumes=(DATA,))) == ["kept", "d", "x"]
    assert await said(runtime, shell("ls -A /data", volumes=(DATA,), owner="another")) == []
    other = Volume(name="other", path="/data", size=8 * MIB)
    assert await said(runtime, shell("ls -A /data", volumes=(other,))) == []
    assert len(await runtime.kept_volumes()) == 3


async def test_a_volume_is_given_to_the_user_of_the_image_that_has_it_now(runtime: DockerRuntime) -> None:
    image = await _image(runtime, "true", "USER 1234:1234")
    try:
        first = shell("mkdir -m 700 /data/d; touch /data/d/x; ln -s /etc/passwd /data/l; id -u", volumes=(DATA,))
        assert await said(runtime, first) == [user_in(first)]
        await runtime.remove(first.name)
        script = "id -u; stat -c %u:%g /data /data/d /data/d/x /data/l"
        assert await said(runtime, shell(script, volumes=(DATA,), image=image)) == ["1234", *["1234:1234"] * 4]
    finally:
        for container in await runtime.containers():
            await runtime.remove(container.name)
        await runtime._engine.call(lambda client: client.remove_image(image, force=True))


async def test_a_volume_begins_with_what_the_image_has_there(runtime: DockerRuntime) -> None:
    etc = Volume(name="etc", path="/bin", size=8 * MIB)
    assert await said(runtime, shell("test -x /bin/busybox && touch /bin/new && echo yes", volumes=(etc,))) == ["yes"]


async def test_a_volume_is_in_one_running_container_at_most(runtime: DockerRuntime) -> None:
    first, second = (shell("exec sleep 600", volumes=(DATA,)) for _ in range(2))
    await runtime.start(first)
    with pytest.raises(Conflict, match="data"):
        await runtime.start(second)
    with pytest.raises(NotFound):
        await runtime._inspect(second.name)
    await runtime.stop(first.name, grace=0)
    await runtime.start(second)


async def test_a_volume_does_not_grow(runtime: DockerRuntime) -> None:
    assert await said(runtime, shell("echo", volumes=(DATA,))) == [""]
    larger = Volume(name="data", path="/data", size=9 * MIB)
    with pytest.raises(Conflict, match="grow"):
        await runtime.start(shell("echo", volumes=(larger,)))
    smaller = Volume(name="data", path="/data", size=4 * MIB)
    assert await said(runtime, shell("echo ok", volumes=(smaller,))) == ["ok"]


async def test_only_unused_volumes_of_long_ago_are_dropped(runtime: DockerRuntime) -> None:
    used, unused = shell("exec sleep 600", volumes=(DATA,)), shell("echo", volumes=(DATA,), owner="another")
    await runtime.start(used)
    await run(runtime, unused)
    assert await runtime.drop_kept_volumes(FAR) == ()
    await runtime.remove(unused.name)
    seen = {volume.is_used: volume for volume in await runtime.kept_volumes()}
    assert all(DATA.size <= volume.size <= DATA.size + MIB for volume in seen.values())
    assert await runtime.drop_kept_volumes(seen[False].used_at) == ()
    assert await runtime.drop_kept_volumes(FAR) == (seen[False].id,)
    assert [volume.id for volume in await runtime.kept_volumes()] == [seen[True].id]


async def test_a_restarted_node_keeps_services_and_volumes(runtime: DockerRuntime, tmp_path: Path) -> None:
    lasting = shell("echo on; exec sleep 600", volumes=(DATA,))
    waiting = shell("echo kept > /data/x", volumes=(DATA,), owner="another")
    await runtime.start(lasting)
    await run(runtime, waiting)
    await runtime.remove(waiting.name)
    settings = runtime._settings
    changes = {"has_loop_devices": settings.has_loop_devices}
    async with a_runtime(settings.node, settings.folder, **changes) as after:
        await after.prepare()
        assert [container.running for container in await after.containers()] == [True]
        assert len(await after.kept_volumes()) == 2
        with pytest.raises(Conflict):
            await after.start(shell("echo", volumes=(DATA,)))
        again = shell("cat /data/x", volumes=(DATA,), owner="another")
        assert await said(after, again) == ["kept"]


async def test_a_node_that_died_while_it_made_a_volume_leaves_nothing(runtime: DockerRuntime) -> None:
    spec = shell("true")
    helper = f"{spec.name}{owners.SUFFIX}"
    request = owners._request(runtime._settings.node, [], "65532:65532")
    await runtime._engine.call(lambda client: client.create_container_from_config(request, helper))
    kept = runtime._settings.folder / "kept"
    kept.mkdir(parents=True)
    (kept / "neugrid-kept-x.part").write_bytes(b"half")
    await runtime.prepare()
    assert list(kept.iterdir()) == []
    with pytest.raises(NotFound):
        await runtime._inspect(helper)


async def test_a_disk_that_is_too_small_for_the_image_says_so(runtime: DockerRuntime) -> None:
    if not runtime._settings.has_loop_devices:
        pytest.skip("a plain volume takes everything")
    image = await _image(runtime, "mkdir -p /var/x && head -c 30000000 /dev/zero > /var/x/y")
    try:
        spec = shell("true", image=image, disk=4 * MIB)
        with pytest.raises(InvalidParameters, match="too small"):
            await runtime.start(spec)
        await runtime.remove(spec.name)
    finally:
        await runtime._engine.call(lambda client: client.remove_image(image, force=True))


async def test_a_disk_that_the_host_can_not_give_takes_none_of_it(runtime: DockerRuntime) -> None:
    if not runtime._settings.has_loop_devices:
        pytest.skip("a plain volume takes no disk ahead")
    huge = Volume(name="data", path="/data", size=2**43)
    spec = shell("true", volumes=(huge,))
    with pytest.raises(Unavailable):
        await runtime.start(spec)
    assert list((runtime._settings.folder / "kept").iterdir()) == []
    await runtime.remove(spec.name)


async def test_a_volume_has_the_agreed_size_and_says_when_it_is_full(runtime: DockerRuntime) -> None:
    if not runtime._settings.has_loop_devices:
        pytest.skip("a plain volume is watched instead")
    script = "head -c 100000000 /dev/zero > /data/x; du -m /data/x | cut -f1; echo more > /data/y || echo full"
    lines = await said(runtime, shell(script, volumes=(DATA,)))
    assert any("No space left" in line for line in lines)
    sizes = [int(line) for line in lines if line.isdecimal()]
    assert 7 <= sizes[0] <= 8


async def test_a_plain_volume_that_overflows_ends_its_container(runtime: DockerRuntime) -> None:
    if runtime._settings.has_loop_devices:
        pytest.skip("a disk holds the limit itself")
    spec = shell("head -c 30000000 /dev/zero > /data/x; exec sleep 600", volumes=(DATA,))
    end, _ = await run(runtime, spec)
    assert end.reason == "killed"


async def test_a_container_that_vanished_leaves_no_device_of_its_volume(runtime: DockerRuntime) -> None:
    spec = shell("exec sleep 600", volumes=(DATA,))
    await runtime.start(spec)
    await runtime._engine.call(lambda client: client.remove_container(spec.name, force=True))
    await runtime.remove(spec.name)
    assert are_let_go(runtime._settings.folder)
    assert await said(runtime, shell("echo still here", volumes=(DATA,))) == ["still here"]


async def test_a_volume_that_is_lent_is_not_let_go_of_by_whoever_had_it_before(runtime: DockerRuntime) -> None:
    first, second = shell("echo kept > /data/x", volumes=(DATA,)), shell("cat /data/x", volumes=(DATA,))
    await run(runtime, first)
    id = runtime._kept.id_of(first.owner, DATA.name)
    async with runtime._kept.lent(second):
        removing = asyncio.create_task(runtime.remove(first.name))
        await asyncio.wait([removing], timeout=1.0)
        assert await runtime._engine.call(lambda client: client.inspect_volume(id))
        assert not removing.done()
    await removing
    assert await said(runtime, second) == ["kept"]


async def test_what_an_engine_left_over_giving_volumes_away_does_not_hold_them(runtime: DockerRuntime) -> None:
    spec = shell("exec sleep 600")
    await runtime.start(spec)
    mounts = [mount["Name"] for mount in (await runtime._inspect(spec.name))["Mounts"]]
    request = owners._request(runtime._settings.node, mounts, "0:0")
    await runtime._engine.call(
        lambda client: client.create_container_from_config(request, f"{spec.name}{owners.SUFFIX}")
    )
    await runtime.remove(spec.name)
    assert are_let_go(runtime._settings.folder)


async def test_a_removal_waits_for_the_start_that_is_under_way(runtime: DockerRuntime) -> None:
    spec = shell("exec sleep 600", volumes=(DATA,))
    starting = asyncio.create_task(runtime.start(spec))
    while not await volumes_of(runtime._engine, spec.name):
        await asyncio.sleep(0)
    await runtime.remove(spec.name)
    assert starting.done()
    assert await runtime.containers() == ()
    assert await volumes_of(runtime._engine, spec.name) == []


@pytest.mark.parametrize("is_labelled", [False, True], ids=["removal", "sweep"])
async def test_a_volume_that_the_engine_made_by_itself_goes(runtime: DockerRuntime, is_labelled: bool) -> None:
    spec = shell("true")
    labels = {"neugrid.node": runtime._settings.node} if is_labelled else {}
    await runtime._engine.call(lambda client: client.create_volume(f"{spec.name}-p0", "local", None, labels))
    await (runtime._volumes.sweep(()) if is_labelled else runtime.remove(spec.name))
    assert await volumes_of(runtime._engine, spec.name) == []


async def test_after_a_restart_of_the_machine_a_volume_gets_another_device(runtime: DockerRuntime) -> None:
    if not runtime._settings.has_loop_devices:
        pytest.skip("a plain volume has no device")
    first = shell("echo kept > /data/x", volumes=(DATA,))
    await run(runtime, first)
    device, file = await _device(runtime)
    other = Path(file).with_name("other.img")
    other.write_bytes(b"\0" * MIB)
    subprocess.run(["losetup", "--detach", device], check=True)
    subprocess.run(["losetup", device, str(other)], check=True)
    try:
        await runtime.remove(first.name)
        assert await said(runtime, shell("cat /data/x", volumes=(DATA,))) == ["kept"]
        assert (await _device(runtime))[0] != device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        other.unlink()


async def _device(runtime: DockerRuntime) -> tuple[str, str]:
    id = (await runtime.kept_volumes())[0].id
    seen = await runtime._engine.call(lambda client: client.inspect_volume(id))
    return seen["Options"]["device"], str(runtime._kept._file(id))


async def _image(runtime: DockerRuntime, script: str, *changes: str) -> str:
    """busybox with what `script` makes, as root; no network is needed for it."""

    def make(client: Any) -> str:
        holder = client.create_container("busybox:latest", ["sh", "-c", script], network_disabled=True)
        try:
            client.start(holder)
            assert client.wait(holder)["StatusCode"] == 0
            return str(client.commit(holder, changes=list(changes))["Id"])
        finally:
            client.remove_container(holder, v=True, force=True)

    return await runtime._engine.call(make)


# --- the rule itself -----------------------------------------------------------------------------------------------


def places(*volumes: str, of_image: tuple[str, ...] = (), timeout: int = 0) -> dict[str, int]:
    kept = tuple(Volume(name=f"v{n}", path=path, size=8 * MIB) for n, path in enumerate(volumes))
    spec = a_container("true", timeout=Seconds(timeout), volumes=kept, disk=64 * MIB)
    return places_of(spec, ImageFacts(id="x", volumes=of_image))


def test_the_agreed_disk_is_shared_by_var_and_the_images_volumes() -> None:
    assert places() == {"/run": 8 * MIB, "/var": 64 * MIB}
    assert places(of_image=("/data/", "/var/lib/x")) == {
        "/run": 8 * MIB, **dict.fromkeys(("/var", "/data", "/var/lib/x"), 64 * MIB // 3)
    }  # fmt: skip


def test_a_volume_takes_the_place_of_what_would_be_there() -> None:
    assert places("/var", of_image=("/data",)) == {"/run": 8 * MIB, "/data": 64 * MIB}
    assert places("/data", "/run", of_image=("/data",)) == {"/var": 64 * MIB}


def test_work_that_ends_has_no_such_places() -> None:
    assert places(of_image=("/data",), timeout=60) == {}


@pytest.mark.parametrize("path", ["/x/../proc", "//proc", "/x/./y", "/x/", "/x/.."])
def test_a_volume_can_not_be_at_a_path_that_means_another(path: str) -> None:
    with pytest.raises(InvalidParameters):
        places(path)
