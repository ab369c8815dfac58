"""Routes of code: submit it, read what came of it, and the languages that are offered. Documented under /api/v1."""

from typing import Annotated, Final

from litestar import Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from market.errors import InvalidParameters
from market.runs import Run, RunState
from node.api.auth import SECURITY, signed_in, submits_code
from node.api.errors import problems
from node.api.present import iso_or_none
from node.api.replies import Page, cut, encode, idempotency_of, page_of_hundred, pagination_of, replay, reply
from node.api.runner_views import (
    LanguageList,
    LanguageView,
    ResultData,
    RunnerResult,
    RunView,
    Submitted,
    SubmittedData,
)
from node.api.services import Call
from node.api.submissions import Body, Code, Input, Language

TAGS: Final = ["Runner"]
MAX_WAIT: Final = 60
MAX_INPUTS: Final = 64


class SubmitCode(Body, frozen=True, kw_only=True):
    """Code in one language. It is compiled once and run with `input`, or once for each of `inputs` instead."""

    code: Code
    language: Language
    input: Input = ""
    inputs: Annotated[tuple[Input, ...], Meta(min_length=1, max_length=MAX_INPUTS)] | None = None


@post(
    "/submit",
    guards=[submits_code],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(402, 422, 503),
)
async def submit_code(
    request: Call,
    data: JSONBody[SubmitCode],
    key: NamedDependency[str],
    wait: Annotated[float, QueryParameter(ge=0, le=MAX_WAIT)] = 0,
) -> Response[Submitted]:
    """Run code in a fresh sandbox of some provider: 3 s, 256 MB, no network. Only a run that succeeds is paid.

    With `wait` the answer comes when the run has ended, or after so many seconds. Repeat it safely with an
    `Idempotency-Key`: the first answer comes again, and nothing runs twice.
    """
    if data.inputs is not None and data.input:
        raise InvalidParameters("give input or inputs, not both", field="inputs", expected="one of input and inputs")
    runner = request.services.runner
    idempotency = await idempotency_of(request, key, lambda run: (200, encode(_queued(run))))
    inputs = data.inputs or (data.input,)
    run, stored = await runner.submit_once(request.account, data.language, data.code, inputs, idempotency)
    if run is None or stored is not None:
        return replay(stored)  # type: ignore[arg-type]  # one of the two is always there
    if not wait:
        return reply(_queued(run))
    run = await runner.wait(request.account, run.id, wait)
    return reply(Submitted(data=SubmittedData(job_id=run.id, status=status_of(request, run))))


@get("/{job_id:str}/result", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_result(
    request: Call,
    job_id: FromPath[str],
    wait: Annotated[float, QueryParameter(ge=0, le=MAX_WAIT)] = 0,
) -> Response[RunnerResult]:
    """How a run stands, and what came of it. With `wait` the answer comes when it has ended, or after so long."""
    run = await request.services.runner.wait(request.account, job_id, wait)
    return reply(RunnerResult(data=result_data(run, status_of(request, run))))


@get(
    "/languages",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_languages(request: Call, wanted: NamedDependency[Page]) -> Response[LanguageList]:
    """The languages that code can be run in now, by name, and how many providers run each."""
    offered = request.services.runner.languages()
    shown, following = cut(sorted(offered), wanted, lambda name: (name,))
    views = tuple(LanguageView(name=name, providers=offered[name]) for name in shown)
    pagination = pagination_of(wanted, len(offered), len(views), following)
    return reply(LanguageList(languages=views, pagination=pagination))


def _queued(run: Run) -> Submitted:
    return Submitted(data=SubmittedData(job_id=run.id, status=run.state.value))


def result_data(run: Run, status: str) -> ResultData:
    """The run in the documented fields; with several inputs the first that failed speaks for all, or the last."""
    told = next((result for result in run.results if result.error), run.results[-1] if run.results else None)
    queue, execution = times_of(run)
    return ResultData(
        job_id=run.id,
        status=status,
        language=run.language,
        stdout=told.stdout if told else "",
        stderr=told.stderr if told else "",
        execution_time_ms=execution,
        queue_time_ms=queue,
        total_time_ms=queue + execution if run.finished_at else 0,
        compile_time_ms=run.compiling,
        exit_code=told.exit_code if told else None,
        sandbox_error_type=(run.error or None) if run.state is RunState.FAILED else None,
        sandbox_error_message=run.message if run.state is RunState.FAILED else "",
        queued_at=iso_or_none(run.created_at),
        started_at=iso_or_none(run.started_at),
        finished_at=iso_or_none(run.finished_at),
        runs=tuple(
            RunView(
                stdout=result.stdout,
                stderr=result.stderr,
                exit_code=result.exit_code,
                execution_time_ms=result.milliseconds,
                error_type=result.error or None,
                error_message=result.message,
            )
            for result in run.results
        ),
    )


def times_of(run: Run) -> tuple[int, int]:
    """How long it waited for its sandbox, and how long it was compiled and ran there, in ms: together, all its time.

    A run that never began has only waited.
    """
    began = run.started_at or run.finished_at
    waited = max(0, began - run.created_at) if began else 0
    return waited, max(0, run.finished_at - began) if run.finished_at else 0


def status_of(request: Call, run: Run) -> str:
    """The word for how a run stands: "running" while a provider has it in hand."""
    is_running = run.state is RunState.QUEUED and request.services.runner.is_running(run)
    return "running" if is_running else run.state.value
