"""Host names of this node's services: `<id>.<domain>` leads to the first port that speaks HTTP, `<port>-<id>` to that.

An id is written with "-" in place of its "_", which host names do not have.
"""

from collections.abc import Sequence

from market.leases import Lease, LeaseState
from market.services import Service, ServiceState, is_up
from market.units import PeerId
from node.ports import Reader, Streams
from node.proxy.routes import LeasedReplica


class ServiceRoutes:
    """`Routes` over the services that are stored here; pods that work are replicas."""

    def __init__(self, reader: Reader, streams: Streams, domain: str) -> None:
        self._reader = reader
        self._streams = streams
        self._suffix = f".{domain}"

    def find(self, host: str) -> Sequence[LeasedReplica] | None:
        """The pods that answer for a host name now; None when no service has that name."""
        if not host.endswith(self._suffix):
            return None
        label = host.removesuffix(self._suffix)
        port, _, rest = label.partition("-")
        wanted = int(port) if port.isdecimal() and len(port) <= 5 else 0
        service = self._reader.get(Service, (rest if wanted else label).replace("-", "_"))
        if service is None or service.state is ServiceState.DELETED:
            return None
        number = _port_of(service, wanted)
        return None if number == 0 else self._replicas(service, number)

    def _replicas(self, service: Service, port: int) -> list[LeasedReplica]:
        leases = [self._reader.get(Lease, pod.lease) for pod in service.pods if is_up(pod)]
        return [
            LeasedReplica(self._streams, PeerId(lease.terms.provider_peer), lease.id, port)
            for lease in leases
            if lease is not None and lease.state is LeaseState.RUNNING
        ]


def host_of(service: str, domain: str, port: int = 0) -> str:
    """The host name of a service, or of one of its ports."""
    name = service.replace("_", "-")
    return f"{port}-{name}.{domain}" if port else f"{name}.{domain}"


def _port_of(service: Service, wanted: int) -> int:
    """The wanted port where the service names it, or its first one that speaks HTTP; 0 for none."""
    ports = service.workload.ports
    if wanted:
        return wanted if any(port.port == wanted for port in ports) else 0
    return next((port.port for port in ports if port.protocol == "http"), 0)
