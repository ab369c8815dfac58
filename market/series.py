"""What a container used over time: readings go into buckets of three widths, and buckets become points of a graph.

A bucket holds sums and peaks, so that its averages are exact whatever came in it. A width in which nothing was read
has no bucket: gaps stay gaps.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

METRICS: Final = ("cpu", "memory", "received", "sent", "gpu")
"""In thousandths of a core, bytes, bytes a second, bytes a second, thousandths of the GPUs."""
UNKNOWN: Final = -1
HOUR: Final = 3_600_000
_Amount = Annotated[int, Meta(ge=0, le=2**53)]


class Reading(Struct, frozen=True, array_like=True):
    """What a container used in the seconds before `at` (epoch ms), in the units of METRICS; `gpu` -1 = not known."""

    at: Annotated[int, Meta(ge=0, le=2**53)]
    cpu: Annotated[int, Meta(ge=0, le=2**31)]
    memory: _Amount
    received: _Amount = 0
    sent: _Amount = 0
    gpu: Annotated[int, Meta(ge=UNKNOWN, le=1000)] = UNKNOWN


class Bucket(Struct, frozen=True, array_like=True):
    """The readings from `start` (epoch ms) on, for the width of the resolution: how many, their sums and their peaks.

    `gpus` is how many of them knew their GPUs.
    """

    start: int
    count: int
    gpus: int
    sums: tuple[int, ...]
    peaks: tuple[int, ...]


class Resolution(Struct, frozen=True):
    """Buckets `step` ms wide, kept for `kept` ms, so many in one stored chunk."""

    step: int
    kept: int
    in_chunk: int


RAW: Final = Resolution(10_000, HOUR, 60)
MINUTES: Final = Resolution(60_000, 24 * HOUR, 60)
QUARTERS: Final = Resolution(900_000, 168 * HOUR, 48)
RESOLUTIONS: Final = (RAW, MINUTES, QUARTERS)
PERIODS: Final = {"1h": RAW, "24h": MINUTES, "7d": QUARTERS}
"""The resolution that shows each period."""


class Point(Struct, frozen=True):
    """The average of one width from `at` (epoch ms) on, and the highest reading in it."""

    at: int
    value: float
    peak: float


def chunk_start(resolution: Resolution, at: int) -> int:
    """Where the stored chunk begins that the moment `at` falls into."""
    width = resolution.step * resolution.in_chunk
    return at // width * width


def with_reading(buckets: tuple[Bucket, ...], reading: Reading, step: int) -> tuple[Bucket, ...]:
    """The buckets with one reading more, which is at or behind the last of them."""
    values = tuple(getattr(reading, name) for name in METRICS)
    sums = tuple(max(0, value) for value in values)
    bucket = Bucket(reading.at // step * step, 1, int(reading.gpu != UNKNOWN), sums, sums)
    if buckets and buckets[-1].start == bucket.start:
        return (*buckets[:-1], merged((buckets[-1], bucket)))
    return (*buckets, bucket)


def merged(buckets: Sequence[Bucket]) -> Bucket:
    """One bucket of the readings of all, from the start of the first on; there is at least one."""
    return Bucket(
        buckets[0].start,
        sum(bucket.count for bucket in buckets),
        sum(bucket.gpus for bucket in buckets),
        tuple(map(sum, zip(*(bucket.sums for bucket in buckets), strict=True))),
        tuple(map(max, zip(*(bucket.peaks for bucket in buckets), strict=True))),
    )


def points(replicas: Iterable[Sequence[Bucket]], metric: str, since: int) -> tuple[Point, ...]:
    """A metric of all replicas together from `since` (epoch ms) on, in order of time.

    What they use is added up, the load of their GPUs is averaged. A replica without a reading adds nothing.
    """
    place, together = METRICS.index(metric), dict[int, list[Point]]()
    for buckets in replicas:
        for bucket in buckets:
            count = bucket.gpus if metric == "gpu" else bucket.count
            if bucket.start >= since and count:
                point = Point(bucket.start, bucket.sums[place] / count, bucket.peaks[place])
                together.setdefault(bucket.start, []).append(point)
    return tuple(_joined(together[at], is_share=metric == "gpu") for at in sorted(together))


def added(first: Sequence[Point], second: Sequence[Point]) -> tuple[Point, ...]:
    """Two metrics of the same replicas as one; their peaks need not have come at once, so the sum is an upper bound."""
    return tuple(
        replace(one, value=one.value + other.value, peak=one.peak + other.peak)
        for one, other in zip(first, second, strict=True)
    )


def _joined(found: Sequence[Point], is_share: bool) -> Point:
    parts = len(found) if is_share else 1
    return Point(found[0].at, sum(point.value for point in found) / parts, sum(point.peak for point in found) / parts)
