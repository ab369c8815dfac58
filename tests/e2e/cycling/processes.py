"""Processes of this machine, as /proc tells them."""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

PROCESSES = Path("/proc")


class Seen(Struct, frozen=True):
    """A process that is no zombie."""

    pid: int
    parent: int
    command: str


def processes() -> Iterator[Seen]:
    """All that run now."""
    for stat in PROCESSES.glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if fields[0] != "Z":
            yield Seen(int(stat.parent.name), int(fields[1]), command)


def network_process(parent: int) -> int:
    """The process id of a node's network process, 0 when there is none now."""
    return next((one.pid for one in processes() if one.parent == parent and "node.p2p" in one.command), 0)


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    try:
        return sum(1 for _ in (PROCESSES / str(pid) / "fd").iterdir())
    except OSError:
        return 0


def mounts_under(folder: Path) -> list[str]:
    """What is mounted somewhere under the folder."""
    places = (line.split()[1] for line in (PROCESSES / "mounts").read_text().splitlines())
    return [place for place in places if place.startswith(f"{folder}/")]


def mounters(device: str) -> list[int]:
    """Processes in whose mount namespace the device is mounted."""
    found = []
    for table in PROCESSES.glob("[0-9]*/mountinfo"):
        try:
            if f" {device} " in table.read_text():
                found.append(int(table.parent.name))
        except OSError:
            continue
    return found
