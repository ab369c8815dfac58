"""Leaders: of several processes that share a database one does what must be done once, by an advisory lock."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

from market.errors import Conflict, NeugridError
from node.adapters.postgres import Connection
from node.adapters.postgres_places import database_at

EVERY: Final = 1.0
"""Seconds between two looks at who leads."""


async def leading(
    url: str, what: str, work: Callable[[], Awaitable[None]], *, password: str = "", every: float = EVERY
) -> None:
    """Run `work` while this process leads `what` among those that share the database; returns when the work ends.

    The lock belongs to a session. When that is lost the work is cancelled within `every` seconds, and begun again once
    this process leads again; for so long there may be two leaders, so that what they do must bear being done twice.
    """
    connection = Connection(database_at(url, password), _claim(what))
    try:
        while True:
            if await asyncio.to_thread(_leads, connection) and await _worked(connection, work, every):
                return
            await asyncio.sleep(every)
    finally:
        connection.close()


async def _worked(connection: Connection, work: Callable[[], Awaitable[None]], every: float) -> bool:
    """Whether the work came to its end while this process led."""
    session, task = connection.sessions, asyncio.ensure_future(work())
    try:
        while not (await asyncio.wait({task}, timeout=every))[0]:
            if not await asyncio.to_thread(_leads, connection) or connection.sessions != session:
                return False
        task.result()
        return True
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _leads(connection: Connection) -> bool:
    try:
        connection.rows("SELECT 1", {})
    except NeugridError:
        return False
    return True


def _claim(what: str) -> Callable[[Connection], None]:
    key = int.from_bytes(hashlib.sha256(f"leads {what}".encode()).digest()[:8], signed=True)

    def claim(session: Connection) -> None:
        if not session.rows(f"SELECT pg_try_advisory_lock({key})", {})[0][0]:
            raise Conflict(f"another process leads {what}")

    return claim
