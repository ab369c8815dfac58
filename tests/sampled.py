"""Containers that can be measured, and nothing else."""

from collections import defaultdict
from typing import Any

from market.errors import NotFound
from market.units import Timestamp
from node.ports import Sample


class SampledContainers:
    """They use half a core, a MiB and 100 bytes a second; each sample is ten seconds behind the last one."""

    def __init__(self, start: int) -> None:
        self._start = start
        self.samples: dict[str, int] = defaultdict(int)
        self.broken: set[str] = set()

    async def sample(self, name: str) -> Sample:
        if name in self.broken:
            raise NotFound("no such container", id=name)
        self.samples[name] += 1
        seconds = 10 * self.samples[name]
        at = Timestamp(self._start + seconds * 1000)
        return Sample(at=at, cpu=seconds * 5 * 10**8, memory=2**20, received=seconds * 70, sent=seconds * 30)

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)
