"""Durable writes per second at 32 concurrent writers, held against what the disk itself can sync."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from market.jobs import Job
from market.units import Amount
from node.adapters.storage import SqlStorage, open_storage
from node.ports import Tx
from node.records import Entry, Pending
from tests.builders import NOW, a_workload

WRITERS = 32


class Figures(Struct, frozen=True, kw_only=True):
    """Rates per second, times in milliseconds; `write` stores a job, its journal line and its first effect."""

    syncs: float
    writes: float
    commits: float
    write_p50: float
    write_p99: float
    gets: float
    pages: float
    open: float
    imports: float

    @property
    def writes_per_sync(self) -> float:
        """How many durable writes one bare sync of this disk is worth."""
        return self.writes / self.syncs


def measure(seconds: float = 3.0) -> Figures:
    """All figures, taken in one run in a fresh folder of the present directory's disk."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        before = bare_syncs(Path(folder) / "raw", seconds / 2)
        figures = asyncio.run(_measured(Path(folder) / "node.db", seconds))
        after = bare_syncs(Path(folder) / "raw", seconds / 2)
    return Figures(syncs=(before + after) / 2, imports=_import_time(), **figures)


def bare_syncs(path: Path, seconds: float) -> float:
    """How often a second this disk appends 4 KiB and syncs them: the ceiling of commits one by one."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def sync() -> None:
        os.write(file, bytes(4096))
        os.fdatasync(file)

    try:
        return _rate(sync, seconds)
    finally:
        os.close(file)


async def _measured(path: Path, seconds: float) -> dict[str, float]:
    async with open_storage(path) as storage:
        times, commits, took = await _load(storage, seconds)
        gets = _rate(lambda: storage.get(Job, _job(5).id), 1)
        pages = _rate(lambda: storage.find(Job, account="acc_000001", limit=20, newest=True), 1)
    times.sort()
    return {
        "writes": len(times) / took,
        "commits": commits / took,
        "write_p50": times[len(times) // 2] * 1000,
        "write_p99": times[len(times) * 99 // 100] * 1000,
        "gets": gets,
        "pages": pages,
        "open": min([await _open_time(path) for _ in range(5)]),
    }


async def writes(storage: SqlStorage, seconds: float) -> float:
    """Durable writes a second; may be measured again on the same storage."""
    times, _, took = await _load(storage, seconds, first=storage.count(Job))
    return len(times) / took


async def _load(storage: SqlStorage, seconds: float, first: int = 0) -> tuple[list[float], int, float]:
    """Every writer writes again as soon as its last write is acknowledged."""
    times: list[float] = []
    numbers = iter(range(first, 10**9))
    start, commits = time.perf_counter(), storage.commits

    async def writer() -> None:
        while (begun := time.perf_counter()) < start + seconds:
            work = _posting(next(numbers))
            await storage.write(work)
            times.append(time.perf_counter() - begun)

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return times, storage.commits - commits, time.perf_counter() - start


def _posting(number: int) -> Callable[[Tx], None]:
    job = _job(number)

    def work(tx: Tx) -> None:
        tx.insert(job)
        tx.insert(Entry(noun="Job", subject=job.id, at=NOW, event="Created", body=b"{}" * 200))
        tx.put(Pending(id=f"{job.id}:PlaceJob:1", subject=job.id, effect="PlaceJob", body=b"{}", created_at=NOW))

    return work


def _job(number: int) -> Job:
    return Job(
        id=f"job_{number:08}",
        account="acc_000001",
        workload=a_workload(),
        nonce="00ff",
        cap=Amount(5_000_000),
        expires_at=NOW + 600_000,
        created_at=NOW + number,
    )


async def _open_time(path: Path) -> float:
    start = time.perf_counter()
    async with open_storage(path):
        return (time.perf_counter() - start) * 1000


def _rate(act: Callable[[], Any], seconds: float) -> float:
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        act()
        count += 1
    return count / (time.perf_counter() - start)


def _import_time() -> float:
    """Milliseconds for the storage adapter and all that it needs, in a fresh interpreter; best of three."""
    program = "import time; t = time.perf_counter(); import node.adapters.storage; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", program]
    return min(float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(3)) * 1000


if __name__ == "__main__":
    found = measure()
    for name in Figures.__struct_fields__:
        print(f"{name:10} {getattr(found, name):10.1f}")
    print(f"one bare sync is worth {found.writes_per_sync:.1f} durable writes")
