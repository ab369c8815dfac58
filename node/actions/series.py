"""What leases used over time: taken from their providers, kept in chunks of three resolutions, shown as points."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from market.dialogue import Done, Samples
from market.errors import InvalidParameters, Refused
from market.jobs import Job
from market.leases import HEARD_LATE, OPEN
from market.messages import Envelope
from market.series import (
    METRICS,
    PERIODS,
    RAW,
    RESOLUTIONS,
    Bucket,
    Point,
    Reading,
    Resolution,
    added,
    chunk_start,
    points,
    with_reading,
)
from market.units import Timestamp
from node.actions.billing import count_traffic
from node.actions.forgetting import forget
from node.actions.held_leases import lease_with
from node.engine import Changes, Engine
from node.ports import Reader, Tx
from node.records import SeriesChunk

T = TypeVar("T")
SHOWN: Final = ("cpu", "memory", "network", "gpu")
"""The metrics as users know them."""


class Metrics(Struct, frozen=True):
    """The points of each metric that was asked for, and of the two directions of the network.

    `gpu` is None as well where everything was asked for and nothing is known about GPUs.
    """

    cpu: tuple[Point, ...] | None = None
    memory: tuple[Point, ...] | None = None
    network: tuple[Point, ...] | None = None
    received: tuple[Point, ...] = ()
    sent: tuple[Point, ...] = ()
    gpu: tuple[Point, ...] | None = None


class Series:
    """The requester's side of measuring."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._storage = engine.storage

    async def take(self, envelope: Envelope, message: Samples) -> Done:
        """Readings of a lease from its provider; what is known already, or is not of this hour, is passed over.

        Raises NotFound for a lease that is not the sender's, Refused when it has ended.
        """
        await self._engine.transact(lambda changes: _take(changes, envelope, message))
        return Done()

    def metrics(self, leases: Sequence[str], period: str, metric: str = "") -> Metrics:
        """What these leases used together in the last "1h", "24h" or "7d"; the caller has checked whose they are.

        Raises InvalidParameters for another period or metric.
        """
        resolution = _known(PERIODS, period, "period")
        wanted = (_known(dict.fromkeys(SHOWN, metric), metric, "metric"),) if metric else SHOWN
        since = self._engine.clock.now() - resolution.kept
        replicas = [_buckets(self._storage, lease, resolution) for lease in leases]
        found = {name: points(replicas, name, since) for name in METRICS}
        return _shown(found, wanted)

    async def sweep(self) -> None:
        """Drop the chunks that are too old."""
        await forget(self._storage, SeriesChunk, expires_until=self._engine.clock.now())


def _take(changes: Changes, envelope: Envelope, message: Samples) -> None:
    lease = lease_with(changes.tx, message.lease, "requester", envelope.sender)
    if lease.state not in OPEN:
        raise Refused("this lease has ended here", codes=("LEASE_ENDED",))
    fresh = _fresh(changes.tx, lease.id, message.samples, changes.now)
    for resolution in RESOLUTIONS if fresh else ():
        _add(changes.tx, lease.id, resolution, fresh)
    job = changes.tx.get(Job, lease.job)
    size = sum(reading.received + reading.sent for reading in fresh) * RAW.step // 1000
    if job is not None and size:
        count_traffic(changes.tx, job.account, size, changes.now)


def _fresh(reader: Reader, lease: str, samples: Sequence[Reading], now: int) -> list[Reading]:
    """The readings of this hour that are behind the last one that is kept, one for each width of the finest series."""
    known = reader.find(SeriesChunk, lease=lease, step=RAW.step, newest=True, limit=1)
    last = known[0].buckets[-1].start if known else 0
    fresh = []
    for sample in samples:
        start = sample.at // RAW.step * RAW.step
        if start > last and now - RAW.kept < sample.at <= now + HEARD_LATE:
            fresh.append(sample)
            last = start
    return fresh


def _add(tx: Tx, lease: str, resolution: Resolution, readings: Sequence[Reading]) -> None:
    chunks: dict[int, SeriesChunk] = {}
    for reading in readings:
        start = chunk_start(resolution, reading.at)
        chunk = chunks.get(start) or _chunk(tx, lease, resolution, start)
        chunks[start] = replace(chunk, buckets=with_reading(chunk.buckets, reading, resolution.step))
    for chunk in chunks.values():
        tx.put(chunk)


def _chunk(reader: Reader, lease: str, resolution: Resolution, start: int) -> SeriesChunk:
    """The stored chunk, or a new one."""
    id = f"{lease}:{resolution.step}:{start}"
    expires = Timestamp(start + resolution.step * resolution.in_chunk + resolution.kept)
    return reader.get(SeriesChunk, id) or SeriesChunk(
        id=id, lease=lease, step=resolution.step, start=Timestamp(start), expires=expires
    )


def _buckets(reader: Reader, lease: str, resolution: Resolution) -> list[Bucket]:
    chunks = reader.find(SeriesChunk, lease=lease, step=resolution.step)
    return [bucket for chunk in chunks for bucket in chunk.buckets]


def _shown(found: dict[str, tuple[Point, ...]], wanted: Sequence[str]) -> Metrics:
    is_hidden = len(wanted) > 1 and not found["gpu"]
    shown = {name: found[name] for name in wanted if name != "network" and not (name == "gpu" and is_hidden)}
    if "network" not in wanted:
        return Metrics(**shown)
    received, sent = found["received"], found["sent"]
    return Metrics(**shown, network=added(received, sent), received=received, sent=sent)


def _known(known: Mapping[str, T], name: str, field: str) -> T:
    if name not in known:
        expected = ", ".join(known)
        raise InvalidParameters(f"{field} must be of {expected}", field=field, value=name, expected=tuple(known))
    return known[name]
