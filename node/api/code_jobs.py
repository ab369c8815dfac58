"""A run of code as a job: what the routes of jobs answer for the id of a run."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Final

from litestar import Response
from litestar.response import Stream

from market.errors import Conflict, InvalidParameters
from market.ledger import MONEY
from market.runs import DONE, RUN_WITHIN, Run, RunState
from market.units import Amount, Timestamp, format_amount
from node.api.log_queries import LogQuery, resume_point
from node.api.present import iso, iso_or_none, log_record, provider_id
from node.api.replies import encode, idempotency_of, replay, reply, reply_unless_known
from node.api.runner import status_of, times_of
from node.api.services import Call
from node.api.streams import Frame
from node.api.submissions import SubmitJob, source_of
from node.api.views import Fault, JobView, LogList, ResultList, Timings
from node.ports import LogLine

_ID: Final = re.compile(r"[0-9a-f]{24}")
FOLLOWED: Final = 600.0


def is_code(id: str) -> bool:
    """Whether the id is that of a run."""
    return _ID.fullmatch(id) is not None


async def submit_code_job(request: Call, body: SubmitJob, key: str) -> Response[JobView]:
    """Post the run that the body asks for; InvalidParameters for what code can not have."""
    source_of(body)
    if body.language is None:
        raise InvalidParameters("code needs its language", field="language", expected="a name of GET /v1/languages")
    idempotency = await idempotency_of(request, key, lambda run: (201, encode(code_view(request, run))))
    run, stored = await request.services.runner.submit_once(
        request.account, body.language, body.code or "", (body.input,), idempotency
    )
    if run is None or stored is not None:
        return replay(stored)  # type: ignore[arg-type]  # one of the two is always there
    return reply(code_view(request, run), 201, {"Location": f"/v1/jobs/{run.id}"})


async def show_code_job(request: Call, id: str, wait: float) -> Response[JobView]:
    """The run, once it has ended or after `wait` seconds."""
    view = code_view(request, await request.services.runner.wait(request.account, id, wait))
    return reply_unless_known(request, view, f'W/"{view.status}-{view.attempt}"')


async def cancel_code_job(request: Call, id: str) -> Response[JobView]:
    """End it: what it would have cost is given back."""
    return reply(code_view(request, await request.services.runner.cancel(request.account, id)))


def code_results(request: Call, id: str) -> Response[ResultList]:
    """Code leaves no files; Conflict while it runs."""
    run = request.services.runner.get(request.account, id)
    if run.state not in DONE:
        raise Conflict("the run has not ended", state=status_of(request, run))
    return reply(ResultList(id=run.id, status=status_of(request, run), exit_code=_exit_code(run), files=()))


def code_logs(request: Call, id: str, wanted: LogQuery) -> Response[LogList]:
    """What it wrote, once it has ended."""
    run = request.services.runner.get(request.account, id)
    return reply(LogList(logs=wanted.records(_lines(run))))


def follow_code(request: Call, id: str, wanted: LogQuery) -> Stream:
    """The same as server-sent events: everything comes with the end."""
    run = request.services.runner.get(request.account, id)
    return request.follow(_frames(request, run, wanted, resume_point(request)))


async def _frames(request: Call, run: Run, wanted: LogQuery, last: int) -> AsyncIterator[Frame]:
    while run.state not in DONE:
        run = await request.services.runner.wait(request.account, run.id, FOLLOWED)
    lines = [(number, line) for number, line in enumerate(_lines(run)) if number > last and wanted.has(line)]
    for number, line in wanted.cut(lines) if wanted.is_cut and last < 0 else lines:
        yield Frame("log", log_record(line), number)
    yield code_end(request, run.id)


def code_end(request: Call, id: str) -> Frame:
    """The last event of a stream."""
    run = request.services.runner.get(request.account, id)
    return Frame("end", {"id": run.id, "status": status_of(request, run), "exitCode": _exit_code(run)})


def _lines(run: Run) -> Iterator[LogLine]:
    for result in run.results:
        for stream, text in (("stdout", result.stdout), ("stderr", result.stderr)):
            for line in text.splitlines():
                yield LogLine(at=Timestamp(run.finished_at), stream=stream, text=line)


def _exit_code(run: Run) -> int | None:
    told = next((result for result in run.results if result.error), run.results[-1] if run.results else None)
    return told.exit_code if told else None


def code_view(request: Call, run: Run) -> JobView:
    """The run in the fields of a job."""
    status = status_of(request, run)
    most = run.price * len(run.inputs) if run.currency == MONEY else 0
    cost = Amount(most if run.state is RunState.SUCCEEDED else 0)
    return JobView(
        id=run.id,
        kind="code",
        language=run.language,
        status=status,
        phase=status,
        progress={"queued": 0, "running": 50}.get(status, 100),
        pulled=None,
        image="",
        command=(),
        provider=provider_id(run.provider) if run.provider else None,
        lease=run.lease or None,
        attempt=run.attempt,
        created_at=iso(run.created_at),
        queued_at=iso(run.created_at),
        expires_at=iso(run.created_at + RUN_WITHIN),
        started_at=iso_or_none(run.started_at),
        finished_at=iso_or_none(run.finished_at),
        queue_time_ms=times_of(run)[0] if run.started_at else None,
        execution_time_ms=times_of(run)[1] if run.results else None,
        exit_code=_exit_code(run),
        output_digest=None,
        max_price=format_amount(Amount(most)),
        price_per_second=None,
        seconds=0,
        cost=format_amount(cost),
        paid=format_amount(cost),
        currency=request.services.currency,
        error=Fault(code=run.error, message=run.message) if run.state is RunState.FAILED else None,
        reasons=(),
        bids=(),
        steps=(),
        timings=Timings(submitted=run.created_at, started=run.started_at or None, finished=run.finished_at or None),
    )
