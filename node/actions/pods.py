"""The jobs behind the pods of services: posted when a service asks for one, cancelled when it needs it no more."""

import hashlib
import secrets
from typing import Final

from msgspec.structs import replace

from market.errors import InsufficientFunds
from market.job_events import CancelAsked
from market.jobs import DONE, Job, JobState, post_job
from market.machines import Event
from market.orders import Constraints
from market.service_events import FundsEnded, LaunchPod, PodMoved, PodPosted, RetirePod
from market.services import Pod, Service, is_posted
from market.workloads import Workload
from node.actions.ledger import owing_jobs
from node.engine import Changes, Engine
from node.ports import Reader

PATIENCE: Final = 300_000
"""How long a pod's job may wait for a provider, in ms; then it is an end like any other."""
BID_WINDOW: Final = 1_000


class Pods:
    """Performs the effects of services. Both look at the service anew: a launch that was taken back is not made."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def launch(self, effect: LaunchPod) -> Event | None:
        """Post the job of a pod, once; a service that nothing is left for ends.

        Raises InsufficientFunds, to be tried again, while it has other pods or something is about to be given back.
        """
        nonce = secrets.token_hex(16)

        def work(changes: Changes) -> None:
            service = changes.tx.get(Service, effect.subject)
            pod = _waiting(service, effect.job)
            if service is not None and pod is not None and changes.tx.get(Job, effect.job) is None:
                changes.create(*post_job(pod_job(service, pod, nonce, changes.now)))
                changes.apply("Service", service.id, PodPosted(job=effect.job))

        try:
            await self._engine.transact(work)
        except InsufficientFunds as error:
            if _may_wait(self._engine.storage, effect.subject):
                raise
            return FundsEnded(message=error.message)
        return None

    async def retire(self, effect: RetirePod) -> None:
        """Cancel the job of a pod; one that was not posted yet never is."""

        def work(changes: Changes) -> None:
            job = changes.tx.get(Job, effect.job)
            if job is None:
                changes.apply("Service", effect.subject, _never_posted(effect.job))
            elif job.state not in DONE:
                changes.apply("Job", job.id, CancelAsked())

        await self._engine.transact(work)


def _may_wait(reader: Reader, id: str) -> bool:
    """Whether the service goes on with other pods, or something is still held for cancelled work of its user."""
    service = reader.get(Service, id)
    return service is not None and (any(map(is_posted, service.pods)) or bool(owing_jobs(reader, service.account)))


def pod_job(service: Service, pod: Pod, nonce: str, now: int) -> Job:
    """The job behind a pod: it goes where its volumes are, if it has any."""
    return Job(
        id=pod.job,
        account=service.account,
        workload=_workload(service, pod),
        nonce=nonce,
        cap=service.cap,
        constraints=_constraints(service, pod),
        bid_window=BID_WINDOW,
        expires_at=now + PATIENCE,
        created_at=now,
        term=service.term,
        service=service.id,
    )


def _waiting(service: Service | None, job: str) -> Pod | None:
    """The pod that still wants this job."""
    pods = service.pods if service is not None else ()
    return next((pod for pod in pods if pod.job == job and not pod.is_retired), None)


def _workload(service: Service, pod: Pod) -> Workload:
    owner = hashlib.sha256(f"{service.secret}:{pod.id}".encode()).hexdigest() if service.workload.volumes else ""
    return replace(service.workload, timeout=service.term, owner=owner)


def _constraints(service: Service, pod: Pod) -> Constraints:
    is_bound = service.workload.volumes and pod.home
    return replace(service.constraints, only=(pod.home,)) if is_bound else service.constraints


def _never_posted(job: str) -> PodMoved:
    return PodMoved(job=job, state=JobState.CANCELLED, health="", provider="", lease="", code="", message="")
