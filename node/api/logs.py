"""Routes of what a job says: its output and its events, plain or as server-sent events."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, get
from litestar.params import FromPath, QueryParameter

from market.errors import InvalidParameters, NeugridError
from market.jobs import Job
from market.units import parse_duration
from node.api.auth import SECURITY, signed_in
from node.api.errors import problems
from node.api.present import LEVELS, STATUS, iso, level_of, log_record
from node.api.replies import reply
from node.api.services import Call
from node.api.streams import Frame, event_stream
from node.api.views import LogList
from node.ports import LogLine
from node.records import Entry

TAGS: Final = ["Jobs"]
MAX_TAIL: Final = 10_000
_ISO: Final = re.compile(r"^\d{4}-\d\d-\d\d")
LevelName = Annotated[str, QueryParameter(max_length=8)]
Since = Annotated[str, QueryParameter(max_length=64)]
StreamName = Annotated[str, QueryParameter(pattern="^(stdout|stderr|node)?$")]


@get("/jobs/{job_id:str}/logs", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def read_logs(
    request: Call,
    job_id: FromPath[str],
    tail: Annotated[int, QueryParameter(ge=1, le=MAX_TAIL)] = 100,
    since: Since = "",
    stream: StreamName = "",
    level: LevelName = "",
    follow: Annotated[bool, QueryParameter()] = False,
) -> Response[LogList]:
    """The last lines of output; `since` is a duration ("1h") or a time, `level` the least level.

    A line of the stream "node" says that lines are missing in its place.

    With `follow=true` or `Accept: text/event-stream` the lines come as server-sent events until the job ends; a
    reconnect with `Last-Event-ID` goes on behind that line.
    """
    wanted = _Filter(since=_since(since, request.now), stream=stream, levels=_levels(level))
    jobs = request.services.jobs
    if follow or wants_events(request):
        job = jobs.get(request.account, job_id)
        return event_stream(_lines(request, job, wanted, resume_point(request)), request.closing)  # type: ignore[return-value]
    lines = jobs.logs(request.account, job_id, tail=MAX_TAIL if level else tail, since=wanted.since, stream=stream)
    records = tuple(log_record(line) for line in lines if wanted.has(line))
    return reply(LogList(logs=records[-tail:]))


@get(
    "/jobs/{job_id:str}/events",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    media_type="text/event-stream",
    responses=problems(404),
)
async def follow_events(request: Call, job_id: FromPath[str]) -> Response[str]:
    """Everything that happens to the job and its leases, as server-sent events until it ends."""
    job = request.services.jobs.get(request.account, job_id)
    return event_stream(_entries(request, job, resume_point(request)), request.closing)  # type: ignore[return-value]


def wants_events(request: Call) -> bool:
    """Whether the client asks for server-sent events."""
    return "text/event-stream" in request.headers.get("accept", "")


def resume_point(request: Call) -> int:
    """The id of the last event that the client has; -1 = none."""
    text = request.headers.get("last-event-id", "").strip()
    if not text:
        return -1
    if not text.isdigit() or len(text) > 18:
        raise InvalidParameters("Last-Event-ID must be a number that a stream gave", field="Last-Event-ID", value=text)
    return int(text)


class _Filter(msgspec.Struct, frozen=True):
    since: int
    stream: str
    levels: tuple[str, ...]

    def has(self, line: LogLine) -> bool:
        """Whether the line is wanted."""
        return (
            line.at >= self.since
            and self.stream in ("", line.stream)
            and (not self.levels or level_of(line) in self.levels)
        )


def _since(text: str, now: int) -> int:
    if not text:
        return 0
    if not _ISO.match(text):
        return now - parse_duration(text, "since") * 1000
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        expected = 'a duration such as "1h" or a time such as "2026-01-15T12:00:00Z"'
        raise InvalidParameters(f"since must be {expected}", field="since", value=text, expected=expected) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _levels(name: str) -> tuple[str, ...]:
    level = {"warning": "warn", "": "debug"}.get(name.lower(), name.lower())
    if level not in LEVELS:
        raise InvalidParameters(f"level must be of {', '.join(LEVELS)}", field="level", value=name, expected=LEVELS)
    return LEVELS[LEVELS.index(level) :] if level != "debug" else ()


async def _lines(request: Call, job: Job, wanted: _Filter, last: int) -> AsyncIterator[Frame]:
    lines = request.services.jobs.follow(request.account, job.id, last + 1)
    try:
        async for number, line in lines:
            if wanted.has(line):
                yield Frame("log", log_record(line), number)
        yield _end(request, job)
    except NeugridError as error:
        yield Frame("error", {"code": error.code, "message": error.message})


async def _entries(request: Call, job: Job, last: int) -> AsyncIterator[Frame]:
    entries = request.services.jobs.events(request.account, job.id, max(0, last))
    try:
        async for entry in entries:
            yield Frame(entry.event, _entry(entry), entry.seq)
        yield _end(request, job)
    except NeugridError as error:
        yield Frame("error", {"code": error.code, "message": error.message})


def _entry(entry: Entry) -> dict[str, object]:
    return {
        "seq": entry.seq,
        "noun": entry.noun,
        "subject": entry.subject,
        "at": iso(entry.at),
        "event": entry.event,
        "body": msgspec.Raw(entry.body),
    }


def _end(request: Call, job: Job) -> Frame:
    ended = request.services.jobs.get(request.account, job.id)
    return Frame("end", {"id": ended.id, "status": STATUS[ended.state], "exitCode": ended.exit_code})
