"""Processes in containers that the engine has forgotten: it was killed between their start and its note of it.

An engine that comes back takes such a container for one that never ran, and where containers live on without it
(`live-restore`) it knows none of the commands that it ran in them. What it has forgotten would go on for ever, beyond
any lease: no stop and no removal reaches it. It is found by its parent, a shim of the engine that names the container.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec import Struct

from market.errors import Conflict, NeugridError, NotFound
from node.adapters.docker_engine.calls import Client, Engine, name_of
from node.adapters.docker_engine.profile import NODE_LABEL
from node.adapters.docker_engine.reaping import kill_session

PERIOD: Final = 30.0
GRACE: Final = 60.0
"""Seconds that a process has to be old: until then the engine may be about to note its start, or its end."""
PROCESSES: Final = Path("/proc")
_log = structlog.get_logger("strays")


class Held(Struct, frozen=True):
    """A process that a shim of the engine has started: the first one of a container, or a command in it."""

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

    async def sweep(self, grace: float = GRACE) -> list[Held]:
        """End what runs and is unknown; what that was."""
        root = (await self._engine.call(lambda client: client.info()))["DockerRootDir"]
        held = await asyncio.to_thread(held_by_shims, root, grace)
        running = {item["Id"] for item in await self._engine.call(lambda client: client.containers())}
        counts = Counter(one.container for one in held)
        doubtful = {id for id, count in counts.items() if count > 1 or id not in running}
        known = {id: await self._known(id) for id in doubtful}
        strays = [one for one in held if one.container in doubtful and one.pid not in known[one.container]]
        for stray in strays:
            await asyncio.to_thread(kill_session, stray.container, stray.pid)
            _log.warning("forgotten process ended", container=stray.container, pid=stray.pid)
        return strays

    async def _known(self, container: str) -> set[int]:
        """The processes of a container that the engine knows to run."""
        try:
            seen = await self._engine.call(lambda client: client.inspect_container(container))
        except NotFound:
            return set()
        known = {seen["State"]["Pid"]} if seen["State"]["Running"] else set()
        for command in seen["ExecIDs"] or ():
            with contextlib.suppress(NotFound):  # it has ended in this moment
                known.add((await self._engine.call(partial(_command, command)))["Pid"])
        return known


async def remove_nameless(engine: Engine, node: str) -> None:
    """Remove those of the node's containers that have no name any more, so that nobody can ask for them.

    Most are shadows: an engine that is told of an end after the removal lists the container until its own next start.
    """
    filters = {"label": f"{NODE_LABEL}={node}"}
    for item in await engine.call(lambda client: client.containers(all=True, filters=filters)):
        if not name_of(item):
            with contextlib.suppress(NotFound, Conflict):
                await engine.call(partial(_remove, item["Id"]))
                _log.warning("container without a name removed", container=item["Id"])


def _remove(id: str, client: Client) -> None:
    client.remove_container(id, v=True, force=True)


def _command(id: str, client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.exec_inspect(id)
    return found


def held_by_shims(root: str, grace: float) -> list[Held]:
    """What the shims of the engine with that root folder hold for at least `grace` seconds; blocking."""
    return [held for held in _children_of_shims() if _is_from(held, root) and _age(held.pid) >= grace]


def _children_of_shims() -> Iterator[Held]:
    """Of shims in this mount namespace: an engine inside of a container has folders of the same names."""
    here = os.stat(PROCESSES / "self/ns/mnt").st_ino
    for shim in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended in this moment, or is none
            words = (shim / "cmdline").read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and os.stat(shim / "ns/mnt").st_ino == here:
                container = words[words.index(b"-id") + 1].decode()
                yield from (Held(pid, container) for pid in _children(shim))


def _children(process: Path) -> list[int]:
    return [int(word) for file in process.glob("task/*/children") for word in file.read_text().split()]


def _is_from(held: Held, root: str) -> bool:
    """Whether it is in a container of that engine, and not a helper of the shim's own."""
    with contextlib.suppress(OSError):
        folder = PROCESSES / str(held.pid)
        return f"{root}/" in (folder / "mountinfo").read_text() and held.container in (folder / "cgroup").read_text()
    return False


def _age(pid: int) -> float:
    """Seconds since the process was started (proc_pid_stat(5), field 22); 0 when it has ended."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        ticks = int((PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return 0.0
