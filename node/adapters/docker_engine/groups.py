"""The control group that holds all workloads of an engine, and weighs more than the host's own programs.

What a workload makes the engine do (copying a flood of output, say) runs outside of its limits, in as many threads of
the host as it takes. Where cores are short, the kernel would share them between those threads and all workloads
together as equals, and tenants would lose what they bought. A workload that floods waits for the engine, and others
go on. `docs/decisions/0002-container-profile.md` has the figures.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any, Final

from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.profile import shares_of

PARENT: Final = "neugrid"
GROUPS: Final = Path("/sys/fs/cgroup")
WEIGHT: Final = 400
"""cpu.weight of the group in control groups v2, where all other programs are in groups of 100, too."""


class Group:
    """The group on one engine's machine; every node on it uses the same."""

    def __init__(self, engine: Engine, root: Path = GROUPS) -> None:
        self._engine = engine
        self._root = root
        self._parent: str | None = None
        self._is_heavy = False

    async def parent(self) -> str:
        """What the engine calls the group; "" where it has its own ways (systemd, rootless, another machine)."""
        if self._parent is None:
            info = await self._engine.call(lambda client: client.info())
            self._parent = f"/{PARENT}" if self._engine.is_local and _takes_paths(info) else ""
        if self._parent and not self._is_heavy:
            self._is_heavy = await asyncio.to_thread(weigh, self._root)
        return self._parent


def _takes_paths(info: dict[str, Any]) -> bool:
    is_rootless = any("rootless" in option for option in info.get("SecurityOptions") or ())
    return info.get("CgroupDriver") == "cgroupfs" and not is_rootless


def weigh(root: Path = GROUPS) -> bool:
    """Make the group heavy; False when it can not be done yet, or not by this user."""
    with contextlib.suppress(OSError):
        if (root / "cgroup.controllers").exists():
            (root / PARENT).mkdir(exist_ok=True)
            (root / PARENT / "cpu.weight").write_text(str(WEIGHT))
            return True
        for controller in ("cpu", "cpu,cpuacct"):
            if (root / controller).is_dir():
                (root / controller / PARENT).mkdir(exist_ok=True)
                (root / controller / PARENT / "cpu.shares").write_text(str(shares_of(1000 * (os.cpu_count() or 1))))
                return True
    return False
