"""The process behind a container, held by its folder in /proc: no number that the kernel gave away again is trusted.

An open folder in /proc belongs to one process for ever: when that is gone, nothing in it can be read any more. So a
process is found once by the engine's word, checked by its control group, and after that costs no call to the engine.
"""

import contextlib
import os
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from market.errors import NotFound, Unavailable
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.profile import NODE_LABEL, SLOT_LABEL
from node.adapters.docker_engine.slots import IDLE

KEPT: Final = 1024
"""How many processes are held at most; each is one descriptor."""
MAX_PROC_FILE: Final = 64 * 1024
CAPABILITIES: Final = {"CAP_KILL": 5, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}
"""What it takes to enter the namespaces of a container's process and to end others in it."""


class Inside:
    """The first process of one running container: its files in /proc, for as long as it is that very process."""

    def __init__(self, container: str, folder: int) -> None:
        self.container = container
        self._folder = folder
        weakref.finalize(self, os.close, folder)

    def open(self, name: str) -> int:
        """A descriptor of a file in the process's folder; OSError when it has ended."""
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)

    def read(self, name: str) -> str:
        """A file in the process's folder; OSError when it has ended."""
        with os.fdopen(self.open(name), "rb") as file:
            return file.read(MAX_PROC_FILE).decode(errors="replace")

    def is_alive(self) -> bool:
        """Whether the process still runs, in the control group of its container."""
        with contextlib.suppress(OSError):
            return self.container in self.read("cgroup")
        return False


class Insides:
    """The processes of the containers of one node; of others nothing is ever held."""

    def __init__(self, engine: Engine, node: str) -> None:
        self._engine = engine
        self._node = node
        self._held: OrderedDict[str, Inside] = OrderedDict()

    async def of(self, name: str) -> Inside:
        """The process of a running container of this node.

        Raises NotFound when there is none, Unavailable when the engine's processes can not be seen from here.
        """
        held = self._held.get(name)
        if held is None or not held.is_alive():
            held = self._hold(name, await self._found(name))
        return held

    async def inspect(self, name: str) -> dict[str, Any]:
        """What the engine says about a running container of this node; NotFound when there is none."""
        seen: dict[str, Any] = await self._engine.call(lambda client: client.inspect_container(name))
        labels = seen["Config"]["Labels"] or {}
        is_ours = labels.get(NODE_LABEL) == self._node and labels.get(SLOT_LABEL) != IDLE
        if not is_ours or seen["Name"] != f"/{name}" or not seen["State"]["Running"]:
            raise NotFound(f"no container {name!r} runs here", container=name)
        return seen

    def _hold(self, name: str, inside: Inside) -> Inside:
        self._held[name] = inside
        self._held.move_to_end(name)
        while len(self._held) > KEPT:
            self._held.popitem(last=False)
        return inside

    async def _found(self, name: str) -> Inside:
        self._held.pop(name, None)
        for _ in range(2):  # it may have ended after the engine spoke: then the second answer says so
            seen = await self.inspect(name)
            inside = _pinned(seen["Id"], seen["State"]["Pid"])
            if inside is not None and inside.is_alive():
                return inside
        raise Unavailable("the engine's processes can not be seen from here: node and engine must share one machine")


def why_not() -> str:
    """Why this process can not reach inside of containers; "" when it can."""
    if not Path("/proc/self/ns/net").exists():
        return "only Linux has namespaces to enter"
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    held = int(lines["CapEff"], 16)
    missing = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    return f"the node needs to be root, or {' and '.join(missing)}" if missing else ""


def _pinned(container: str, process: int) -> Inside | None:
    try:
        return Inside(container, os.open(f"/proc/{process}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return None
