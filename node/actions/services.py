"""What a user can do with services: create, look, start, stop, restart, scale, update, delete, and their pods."""

import builtins
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from market.errors import InvalidParameters, NotFound, QuotaExceeded
from market.explanations import Explanation
from market.jobs import Job
from market.leases import Lease
from market.machines import Event
from market.orders import Constraints
from market.service_events import (
    DeleteAsked,
    FundsEnded,
    PodDeleteAsked,
    PodStartAsked,
    PodStopAsked,
    RestartAsked,
    ScaleAsked,
    StartAsked,
    StopAsked,
    UpdateAsked,
)
from market.service_rules import post_service
from market.services import LIVING, Pod, Service, ServiceState, is_up, pod_of, promised
from market.units import Amount
from market.workloads import MAX_WORKLOAD, DirectPort, Workload, is_too_large
from node.actions.access import SHOWN, owned
from node.actions.answers import Idempotency, keep_answer, known_answer
from node.actions.budget import promise
from node.actions.ids import LENGTH, new_id
from node.actions.placing import Placing
from node.actions.pods import pod_job
from node.actions.service_costs import Costs
from node.engine import Changes, Engine
from node.ports import Reader
from node.records import Account, Answer, Balance

_log = structlog.get_logger("services")
_encode: Final = msgspec.json.Encoder().encode
LATEST_JOBS: Final = 256
"""Jobs of a service whose use is looked at: a week of replicas that come and go."""
NOTHING_LEFT: Final = "the balance is below zero"
MAX_SERVICES: Final = 256
"""Services of one account that are not deleted."""
MAX_SETTINGS: Final = 2**22
"""Bytes of image, command and environment of all these together: whoever lists services reads them all..."""
LITTLE: Final = 2**13
"""...but for those that have no more than this, which are let be."""
RUNNING: Final = tuple(state for state in LIVING if state not in (ServiceState.STOPPING, ServiceState.STOPPED))
"""The states in which something runs, or shall."""
PREFIXES: Final = {"deployment": "dep", "agent": "agt", "pod": "srv"}
"""How the ids of services begin, by the name under which users see them."""


class NewService(Struct, frozen=True, kw_only=True):
    """A valid order for a service; `cap` in base units for each pod and `term` seconds."""

    kind: str = "deployment"
    name: str
    workload: Workload
    origin: str = ""
    replicas: int = 1
    cap: Amount
    term: int = 3600
    constraints: Constraints = Constraints()


class Amendment(Struct, frozen=True, kw_only=True):
    """What changes of a service; None = stays. `amend` makes the new workload of the present one."""

    name: str | None = None
    cap: Amount | None = None
    replicas: int | None = None
    origin: str | None = None
    amend: Callable[[Workload], Workload] | None = None


Made = tuple[Service | None, Answer | None]
"""The service as it is now, or the stored answer for a repeated key."""


