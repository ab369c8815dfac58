"""Routes of what a job says: its output and its events, plain or as server-sent events."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from market.errors import NeugridError
from market.jobs import Job
from node.api.auth import SECURITY, signed_in
from node.api.code_jobs import code_end, code_logs, follow_code, is_code
from node.api.errors import problems
from node.api.journal_view import entry_view
from node.api.log_queries import LogQuery, resume_point, wants_events
from node.api.present import STATUS, log_record
from node.api.replies import reply
from node.api.services import Call
from node.api.streams import Frame
from node.api.views import LogList
from node.records import Entry

TAGS: Final = ["Jobs"]


@get("/jobs/{job_id:str}/logs", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def read_logs(request: Call, job_id: FromPath[str], lines: NamedDependency[LogQuery]) -> Response[LogList]:
    """The last lines of output; `since` is a duration ("1h") or a time, `level` the least level.

    A line of the stream "node" says that lines are missing in its place.

    With `follow=true` or `Accept: text/event-stream` the lines come as server-sent events until the job ends: all,
    or the last `tail` and what follows where that is given. A reconnect with `Last-Event-ID` goes on behind that line.
    """
    if is_code(job_id):
        is_stream = lines.follow or wants_events(request)
        return follow_code(request, job_id, lines) if is_stream else code_logs(request, job_id, lines)  # type: ignore[return-value]
    jobs = request.services.jobs
    if lines.follow or wants_events(request):
        job = jobs.get(request.account, job_id)
        return request.follow(_lines(request, job, lines, resume_point(request)))  # type: ignore[return-value]
    found = jobs.logs(request.account, job_id, tail=lines.depth, since=lines.since, stream=lines.stream)
    return reply(LogList(logs=lines.records(found)))


@get(
    "/jobs/{job_id:str}/events",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    media_type="text/event-stream",
    responses=problems(404),
)
async def follow_events(request: Call, job_id: FromPath[str]) -> Response[str]:
    """Everything that happens to the job and its leases, as server-sent events until it ends; secrets are `***`."""
    last = max(0, resume_point(request))
    if is_code(job_id):
        runner = request.services.runner
        runner.get(request.account, job_id)
        entries = runner.events(request.account, job_id, last)
        end = partial(code_end, request, job_id)
    else:
        job = request.services.jobs.get(request.account, job_id)
        entries = request.services.jobs.events(request.account, job.id, last)
        end = partial(_end, request, job)
    return request.follow(_entries(entries, end))  # type: ignore[return-value]


async def _lines(request: Call, job: Job, wanted: LogQuery, last: int) -> AsyncIterator[Frame]:
    jobs = request.services.jobs
    try:
        if wanted.is_cut and last < 0:
            found, after = jobs.last(
                request.account, job.id, tail=wanted.depth, since=wanted.since, stream=wanted.stream
            )
            for number, line in wanted.cut(found):
                yield Frame("log", log_record(line), number)
            last = after - 1
        async for number, line in jobs.follow(request.account, job.id, last + 1):
            if wanted.has(line):
                yield Frame("log", log_record(line), number)
        yield _end(request, job)
    except NeugridError as error:
        yield Frame("error", {"code": error.code, "message": error.message})


async def _entries(entries: AsyncIterator[Entry], end: Callable[[], Frame]) -> AsyncIterator[Frame]:
    try:
        async for entry in entries:
            yield Frame(entry.event, entry_view(entry), entry.seq)
        yield end()
    except NeugridError as error:
        yield Frame("error", {"code": error.code, "message": error.message})


def _end(request: Call, job: Job) -> Frame:
    ended = request.services.jobs.get(request.account, job.id)
    return Frame("end", {"id": ended.id, "status": STATUS[ended.state], "exitCode": ended.exit_code})
