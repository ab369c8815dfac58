"""What processes on one PostgreSQL database say to each other: LISTEN and NOTIFY, with the commit and in its order."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import psycopg
import structlog

from node.adapters.postgres import Connection
from node.adapters.postgres_places import Database, first_line, terms_of

CHANNEL: Final = "neugrid"
MOST: Final = 7000
"""Bytes of ids in one notification: the server takes less than 8000."""
LOOK_EVERY: Final = 10.0
PAUSE: Final = 0.5
"""Seconds between two looks at a server that says nothing, and before a new session when the last one was lost."""
SECONDS: Final = 5
_log = structlog.get_logger("bells")


class PostgresBells:
    """The port `Bells`: what the writer's works announce goes along with the commit of their group.

    A work of the group that failed may have announced something, too: who hears it looks, and finds nothing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sender = secrets.token_hex(8)
        self._announced: dict[str, None] = {}

    def announce(self, ids: Sequence[str]) -> None:
        """Say so with the next commit."""
        self._announced |= dict.fromkeys(ids)

    def ring(self, writer: Connection) -> None:
        """Send what was announced, before the commit."""
        for message in self._messages():
            writer.later(f"SELECT pg_notify('{CHANNEL}', %(message)s)", {"message": message})
        self._announced = {}

    def _messages(self) -> Iterator[str]:
        """The ids as texts that the server takes, each with its sender."""
        lines, size = [self._sender], 0
        for id in self._announced:
            if size + len(id) > MOST:
                yield "\n".join(lines)
                lines, size = [self._sender], 0
            lines.append(id)
            size += len(id.encode()) + 1
        if size:
            yield "\n".join(lines)

    async def heard(self) -> AsyncIterator[tuple[str, ...]]:
        """What others said since the session was opened; () whenever something may have been missed."""
        while True:
            try:
                async for ids in self._listening():
                    yield ids
            except psycopg.Error as error:
                _log.warning("nothing is heard of other processes", why=first_line(error))
            await asyncio.sleep(PAUSE)

    async def _listening(self) -> AsyncIterator[tuple[str, ...]]:
        terms = terms_of(self._database, SECONDS)
        async with await psycopg.AsyncConnection.connect(self._database.url, autocommit=True, **terms) as session:
            await session.execute(f"LISTEN {CHANNEL}")
            yield ()
            while True:
                async for said in session.notifies(timeout=LOOK_EVERY):
                    sender, *ids = said.payload.split("\n")
                    if sender != self._sender:
                        yield tuple(ids)
                await session.execute("SELECT 1")
