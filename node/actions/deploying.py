"""From a build that succeeded to a pod that runs its image: the first of a project makes one, later ones renew it."""

from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from market.builds import RESULT, BuildOrder
from market.errors import InsufficientFunds, InvalidTransition, NotFound, QuotaExceeded
from market.job_events import DeployBuild
from market.jobs import Job
from market.leases import Lease
from market.resources import GIB, Resources
from market.services import LIVING, Service
from market.units import Amount, Bytes, MilliCpu
from market.workloads import ARCHIVE, Egress, File, Port, Workload, WorkloadKind
from node.actions.services import Amendment, Hosting, NewService
from node.ports import Storage
from node.records import Account, Project

_log = structlog.get_logger("deploying")
TERM: Final = 3600
POD: Final = "pod"
PORT: Final = 8080
"""Where a built image is expected to listen; it is told so by the variable PORT."""


class PodTerms(Struct, frozen=True, kw_only=True):
    """What a pod of a built image may use and cost an hour; `egress` is what it may connect to."""

    cap: Amount = Amount(1_000_000)
    resources: Resources = Resources(cpu=MilliCpu(1000), memory=Bytes(GIB), disk=Bytes(0))
    egress: str = "none"


class Deploying:
    """Performs the effect of builds that succeeded; repeated, it changes nothing."""

    def __init__(self, storage: Storage, hosting: Hosting, terms: PodTerms) -> None:
        self._storage = storage
        self._hosting = hosting
        self._terms = terms

    async def deploy(self, effect: DeployBuild) -> None:
        """Run the image as a pod of the project; where that can not be, the build has succeeded all the same."""
        job = self._storage.get(Job, effect.subject)
        account = self._storage.get(Account, job.account) if job else None
        project = self._storage.get(Project, job.build.project) if job and job.build else None
        if job is None or job.build is None or account is None or project is None:
            return
        try:
            await self._run(account, project, job.build, self.workload_of(job))
        except (InsufficientFunds, InvalidTransition, NotFound, QuotaExceeded) as error:
            _log.warning("image not run", job=job.id, why=error.message)

    def workload_of(self, job: Job) -> Workload:
        """A service of the image that the job has built; NotFound when it has built none."""
        lease = self._storage.get(Lease, job.lease)
        files = lease.receipt.outputs if lease and lease.receipt else ()
        image = next((file for file in files if file.path == RESULT), None)
        if job.build is None or image is None:
            raise NotFound("this job has built no image", id=job.id)
        return workload_of(image, job.build, self._terms)

    async def _run(self, account: Account, project: Project, build: BuildOrder, workload: Workload) -> None:
        present = self._pod_of(project)
        if present is None:
            new = NewService(
                kind=POD, name=project.name, workload=workload, origin=project.id, cap=self._terms.cap, term=TERM
            )
            await self._hosting.create(account, new)
        else:
            await self._hosting.update(account, present.id, Amendment(amend=lambda old: _renewed(old, workload, build)))

    def _pod_of(self, project: Project) -> Service | None:
        services = self._storage.find(Service, account=project.account, state=LIVING)
        return next((service for service in services if service.kind == POD and service.origin == project.id), None)


def workload_of(image: File, build: BuildOrder, terms: PodTerms) -> Workload:
    """A service that runs the archive `image`, with the GPUs that were asked for when it was ordered."""
    return Workload(
        kind=WorkloadKind.SERVICE,
        image=f"{ARCHIVE}{image.digest}",
        env={"PORT": str(PORT)},
        resources=_with_gpus(terms.resources, build),
        timeout=TERM,
        inputs=(image,),
        egress=Egress(policy=terms.egress),
        ports=(Port(port=PORT),),
    )


def _renewed(present: Workload, built: Workload, build: BuildOrder) -> Workload:
    """The new image and the GPUs ordered with it, under the settings that its user may have changed meanwhile."""
    return replace(present, image=built.image, inputs=built.inputs, resources=_with_gpus(present.resources, build))


def _with_gpus(resources: Resources, build: BuildOrder) -> Resources:
    """The resources with the GPUs that the order names, or as they are when it names none."""
    return resources if build.gpus is None else replace(resources, gpus=build.gpus, vram=Bytes(build.vram))
