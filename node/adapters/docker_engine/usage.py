"""What a container uses, read from the kernel's own files: a twentieth of a millisecond, against seconds at the engine.

Control groups of both versions are understood: kernel documentation, cgroup-v1/memory.txt and cgroup-v2.rst. Memory is
what counts against the limit less the file cache that the kernel gives back first, as the engine's own tools show it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from node.adapters.docker_engine.insides import Inside

ROOT: Final = Path("/sys/fs/cgroup")


class Usage(Struct, frozen=True, kw_only=True):
    """CPU in nanoseconds since the start; memory and network in bytes."""

    cpu: int
    memory: int
    received: int = 0
    sent: int = 0


def usage_of(inside: Inside, root: Path = ROOT) -> Usage:
    """What the container of a process uses; OSError where the files can not be read or the process has ended."""
    groups = groups_of(inside.read("cgroup"))
    received, sent = traffic_of(inside.read("net/dev"))
    cpu, memory = _old(root, groups) if "memory" in groups else _unified(root / groups[""].lstrip("/"))
    return Usage(cpu=cpu, memory=memory, received=received, sent=sent)


def groups_of(text: str) -> dict[str, str]:
    """Controller -> path, from a process's `cgroup` file; "" is the unified hierarchy of version 2."""
    found = {"": "/"}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def traffic_of(text: str) -> tuple[int, int]:
    """Bytes received and sent over all interfaces but the loopback, from a namespace's `net/dev`."""
    received = sent = 0
    for line in text.splitlines()[2:]:
        name, _, figures = line.partition(":")
        if name.strip() != "lo":
            columns = figures.split()
            received, sent = received + int(columns[0]), sent + int(columns[8])
    return received, sent


def usage_from_engine(stats: dict[str, Any]) -> Usage:
    """The same figures from the engine's own answer."""
    memory, networks = stats.get("memory_stats") or {}, stats.get("networks") or {}
    detail = memory.get("stats") or {}
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return Usage(
        cpu=int(stats["cpu_stats"]["cpu_usage"]["total_usage"]),
        memory=max(0, int(memory.get("usage", 0)) - int(cache)),
        received=sum(int(item["rx_bytes"]) for item in networks.values()),
        sent=sum(int(item["tx_bytes"]) for item in networks.values()),
    )


def _old(root: Path, groups: dict[str, str]) -> tuple[int, int]:
    cpu = root / "cpuacct" / groups["cpuacct"].lstrip("/")
    memory = root / "memory" / groups["memory"].lstrip("/")
    used = int((memory / "memory.usage_in_bytes").read_text())
    cache = _figure(memory / "memory.stat", "total_inactive_file")
    return int((cpu / "cpuacct.usage").read_text()), max(0, used - cache)


def _unified(group: Path) -> tuple[int, int]:
    used = int((group / "memory.current").read_text())
    cpu = _figure(group / "cpu.stat", "usage_usec") * 1000
    return cpu, max(0, used - _figure(group / "memory.stat", "inactive_file"))


def _figure(file: Path, name: str) -> int:
    lines: Iterable[list[str]] = (line.split() for line in file.read_text().splitlines())
    return next((int(words[1]) for words in lines if words[0] == name), 0)
