"""Was the engine there all the time? Only then is an exit code of 137 the program's own.

128 + SIGKILL is what a program returns that was killed, and what an engine leaves behind that was stopped, killed or
restarted under a container. What tells them apart is one unbroken event stream from before the start to after the end,
on which nobody's order to kill was seen. Everything less is a doubt, and a doubt is the provider's.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from node.adapters.docker_engine.exits import Sight

MEMORY_KILLS: Final = Path("/proc/vmstat")
PROCESSES: Final = Path("/proc")
ENGINE: Final = "dockerd"
LISTENING: Final = "00010000"
"""The flag of a socket in /proc/net/unix that takes connections."""
READINGS: Final = 5


class Witness:
    """What was seen of each container; told by the event stream, asked when a container has ended."""

    def __init__(self, kills: Path = MEMORY_KILLS) -> None:
        self._kills = kills
        self._stands = False
        self._seen: dict[str, tuple[int, int]] = {}
        """Containers whose start and life are seen so far, and the host's memory shortage when they began."""
        self._interrupted: set[str] = set()
        self._kills_before: dict[str, int] = {}
        """How many processes this machine had killed for memory when a container was started."""
        self._ended: set[str] = set()
        """Containers whose end the engine told of as it happened."""

    @property
    def stands(self) -> bool:
        """Whether the event stream stands now."""
        return self._stands

    def connected(self) -> None:
        """The event stream stands from now on."""
        self._stands = True

    def disconnected(self) -> None:
        """The event stream broke: the engine may have gone with it, under everything that ran."""
        self._stands = False
        self._interrupted.update(self._seen)
        self._seen.clear()

    def starting(self, name: str) -> None:
        """A container is about to be started by this life of the node."""
        self.forget(name)
        now = shortage(self._kills)
        self._kills_before[name] = now[0]
        if self._stands:
            self._seen[name] = now

    def killed(self, name: str) -> None:
        """Somebody, perhaps the engine itself on its way out, ordered a signal to be sent."""
        self._seen.pop(name, None)

    def ended(self, name: str) -> None:
        """The engine told that it ended: what it notes about that is what it saw."""
        self._ended.add(name)

    def saw_end(self, name: str) -> bool:
        """Whether it told so."""
        return name in self._ended

    def saw_memory_kills(self, name: str) -> bool:
        """Whether any process of this machine was killed for memory since `name` was started."""
        before = self._kills_before.get(name)
        return before is not None and shortage(self._kills)[0] != before

    def forget(self, name: str) -> None:
        """The container is gone."""
        self._seen.pop(name, None)
        self._kills_before.pop(name, None)
        self._interrupted.discard(name)
        self._ended.discard(name)

    def testimony(self, name: str) -> Sight:
        """WHOLE only when start, life and end were seen, and the host did not run out of memory meanwhile."""
        if name in self._interrupted:
            return Sight.BROKEN
        before, after = self._seen.get(name), shortage(self._kills)
        if before is None or not self._stands or (before[0] != after[0] and before[1] != after[1]):
            return Sight.PARTIAL
        return Sight.WHOLE


def shortage(file: Path = MEMORY_KILLS) -> tuple[int, int]:
    """How many processes this kernel killed for memory, and how often one had to wait for the whole machine's memory.

    The kernel prefers our containers when the machine itself runs out, and that leaves no mark on the container. A kill
    by the limit of a control group raises the first number alone, so that a neighbour's memory bomb is no doubt.
    """
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return 0, 0
    kills = sum(int(words[1]) for words in lines if words[0] == "oom_kill")
    return kills, sum(int(words[1]) for words in lines if words[0].startswith("allocstall"))


def started_at(address: str, processes: Path = PROCESSES) -> int:
    """When the engine that listens at `address` was started, in epoch ms; 0 when that can not be seen from here."""
    scheme, _, socket = address.partition("://")
    for folder in processes.glob("[0-9]*") if scheme == "unix" else ():
        with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look into
            if (folder / "comm").read_text().strip() == ENGINE and _listens(folder, os.path.realpath(socket)):
                return booted_at() + _since_boot(folder)
    return 0


def _listens(folder: Path, path: str) -> bool:
    """Whether the process holds the socket that takes connections at this path, in its own network namespace."""
    names = set()
    for line in (folder / "net" / "unix").read_text().splitlines():
        words = line.split()
        if len(words) == 8 and words[3] == LISTENING and os.path.realpath(words[7]) == path:
            names.add(f"socket:[{words[6]}]")
    return bool(names) and any(os.readlink(entry) in names for entry in (folder / "fd").iterdir())


def _since_boot(folder: Path) -> int:
    """When a process began, in ms since the machine was started."""
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) * 1000 // os.sysconf("SC_CLK_TCK")


def booted_at() -> int:
    """When this machine was started, in epoch ms by the wall clock, which the engine's times are in too.

    Who is interrupted between the two clocks reads the second one too late: the latest of a few answers is right.
    """
    answers = (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) for _ in range(READINGS))
    return max(answers) // 1_000_000
