"""Services are probed at their interval, and what changes reaches the lease."""

import asyncio
from pathlib import Path

from market.errors import Unavailable
from market.leases import LeaseState
from market.workloads import Probe, WorkloadKind
from node.loops.probing import Prober
from tests.builders import a_workload
from tests.node.actions.stage import LEASE, Stage, staged

SERVICE = a_workload(kind=WorkloadKind.SERVICE, probe=Probe(kind="tcp", port=80, interval=5, retries=2, start_period=0))


class Patient:
    """Answers as it is told, and counts how often it was asked."""

    def __init__(self) -> None:
        self.is_well = True
        self.asked = 0

    async def ask(self, name: str, probe: Probe) -> bool:
        self.asked += 1
        return self.is_well


async def felt(prober: Prober) -> None:
    prober.tick()
    await prober.asking.answered()
    await asyncio.sleep(0)


def test_a_change_of_health_reaches_the_lease_and_comes_back(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        patient = Patient()
        prober = Prober(stage.seller.engine, patient.ask)
        await stage.lease("seller", LeaseState.RUNNING, workload=SERVICE, health="starting")
        seen = []
        for is_well in (True, False, False, True):
            patient.is_well = is_well
            await felt(prober)
            stage.clock.advance(5_000)
            seen.append(stage.stored("seller").health)
        assert seen == ["healthy", "healthy", "unhealthy", "healthy"]

    staged(tmp_path, play)


def test_nobody_is_asked_before_the_interval_is_over_and_only_who_has_a_probe(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        patient = Patient()
        prober = Prober(stage.seller.engine, patient.ask)
        await stage.lease("seller", LeaseState.RUNNING, workload=SERVICE)
        await stage.lease("seller", LeaseState.RUNNING, id="lse_000002")
        await felt(prober)
        stage.clock.advance(4_999)
        await felt(prober)
        assert patient.asked == 1
        await stage.lease("seller", LeaseState.FINISHED, id=LEASE)
        stage.clock.advance(5_000)
        await felt(prober)
        assert patient.asked == 1

    staged(tmp_path, play)


def test_while_nobody_can_be_asked_the_health_stays_what_it_was(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        patient = Patient()

        async def ask(name: str, probe: Probe) -> bool:
            await patient.ask(name, probe)
            raise Unavailable("the engine is away", service="docker")

        prober = Prober(stage.seller.engine, ask)
        await stage.lease("seller", LeaseState.RUNNING, workload=SERVICE, health="healthy")
        for _ in range(4):
            await felt(prober)
            stage.clock.advance(5_000)
        assert patient.asked == 4
        assert stage.stored("seller").health == "healthy"

    staged(tmp_path, play)
