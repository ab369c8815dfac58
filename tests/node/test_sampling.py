"""What a provider reads from its containers, and what it makes of it."""

import asyncio
from pathlib import Path
from typing import Any, cast

from market.dialogue import MOST_SAMPLES, Samples
from market.leases import LeaseState
from market.messages import Kind
from market.series import Reading
from market.units import Timestamp
from node.loops.sampling import STALE, Sampler, reading_of
from node.ports import Sample
from tests.builders import NOW
from tests.node.actions.stage import LEASE, Stage, staged
from tests.sampled import SampledContainers

S = LeaseState


def a_sample(second: int, cpu: int = 0, **changes: int) -> Sample:
    return Sample(at=Timestamp(NOW + second * 1000), cpu=cpu, memory=100, **changes)


def test_growth_over_time_is_a_rate() -> None:
    before = a_sample(0, cpu=10**9, received=1000, sent=50)
    after = a_sample(10, cpu=6 * 10**9, received=3000, sent=60, gpu=750)
    assert reading_of(before, after) == Reading(NOW + 10_000, 500, 100, 200, 1, 750)


def test_over_a_counter_that_began_anew_or_a_long_silence_there_is_no_rate() -> None:
    assert reading_of(a_sample(0, cpu=10), a_sample(10, cpu=5)) is None
    assert reading_of(a_sample(0, received=10), a_sample(10, received=5)) is None
    assert reading_of(a_sample(0), a_sample(0)) is None
    assert reading_of(a_sample(0), a_sample(STALE // 1000 + 1)) is None


class Scene:
    """A seller with one running lease and a buyer that knows it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.containers = SampledContainers(NOW - 10_000)
        self.sampler = Sampler(stage.seller.engine, stage.seller.peers, cast(Any, self.containers))
        self.heard: list[Samples] = []

    async def open(self) -> None:
        for owner in ("buyer", "seller"):
            await self.stage.lease(owner, S.RUNNING)
        take = self.stage.buyer.series.take

        async def listen(envelope: Any, message: Samples) -> Any:
            self.heard.append(message)
            return await take(envelope, message)

        self.stage.buyer.peers.on(Kind.SAMPLES, Samples, listen)

    async def ticks(self, count: int) -> None:
        for _ in range(count):
            await self.sampler.tick()
            await self.sampler.asking.answered()
            await asyncio.sleep(0)
            self.stage.clock.advance(10_000)


def test_readings_are_sent_three_at_a_time_and_arrive(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        scene = Scene(stage)
        await scene.open()
        await scene.ticks(8)
        assert [len(message.samples) for message in scene.heard] == [1, 3, 3]
        found = stage.buyer.series.metrics([LEASE], "1h").cpu
        assert [point.value for point in found or ()] == [500] * 7

    staged(tmp_path, play)


def test_a_requester_that_was_away_gets_the_newest_readings_later(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        scene = Scene(stage)
        await scene.open()
        stage.world.hub.unreachable.add("peer-buyer")
        await scene.ticks(100)
        assert scene.heard == []
        stage.world.hub.unreachable.clear()
        await scene.ticks(3)
        samples = scene.heard[0].samples
        assert len(samples) == MOST_SAMPLES
        assert samples[-1].at - samples[0].at == 10_000 * (MOST_SAMPLES - 1)

    staged(tmp_path, play)


def test_a_container_that_can_not_be_read_leaves_a_gap_and_disturbs_no_other(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        scene, other = Scene(stage), "lse_000002"
        await scene.open()
        await stage.lease("seller", S.RUNNING, id=other, terms=stage.terms(lease=other))
        scene.containers.broken.add(stage.stored("seller", other).container)
        await scene.ticks(3)
        assert {message.lease for message in scene.heard} == {LEASE}

    staged(tmp_path, play)


def test_what_is_refused_is_not_sent_again_and_ended_leases_are_forgotten(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        scene = Scene(stage)
        await scene.open()
        await stage.lease("buyer", S.FINISHED)
        await scene.ticks(2)
        assert [len(waiting) for waiting in scene.sampler._waiting.values()] == [0]
        await stage.lease("seller", S.FINISHED)
        await scene.ticks(1)
        assert (scene.sampler._waiting, scene.sampler._last, scene.sampler._sent) == ({}, {}, {})

    staged(tmp_path, play)


def test_a_requester_that_does_not_answer_delays_nobody(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        scene = Scene(stage)
        await scene.open()

        async def never(envelope: Any, message: Samples) -> Any:
            await asyncio.Event().wait()

        stage.buyer.peers.on(Kind.SAMPLES, Samples, never)
        for _ in range(4):
            await asyncio.wait_for(scene.sampler.tick(), 20)
            stage.clock.advance(30_000)
        assert len(scene.sampler.asking._tasks) == 1
        await scene.sampler.close()

    staged(tmp_path, play)
