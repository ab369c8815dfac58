"""The machine as it was: what no attack may change, taken before and after.

Trees are compared by name, mode, owner, size and time; caches that other programs of this machine write are left out.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import docker
from msgspec import Struct

from node.adapters.docker_engine.profile import FIRST_USER, USERS

TREES: Final = ("/etc", "/usr/bin", "/usr/sbin", "/root", "/home", "/boot", "/var/spool/cron")
OTHERS: Final = frozenset(
    {".cache", ".npm", ".local", ".pyenv", ".cargo", ".config", ".ssh-agent", "node_modules", ".venv"}
)
"""Folders of people's homes in which builds and package managers write by themselves."""
SETTINGS: Final = (
    "kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/domainname", "kernel/panic", "kernel/sysrq",
    "kernel/randomize_va_space", "kernel/yama/ptrace_scope", "kernel/unprivileged_bpf_disabled", "kernel/perf_event_paranoid",
    "kernel/pid_max", "fs/suid_dumpable", "fs/file-max", "fs/protected_symlinks", "fs/aio-max-nr", "vm/overcommit_memory",
    "vm/swappiness", "kernel/core_uses_pid",
)  # fmt: skip
OURS: Final = {65000, 65001, 65532}
CONTAINER: Final = re.compile(r"[0-9a-f]{64}")


class Host(Struct, frozen=True):
    """Line by line what there is, by kind."""

    facts: dict[str, frozenset[str]]

    def changes(self, after: "Host") -> list[str]:
        """What is new, gone or different, one line each."""
        return [
            f"{sign} {kind}: {line}"
            for kind, lines in self.facts.items()
            for sign, difference in (("-", lines - after.facts[kind]), ("+", after.facts[kind] - lines))
            for line in sorted(difference)
        ]

    @property
    def digest(self) -> str:
        """One hash over everything."""
        text = "\n".join(f"{kind} {line}" for kind, lines in sorted(self.facts.items()) for line in sorted(lines))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def look(folder: Path, address: str = "", trees: tuple[str, ...] = TREES) -> Host:
    """The host now; `folder` is where the attacked node keeps its volumes, `address` its engine when it is its own."""
    return Host(
        {
            "files": frozenset(_files(trees)),
            "mounts": frozenset(_mounts()),
            "loop devices": frozenset(
                line for line in _said("losetup", "--list", "--noheadings") if str(folder) in line
            ),
            "packet filter": frozenset(_said("nft", "list", "tables")),
            "settings": frozenset(_settings()),
            "modules": frozenset(os.listdir("/sys/module")),
            "processes": frozenset(_processes()),
            "engine": frozenset(_objects(address) if address else ()),
        }
    )


def _files(trees: tuple[str, ...]) -> Iterator[str]:
    for tree in trees:
        for folder, folders, names in os.walk(tree):
            folders[:] = [name for name in folders if name not in OTHERS]
            for name in (*folders, *names):
                yield from _entry(os.path.join(folder, name), is_folder=name in folders)


def _entry(path: str, *, is_folder: bool) -> Iterator[str]:
    try:
        seen = os.lstat(path)
    except OSError:
        return
    own = "" if is_folder and path.startswith("/root") else f"{seen.st_size} {seen.st_mtime_ns}"
    yield f"{path} {seen.st_mode:o} {seen.st_uid}:{seen.st_gid} {own}"


def _mounts() -> Iterator[str]:
    """Those outside of engines' and namespaces' own folders, which come and go with everybody's containers."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if not re.match(r"/(var/lib/docker|run/docker|run/netns|run/user|tmp)(/|$)", fields[4]):
            yield f"{fields[4]} {fields[5]} {line.partition(' - ')[2]}"


def _settings() -> Iterator[str]:
    for name in SETTINGS:
        path = Path("/proc/sys") / name
        yield f"{name}={path.read_text().strip() if path.exists() else ''}"
    agents = [Path("/sys/kernel/uevent_helper"), *Path("/sys/fs/cgroup").glob("*/release_agent")]
    agents += list(Path("/sys/fs/cgroup").glob("*/notify_on_release"))
    for path in agents:
        if path.exists():
            yield f"{path}={path.read_text().strip()}"


def _processes() -> Iterator[str]:
    """Processes of workloads' users outside of every container."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            user = int(re.search(r"^Uid:\s+(\d+)", (folder / "status").read_text(), re.M)[1])  # type: ignore[index]
            is_ours = user in OURS or FIRST_USER <= user < FIRST_USER + USERS
            if is_ours and not CONTAINER.search((folder / "cgroup").read_text()):
                yield f"{user} {(folder / 'comm').read_text().strip()}"
        except OSError:
            continue


def _objects(address: str) -> Iterator[str]:
    """Everything that the attacked engine has."""
    client: Any = docker.APIClient(address, version="auto")
    try:
        yield from (f"container {item['Names'][0]}" for item in client.containers(all=True))
        yield from (f"network {item['Name']}" for item in client.networks())
        yield from (f"volume {item['Name']}" for item in client.volumes()["Volumes"] or ())
        yield from (f"image {item['Id'][:19]}" for item in client.images(all=True))
    finally:
        client.close()


def _said(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
