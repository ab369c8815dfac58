"""Output by age: rings lose their oldest lines, what has ended goes as a whole, and late lines are refused."""

from pathlib import Path

from msgspec.structs import replace

from market.dialogue import Line, Logs
from market.leases import LeaseState
from market.messages import Kind
from market.workloads import WorkloadKind
from node.actions.log_keeping import AT_ONCE, DAY
from node.actions.logs import next_line, read_lines
from node.records import LogChunk, LogHead
from tests.builders import NOW, a_workload
from tests.node.actions.stage import LEASE, Stage, staged

S = LeaseState
SERVICE = a_workload(kind=WorkloadKind.SERVICE)


async def said(stage: Stage, *texts: str, first: int = 0, lease: str = LEASE) -> None:
    lines = tuple(Line(NOW, "stdout", text) for text in texts)
    await stage.say("buyer", Kind.LOGS, Logs(lease, first, lines), "seller")


def texts(stage: Stage, lease: str = LEASE) -> list[str]:
    return [line.text for _, line in read_lines(stage.storages["buyer"], lease)]


def test_old_lines_of_a_service_go_and_those_of_a_running_job_stay(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        job = "lse_000002"
        await stage.lease("buyer", S.RUNNING, workload=SERVICE)
        await stage.lease("buyer", S.RUNNING, id=job, terms=stage.terms(lease=job))
        await said(stage, "old")
        await said(stage, "old", lease=job)
        stage.clock.advance(10 * DAY)
        await said(stage, "new", first=1)
        stage.clock.advance(5 * DAY)
        assert await stage.buyer.keeping.sweep() == 1
        assert (texts(stage), texts(stage, job)) == (["new"], ["old"])
        assert await stage.buyer.keeping.sweep() == 0

    staged(tmp_path, play)


def test_a_service_that_is_silent_for_long_keeps_its_numbers(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.RUNNING, workload=SERVICE)
        await said(stage, "a", "b")
        stage.clock.advance(40 * DAY)
        await stage.buyer.keeping.sweep()
        await said(stage, "c", first=2)
        assert [number for number, _ in read_lines(stage.storages["buyer"], LEASE)] == [2]

    staged(tmp_path, play)


def test_what_has_ended_goes_as_a_whole_after_its_days(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.RUNNING)
        for number in range(AT_ONCE + 5):
            await said(stage, "x", first=number)
        await stage.lease("buyer", S.SETTLED, ended_at=NOW)
        stage.clock.advance(30 * DAY)
        assert await stage.buyer.keeping.sweep() == 0
        stage.clock.advance(1)
        assert await stage.buyer.keeping.sweep() == 1
        storage = stage.storages["buyer"]
        assert (storage.count(LogChunk), storage.count(LogHead), next_line(storage, LEASE)) == (0, 0, 0)

    staged(tmp_path, play)


def test_of_many_logs_all_that_are_old_go(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        head = LogHead(id="lse", kind="batch", oldest=NOW, newest=NOW)
        await stage.put("buyer", *(replace(head, id=f"lse_{number:06}") for number in range(2 * AT_ONCE + 1)))
        stage.clock.advance(31 * DAY)
        assert await stage.buyer.keeping.sweep() == 2 * AT_ONCE + 1

    staged(tmp_path, play)


def test_lines_long_after_the_end_are_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.SETTLED, ended_at=NOW)
        await said(stage, "last words")
        stage.clock.advance(3_600_001)
        message = Logs(LEASE, 1, (Line(NOW, "stdout", "more"),))
        await stage.is_refused("LEASE_ENDED", "buyer", Kind.LOGS, message, "seller")
        assert texts(stage) == ["last words"]

    staged(tmp_path, play)
