"""What the API answers about use over time: points of time and value, by metric."""

from collections.abc import Sequence

from msgspec import Struct

from market.series import Point
from node.actions.series import Metrics
from node.api.present import iso
from node.api.views import View


class PointView(View, frozen=True, kw_only=True):
    """The average and the highest reading of one width of time, which begins at `timestamp`."""

    timestamp: str
    value: float
    max: float


class NetworkPointView(PointView, frozen=True, kw_only=True):
    """Both directions together, and each alone; the highest readings of the two need not have come at once."""

    received: float
    sent: float


class MetricSet(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for: cores, bytes, bytes a second, and the load of GPUs from 0 to 1 where it is known."""

    cpu: tuple[PointView, ...] | None = None
    memory: tuple[PointView, ...] | None = None
    network: tuple[NetworkPointView, ...] | None = None
    gpu: tuple[PointView, ...] | None = None


class MetricsView(View, frozen=True, kw_only=True):
    """Use over time, in points of 10 seconds for an hour, a minute for a day, a quarter of an hour for a week."""

    period: str
    metrics: MetricSet


def metrics_view(found: Metrics, period: str) -> MetricsView:
    """The documented shape; replicas are added up, a width without readings has no point."""
    metrics = MetricSet(
        cpu=_points(found.cpu, 1000),
        memory=_points(found.memory),
        network=None if found.network is None else _network(found),
        gpu=_points(found.gpu, 1000),
    )
    return MetricsView(period=period, metrics=metrics)


def _points(points: Sequence[Point] | None, unit: int = 1) -> tuple[PointView, ...] | None:
    if points is None:
        return None
    return tuple(
        PointView(timestamp=iso(point.at), value=_short(point.value / unit), max=_short(point.peak / unit))
        for point in points
    )


def _network(found: Metrics) -> tuple[NetworkPointView, ...]:
    return tuple(
        NetworkPointView(
            timestamp=iso(both.at),
            value=_short(both.value),
            max=_short(both.peak),
            received=_short(received.value),
            sent=_short(sent.value),
        )
        for both, received, sent in zip(found.network or (), found.received, found.sent, strict=True)
    )


def _short(value: float) -> float:
    """With three digits behind the point: thousandths are all that was measured."""
    return round(value, 3)
