"""Was the engine there all the time? Only then is an exit code of 137 the program's own.

128 + SIGKILL is what a program returns that was killed, and what an engine leaves behind that was stopped, killed or
restarted under a container. What tells them apart is one unbroken event stream from before the start to after the end,
on which nobody's order to kill was seen. Everything less is a doubt, and a doubt is the provider's.
"""

import time
from pathlib import Path
from typing import Final

from node.adapters.docker_engine.exits import Sight

MEMORY_KILLS: Final = Path("/proc/vmstat")


class Witness:
    """What was seen of each container; told by the event stream, asked when a container has ended."""

    def __init__(self, kills: Path = MEMORY_KILLS) -> None:
        self._kills = kills
        self._stands = False
        self._seen: dict[str, tuple[int, int]] = {}
        """Containers whose start and life are seen so far, and the host's memory shortage when they began."""
        self._interrupted: set[str] = set()

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
        if self._stands:
            self._seen[name] = shortage(self._kills)

    def killed(self, name: str) -> None:
        """Somebody, perhaps the engine itself on its way out, ordered a signal to be sent."""
        self._seen.pop(name, None)

    def forget(self, name: str) -> None:
        """The container is gone."""
        self._seen.pop(name, None)
        self._interrupted.discard(name)

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


def booted_at() -> int:
    """When this machine was started, in epoch ms by the wall clock, which the engine's times are in too."""
    return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1_000_000
