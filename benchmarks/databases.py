"""Durable writes on PostgreSQL against SQLite: the POST of a job and bare work, in rounds that alternate.

The server is one of the benchmark's own on the same disk, and syncs every commit as SQLite does.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from benchmarks.children import Child, nodes
from benchmarks.goals import Taken
from benchmarks.load import loaded
from benchmarks.storage import writes
from node.adapters.postgres_storage import open_postgres
from node.adapters.storage import open_storage
from tests.node.adapters.postgres_server import Server, a_server

ROUNDS: Final = 7
SECONDS: Final = 2.0


def measure() -> list[Taken]:
    """The medians over rounds of both ratios, PostgreSQL over SQLite."""
    with a_server() as server:
        return [asyncio.run(_posts(server)), asyncio.run(_works(server))]


async def _posts(server: Server) -> Taken:
    """Posts a second, at 32 clients; the loops of the nodes do not run."""
    with server.database() as url:
        kinds = ({"serves": True, "lives": False, "database": where} for where in (url, ""))
        async with nodes(*kinds) as (ours, sqlite):
            for child in (ours, sqlite):
                await loaded(child, "post", 1.0)
            return _taken([(await _rate(ours), await _rate(sqlite)) for _ in range(ROUNDS)])


async def _rate(child: Child) -> float:
    return (await loaded(child, "post", SECONDS)).rate


async def _works(server: Server) -> Taken:
    """Pieces of work a second, three rows each, of 32 that wait."""
    with server.database() as url, tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        async with AsyncExitStack() as stack:
            ours = await stack.enter_async_context(open_postgres(url))
            sqlite = await stack.enter_async_context(open_storage(Path(folder) / "node.db"))
            return _taken([(await writes(ours, SECONDS / 2), await writes(sqlite, SECONDS / 2)) for _ in range(ROUNDS)])


def _taken(pairs: Sequence[tuple[float, float]]) -> Taken:
    ratios = [ours / sqlite for ours, sqlite in pairs]
    ours, sqlite = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    remark = f"n={len(pairs)} rounds, {min(ratios):.2f} to {max(ratios):.2f}; {ours:,.0f}/s and {sqlite:,.0f}/s"
    return Taken(statistics.median(ratios), remark)
