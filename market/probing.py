"""What a service's probe means: when it counts as healthy, and how many failures make it unhealthy."""

from msgspec import Struct

from market.workloads import Workload

STARTING = "starting"
HEALTHY = "healthy"
UNHEALTHY = "unhealthy"


class Pulse(Struct, frozen=True, kw_only=True):
    """What is known of one service: its health, and how often in a row its probe failed since it counts."""

    health: str = STARTING
    failures: int = 0


def first_health(workload: Workload | None) -> str:
    """The health that a service begins with; "" where nobody asks."""
    return STARTING if workload is not None and workload.probe is not None else ""


def felt(pulse: Pulse, workload: Workload, is_well: bool, age: int) -> Pulse:
    """The pulse after one more probe, `age` ms after the start; one success makes healthy."""
    probe = workload.probe
    if is_well or probe is None:
        return Pulse(health=HEALTHY)
    if pulse.health == STARTING and age < probe.start_period * 1000:
        return pulse
    failures = pulse.failures + 1
    return Pulse(health=UNHEALTHY if failures >= probe.retries else pulse.health, failures=failures)
