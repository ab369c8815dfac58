"""What the API answers about use over time: points of time and value, by metric."""

from collections.abc import Sequence
from typing import Final, Literal

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
    """What was asked for; the load of GPUs where it is known."""

    cpu: tuple[PointView, ...] | None = None
    memory: tuple[PointView, ...] | None = None
    network: tuple[NetworkPointView, ...] | None = None
    gpu: tuple[PointView, ...] | None = None


class Units(Struct, frozen=True, kw_only=True):
    """What the values count: cores and bytes; for agents, as their page has it, percent of a core and MiB."""

    cpu: Literal["cores", "percent"] = "cores"
    memory: Literal["bytes", "MiB"] = "bytes"
    network: Literal["bytes/s"] = "bytes/s"
    gpu: Literal["ratio"] = "ratio"


class MetricsView(View, frozen=True, kw_only=True):
    """Use over time, in points of 10 seconds for an hour, a minute for a day, a quarter of an hour for a week."""

    period: str
    units: Units
    metrics: MetricSet


PLAIN: Final = Units()
AGENTS: Final = Units(cpu="percent", memory="MiB")
_MEASURED: Final = {"cores": 1000, "percent": 10, "bytes": 1, "MiB": 2**20, "ratio": 1000}
"""How much of what is measured (thousandths of a core and of a GPU, bytes) is one of a unit."""


def metrics_view(found: Metrics, period: str, units: Units = PLAIN) -> MetricsView:
    """The documented shape; replicas are added up, a width without readings has no point."""
    metrics = MetricSet(
        cpu=_points(found.cpu, units.cpu),
        memory=_points(found.memory, units.memory),
        network=None if found.network is None else _network(found),
        gpu=_points(found.gpu, units.gpu),
    )
    return MetricsView(period=period, units=units, metrics=metrics)


def _points(points: Sequence[Point] | None, unit: str) -> tuple[PointView, ...] | None:
    if points is None:
        return None
    one = _MEASURED[unit]
    return tuple(
        PointView(timestamp=iso(point.at), value=_short(point.value / one), max=_short(point.peak / one))
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
