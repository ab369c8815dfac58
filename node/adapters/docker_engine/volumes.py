"""The writable folders of a container: a file of the agreed size for each, made into a disk.

An ext4 image on a loop device holds a workload to its size on every file system of the host, with ENOSPC as on a real
disk. The engine mounts it (so mount namespaces do not matter); the host never opens what is inside. Files and devices
are named after the container, so that they are found and released after any crash.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

from market.errors import Unavailable
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.mount_counts import MountCounts
from node.adapters.docker_engine.profile import NODE_LABEL

KEPT_LABEL: Final = "neugrid.kept"
"""On volumes that outlive their containers."""
LEAST_SIZE: Final = 4 * 2**20
OVERHEAD: Final = 2**20
PLACE: Final = "-p"
"""Between the name of a container and the number of one of its writable places, in the name of a volume."""
STUCK: Final = b"runc\0init\0"
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


def has_loop_devices() -> bool:
    """Whether this process may make loop devices."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists()


class LoopVolumes:
    """Loop-mounted volumes; their image files lie in `folder`, which belongs to this node alone."""

    is_watched = False

    def __init__(self, engine: Engine, folder: Path, node: str, counts: MountCounts) -> None:
        self._engine = engine
        self._folder = folder
        self._node = node
        self._counts = counts

    async def make(self, name: str, size: int, owner: str, is_bare: bool = False) -> None:
        """A volume `name` that holds `size` bytes and belongs to `owner` ("uid:gid"); kept when it is there already.

        A bare one has nothing in it, no lost+found either: only then the engine copies the image's files into it.
        Raises Unavailable where no loop device can be had (not root, no disk left).
        """
        device = await asyncio.to_thread(self._device, name, size, owner, is_bare)
        await self._counts.create(name, device, {NODE_LABEL: self._node})

    async def drop(self, name: str) -> None:
        """Remove a container's volumes, with their devices and files; no error for what is gone already.

        The engine is asked, too: it makes by itself what a container wants to mount and what is not there any more.
        """
        images = {image.stem for image in self._folder.glob(f"{name}{PLACE}[0-9].img")}
        if self._image(name).exists():
            images.add(name)
        for volume in sorted(images | set(await volumes_of(self._engine, name))):
            await self._drop(volume)

    async def _drop(self, name: str) -> None:
        await self._counts.remove(name)
        await asyncio.to_thread(release, self._image(name))

    async def check(self, name: str) -> None:
        """Unavailable when the volume's device is no longer its own: after a reboot the number may be another's."""
        inspected = await self._engine.call(lambda client: client.inspect_volume(name))
        if inspected["Options"]["device"] != await asyncio.to_thread(attached, self._image(name)):
            raise Unavailable(f"the outputs of {name} were lost when the machine restarted", service="docker")

    async def sweep(self, keep: Collection[str]) -> None:
        """Drop every volume whose container is not in `keep`: what a crash between two steps left behind."""
        filters = {"label": f"{NODE_LABEL}={self._node}"}
        listed = await self._engine.call(lambda client: client.volumes(filters=filters))
        mine = {volume["Name"] for volume in listed["Volumes"] or () if KEPT_LABEL not in volume["Labels"]}
        for name in sorted(mine | {image.stem for image in self._folder.glob("*.img")}):
            if container_of(name) not in keep:
                await self._drop(name)

    async def overfull(self) -> tuple[str, ...]:
        """None: the file system itself holds the limit."""
        return ()

    def _image(self, name: str) -> Path:
        return self._folder / f"{name}.img"

    def _device(self, name: str, size: int, owner: str, is_bare: bool) -> str:
        image = self._image(name)
        if not attached(image):
            make_disk(image, max(size, LEAST_SIZE) + OVERHEAD, owner)
            if is_bare:
                make_bare(image)
        return attach(image)


async def volumes_of(engine: Engine, container: str) -> list[str]:
    """The engine's volumes that are named after the container."""
    listed = await engine.call(lambda client: client.volumes(filters={"name": container}))
    names = [str(volume["Name"]) for volume in listed["Volumes"] or ()]
    return [name for name in names if container_of(name) == container]


def container_of(volume: str) -> str:
    """The container that a volume was made for, by its name."""
    name, place, number = volume.rpartition(PLACE)
    return name if place and number.isdecimal() else volume


def make_disk(image: Path, size: int, owner: str, journal: int = 0) -> None:
    """An ext4 file system in a file of `size` bytes, taken from the host's disk at once; whatever was there is gone.

    `journal` in MiB, 0 for none: what is to survive a power cut needs one.
    """
    image.parent.mkdir(parents=True, exist_ok=True)
    image.unlink(missing_ok=True)
    kind = ["-J", f"size={journal}", "-i", "16384"] if journal else ["-O", "^has_journal"]
    options = f"root_owner={owner},lazy_itable_init=1,nodiscard"
    try:
        _run("fallocate", "--length", str(size), str(image))
        _run("mkfs.ext4", "-q", "-F", "-m", "0", *kind, "-E", options, str(image))
    except Unavailable:
        image.unlink(missing_ok=True)  # a disk that is full may have given a part of it
        raise


def make_bare(image: Path) -> None:
    """Remove lost+found from a file system that was made just now."""
    _run("debugfs", "-w", "-R", "rmdir lost+found", str(image))


def attach(image: Path) -> str:
    """The loop device over the image file: the one that is there, or a new one."""
    return attached(image) or _run("losetup", "--find", "--show", str(image))


def attached(image: Path) -> str:
    """The loop device over the image file, "" when there is none."""
    if not image.exists():
        return ""
    return _run("losetup", "--noheadings", "--output", "NAME", "--associated", str(image)).strip()


def detach(image: Path) -> None:
    """Let go of the loop device over the image file, if there is one."""
    if device := attached(image):
        _run("losetup", "--detach", device)
        if attached(image):  # the kernel lets go with the last who has it mounted
            end_stuck_starts(device)


def end_stuck_starts(device: str, processes: Path = Path("/proc")) -> None:
    """End what an engine that was killed over a start left behind: a `runc init` that waits for ever.

    It is nobody's child, no engine knows it, and the device stays mounted in it.
    """
    for table in processes.glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):  # it has ended in this moment
            is_stuck = (table.parent / "cmdline").read_bytes() == STUCK and _parent(table.parent) == 1
            if is_stuck and f" {device} " in table.read_text():
                os.kill(int(table.parent.name), signal.SIGKILL)


def _parent(process: Path) -> int:
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def release(image: Path) -> None:
    """Let go of the loop device, and remove the file."""
    detach(image)
    image.unlink(missing_ok=True)


def _run(*command: str) -> str:
    environment = {"PATH": PATH, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed: {done.stderr.strip()[:200]}", service="docker")
    return done.stdout.strip()
