"""A folder for a market that lives for minutes; what a killed one left behind is swept before the next begins."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from market.errors import Unavailable
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.runtime import DockerRuntime

PREFIX: Final = "neugrid-"
LOCK: Final = "owner.lock"
"""Held by the process that owns the folder: the kernel lets go of it even after `kill -9`."""


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
    """Remove our abandoned folders in `place` and the containers of the nodes in them; which they were."""
    swept = []
    for lock in place.glob(f"{PREFIX}*/{LOCK}"):
        folder = lock.parent
        if _is_ours(folder) and _is_abandoned(lock):
            for key in folder.glob("*/keys/node.json"):
                remove_containers(msgspec.json.decode(key.read_bytes())["address"], key.parents[1])
            shutil.rmtree(folder, ignore_errors=True)
            swept.append(folder)
    return swept


def remove_containers(node: str, data_dir: Path) -> None:
    """Remove what the node of that identity left in the engine; an engine that is gone has nothing."""
    asyncio.run(_remove_all(node if node.startswith("0x") else f"0x{node}", data_dir / "volumes"))


async def _remove_all(node: str, volumes: Path) -> None:
    runtime = DockerRuntime(RuntimeSettings(node=node, folder=volumes), SystemClock())
    try:
        for container in await runtime.containers():
            await runtime.remove(container.name)
        await runtime.prepare()  # drops the volumes of containers that were gone before
    except Unavailable:
        return
    finally:
        await runtime.close()


def _is_ours(folder: Path) -> bool:
    return not folder.is_symlink() and folder.stat().st_uid == os.getuid()


def _is_abandoned(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