class Hosting:
    """Services of accounts; a service of somebody else is answered like one that does not exist."""

    def __init__(self, engine: Engine, placing: Placing) -> None:
        self._engine = engine
        self._placing = placing
        self._storage = engine.storage
        self._costs = Costs(engine.storage)

    async def create(self, account: Account, new: NewService, idempotency: Idempotency | None = None) -> Made:
        """Store a service and answer only then: (service, None), or (None, the stored answer) for a repeated key.

        Raises IdempotencyMismatch, InsufficientFunds, InvalidParameters, QuotaExceeded.
        """
        _check_size(new.workload)
        id, secret = new_id(PREFIXES[new.kind], self._engine.clock.now()), secrets.token_hex(16)

        def work(changes: Changes) -> Made:
            known = known_answer(changes.tx, account, idempotency)
            if known is not None:
                return None, known
            _check_quota(changes.tx, account)
            _check_settings(changes.tx, account, id, new.workload)
            service, effects = post_service(_service(id, secret, account, new, changes.now), changes.now)
            changes.create(service, *effects)
            promise(changes.tx, promised(service))
            keep_answer(changes.tx, account, idempotency, service, changes.now)
            return service, None

        return await self._engine.transact(work)

    def get(self, account: Account, id: str) -> Service:
        """The account's service; NotFound when there is none, or it was deleted."""
        return _own(self._storage, account, id)

    def list(self, account: Account) -> list[Service]:
        """All services of the account that are not deleted, newest first; there are at most MAX_SERVICES."""
        return self._storage.find(Service, account=account.id, state=LIVING, newest=True)

    def page(
        self,
        account: Account,
        *,
        states: Sequence[ServiceState] = (),
        limit: int,
        after: tuple[int, str] | None = None,
        offset: int = 0,
    ) -> tuple[builtins.list[Service], int]:
        """A page of them, newest first, and how many there are in all; without `states` in any."""
        where = {"account": account.id, "state": tuple(states) or LIVING}
        found = self._storage.find(Service, limit=limit, after=after, offset=offset, newest=True, **where)
        return found, self._storage.count(Service, **where)

    async def start(self, account: Account, id: str, idempotency: Idempotency | None = None) -> Made:
        """Bring it up; one that is up stays so."""
        return await self._tell_once(account, id, StartAsked(), idempotency)

    async def stop(self, account: Account, id: str) -> Service:
        """Take it down; name, settings and volumes stay."""
        return await self._tell(account, id, StopAsked())

    async def restart(self, account: Account, id: str, idempotency: Idempotency | None = None) -> Made:
        """Replace every pod by a new one, one after the other."""
        return await self._tell_once(account, id, RestartAsked(), idempotency)

    async def scale(self, account: Account, id: str, replicas: int, idempotency: Idempotency | None = None) -> Made:
        """Keep so many pods up."""
        return await self._tell_once(account, id, ScaleAsked(replicas=replicas), idempotency)

    async def delete(self, account: Account, id: str) -> Service:
        """End it for good; what its pods used until then is paid."""
        return await self._tell(account, id, DeleteAsked())

    async def update(self, account: Account, id: str, amendment: Amendment) -> Service:
        """Change what is given; pods are replaced one after the other when what they run changes."""
        return await self._change(account, id, lambda service: _events_of(service, amendment))

    def pod(self, account: Account, id: str) -> tuple[Service, Pod]:
        """A pod of the account and its service; NotFound when there is none."""
        return _pod_in(self._storage, account, id)

    def running_lease(self, account: Account, pod: str) -> Lease | None:
        """The lease under which the account's pod runs now, or last did."""
        return self._storage.get(Lease, self.pod(account, pod)[1].lease)

    def direct_ports(self, service: Service) -> tuple[DirectPort, ...]:
        """Where the direct ports of the pods that work are reached, pod by pod."""
        leases = [self._storage.get(Lease, pod.lease) for pod in service.pods if pod.lease and is_up(pod)]
        return tuple(place for lease in leases if lease for place in lease.direct)

    def lease_ids(self, account: Account, id: str) -> tuple[str, ...]:
        """The ids of the leases of all its pods, present and former ones, of the latest LATEST_JOBS jobs."""
        service = self.get(account, id)
        jobs = self._storage.find(Job, service=service.id, newest=True, limit=LATEST_JOBS)
        leases = self._storage.find(Lease, side="requester", job=tuple(job.id for job in jobs))
        return tuple(lease.id for lease in leases)

    async def start_pod(self, account: Account, id: str, idempotency: Idempotency | None = None) -> Made:
        """Bring one pod up again; its service comes back."""
        service, _ = self.pod(account, id)
        return await self._tell_once(account, service.id, PodStartAsked(pod=id), idempotency)

    async def stop_pod(self, account: Account, id: str) -> tuple[Service, Pod | None]:
        """Take one pod down; its place stays."""
        return await self._tell_pod(account, id, PodStopAsked(pod=id))

    async def delete_pod(self, account: Account, id: str) -> tuple[Service, Pod | None]:
        """Take one pod away for good: one replica less."""
        return await self._tell_pod(account, id, PodDeleteAsked(pod=id))

    async def stop_unpaid(self) -> None:
        """Take down what users let run who have nothing left: what they still owe is covered by what was set aside."""
        owing = [each.account.partition(":") for each in self._storage.find(Balance, amount_until=-1)]
        for account in (id for kind, _, id in owing if kind == "user"):
            for service in self._storage.find(Service, account=account, state=RUNNING):
                if service.is_wanted:
                    _log.warning("stopped: its user has nothing left", service=service.id, account=service.account)
                    await self._engine.attempt("Service", service.id, FundsEnded(message=NOTHING_LEFT))

    def cost(self, service: Service) -> Amount:
        """What all of its pods have cost so far; it grows while they run."""
        return self._costs.of(service.id)

    async def settle_costs(self) -> None:
        """Sum up what services have cost, so that to look at one takes no time."""
        await self._costs.settle()

    def explain(self, new: NewService) -> Explanation:
        """How the live offers stand to a pod of a service that does not exist yet."""
        now = self._engine.clock.now()
        return self._explain(_service("srv_trial", "", Account(id="", name="", created_at=now), new, now))

    def explain_now(self, account: Account, id: str) -> Explanation:
        """How the live offers stand to one more pod of the service."""
        return self._explain(self.get(account, id))

    def _explain(self, service: Service) -> Explanation:
        trial = Pod(id="pod_trial", generation=service.generation, job="job_trial")
        return self._placing.explanation(pod_job(service, trial, "", self._engine.clock.now()))

    async def _tell(self, account: Account, id: str, event: Event) -> Service:
        return await self._change(account, id, lambda _: (event,))

    async def _tell_once(self, account: Account, id: str, event: Event, idempotency: Idempotency | None) -> Made:
        """The same, once under a key; IdempotencyMismatch."""

        def work(changes: Changes) -> Made:
            known = known_answer(changes.tx, account, idempotency)
            if known is not None:
                return None, known
            after = _changed(changes, account, id, lambda _: (event,))
            keep_answer(changes.tx, account, idempotency, after, changes.now)
            return after, None

        return await self._engine.transact(work)

    async def _tell_pod(self, account: Account, id: str, event: Event) -> tuple[Service, Pod | None]:
        service, _ = self.pod(account, id)
        after = await self._change(account, service.id, lambda _: (event,))
        return after, next((pod for pod in after.pods if pod.id == id), None)

    async def _change(self, account: Account, id: str, decide: Callable[[Service], Sequence[Event]]) -> Service:
        return await self._engine.transact(lambda changes: _changed(changes, account, id, decide))


