"""Routes of jobs: submit, list, look, cancel, results."""

from enum import StrEnum
from functools import partial
from typing import Annotated, Final, TypeVar

from litestar import Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import File
from msgspec.structs import replace

from market.errors import Conflict
from market.jobs import BidSeen, Job
from node.api.auth import SECURITY, computes, count_as, signed_in, submits_jobs
from node.api.catalog import explanation_view
from node.api.code_jobs import (
    cancel_code_job,
    code_results,
    is_code,
    show_code_job,
    submit_code_job,
)
from node.api.errors import problems
from node.api.job_lists import jobs_page, view_under
from node.api.market_views import ExplanationView
from node.api.present import etag, job_view, result_list
from node.api.replies import (
    Key,
    Page,
    cut,
    encode,
    idempotency_of,
    page_of_hundred,
    pagination_of,
    replay,
    reply,
    reply_unless_known,
)
from node.api.services import Call
from node.api.submissions import SubmitJob, new_job
from node.api.views import BidList, JobList, JobView, ResultList

TAGS: Final = ["Jobs"]
MAX_WAIT: Final = 60
E = TypeVar("E", bound=StrEnum)


@post("/jobs", guards=[submits_jobs], tags=TAGS, security=SECURITY, responses=problems(402, 404, 409, 422, 503))
async def submit_job(request: Call, data: JSONBody[SubmitJob], key: NamedDependency[str]) -> Response[JobView]:
    """Post a priced job to the market: an image to run, one of a template, a project to build, or code.

    With an `Idempotency-Key` header a repeat within 24 hours answers the same job and posts nothing new.
    """
    count_as(request, "deploy" if data.code is None else "code-submit")
    if data.code is not None:
        return await submit_code_job(request, data, key)
    idempotency = await idempotency_of(request, key, lambda job: (201, encode(_shown(request, job))))
    order = partial(request.services.projects.order, request.account)
    templates = {id: each.workload for id, each in request.services.templates.items()} if data.template else {}
    job, stored = await request.services.jobs.submit(request.account, new_job(data, order, templates), idempotency)
    if stored is not None:
        return replay(stored)
    assert job is not None  # noqa: S101  (one of the two is always there)
    return reply(_shown(request, job), 201, {"Location": f"/v1/jobs/{job.id}"})


@get("/jobs", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems())
async def list_jobs(
    request: Call,
    wanted: NamedDependency[Page],
    status: Annotated[str, QueryParameter(max_length=128)] = "",
    kind: Annotated[str, QueryParameter(pattern="^(image|build|code)?$")] = "",
) -> Response[JobList]:
    """Your jobs, newest first, of one `kind` or of all; `status` may name several, separated by commas.

    Images and builds are told apart among your 10,000 newest jobs.
    """
    return await jobs_page(request, wanted, status, kind)


@get("/jobs/{job_id:str}", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_job(
    request: Call,
    job_id: FromPath[str],
    wait: Annotated[float, QueryParameter(ge=0, le=MAX_WAIT)] = 0,
) -> Response[JobView]:
    """One job. With `wait` the answer comes when the job has ended, or after so many seconds."""
    if is_code(job_id):
        return await show_code_job(request, job_id, wait)
    jobs = request.services.jobs
    if wait:
        await jobs.wait(request.account, job_id, wait)
    job, lease = jobs.seen(request.account, job_id)
    view = view_under(request, job, lease)
    return reply_unless_known(request, view, etag(job, view))


@post(
    "/jobs/{job_id:str}/cancel",
    guards=[computes],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404, 409),
)
async def cancel_job(request: Call, job_id: FromPath[str]) -> Response[JobView]:
    """End a job now; what it used until then is paid, and a run of code costs nothing. 409 when it has ended."""
    if is_code(job_id):
        return await cancel_code_job(request, job_id)
    jobs = request.services.jobs
    await jobs.cancel(request.account, job_id)
    return reply(view_under(request, *jobs.seen(request.account, job_id)))


@get("/jobs/{job_id:str}/results", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404, 409))
async def list_results(request: Call, job_id: FromPath[str]) -> Response[ResultList]:
    """The output files of a job that has ended."""
    if is_code(job_id):
        return code_results(request, job_id)
    jobs = request.services.jobs
    job = jobs.get(request.account, job_id)
    return reply(result_list(job, jobs.results(request.account, job_id)))


@get(
    "/jobs/{job_id:str}/results/{path:path}",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses={200: ResponseSpec(bytes, media_type="application/octet-stream"), **problems(404, 409)},
)
async def download_result(request: Call, job_id: FromPath[str], path: FromPath[str]) -> File:
    """One output file, streamed."""
    inner = str(path).lstrip("/")
    file = request.services.jobs.result_path(request.account, job_id, inner)
    return File(path=file, filename=inner.rpartition("/")[2], media_type="application/octet-stream")


@get(
    "/jobs/{job_id:str}/bids",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(404),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_bids(request: Call, job_id: FromPath[str], wanted: NamedDependency[Page]) -> Response[BidList]:
    """The bids on the present attempt of a job, as they came; code runs under a lease that stands already."""
    if is_code(job_id):
        request.services.runner.get(request.account, job_id)
        return reply(BidList(bids=(), pagination=pagination_of(wanted, 0, 0, None)))
    job = request.services.jobs.get(request.account, job_id)
    bids = sorted(job.bids, key=_bid_place)
    shown, following = cut(bids, wanted, _bid_place)
    views = _shown(request, replace(job, bids=tuple(shown))).bids
    return reply(BidList(bids=views, pagination=pagination_of(wanted, len(bids), len(views), following)))


@get("/jobs/{job_id:str}/explain", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404, 409))
async def explain_job(request: Call, job_id: FromPath[str]) -> Response[ExplanationView]:
    """How many live offers fail on each constraint, and the smallest relaxations that would find providers."""
    if is_code(job_id):
        request.services.runner.get(request.account, job_id)
        raise Conflict("code runs under a lease that stands: it has no order of its own")
    explanation = request.services.jobs.explain(request.account, job_id)
    return reply(explanation_view(explanation, request.services.currency))


def _bid_place(bid: BidSeen) -> Key:
    return bid.at, bid.provider


def _shown(request: Call, job: Job) -> JobView:
    return job_view(job, None, request.now, request.services.currency)
