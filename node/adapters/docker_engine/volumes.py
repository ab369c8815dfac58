"""The writable /output of a container: a file of the agreed size, made into a disk.

An ext4 image on a loop device holds a workload to its size on every file system of the host, with ENOSPC as on a real
disk. The engine mounts it (so mount namespaces do not matter); the host never opens what is inside. Files and devices
are named after the container, so that they are found and released after any crash.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

from market.errors import NotFound, Unavailable
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.profile import NODE_LABEL

LEAST_SIZE: Final = 4 * 2**20
OVERHEAD: Final = 2**20
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


def has_loop_devices() -> bool:
    """Whether this process may make loop devices."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists()


class LoopVolumes:
    """Loop-mounted volumes; their image files lie in `folder`, which belongs to this node alone."""

    is_watched = False

    def __init__(self, engine: Engine, folder: Path, node: str) -> None:
        self._engine = engine
        self._folder = folder
        self._node = node

    async def make(self, name: str, size: int, owner: str) -> None:
        """A volume `name` that holds `size` bytes and belongs to `owner` ("uid:gid"); kept when it is there already.

        Raises Unavailable where no loop device can be had (not root, no disk left).
        """
        device = await asyncio.to_thread(self._device, name, size, owner)
        options = {"type": "ext4", "device": device, "o": "nosuid,nodev,noatime"}
        labels = {NODE_LABEL: self._node}
        await self._engine.call(lambda client: client.create_volume(name, "local", options, labels))

    async def drop(self, name: str) -> None:
        """Remove the volume, its device and its file; no error for what is gone already."""
        if not self._image(name).exists():
            return
        with contextlib.suppress(NotFound):
            await self._engine.call(lambda client: client.remove_volume(name, force=True))
        await asyncio.to_thread(self._release, name)

    async def check(self, name: str) -> None:
        """Unavailable when the volume's device is no longer its own: after a reboot the number may be another's."""
        inspected = await self._engine.call(lambda client: client.inspect_volume(name))
        if inspected["Options"]["device"] != await asyncio.to_thread(self._attached, name):
            raise Unavailable(f"the outputs of {name} were lost when the machine restarted", service="docker")

    async def sweep(self, keep: Collection[str]) -> None:
        """Drop every volume whose container is not in `keep`: what a crash between two steps left behind."""
        for image in sorted(self._folder.glob("*.img")):
            if image.stem not in keep:
                await self.drop(image.stem)

    async def overfull(self) -> tuple[str, ...]:
        """None: the file system itself holds the limit."""
        return ()

    def _image(self, name: str) -> Path:
        return self._folder / f"{name}.img"

    def _device(self, name: str, size: int, owner: str) -> str:
        if device := self._attached(name):
            return device
        self._format(self._image(name), size, owner)
        return _run("losetup", "--find", "--show", str(self._image(name)))

    def _format(self, image: Path, size: int, owner: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        image.unlink(missing_ok=True)
        _run("fallocate", "--length", str(max(size, LEAST_SIZE) + OVERHEAD), str(image))
        options = f"root_owner={owner},lazy_itable_init=1,nodiscard"
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", options, str(image))

    def _attached(self, name: str) -> str:
        """The loop device over the image file, "" when there is none."""
        if not self._image(name).exists():
            return ""
        return _run("losetup", "--noheadings", "--output", "NAME", "--associated", str(self._image(name))).strip()

    def _release(self, name: str) -> None:
        if device := self._attached(name):
            _run("losetup", "--detach", device)
        self._image(name).unlink(missing_ok=True)


def _run(*command: str) -> str:
    environment = {"PATH": PATH, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed: {done.stderr.strip()[:200]}", service="docker")
    return done.stdout.strip()
