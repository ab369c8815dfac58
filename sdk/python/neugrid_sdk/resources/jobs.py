"""Jobs: priced one-shot orders."""

from typing import Unpack

from neugrid_sdk.bodies import JobBody
from neugrid_sdk.effects import Close, Item, Open, Program, Read, Stream
from neugrid_sdk.errors import checked
from neugrid_sdk.events import SILENCE, followed
from neugrid_sdk.paging import Listing
from neugrid_sdk.requests import events, get, paid, post, quoted_path
from neugrid_sdk.resource import D, listing, operation, streaming
from neugrid_sdk.resources.output import Running
from neugrid_sdk.retries import sent
from neugrid_sdk.views.jobs import Job, JobEvent, Results
from neugrid_sdk.views.market import Explanation
from neugrid_sdk.waiting import ended


class Jobs(Running[D]):
    """Post, follow, cancel, fetch results."""

    PLACE = "/v1/jobs"

    @operation
    def submit(self, *, idempotency_key: str = "", **job: Unpack[JobBody]) -> Program[Job]:
        """Post a job; it is posted once, however often it is sent."""
        return self._ask(paid(self.PLACE, job, idempotency_key), Job)

    @listing
    def list(self, *, status: str = "", limit: int = 100) -> Listing[Job]:
        """Your jobs, newest first, `limit` a page; `status` may name several, separated by commas."""
        return Listing(request=get(self.PLACE, status=status, limit=limit), plural="jobs", shape=Job)

    @operation
    def get(self, id: str) -> Program[Job]:
        """One job as it stands."""
        return self._ask(get(self._path(id)), Job)

    @operation
    def wait(self, id: str, timeout: float | None = None) -> Program[Job]:
        """The job once it has ended; raises TimedOut after so many seconds."""
        path = self._path(id)
        return ended(lambda wait: self._ask(get(path, wait=wait), Job), timeout)

    @operation
    def cancel(self, id: str) -> Program[Job]:
        """End it now; what it used until then is paid. Raises Conflict when it has ended."""
        return self._ask(post(self._path(id, "/cancel")), Job)

    @operation
    def results(self, id: str) -> Program[Results]:
        """The output files of a job that has ended."""
        return self._ask(get(self._path(id, "/results")), Results)

    @operation
    def download(self, id: str, path: str) -> Program[bytes]:
        """One output file."""
        answer = yield from sent(get(self._path(id, f"/results/{quoted_path(path)}")), self._retries)
        return answer.content

    @streaming
    def read(self, id: str, path: str) -> Stream[bytes]:
        """One output file in pieces, for what does not fit into memory."""
        checked((yield Open(get(self._path(id, f"/results/{quoted_path(path)}")))))
        while chunk := (yield Read()):
            yield Item(chunk)
        yield Close()

    @operation
    def explain(self, id: str) -> Program[Explanation]:
        """How the live offers stand to the job, and what would help."""
        return self._ask(get(self._path(id, "/explain")), Explanation)

    @streaming
    def events(self, id: str) -> Stream[JobEvent]:
        """Everything that happens to the job, as it happens, to its end."""
        return followed(events(self._path(id, "/events"), silence=SILENCE), JobEvent, (), self._retries)
