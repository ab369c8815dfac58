"""Which files what goes on works with."""

from collections.abc import Iterable, Iterator
from itertools import chain
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
    jobs = (job.workload for page in pages(reader, Job, account=account, state=LIVE) for job in page)
    services = (each.workload for page in pages(reader, Service, account=account, state=LIVING) for each in page)
    if any(_names(workload.inputs, digest) for workload in chain(jobs, services)):
        return True
    leases = pages(reader, Lease, side="requester", state=UNSETTLED)
    named = (lease for page in leases for lease in page if _names(files_of(lease), digest))
    return any(_owner(reader, lease) == account for lease in named)


def pages(reader: Reader, noun: type[N], **where: Any) -> Iterator[list[N]]:
    """All that fit, a page at a time, each looked up when it is asked for."""
    after: tuple[int, str] | None = None
    while page := reader.find(noun, limit=AT_ONCE, after=after, **where):
        yield page
        after = (page[-1].created_at, page[-1].id)


def _names(files: Iterable[File], digest: str) -> bool:
    return any(file.digest == digest for file in files)


def _owner(reader: Reader, lease: Lease) -> str:
    job = reader.get(Job, lease.job)
    return job.account if job else ""
