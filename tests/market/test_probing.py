"""When a service counts as healthy, and when it does no more."""

from market.probing import HEALTHY, STARTING, UNHEALTHY, Pulse, felt, first_health
from market.workloads import Probe, WorkloadKind
from tests.builders import a_workload

SERVICE = a_workload(kind=WorkloadKind.SERVICE, probe=Probe(kind="tcp", port=80, retries=3, start_period=30))


def after(*answers: bool, age: int = 60_000, pulse: Pulse | None = None) -> Pulse:
    pulse = pulse or Pulse()
    for is_well in answers:
        pulse = felt(pulse, SERVICE, is_well, age)
    return pulse


def test_a_service_without_a_probe_has_no_health() -> None:
    assert (first_health(a_workload()), first_health(SERVICE), first_health(None)) == ("", STARTING, "")


def test_one_success_makes_healthy() -> None:
    assert after(True, age=1).health == HEALTHY
    assert after(False, False, False, True) == Pulse(health=HEALTHY)


def test_failures_do_not_count_while_it_starts() -> None:
    assert after(*[False] * 50, age=29_999) == Pulse(health=STARTING)


def test_failures_count_at_once_for_what_was_healthy() -> None:
    assert after(False, False, False, age=1, pulse=Pulse(health=HEALTHY)).health == UNHEALTHY


def test_so_many_failures_in_a_row_make_unhealthy_and_no_fewer() -> None:
    assert after(False, False).health == STARTING
    assert after(False, False, True, False, False).health == HEALTHY
    assert after(False, False, False).health == UNHEALTHY
