"""What a user can do with projects: create, look, delete, and order builds of them."""

import uuid
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.builds import BUILDER, RESULT, BuildOrder
from market.errors import QuotaExceeded
from market.resources import GIB, Resources
from market.units import Amount, Bytes, MilliCpu, Seconds, Timestamp
from market.workloads import Egress, Source, Workload, WorkloadKind
from node.actions.access import owned
from node.actions.jobs import NewJob
from node.engine import Changes, Engine
from node.records import Account, Project

MAX_PROJECTS: Final = 256
"""Projects of one account."""


class BuildTerms(Struct, frozen=True, kw_only=True):
    """What a build may use and cost, where its order does not say it; `egress` is what its steps may connect to."""

    cap: Amount = Amount(1_000_000)
    timeout: Seconds = Seconds(1800)
    resources: Resources = Resources(cpu=MilliCpu(1000), memory=Bytes(2 * GIB), disk=Bytes(4 * GIB))
    egress: str = "web"


class BuildWish(Struct, frozen=True, kw_only=True):
    """What an order for a build says; None = by the node's terms."""

    ref: str | None = None
    cap: Amount | None = None
    timeout: int | None = None
    resources: Resources | None = None
    gpus: int | None = None
    vram: int = 0


class Projects:
    """Projects of accounts; a project of somebody else is answered like one that does not exist."""

    def __init__(self, engine: Engine, terms: BuildTerms) -> None:
        self._engine = engine
        self._storage = engine.storage
        self._terms = terms

    async def create(self, account: Account, name: str, source: Source) -> Project:
        """Store a project; QuotaExceeded when the account has too many."""
        id = str(uuid.uuid4())

        def work(changes: Changes) -> Project:
            if changes.tx.count(Project, account=account.id) >= MAX_PROJECTS:
                raise QuotaExceeded(f"an account may have {MAX_PROJECTS} projects", limit=MAX_PROJECTS)
            project = Project(id=id, account=account.id, name=name, source=source, created_at=Timestamp(changes.now))
            changes.tx.insert(project)
            return project

        return await self._engine.transact(work)

    def list(self, account: Account) -> list[Project]:
        """All projects of the account, newest first; there are at most MAX_PROJECTS."""
        return self._storage.find(Project, account=account.id, newest=True)

    def get(self, account: Account, id: str) -> Project:
        """The account's project; NotFound when there is none."""
        return owned(self._storage, Project, id, account)

    async def delete(self, account: Account, id: str) -> None:
        """Forget it; its jobs and what runs of it stay."""

        def work(changes: Changes) -> None:
            changes.tx.delete(Project, owned(changes.tx, Project, id, account).id)

        await self._engine.transact(work)

    def order(self, account: Account, id: str, wish: BuildWish) -> NewJob:
        """The order for a job that builds the project; NotFound when there is none."""
        project, terms = self.get(account, id), self._terms
        source = project.source if wish.ref is None else replace(project.source, ref=wish.ref)
        workload = Workload(
            kind=WorkloadKind.BUILD,
            image=BUILDER,
            resources=wish.resources or terms.resources,
            timeout=wish.timeout or terms.timeout,
            outputs=(RESULT,),
            egress=Egress(policy=terms.egress),
            source=source,
        )
        build = BuildOrder(project=project.id, gpus=wish.gpus, vram=wish.vram)
        return NewJob(workload=workload, cap=wish.cap or terms.cap, build=build)
