"""Jobs that have ended are encoded once, and anew when the job or its lease is another one."""

import msgspec

from market.jobs import Job, JobState
from market.leases import Lease
from node.api.ended import EndedJobs
from node.api.present import job_view
from node.api.views import JobView
from tests.builders import NOW, a_lease
from tests.node.api.fakes import a_done_job, a_job


class Desk:
    """Makes views and counts them."""

    def __init__(self) -> None:
        self.ended = EndedJobs()
        self.made = 0

    def shown(self, job: Job, lease: Lease | None) -> bytes:
        def view() -> JobView:
            self.made += 1
            return job_view(job, lease, NOW, "TUSD")

        return msgspec.json.encode(self.ended.encoded(job, lease, view))


def test_an_ended_job_is_encoded_once_and_as_it_is() -> None:
    desk, job, lease = Desk(), a_done_job(), a_lease("requester")

    first, second = desk.shown(job, lease), desk.shown(job, lease)

    assert first == second == msgspec.json.encode(job_view(job, lease, NOW, "TUSD"))
    assert desk.made == 1


def test_a_payment_that_comes_later_is_shown() -> None:
    desk, job, lease = Desk(), a_done_job(), a_lease("requester")
    desk.shown(job, lease)

    paid = msgspec.json.decode(desk.shown(job, msgspec.structs.replace(lease, paid=77)))

    assert paid["paid"] == "0.000077"


def test_a_job_that_lives_is_shown_as_it_stands_each_time() -> None:
    desk, job = Desk(), a_job(state=JobState.PENDING)

    desk.shown(job, None)
    desk.shown(job, None)

    assert desk.made == 2
