"""The output of services: the lines of all their pods, or of one, in order of their times."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from heapq import merge
from types import MappingProxyType
from typing import Final

from market.services import Service, pod_of
from node.actions.logs import last_lines_of, next_line, read_lines
from node.actions.services import Hosting
from node.engine import Engine
from node.ports import LogLine
from node.records import Account

PAUSE: Final = 0.5
"""The longest that a follower waits before it looks again, in seconds: pods come and go."""
NOWHERE: Final[Mapping[str, int]] = MappingProxyType({})


class Output:
    """What the pods of an account's services write. Each pod's present lease is read, or its last one."""

    def __init__(self, engine: Engine, hosting: Hosting) -> None:
        self._engine = engine
        self._hosting = hosting

    def last(
        self, account: Account, service: str, pod: str = "", *, tail: int, since: int = 0, stream: str = ""
    ) -> list[LogLine]:
        """The last `tail` lines from `since` (ms) on, of one pod or of all."""
        leases = _leases(self._hosting.get(account, service), pod)
        return last_lines_of(self._engine.storage, leases, tail, since, stream)

    def ends(self, account: Account, service: str, pod: str = "") -> dict[str, int]:
        """The places behind all lines that are there, for a follower who has them already."""
        leases = _leases(self._hosting.get(account, service), pod)
        return {lease: next_line(self._engine.storage, lease) for lease in leases}

    async def follow(
        self, account: Account, service: str, pod: str = "", since: int = 0, behind: Mapping[str, int] = NOWHERE
    ) -> AsyncIterator[LogLine]:
        """Lines from `since` (ms) and `behind` these places on, as they come, for as long as there is such a service.

        NotFound is the end.
        """
        places = dict(behind)
        while True:
            leases = _leases(self._hosting.get(account, service), pod)
            news = [_unread(self._engine, lease, places.get(lease, 0)) for lease in leases]
            for _, lease, number, line in merge(*news):
                places[lease] = number + 1
                if line.at >= since:
                    yield line
            await _any_changed(self._engine, [service, *(f"logs:{lease}" for lease in leases)])


def _leases(service: Service, pod: str) -> list[str]:
    pods = (pod_of(service, pod),) if pod else service.pods
    return [pod.lease for pod in pods if pod.lease]


def _unread(engine: Engine, lease: str, after: int) -> Iterator[tuple[int, str, int, LogLine]]:
    """The lines of one lease that were not read yet, ready to be merged by time."""
    return ((line.at, lease, number, line) for number, line in read_lines(engine.storage, lease, after))


async def _any_changed(engine: Engine, ids: Sequence[str]) -> None:
    tasks = [asyncio.create_task(engine.changed(id, PAUSE)) for id in ids]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
