"""Routes of pods: the single instances of deployments and agents. Errors are flat here, as documented."""

from functools import partial
from typing import Annotated, Final

from litestar import Response, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter

from market.errors import NotFound
from market.services import Pod, Service, pod_of, pod_state
from node.api.auth import SECURITY, computes, powers, signed_in
from node.api.envelopes import FlatProblem
from node.api.errors import problems
from node.api.log_queries import LogQuery
from node.api.replies import Key, Page, cut, page_of_all, pagination_of, reply, reply_once
from node.api.service_output import show_output
from node.api.service_present import pod_view, states_in
from node.api.service_views import PodList, PodView
from node.api.services import Call
from node.api.views import Deleted, LogList

TAGS: Final = ["Pods"]


@get(
    "/pods",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(shape=FlatProblem),
    dependencies={"wanted": Provide(page_of_all, sync_to_thread=False)},
)
async def list_pods(
    request: Call,
    wanted: NamedDependency[Page],
    status: Annotated[str, QueryParameter(max_length=128)] = "",
) -> Response[PodList]:
    """All your pods, those that run and those that are stopped; those of the newest service first."""
    states = states_in(status)
    found = [
        (service, pod)
        for service in request.services.hosting.list(request.account)
        for pod in service.pods
        if not states or pod_state(service, pod) in states
    ]
    found.sort(key=_place, reverse=True)
    shown, following = cut(found, wanted, _place, newest=True)
    views = tuple(pod_view(service, pod) for service, pod in shown)
    return reply(PodList(pods=views, pagination=pagination_of(wanted, len(found), len(views), following)))


@get(
    "/pods/{pod_id:str}",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(404, shape=FlatProblem),
)
async def show_pod(request: Call, pod_id: FromPath[str]) -> Response[PodView]:
    """One pod."""
    return reply(pod_view(*request.services.hosting.pod(request.account, pod_id)))


@post(
    "/pods/{pod_id:str}/start",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(402, 404, 422, shape=FlatProblem),
)
async def start_pod(request: Call, pod_id: FromPath[str], key: NamedDependency[str]) -> Response[PodView]:
    """Bring one pod up again; of a stopped service it starts alone."""
    act = partial(request.services.hosting.start_pod, request.account, pod_id)
    return await reply_once(request, key, act, lambda service: pod_view(service, pod_of(service, pod_id)))


@post(
    "/pods/{pod_id:str}/stop",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404, shape=FlatProblem),
)
async def stop_pod(request: Call, pod_id: FromPath[str]) -> Response[PodView]:
    """Take one pod down; its place and its volumes stay."""
    return _answer(pod_id, *await request.services.hosting.stop_pod(request.account, pod_id))


@delete(
    "/pods/{pod_id:str}",
    guards=[computes],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404, shape=FlatProblem),
)
async def delete_pod(request: Call, pod_id: FromPath[str]) -> Response[Deleted]:
    """Take one pod away for good: its service wants one less from now on."""
    await request.services.hosting.delete_pod(request.account, pod_id)
    return reply(Deleted(message="Pod deleted", id=pod_id))


@get(
    "/pods/{pod_id:str}/logs",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(404, shape=FlatProblem),
)
async def read_pod_logs(request: Call, pod_id: FromPath[str], lines: NamedDependency[LogQuery]) -> Response[LogList]:
    """The last lines of one pod; `follow=true` streams them as server-sent events."""
    service, pod = request.services.hosting.pod(request.account, pod_id)
    return show_output(request, lines, service.id, pod.id)


def _answer(id: str, service: Service, pod: Pod | None) -> Response[PodView]:
    if pod is None:
        raise NotFound("no such pod", id=id[:80])
    return reply(pod_view(service, pod))


def _place(found: tuple[Service, Pod]) -> Key:
    """By service, and by its pods' numbers."""
    service, pod = found
    return service.created_at, service.id, len(pod.id), pod.id
