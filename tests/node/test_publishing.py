"""Direct ports are opened while their lease runs, on the same numbers after a restart, and told to the requester."""

from pathlib import Path

from market.dialogue import Phase
from market.errors import ConfigError
from market.leases import LeaseState
from market.tenancy import heard
from market.tenancy_events import PortsSeen, ProviderHeard
from market.workloads import DirectPort, Port, WorkloadKind, needs_of
from node.loops.publishing import Publishing
from node.ports import ByteStream, Dial
from tests.builders import a_workload
from tests.node.actions.stage import LEASE, Stage, staged

PORTS = (Port(port=80), Port(port=6379, protocol="tcp", is_direct=True), Port(port=9000, is_direct=True))
SERVICE = a_workload(kind=WorkloadKind.SERVICE, ports=PORTS)


class Ground:
    """Public ports that only note who has them."""

    address = "203.0.113.7"

    def __init__(self, numbers: range = range(30_000, 30_020), taken: frozenset[int] = frozenset()) -> None:
        self.numbers = numbers
        self.open_now = dict.fromkeys(taken, "")

    def open(self, number: int, dial: Dial) -> "Held":
        if number in self.open_now:
            raise ConfigError("taken")
        self.open_now[number] = dial.__name__
        return Held(self, number)


class Held:
    def __init__(self, ground: Ground, number: int) -> None:
        self._ground, self._number = ground, number

    async def close(self) -> None:
        del self._ground.open_now[self._number]


def way(container: str, port: int) -> Dial:
    async def dial() -> ByteStream:
        raise AssertionError

    dial.__name__ = f"{container}:{port}"
    return dial


def publishing_on(stage: Stage, ground: Ground) -> Publishing:
    return Publishing(stage.seller.engine, ground, way)


def places(*numbers: int) -> tuple[DirectPort, ...]:
    return tuple(
        DirectPort(port=port, address=f"203.0.113.7:{number}")
        for port, number in zip((6379, 9000), numbers, strict=False)
    )


def test_direct_ports_are_open_while_the_lease_runs_and_the_lease_says_where(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        ground = Ground(taken=frozenset({30_000}))
        publishing = publishing_on(stage, ground)
        await stage.lease("seller", LeaseState.RUNNING, workload=SERVICE)
        await stage.lease("seller", LeaseState.RUNNING, id="lse_000002")
        await publishing.tick()
        lease = stage.stored("seller")
        assert lease.direct == places(30_001, 30_002)
        assert ground.open_now[30_001] == f"{lease.container}:6379"
        assert ground.open_now[30_002] == f"{lease.container}:9000"
        await stage.lease("seller", LeaseState.FINISHED, id=LEASE)
        await publishing.tick()
        await publishing.close()
        assert ground.open_now == {30_000: ""}

    staged(tmp_path, play)


def test_a_restarted_node_opens_the_same_ports_for_those_who_had_them(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        ground = Ground()
        publishing = publishing_on(stage, ground)
        await stage.lease("seller", LeaseState.RUNNING, workload=SERVICE)
        await stage.lease(
            "seller", LeaseState.RUNNING, id="lse_000002", workload=SERVICE, direct=places(30_000, 30_007)
        )
        await publishing.tick()
        assert stage.stored("seller", "lse_000002").direct == places(30_000, 30_007)
        assert stage.stored("seller").direct == places(30_001, 30_002)

    staged(tmp_path, play)


def test_direct_ports_are_offered_while_enough_of_them_are_free(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        publishing = publishing_on(stage, Ground(range(30_000, 30_017)))
        assert await publishing.abilities() == ("direct",)
        await stage.lease("seller", LeaseState.RUNNING, workload=SERVICE)
        await publishing.tick()
        assert await publishing.abilities() == ()
        assert "direct" in needs_of(SERVICE)

    staged(tmp_path, play)


def test_when_no_port_is_left_the_service_runs_without(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        publishing = publishing_on(stage, Ground(range(30_000, 30_001)))
        await stage.lease("seller", LeaseState.RUNNING, workload=SERVICE)
        await publishing.tick()
        assert stage.stored("seller").direct == places(30_000)

    staged(tmp_path, play)


def test_the_requester_notes_the_ports_that_it_asked_for_and_no_others(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        lease = await stage.lease("buyer", LeaseState.RUNNING, workload=SERVICE)
        told = (*places(30_001, 30_002), DirectPort(port=80, address="203.0.113.7:1"))
        phase = Phase(lease.id, "running", lease.started_at, "", told)
        event = heard(lease, LeaseState.RUNNING, phase.started_at, phase.health, phase.direct)
        assert event == PortsSeen(direct=places(30_001, 30_002))
        await stage.buyer.engine.attempt("Lease", lease.id, event)
        noted = stage.stored("buyer")
        assert noted.direct == places(30_001, 30_002)
        assert isinstance(heard(noted, LeaseState.RUNNING, 0, "", told), ProviderHeard)

    staged(tmp_path, play)
