"""Readings in buckets of three widths: nothing is lost in the sums, and a gap stays one."""

from hypothesis import given
from hypothesis import strategies as st

from market.series import (
    HOUR,
    METRICS,
    MINUTES,
    PERIODS,
    QUARTERS,
    RAW,
    RESOLUTIONS,
    Bucket,
    Reading,
    added,
    chunk_start,
    merged,
    points,
    with_reading,
)
from tests.builders import NOW

START = NOW // (12 * HOUR) * 12 * HOUR
READINGS = st.lists(
    st.builds(
        Reading,
        at=st.integers(0, 3 * HOUR).map(lambda ms: START + ms),
        cpu=st.integers(0, 64_000),
        memory=st.integers(0, 2**40),
        received=st.integers(0, 2**40),
        sent=st.integers(0, 2**40),
        gpu=st.integers(-1, 1000),
    ),
    min_size=1,
    max_size=60,
).map(lambda readings: sorted(readings, key=lambda reading: reading.at))


def filled(readings: list[Reading], step: int) -> tuple[Bucket, ...]:
    buckets: tuple[Bucket, ...] = ()
    for reading in readings:
        buckets = with_reading(buckets, reading, step)
    return buckets


def a_reading(second: int, **changes: int) -> Reading:
    return Reading(**{"at": START + second * 1000, "cpu": 100, "memory": 10, **changes})


@given(READINGS)
def test_every_width_has_the_same_sums_counts_and_peaks(readings: list[Reading]) -> None:
    whole = [merged(filled(readings, resolution.step)) for resolution in RESOLUTIONS]
    for place, name in enumerate(METRICS):
        values = [max(0, getattr(reading, name)) for reading in readings]
        assert {bucket.sums[place] for bucket in whole} == {sum(values)}
        assert {bucket.peaks[place] for bucket in whole} == {max(values)}
    assert {bucket.count for bucket in whole} == {len(readings)}


@given(READINGS)
def test_wide_buckets_are_the_narrow_ones_put_together(readings: list[Reading]) -> None:
    narrow = filled(readings, MINUTES.step)
    for bucket in filled(readings, QUARTERS.step):
        inside = [each for each in narrow if each.start // QUARTERS.step * QUARTERS.step == bucket.start]
        assert merged((Bucket(bucket.start, *_rest(inside[0])), *inside[1:])) == bucket


def _rest(bucket: Bucket) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
    return bucket.count, bucket.gpus, bucket.sums, bucket.peaks


@given(READINGS)
def test_where_nothing_was_read_there_is_no_point(readings: list[Reading]) -> None:
    for resolution in RESOLUTIONS:
        shown = points([filled(readings, resolution.step)], "cpu", 0)
        assert [point.at for point in shown] == sorted({r.at // resolution.step * resolution.step for r in readings})


@given(READINGS, st.sampled_from(METRICS))
def test_an_average_lies_between_the_readings_and_no_peak_is_lost(readings: list[Reading], metric: str) -> None:
    known = [value for reading in readings if (value := getattr(reading, metric)) >= 0]
    shown = points([filled(readings, QUARTERS.step)], metric, 0)
    assert all(min(known) <= point.value <= point.peak for point in shown)
    assert max((point.peak for point in shown), default=-1) == max(known, default=-1)


def test_replicas_are_added_up_and_the_load_of_gpus_is_averaged() -> None:
    one = filled([a_reading(0, gpu=200), a_reading(10, gpu=200)], RAW.step)
    other = filled([a_reading(0, cpu=50, gpu=600)], RAW.step)
    assert [point.value for point in points([one, other], "cpu", 0)] == [150, 100]
    assert [point.value for point in points([one, other], "gpu", 0)] == [400, 200]


def test_gpus_that_are_not_known_have_no_points() -> None:
    assert points([filled([a_reading(0), a_reading(60)], RAW.step)], "gpu", 0) == ()


def test_both_directions_of_the_network_are_one_metric() -> None:
    buckets = filled([a_reading(0, received=10, sent=5), a_reading(1, received=30, sent=7)], RAW.step)
    (both,) = added(points([buckets], "received", 0), points([buckets], "sent", 0))
    assert (both.value, both.peak) == (26, 37)


def test_points_before_the_wanted_time_are_left_out() -> None:
    buckets = filled([a_reading(second) for second in (0, 10, 20)], RAW.step)
    assert [point.at for point in points([buckets], "cpu", START + 10_000)] == [START + 10_000, START + 20_000]


def test_a_chunk_holds_so_many_buckets_and_a_period_so_many_points() -> None:
    for resolution in RESOLUTIONS:
        width = resolution.step * resolution.in_chunk
        assert {chunk_start(resolution, START + ms) for ms in (0, 1, width - 1)} == {chunk_start(resolution, START)}
        assert chunk_start(resolution, START + width) == chunk_start(resolution, START) + width
    assert {name: each.kept // each.step for name, each in PERIODS.items()} == {"1h": 360, "24h": 1440, "7d": 672}
