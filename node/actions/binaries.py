"""Programs that users name by address: fetched once, kept by content, given to pods as an input."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from market.errors import InvalidParameters
from market.workloads import File
from node.actions.holdings import Holdings
from node.ports import Downloads
from node.records import Account

MAX_BINARY: Final = 256 * 2**20
AT_ONCE: Final = 4
"""Downloads of this node at the same time; others wait for their turn."""
NAME: Final = "agent"
"""How the program is called under /input."""


class Binaries:
    """Fetches programs into the files of whoever names them."""

    def __init__(self, downloads: Downloads, holdings: Holdings) -> None:
        self._downloads = downloads
        self._holdings = holdings
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, account: Account, url: str) -> File:
        """The program behind the URL as an input; InvalidParameters when it can not be had or is too large.

        QuotaExceeded when the account has no room for it.
        """
        self._holdings.must_have_room(account)
        async with self._turns:
            stored = await self._holdings.store(account, _bounded(self._downloads.fetch(url)), MAX_BINARY)
        return File(path=NAME, digest=stored.digest, size=stored.size)


async def _bounded(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, as long as they are no more than one program may have."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_BINARY:
            limit = f"a program of at most {MAX_BINARY} bytes"
            raise InvalidParameters(f"binary_url must be {limit}", field="binary_url", expected=limit)
        yield chunk
