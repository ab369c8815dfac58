"""A folder for a market that lives for minutes; what a killed one left behind is swept before the next begins."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from market.errors import Conflict, Unavailable
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.runtime import DockerRuntime

PREFIX: Final = "neugrid-"
LOCK: Final = "owner.lock"
"""Held by the process that owns the folder: the kernel lets go of it even after `kill -9`."""
TRIES: Final = 3
"""An engine under load may fail to remove a container, or already be at it; a second later it can."""
PAUSE: Final = 1.0


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """A temporary folder of this process, gone at the end; those of processes that died are swept before."""
    sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-"))
    with (folder / f".{LOCK}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / f".{LOCK}").rename(folder / LOCK)  # from now on the folder can be seen to be abandoned
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(place: Path) -> list[Path]:
    """Remove our abandoned folders in `place` and the containers of the nodes in them; which they were.

    A folder whose containers can not be removed now stays for the next sweep: nothing else knows of them.
    """
    swept = []
    for lock in place.glob(f"{PREFIX}*/{LOCK}"):
        with _taken_over(lock) as is_abandoned:
            if is_abandoned and all(map(_remove_containers_of, lock.parent.glob("*/keys/node.json"))):
                shutil.rmtree(lock.parent, ignore_errors=True)
                swept.append(lock.parent)
    return swept


def remove_containers(node: str, data_dir: Path) -> bool:
    """Remove what the node of that identity left in the engine; False when the engine could not, or is away."""
    return asyncio.run(_remove_all(node if node.startswith("0x") else f"0x{node}", data_dir / "volumes"))


def _remove_containers_of(key: Path) -> bool:
    return remove_containers(msgspec.json.decode(key.read_bytes())["address"], key.parents[1])


async def _remove_all(node: str, volumes: Path) -> bool:
    runtime = DockerRuntime(RuntimeSettings(node=node, folder=volumes), SystemClock())
    try:
        for _ in range(TRIES):
            try:
                for container in await runtime.containers():
                    await runtime.remove(container.name)
                await runtime.prepare()  # drops the volumes of containers that were gone before
                return True
            except (Unavailable, Conflict):
                await asyncio.sleep(PAUSE)
        return False
    finally:
        await runtime.close()


@contextmanager
def _taken_over(lock: Path) -> Iterator[bool]:
    """Whether the folder is ours and its owner is dead; then nobody else sweeps it meanwhile."""
    with contextlib.ExitStack() as stack:
        try:
            if is_ours := not lock.parent.is_symlink() and lock.parent.stat().st_uid == os.getuid():
                fcntl.flock(stack.enter_context(lock.open()), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):  # it has an owner, or another one has just swept it
            is_ours = False
        yield is_ours
