"""A database that has been in use: many jobs of one account, each ended well under a lease that is paid."""

from typing import Final

from msgspec.structs import replace

from market.jobs import Job, JobState
from market.leases import Lease, LeaseState
from market.units import Amount
from node.ports import Storage, Tx
from tests.builders import NOW, PROVIDER, a_lease, a_receipt, a_workload, terms

JOBS: Final = 100_000
AT_ONCE: Final = 5_000


def job_id(number: int) -> str:
    """The id of a numbered job."""
    return f"job_{number:08}"


async def fill(storage: Storage, account: str) -> None:
    """Store JOBS jobs of the account, and their leases."""
    for first in range(0, JOBS, AT_ONCE):
        await storage.write(lambda tx, first=first: _insert(tx, account, first))  # type: ignore[misc]


def _insert(tx: Tx, account: str, first: int) -> None:
    for number in range(first, first + AT_ONCE):
        job = _job(number, account)
        tx.insert(job)
        tx.insert(_lease(job))


def _job(number: int, account: str) -> Job:
    created = NOW + 1000 * number
    return Job(
        id=job_id(number),
        account=account,
        workload=a_workload(),
        nonce="00ff",
        cap=Amount(5_000_000),
        created_at=created,
        expires_at=created + 600_000,
        state=JobState.SUCCEEDED,
        lease=f"lse_{number:08}",
        provider=PROVIDER,
        agreed_at=created + 10,
        started_at=created + 200,
        finished_at=created + 5_200,
        exit_code=0,
        seconds=5,
        cost=Amount(50),
        version=5,
    )


def _lease(job: Job) -> Lease:
    return replace(
        a_lease("requester", job=job.id, state=LeaseState.SETTLED, terms=terms(lease=job.lease)),
        id=job.lease,
        receipt=a_receipt(lease=job.lease),
        deadline=0,
        paid=Amount(50),
        paid_at=job.finished_at + 100,
        created_at=job.agreed_at,
    )
