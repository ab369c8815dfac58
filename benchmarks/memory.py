"""What a node that has nothing to do holds in memory, with its network process; and how soon a node answers."""

import time
from pathlib import Path
from typing import Final

from benchmarks.goals import Taken
from benchmarks.running import a_cluster, start_time
from cli.cluster import Cluster

IDLE: Final = 10.0


def measure() -> list[Taken]:
    """PSS in MB of a provider and of a requester 10 s after their start; seconds to the first answer."""
    with a_cluster() as cluster:
        time.sleep(IDLE)
        provider, requester = (_held(cluster, name) for name in ("provider-1", "requester"))
        start = start_time(cluster, "provider-1", "/v1/version")
    return [provider, requester, Taken(start, "a provider, from its process to GET /v1/version")]


def _held(cluster: Cluster, name: str) -> Taken:
    node = cluster.processes[name].pid
    sizes = {pid: _held_mb(pid, "Pss") for pid in (node, *_children(node))}
    others = ", ".join(f"{size:.0f}" for pid, size in sizes.items() if pid != node)
    private = sum(_held_mb(pid, "Private") for pid in sizes)
    return Taken(sum(sizes.values()), f"node {sizes[node]:.0f}, network {others}; {private:.0f} MB shared with nobody")


def _held_mb(pid: int, kind: str) -> float:
    """MB (10^6 bytes); kind "Pss" counts pages that processes share in parts, "Private" leaves them out."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    names = {"Pss": ("Pss:",), "Private": ("Private_Clean:", "Private_Dirty:")}[kind]
    return sum(int(line.split()[1]) for line in lines if line.startswith(names)) * 1024 / 1e6


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
