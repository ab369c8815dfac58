"""What a requester lets a receipt claim: its own clock, the terms and the order are the measure."""

import time

import pytest

from market.billing import TOLERANCE, complaint, seconds_limit
from market.leases import HEARD_LATE, LeaseState
from market.receipts import Receipt
from market.tenancy import heard, step
from market.tenancy_events import ProviderHeard
from market.units import GIB
from market.workloads import are_under, fits_into
from tests.builders import NOW, a_file, a_lease, a_receipt, a_workload, resources

S = LeaseState
HOUR = 3_600_000


def test_time_in_which_the_provider_said_that_nothing_runs_is_not_billed() -> None:
    lease = a_lease("requester", state=S.PULLING)
    waiting, _ = step(lease, heard(lease, S.PULLING, 0), NOW + HOUR)
    assert seconds_limit(waiting, NOW + HOUR + 1000) == HEARD_LATE // 1000 + 1 + TOLERANCE
    claimed = a_receipt(started_at=NOW, ended_at=NOW + HOUR, seconds=59, due=590)
    assert complaint(waiting, claimed, NOW + HOUR + 1000) == "OVERBILLED"


def test_a_start_before_the_last_word_of_waiting_is_not_believed() -> None:
    lease = a_lease("requester", state=S.STARTING, waiting_at=NOW + HOUR)
    running, _ = step(lease, heard(lease, S.RUNNING, NOW), NOW + HOUR + 2000)
    assert running.started_at == NOW + HOUR - HEARD_LATE


def test_a_provider_that_was_not_heard_while_the_job_ran_bills_all_of_it() -> None:
    lease = a_lease("requester", state=S.ACCEPTED)
    ended, _ = step(lease, ProviderHeard(), NOW + 50_000)
    receipt = a_receipt(started_at=NOW + 1000, ended_at=NOW + 41_000, seconds=40, due=400)
    assert complaint(ended, receipt, NOW + 50_000) == ""


def test_only_news_of_the_phase_goes_into_the_journal() -> None:
    lease = a_lease("requester", state=S.RUNNING)
    assert heard(lease, S.RUNNING, NOW) == ProviderHeard()
    assert heard(lease, S.PULLING, NOW) == ProviderHeard(is_waiting=True)


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ((a_file(path="out/a"), a_file(path="count")), ""),
        ((a_file(path="other"),), "OUTPUTS_NOT_ORDERED"),
        ((a_file(path="outer/a"),), "OUTPUTS_NOT_ORDERED"),
        ((a_file(path="count", size=GIB + 1),), "OUTPUTS_NOT_ORDERED"),
        (tuple(a_file(path=f"out/{n}", size=GIB // 2) for n in range(3)), "OUTPUTS_NOT_ORDERED"),
    ],
)
def test_outputs_are_those_that_were_ordered_and_no_larger(outputs: Receipt, problem: str) -> None:
    lease = a_lease("requester", state=S.RUNNING, workload=a_workload(outputs=("out", "count")))
    assert complaint(lease, a_receipt(outputs=outputs), NOW + 10_000) == problem


def test_files_fit_into_the_disk_that_was_ordered() -> None:
    files = (a_file(size=2 * GIB),)
    assert not fits_into(files, resources(disk=GIB))
    assert fits_into(files, resources(disk=2 * GIB))


@pytest.mark.parametrize(
    ("paths", "wanted", "expected"),
    [
        (("a/b/c", "a/b"), ("a/b",), True),
        (("a", "b/c"), ("a", "b"), True),
        (("ab",), ("a",), False),
        (("a",), (), False),
        ((), (), True),
    ],
)
def test_paths_are_under_themselves_and_their_folders(
    paths: tuple[str, ...], wanted: tuple[str, ...], expected: bool
) -> None:
    assert are_under(paths, wanted) is expected


def test_the_outputs_of_a_large_receipt_are_checked_at_once() -> None:
    paths = [f"out/{'d/' * 400}{number}" for number in range(10_000)]
    began = time.thread_time()  # which other work on the machine does not change
    assert not are_under(paths, [f"other{number}" for number in range(64)])
    assert are_under(paths, [*(f"other{number}" for number in range(63)), "out"])
    assert time.thread_time() - began < 10, "a look at each parent of each path takes half a minute"
