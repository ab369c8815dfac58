"""Which jobs a list shows: images to run, builds and code, by their kinds and states, newest first."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Final

from litestar import Response

from market.errors import InvalidParameters
from market.jobs import Job, JobState
from market.leases import Lease
from market.runs import DONE, Run, RunState
from node.api.code_jobs import code_view
from node.api.merging import Look, Place, held, merged
from node.api.present import STATUS, job_view
from node.api.replies import Page, cut_ahead, pagination_of, place_in, reply
from node.api.services import Call
from node.api.views import JobList, JobView

_JOB_STATES: Final[Mapping[str, Collection[JobState]]] = {
    word: tuple(state for state in JobState if word in (state.value, STATUS[state]))
    for word in {state.value for state in JobState} | set(STATUS.values())
}
_RUN_WORDS: Final = frozenset((*RunState, "pending", "running"))
"""By what runs are asked for; none of them is shown as pending."""
MOST_WAITING: Final = 10_000


async def jobs_page(request: Call, wanted: Page, status: str, kind: str) -> Response[JobList]:
    """A page of the account's jobs of these kinds and states."""
    look = await _list_of(request, _words(status, kind), kind)
    found, total = look(wanted.limit + 1, place_in(wanted.cursor) if wanted.cursor else None, wanted.start)
    shown, following = cut_ahead(found, wanted)
    views = tuple(_views(request, shown))
    return reply(JobList(jobs=views, pagination=pagination_of(wanted, total, len(views), following)))


async def _list_of(request: Call, words: Collection[str], kind: str) -> Look[Job | Run]:
    if kind == "code":
        return _runs(request, words)
    states = tuple(state for state in JobState if any(state in _JOB_STATES[word] for word in words))
    if kind:
        return held(await request.services.jobs.of_kind(request.account, builds=kind == "build", states=states))
    return merged(partial(_stored_jobs, request, states), _runs(request, words))


def _words(status: str, kind: str) -> set[str]:
    """The words of a status filter: the API's and the machine's; none = all."""
    known: Collection[str] = _RUN_WORDS if kind == "code" else _JOB_STATES
    given = {word.strip().lower() for word in status.split(",") if word.strip()}
    words = {"success" if word == "succeeded" else word for word in given}
    unknown = words - set(known)
    if unknown:
        raise InvalidParameters(
            f"status must be of {', '.join(sorted(set(STATUS.values())))}",
            field="status",
            value=sorted(unknown)[0],
            expected=sorted(known),
        )
    return words


def _runs(request: Call, words: Collection[str]) -> Look[Run]:
    """The runs that are shown under one of the words: which of those that have not ended run now is not stored."""
    ended = tuple(state for state in DONE if state.value in words)
    is_wanted = ["queued" in words, "running" in words]
    if not words or all(is_wanted):
        return partial(_stored_runs, request, (RunState.QUEUED, *ended) if words else ())
    parts: list[Look[Run]] = [partial(_stored_runs, request, ended)] if ended else []
    if any(is_wanted):
        runner = request.services.runner
        open_runs, _ = runner.list(request.account, states=(RunState.QUEUED,), limit=MOST_WAITING)
        parts.append(held([run for run in open_runs if is_wanted[runner.is_running(run)]]))
    nothing: Look[Run] = held(())
    return reduce(merged, parts, nothing)


def _stored_jobs(
    request: Call, states: tuple[JobState, ...], limit: int, after: Place | None, offset: int
) -> tuple[Sequence[Job], int]:
    return request.services.jobs.list(request.account, states=states, limit=limit, after=after, offset=offset)


def _stored_runs(
    request: Call, states: tuple[RunState, ...], limit: int, after: Place | None, offset: int
) -> tuple[Sequence[Run], int]:
    return request.services.runner.list(request.account, states=states, limit=limit, after=after, offset=offset)


def _views(request: Call, found: Sequence[Job | Run]) -> Iterator[JobView]:
    leases = request.services.jobs.leases_of(each for each in found if isinstance(each, Job))
    ended = request.app.state.ended
    for each in found:
        if isinstance(each, Run):
            yield code_view(request, each)
            continue
        lease = leases.get(each.lease)
        yield ended.encoded(each, lease, partial(view_under, request, each, lease))


def view_under(request: Call, job: Job, lease: Lease | None) -> JobView:
    """The job as it stands now; `lease` is that of its present attempt."""
    return job_view(job, lease, request.now, request.services.currency, request.services.steps.of(job))
