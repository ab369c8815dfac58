"""What providers say that leases use: kept in three widths, from the other party alone, and never twice."""

from pathlib import Path

import pytest

from market.dialogue import MOST_SAMPLES, Samples
from market.errors import InvalidParameters
from market.leases import LeaseState
from market.messages import Kind
from market.series import MINUTES, QUARTERS, RAW, RESOLUTIONS, Reading
from node.actions.billing import MAX_TRAFFIC, count_traffic
from node.records import SeriesChunk, Traffic
from tests.builders import NOW, a_job
from tests.node.actions.stage import LEASE, Stage, staged

S = LeaseState
SECOND = 1000


def said(*seconds: int, lease: str = LEASE, cpu: int = 500) -> Samples:
    """Readings so many seconds from NOW on."""
    return Samples(lease, tuple(Reading(NOW + second * SECOND, cpu, 2**20, 70, 30) for second in seconds))


def counts(stage: Stage, step: int = RAW.step) -> list[int]:
    chunks = stage.storages["buyer"].find(SeriesChunk, lease=LEASE, step=step)
    return [bucket.count for chunk in chunks for bucket in chunk.buckets]


def test_readings_are_kept_in_three_widths_and_shown_as_points(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.RUNNING)
        for start in range(0, 1800, 60):
            stage.clock.advance(60 * SECOND)
            await stage.say("buyer", Kind.SAMPLES, said(*range(start, start + 60, 10)), "seller")
        assert [sum(counts(stage, each.step)) for each in RESOLUTIONS] == [180, 180, 180]
        assert [len(counts(stage, each.step)) for each in (RAW, MINUTES, QUARTERS)] == [180, 31, 3]
        for period, points in (("1h", 180), ("24h", 31), ("7d", 3)):
            found = stage.buyer.series.metrics([LEASE], period)
            assert found.cpu is not None
            assert [point.value for point in found.cpu] == [500] * points
            assert [point.value for point in found.network or ()] == [100] * points
            assert found.gpu is None

    staged(tmp_path, play)


def test_what_is_known_already_is_not_counted_again(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.RUNNING)
        stage.clock.advance(60 * SECOND)
        await stage.say("buyer", Kind.SAMPLES, said(0, 10, 20), "seller")
        rows = stage.rows("buyer")
        await stage.say("buyer", Kind.SAMPLES, said(0, 10, 20), "seller")
        assert stage.rows("buyer") == rows
        await stage.say("buyer", Kind.SAMPLES, said(10, 20, 30), "seller")
        assert counts(stage) == [1, 1, 1, 1]

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [((60,), 0), ((-3601,), 0), ((4, -3599), 1), ((3, 3, 3), 1), ((-20, -10, 0), 3), ((0, -10, -20), 1)],
    ids=["of the future", "of another hour", "late is too late", "twice at once", "in order", "out of order"],
)
def test_readings_count_once_for_each_width_of_this_hour(tmp_path: Path, seconds: tuple[int, ...], kept: int) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.RUNNING)
        await stage.say("buyer", Kind.SAMPLES, said(*seconds), "seller")
        assert sum(counts(stage)) == kept

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("message", "by", "state", "code"),
    [
        (said(0), "stranger", S.RUNNING, "NOT_FOUND"),
        (said(0), "buyer", S.RUNNING, "NOT_FOUND"),
        (said(0, lease="lse_000009"), "seller", S.RUNNING, "NOT_FOUND"),
        (said(0), "seller", S.FINISHED, "LEASE_ENDED"),
        (said(0), "seller", S.SETTLED, "LEASE_ENDED"),
        (said(), "seller", S.RUNNING, "BAD_MESSAGE"),
        (said(*range(MOST_SAMPLES + 1)), "seller", S.RUNNING, "BAD_MESSAGE"),
        (said(0, cpu=-1), "seller", S.RUNNING, "BAD_MESSAGE"),
    ],
    ids=["a stranger's", "our own", "no lease", "ended", "settled", "none", "too many", "less than nothing"],
)
def test_samples_of_others_and_impossible_ones_are_refused(
    tmp_path: Path, message: Samples, by: str, state: LeaseState, code: str
) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", state)
        await stage.is_refused(code, "buyer", Kind.SAMPLES, message, by)

    staged(tmp_path, play)


def test_the_requester_has_no_word_in_what_runs_at_its_provider(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", S.RUNNING)
        await stage.is_refused("NOT_FOUND", "seller", Kind.SAMPLES, said(0), "buyer")

    staged(tmp_path, play)


def test_a_peer_that_says_too_much_is_not_listened_to(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.RUNNING)
        for _ in range(2000):
            stage.buyer.peers._rates[Kind.SAMPLES].take("peer-seller", stage.clock.now() / 1000)
        await stage.is_refused("TOO_OFTEN", "buyer", Kind.SAMPLES, said(0), "seller")

    staged(tmp_path, play)


def test_old_chunks_go_and_the_wider_ones_stay_longer(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("buyer", S.RUNNING)
        await stage.say("buyer", Kind.SAMPLES, said(0), "seller")
        left = []
        for hours in (1, 2, 24, 24, 24 * 7):
            stage.clock.advance(hours * 3600 * SECOND)
            await stage.buyer.series.sweep()
            left.append([len(counts(stage, each.step)) for each in RESOLUTIONS])
        assert left == [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0]]

    staged(tmp_path, play)


def test_what_went_over_the_network_is_counted_once_for_the_account(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        lease = await stage.lease("buyer", S.RUNNING)
        await stage.put("buyer", a_job(id=lease.job))
        stage.clock.advance(60 * SECOND)
        for seconds in ((0, 10, 20), (0, 10, 20), (30,)):
            await stage.say("buyer", Kind.SAMPLES, said(*seconds), "seller")
        [traffic] = stage.storages["buyer"].find(Traffic)
        assert traffic.account == a_job().account
        assert traffic.size == 4 * 10 * (70 + 30)
        for second in range(40, 60, 10):
            huge = Samples(LEASE, (Reading(NOW + second * SECOND, 1, 1, 2**53, 2**53),))
            await stage.say("buyer", Kind.SAMPLES, huge, "seller")
        await stage.storages["buyer"].write(lambda tx: count_traffic(tx, traffic.account, 2**62, stage.clock.now()))
        [traffic] = stage.storages["buyer"].find(Traffic)
        assert traffic.size == MAX_TRAFFIC

    staged(tmp_path, play)


def test_another_period_or_metric_is_refused_by_name(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for period, metric, field in (("2h", "", "period"), ("1h", "disk", "metric")):
            with pytest.raises(InvalidParameters) as refused:
                stage.buyer.series.metrics([LEASE], period, metric)
            assert refused.value.details["field"] == field

    staged(tmp_path, play)
