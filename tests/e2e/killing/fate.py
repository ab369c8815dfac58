"""A death foretold: the process kills itself right after its n-th step, between a fact and what follows from it."""

import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

from node.adapters.storage import SqlStorage
from node.ports import Tx

R = TypeVar("R")


class Fate:
    """Counts steps: commits that are on disk, and answers of the world; at step `last` it ends, never at 0."""

    def __init__(self, last: int) -> None:
        self._left = last

    def step(self) -> None:
        """One more."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class FatedStorage:
    """`Storage` whose commits are steps."""

    def __init__(self, storage: SqlStorage, fate: Fate) -> None:
        self._storage = storage
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def write(self, work: Callable[[Tx], R]) -> R:
        result = await self._storage.write(work)
        self._fate.step()
        return result
