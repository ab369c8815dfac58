"""Ending processes inside of a container from outside: only ever those that are in its control group.

The engine starts every command in a session of its own (setsid), so what a command started and did not detach is found
by the session's number. A handle (pidfd) is taken before a process is looked at: so the one that was looked at is the
one that is killed, whatever number the kernel gives away meanwhile.
"""

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

MAX_PASSES: Final = 10
"""A process may fork while the others are killed; what is left after this is bounded by the container's limits."""


def kill_session(container: str, leader: int) -> int:
    """SIGKILL all processes of the session that `leader` began in the container of this id; how many there were."""
    killed = 0
    for _ in range(MAX_PASSES):
        found = [number for number in _members(leader) if _kill(container, leader, number)]
        killed += len(found)
        if not found:
            break
    return killed


def _members(leader: int) -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _session(int(folder.name)) == leader]


def _session(number: int) -> int:
    """The session of a running process; 0 when it has ended (proc(5): the sixth field of `stat`)."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[3])
    return 0


def _kill(container: str, leader: int, number: int) -> bool:
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(number)
        try:
            if _session(number) == leader and container in Path(f"/proc/{number}/cgroup").read_text():
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False
