"""Hashes of passwords: argon2id with OWASP's least parameters (19 MiB, two passes, one lane), in two own threads.

More at once would let whoever knocks take the node's memory and cores; threads of all would let others keep them out.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE: Final = 2
MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
R = TypeVar("R")


class Argon2Passwords:
    """The port `Passwords`."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")

    async def hash(self, password: str) -> str:
        return await self._apart(self._hasher.hash, password)

    async def fits(self, password: str, hash: str) -> bool:
        return await self._apart(self._fits, password, hash) and bool(hash)

    @cached_property
    def _nobodys(self) -> str:
        """A hash to spend the time of a look on, where there is none."""
        return self._hasher.hash("")

    async def _apart(self, work: Callable[..., R], *given: str) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    def _fits(self, password: str, hash: str) -> bool:
        try:
            return self._hasher.verify(hash or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False
