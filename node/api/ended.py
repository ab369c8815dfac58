"""Jobs that have ended as JSON, encoded once: nothing in them changes any more but with the job or its lease."""

from collections.abc import Callable
from typing import Final

import msgspec

from market.jobs import DONE, Job
from market.leases import Lease
from node.api.replies import encode
from node.api.views import JobView

MANY: Final = 1000


class EndedJobs:
    """What was encoded lately. It holds as long as the storage gives out the very nouns that it was made of."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Job, Lease | None, msgspec.Raw]] = {}

    def encoded(self, job: Job, lease: Lease | None, view: Callable[[], JobView]) -> JobView:
        """The view, or its JSON in its place. A build shows steps, which come from its log: it is made anew."""
        if job.state not in DONE or job.build is not None:
            return view()
        known = self._known.get(job.id)
        if known is None or known[0] is not job or known[1] is not lease:
            known = (job, lease, msgspec.Raw(encode(view())))
            if len(self._known) >= MANY:
                self._known.clear()
            self._known[job.id] = known
        return known[2]  # type: ignore[return-value]  # it is encoded as what it is
