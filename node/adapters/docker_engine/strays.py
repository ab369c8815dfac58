"""Containers that run although their engine has forgotten them: it was killed between their start and its note of it.

An engine that comes back then takes such a container for one that never ran. Its processes would go on for ever, beyond
any lease: no stop and no removal reaches them. What holds them is a shim of the engine, which names the container.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from market.errors import NeugridError
from node.adapters.docker_engine.calls import Engine

PERIOD: Final = 30.0
GRACE: Final = 60.0
"""Seconds that a process has to be old: until then the engine may be about to note its start, or its end."""
PROCESSES: Final = Path("/proc")
_log = structlog.get_logger("strays")


class Stray(Struct, frozen=True):
    """The first process of a container that no engine knows to be running."""

    pid: int
    container: str


class Strays:
    """Ends those of one engine on this machine, whichever node they were started for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while self._engine.is_local and PROCESSES.is_dir():
            with contextlib.suppress(NeugridError):
                await self.sweep()
            await asyncio.sleep(PERIOD)

    async def sweep(self, grace: float = GRACE) -> list[Stray]:
        """End what runs and should not; what that was."""
        root = (await self._engine.call(lambda client: client.info()))["DockerRootDir"]
        running = {item["Id"] for item in await self._engine.call(lambda client: client.containers())}
        found = await asyncio.to_thread(end_strays, root, running, grace)
        for stray in found:
            _log.warning("forgotten container ended", container=stray.container, pid=stray.pid)
        return found


def end_strays(root: str, running: Collection[str], grace: float) -> list[Stray]:
    """Kill the containers of the engine with that root folder that are not among the `running` ones; blocking."""
    return [stray for stray in _held_by_shims() if stray.container not in running and _end(stray, root, grace)]


def _held_by_shims() -> Iterator[Stray]:
    """What the shims in this mount namespace hold: an engine inside of a container has folders of the same names."""
    here = os.stat(PROCESSES / "self/ns/mnt").st_ino
    for shim in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended in this moment, or is none
            words = (shim / "cmdline").read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and os.stat(shim / "ns/mnt").st_ino == here:
                container = words[words.index(b"-id") + 1].decode()
                yield from (Stray(pid, container) for pid in _children(shim))


def _children(process: Path) -> list[int]:
    return [int(word) for file in process.glob("task/*/children") for word in file.read_text().split()]


def _end(stray: Stray, root: str, grace: float) -> bool:
    """Whether it was the engine's, and old enough, and is ended: with the first process of a container go all."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(stray.pid)
        try:
            folder = PROCESSES / str(stray.pid)
            if f"{root}/" in (folder / "mountinfo").read_text() and _age(folder) >= grace:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False


def _age(process: Path) -> float:
    """Seconds since the process was started (proc_pid_stat(5), field 22)."""
    ticks = int((process / "stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
