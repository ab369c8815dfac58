"""What counts as use: the time in which the container runs, and none of the time until its end is told."""

import asyncio
from typing import Any, cast

from msgspec.structs import replace

from market.errors import Unavailable
from market.leases import LeaseState
from market.units import Timestamp
from market.workloads import WorkloadKind
from node.actions.hosts import ContainerHost
from node.actions.usage import Usage
from node.ports import Container
from tests.builders import a_lease, a_workload

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


def test_a_running_container_is_in_use() -> None:
    assert in_use(True) == [LeaseState.RUNNING, LeaseState.PULLING]


def test_an_ended_container_is_no_longer_in_use_even_before_its_receipt() -> None:
    assert in_use(False) == [LeaseState.PULLING]


def test_while_the_engine_does_not_answer_no_use_is_stated() -> None:
    assert in_use(None) == [LeaseState.PULLING]
