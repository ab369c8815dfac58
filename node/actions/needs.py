"""Which files what goes on works with."""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

from market.jobs import LIVE, Job
from market.leases import ENDED, OPEN, Lease
from market.services import LIVING, Service
from market.workloads import File
from node.ports import Reader

N = TypeVar("N", Job, Lease, Service)
UNSETTLED: Final = (*OPEN, *ENDED)
"""While a lease is, its outputs may still be fetched."""
AT_ONCE: Final = 200


def files_of(lease: Lease) -> Iterator[File]:
    """What a lease works with, and what came of it."""
    yield from lease.workload.inputs if lease.workload else ()
    yield from lease.receipt.outputs if lease.receipt else ()


def needs(reader: Reader, account: str, digest: str) -> bool:
    """Whether a job, a service or an unsettled lease of the account has the file."""
    jobs = any(_names(job.workload.inputs, digest) for job in _all(reader, Job, account=account, state=LIVE))
    if jobs or any(
        _names(service.workload.inputs, digest) for service in _all(reader, Service, account=account, state=LIVING)
    ):
        return True
    leases = _all(reader, Lease, side="requester", state=UNSETTLED)
    return any(_names(files_of(lease), digest) and _owner(reader, lease) == account for lease in leases)


def _names(files: Any, digest: str) -> bool:
    return any(file.digest == digest for file in files)


def _owner(reader: Reader, lease: Lease) -> str:
    job = reader.get(Job, lease.job)
    return job.account if job else ""


def _all(reader: Reader, noun: type[N], **where: Any) -> Iterator[N]:
    after: tuple[int, str] | None = None
    while page := reader.find(noun, limit=AT_ONCE, after=after, **where):
        yield from page
        after = (page[-1].created_at, page[-1].id)
