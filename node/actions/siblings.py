"""Pods of one service are placed one after the other, so that each sees where the others went and goes elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from market.jobs import Job
from market.services import Service
from node.ports import Reader


class Siblings:
    """Whose turn it is to be placed, and which providers its siblings are at."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, job: Job) -> AsyncIterator[tuple[str, ...]]:
        """The providers of the job's siblings, none of which is placed meanwhile; () for a job of no service."""
        if not job.service:
            yield ()
            return
        lock = self._locks.setdefault(job.service, asyncio.Lock())
        async with lock:
            yield self._providers(job)

    def _providers(self, job: Job) -> tuple[str, ...]:
        """Where pods of the same generation are: those of an older one leave anyway."""
        service = self._reader.get(Service, job.service)
        pods = [pod for pod in service.pods if pod.job and not pod.is_leaving] if service is not None else []
        generations = [pod.generation for pod in pods if pod.job == job.id]
        found = {pod.provider for pod in pods if pod.job != job.id and pod.generation in generations}
        return tuple(sorted(found - {""}))