def _changed(changes: Changes, account: Account, id: str, decide: Callable[[Service], Sequence[Event]]) -> Service:
    """Apply what is decided about the present service, within what the wallet covers."""
    before = after = _own(changes.tx, account, id)
    for event in decide(before):
        after = changes.apply("Service", id, event)
    if after.workload != before.workload:
        _check_settings(changes.tx, account, id, after.workload)
    promise(changes.tx, promised(after) - promised(before))
    return after


def _own(reader: Reader, account: Account, id: str) -> Service:
    return owned(reader, Service, id, account, shown=lambda service: service.state is not ServiceState.DELETED)


def _pod_in(reader: Reader, account: Account, id: str) -> tuple[Service, Pod]:
    """A pod's id holds the id of its service behind the prefix."""
    stem = id.removeprefix("pod_")[:LENGTH]
    for prefix in PREFIXES.values():
        with suppress(NotFound):
            service = _own(reader, account, f"{prefix}_{stem}")
            return service, pod_of(service, id)
    raise NotFound("no such pod", id=id[:SHOWN])


def _events_of(service: Service, amendment: Amendment) -> builtins.list[Event]:
    workload = amendment.amend(service.workload) if amendment.amend else service.workload
    _check_size(workload)
    update = UpdateAsked(
        workload=workload,
        name=service.name if amendment.name is None else amendment.name,
        cap=service.cap if amendment.cap is None else amendment.cap,
        origin=service.origin if amendment.origin is None else amendment.origin,
    )
    scale = [] if amendment.replicas is None else [ScaleAsked(replicas=amendment.replicas)]
    return [update, *scale]


def _check_size(workload: Workload) -> None:
    if is_too_large(replace(workload, owner="0" * 64)):
        raise InvalidParameters(
            f"image, command and env may have {MAX_WORKLOAD} bytes in all", field="env", expected=MAX_WORKLOAD
        )


def _check_quota(reader: Reader, account: Account) -> None:
    if reader.count(Service, account=account.id, state=LIVING) >= MAX_SERVICES:
        raise QuotaExceeded(f"an account may have {MAX_SERVICES} services", limit=MAX_SERVICES)


def _check_settings(reader: Reader, account: Account, id: str, workload: Workload) -> None:
    """QuotaExceeded when the account's services have more in all, with this workload for the service `id`."""
    size = len(_encode(workload))
    if size <= LITTLE:
        return
    present = reader.find(Service, account=account.id, state=LIVING)
    size += sum(len(_encode(service.workload)) for service in present if service.id != id)
    if size > MAX_SETTINGS:
        raise QuotaExceeded(
            f"image, command and env of all services of an account may have {MAX_SETTINGS} bytes together; "
            "put long texts into inputs",
            limit=MAX_SETTINGS,
        )


def _service(id: str, secret: str, account: Account, new: NewService, now: int) -> Service:
    return Service(
        id=id,
        account=account.id,
        name=new.name,
        kind=new.kind,
        workload=new.workload,
        origin=new.origin,
        secret=secret,
        replicas=new.replicas,
        cap=new.cap,
        term=new.term,
        constraints=new.constraints,
        created_at=now,
        updated_at=now,
    )
