"""Questions side by side, one at a time for each lease: one that is not answered delays only its own next."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

_log: Final = structlog.get_logger("asking")


class Asking:
    """The questions under way, by lease; `what` names them in the log."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, lease: str) -> bool:
        """Whether a question about the lease is under way."""
        return lease in self._tasks

    def begin(self, lease: str, question: Coroutine[Any, Any, None]) -> None:
        """Ask, in the background; a failure that nobody foresaw is logged."""
        task = asyncio.create_task(question)
        self._tasks[lease] = task
        task.add_done_callback(lambda done: self._end(lease, done))

    async def answered(self) -> None:
        """Until every question under way has its answer."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close(self) -> None:
        """Ask no more."""
        for task in list(self._tasks.values()):
            task.cancel()
        await self.answered()

    def _end(self, lease: str, task: "asyncio.Task[None]") -> None:
        del self._tasks[lease]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("question failed", about=self._what, lease=lease, exc_info=error)
