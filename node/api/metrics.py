"""What the API counts: requests by route, method and status, their time, and the market's size when it is asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from node.ports import GpuUse

GPU_GAUGES: Final[Mapping[str, tuple[str, Callable[[GpuUse], float]]]] = {
    "neugrid_gpu_utilisation_ratio": ("Share of the time that the GPU was busy", lambda gpu: gpu.utilisation / 100),
    "neugrid_gpu_memory_used_bytes": ("Memory of the GPU in use", lambda gpu: gpu.vram_used),
    "neugrid_gpu_memory_bytes": ("Memory of the GPU", lambda gpu: gpu.vram),
    "neugrid_gpu_temperature_celsius": ("Temperature of the GPU", lambda gpu: gpu.temperature),
    "neugrid_gpu_power_watts": ("Power that the GPU draws", lambda gpu: gpu.power / 1000),
}
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)


class Metrics:
    """A registry of its own, so that two nodes in one process do not share counters."""

    def __init__(self, gauges: Callable[[], Mapping[str, object]]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(_Gauges(gauges))
        self._gpus = _GpuGauges()
        self.registry.register(self._gpus)
        self._requests = Counter(
            "neugrid_http_requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "neugrid_http_seconds", "Time to the last byte", ("route",), buckets=BUCKETS, registry=self.registry
        )

        self._series = cache(self._series_of)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is the template, so that ids make no series."""
        count, times = self._series(method, route, status)
        count.inc()
        times.observe(seconds)

    def _series_of(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(method, route, status), self._seconds.labels(route)

    def exposition(self, gpus: Sequence[GpuUse] = ()) -> bytes:
        """All of it in the text format of Prometheus; `gpus` as they are now."""
        self._gpus.read = tuple(gpus)
        return generate_latest(self.registry)


class _Gauges(Collector):
    """Numbers that are read when they are asked for."""

    def __init__(self, read: Callable[[], Mapping[str, object]]) -> None:
        self._read = read

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("neugrid_market", "The market as this node sees it", labels=("what",))
        for name, value in self._read().items():
            if isinstance(value, int):
                family.add_metric((name,), value)
        yield family


class _GpuGauges(Collector):
    """A series a figure and GPU; none where there are no GPUs."""

    def __init__(self) -> None:
        self.read: tuple[GpuUse, ...] = ()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, (text, figure) in GPU_GAUGES.items() if self.read else ():
            family = GaugeMetricFamily(name, text, labels=("uuid", "model"))
            for gpu in self.read:
                family.add_metric((gpu.uuid, gpu.model), figure(gpu))
            yield family
