"""What counts as use: the time in which the container runs, and none of the time until its end is told."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace

from market.dialogue import Covered, Statement
from market.errors import Unavailable
from market.jobs import JobState, progress_of
from market.leases import Lease, LeaseState
from market.messages import Kind
from market.tenancy import heard, step
from market.units import Timestamp
from market.workloads import WorkloadKind
from node.actions.hosts import ContainerHost
from node.actions.usage import Usage
from node.ports import Container, PullProgress
from tests.builders import NOW, a_job, a_lease, a_workload

RUNNING = replace(a_lease(), side="provider", state=LeaseState.RUNNING, workload=a_workload())
PULLING = replace(RUNNING, id="lse_other", state=LeaseState.PULLING)


class Engine:
    """An engine with the container of RUNNING; it does not answer when `running` is None."""

    def __init__(self, running: bool | None) -> None:
        self._running = running

    async def containers(self) -> tuple[Container, ...]:
        if self._running is None:
            raise Unavailable("no engine")
        name = RUNNING.container
        return (Container(name=name, lease=RUNNING.id, running=self._running, created_at=Timestamp(1)),)


def in_use(running: bool | None) -> list[LeaseState]:
    nothing = cast(Any, None)
    usage = Usage(
        nothing, nothing, {WorkloadKind.BATCH: ContainerHost(cast(Any, Engine(running)), nothing, nothing)}, nothing
    )
    return [lease.state for lease in asyncio.run(usage.in_use([RUNNING, PULLING]))]


class Stored:
    """One lease in the storage."""

    def get(self, kind: type, id: str) -> Lease:
        return PULLING


class Shelf:
    """Images of which one is being pulled."""

    def progress(self, reference: str) -> PullProgress | None:
        wanted = PULLING.workload.image if PULLING.workload else ""
        return PullProgress(reference=reference, done=30, total=120) if reference == wanted else None


def test_while_an_image_is_fetched_its_requester_is_told_how_far_it_is() -> None:
    told: list[Statement] = []

    class Requester:
        async def ask(self, peer: str, kind: Kind, payload: Statement, decoder: object) -> Covered:
            told.append(payload)
            raise Unavailable("away")

    nothing = cast(Any, None)
    usage = Usage(cast(Any, SimpleNamespace(storage=Stored())), cast(Any, Requester()), {}, nothing, cast(Any, Shelf()))
    asyncio.run(usage.state_usage(PULLING, NOW))
    phase = told[0].phase
    assert phase.pulled == 25
    buyer = a_lease("requester", state=LeaseState.PULLING)
    event = heard(buyer, LeaseState.PULLING, 0, pulled=phase.pulled)
    after, _ = step(buyer, event, NOW)
    assert after.pulled == 25
    assert step(after, heard(after, LeaseState.PULLING, 0), NOW)[0].pulled == 25, (
        "an answer that does not say is no news"
    )
    job = a_job(state=JobState.PLACED)
    assert (progress_of(job, NOW), progress_of(job, NOW, after.pulled)) == (10, 12)


def test_a_running_container_is_in_use() -> None:
    assert in_use(True) == [LeaseState.RUNNING, LeaseState.PULLING]


def test_an_ended_container_is_no_longer_in_use_even_before_its_receipt() -> None:
    assert in_use(False) == [LeaseState.PULLING]


def test_while_the_engine_does_not_answer_no_use_is_stated() -> None:
    assert in_use(None) == [LeaseState.PULLING]
