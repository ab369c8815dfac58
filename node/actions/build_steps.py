"""The steps of builds, read from their logs as they grow: what was read before is not read again."""

from collections import OrderedDict
from typing import Final

from market.builds import STREAM, BuildStep, steps_after
from market.jobs import Job
from node.actions.logs import next_line, read_lines
from node.ports import Reader

REMEMBERED: Final = 256
"""Builds whose steps are kept in memory."""


class BuildSteps:
    """The steps of jobs, by their present leases."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: OrderedDict[str, tuple[int, tuple[BuildStep, ...]]] = OrderedDict()

    def of(self, job: Job) -> tuple[BuildStep, ...]:
        """The steps of a build in their order; none of any other job."""
        if job.build is None or not job.lease:
            return ()
        read, steps = self._known.get(job.lease, (0, ()))
        end = next_line(self._reader, job.lease)
        if end > read:
            lines = [line for _, line in read_lines(self._reader, job.lease, read) if line.stream == STREAM]
            steps = steps_after(steps, [(line.at, line.text) for line in lines])
            self._remember(job.lease, end, steps)
        return steps

    def _remember(self, lease: str, read: int, steps: tuple[BuildStep, ...]) -> None:
        self._known[lease] = (read, steps)
        self._known.move_to_end(lease)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
