"""The books of both sides: each job paid once, within its cap, and for one finished attempt at most."""

from collections.abc import Iterator

from market.jobs import DONE, Job
from market.leases import OPEN, Lease, LeaseState, cost_of
from tests.e2e.cycling.stage import BUYER, Stage


def unsettled(stage: Stage) -> list[str]:
    """Leases of jobs that are done, at either side, which are not through yet."""
    found = []
    with stage.books(BUYER) as books:
        done = {job.id for job in books.find(Job) if job.state in DONE}
        bought = {lease.id: lease for lease in books.find(Lease, side="requester")}
    for lease in bought.values():
        if lease.job in done and lease.state is not LeaseState.SETTLED:
            found.append(f"{lease.id} of {lease.job} is {lease.state.value}")
    for provider in stage.cluster.providers:
        with stage.books(provider) as books:
            for lease in books.find(Lease, side="provider", state=OPEN):
                other = bought.get(lease.id)
                if other is None or other.state not in OPEN:
                    found.append(f"{provider} holds {lease.id} as {lease.state.value}")
    return found


def wrong_bills(stage: Stage) -> Iterator[str]:
    """What does not add up."""
    sold: dict[str, Lease] = {}
    for provider in stage.cluster.providers:
        with stage.books(provider) as books:
            sold |= {lease.id: lease for lease in books.find(Lease, side="provider")}
    with stage.books(BUYER) as books:
        jobs = [job for job in books.find(Job) if job.state in DONE]
        leases = books.find(Lease, side="requester")
    for job in jobs:
        yield from _wrong_bill(job, [lease for lease in leases if lease.job == job.id], sold)


def _acknowledged(lease: Lease) -> int:
    """Seconds that were agreed on before anybody knew that the engine had lost the container: they stay paid."""
    return -(-(lease.paid_at - lease.started_at) // 1000) if lease.code == "INFRASTRUCTURE" else 0


def _wrong_bill(job: Job, bought: list[Lease], sold: dict[str, Lease]) -> Iterator[str]:
    paid = sum(lease.paid for lease in bought)
    if job.cost != paid:
        yield f"{job.id} costs {job.cost}, and {paid} were paid"
    if job.cost > job.cap:
        yield f"{job.id} costs {job.cost}, above its cap {job.cap}"
    if sum(lease.outcome == LeaseState.FINISHED and lease.paid > 0 for lease in bought) > 1:
        yield f"{job.id} was paid for several attempts that finished: {[lease.id for lease in bought]}"
    for lease in bought:
        most = cost_of(lease.terms, max(lease.seconds, _acknowledged(lease)))
        if lease.terms.unit != "run" and lease.paid > most:
            yield f"{lease.id}: {lease.paid} paid, {most} due"
        if lease.id in sold and sold[lease.id].paid > lease.paid:
            yield f"{lease.id}: {sold[lease.id].paid} credited of {lease.paid}"
