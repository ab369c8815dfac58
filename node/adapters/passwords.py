"""Hashes of passwords: argon2id with OWASP's least parameters (19 MiB, two passes, one lane), two at a time in threads.

More at once would let whoever knocks take the node's memory and cores.
"""

import asyncio
from functools import cached_property
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE: Final = 2
MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2


class Argon2Passwords:
    """The port `Passwords`."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def hash(self, password: str) -> str:
        async with self._turns:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def fits(self, password: str, hash: str) -> bool:
        async with self._turns:
            return await asyncio.to_thread(self._fits, password, hash) and bool(hash)

    @cached_property
    def _nobodys(self) -> str:
        """A hash to spend the time of a look on, where there is none."""
        return self._hasher.hash("")

    def _fits(self, password: str, hash: str) -> bool:
        try:
            return self._hasher.verify(hash or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False
