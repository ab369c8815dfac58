"""Routes of deployments: services that stay up, with as many pods as their user wants."""

from functools import partial
from typing import Annotated, Final

from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from market.services import Service
from node.api.auth import SECURITY, computes, deploys, powers, signed_in
from node.api.catalog import explanation_view
from node.api.errors import problems
from node.api.log_queries import LogQuery
from node.api.market_views import ExplanationView
from node.api.replies import (
    Page,
    cut_ahead,
    encode,
    idempotency_of,
    numbered_page,
    pagination_of,
    place_in,
    replay,
    reply,
    reply_once,
    reply_unless_known,
)
from node.api.service_bodies import ScaleBody
from node.api.service_orders import DeploymentChanges, NewDeployment, deployment_amendment, deployment_order
from node.api.service_output import show_output
from node.api.service_present import deployment_view, states_in
from node.api.service_views import DeploymentAnswer, DeploymentCreated, DeploymentList
from node.api.services import Call
from node.api.views import Deleted, LogList

TAGS: Final = ["Deployments"]


@post("/deployments", guards=[deploys], tags=TAGS, security=SECURITY, responses=problems(402, 409, 422))
async def create_deployment(
    request: Call, data: JSONBody[NewDeployment], key: NamedDependency[str]
) -> Response[DeploymentCreated]:
    """Bring up a template or an image at a node of your choice, or wherever it fits.

    With an `Idempotency-Key` header a repeat within 24 hours answers the same deployment and creates nothing new.
    """
    ordered = deployment_order(data, request.services)

    def shown(service: Service) -> DeploymentCreated:
        view = deployment_view(service, request.services)
        return DeploymentCreated(deployment=view, estimated_hourly_cost=ordered.hourly_cost)

    idempotency = await idempotency_of(request, key, lambda made: (201, encode(shown(made))))
    service, stored = await request.services.hosting.create(request.account, ordered.new, idempotency)
    if service is None or stored is not None:
        return replay(stored)  # type: ignore[arg-type]  # one of the two is always there
    return reply(shown(service), 201, {"Location": f"/v1/deployments/{service.id}"})


@get(
    "/deployments",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(numbered_page, sync_to_thread=False)},
)
async def list_deployments(
    request: Call,
    wanted: NamedDependency[Page],
    status: Annotated[str, QueryParameter(max_length=128)] = "",
) -> Response[DeploymentList]:
    """Your deployments and agents, newest first; `status` may name several, separated by commas."""
    found, total = request.services.hosting.page(
        request.account,
        states=states_in(status),
        limit=wanted.limit + 1,
        after=place_in(wanted.cursor) if wanted.cursor else None,
        offset=wanted.start,
    )
    shown, following = cut_ahead(found, wanted)
    views = tuple(deployment_view(service, request.services) for service in shown)
    pagination = pagination_of(wanted, total, len(views), following)
    return reply(DeploymentList(deployments=views, pagination=pagination))


@get("/deployments/{deployment_id:str}", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_deployment(request: Call, deployment_id: FromPath[str]) -> Response[DeploymentAnswer]:
    """One deployment with its pods, its endpoints and what it has cost so far."""
    service = request.services.hosting.get(request.account, deployment_id)
    view = deployment_view(service, request.services)
    tag = f'W/"{service.version}-{view.cost}"'
    return reply_unless_known(request, DeploymentAnswer(deployment=view), tag)


@put(
    "/deployments/{deployment_id:str}",
    guards=[computes],
    tags=TAGS,
    security=SECURITY,
    responses=problems(402, 404, 409),
)
async def replace_deployment(
    request: Call, deployment_id: FromPath[str], data: JSONBody[DeploymentChanges]
) -> Response[DeploymentAnswer]:
    """Change what the body names; the rest stays. Pods are replaced one after the other when what they run changes."""
    return await _change(request, deployment_id, data)


@patch(
    "/deployments/{deployment_id:str}",
    guards=[computes],
    tags=TAGS,
    security=SECURITY,
    responses=problems(402, 404, 409),
)
async def update_deployment(
    request: Call, deployment_id: FromPath[str], data: JSONBody[DeploymentChanges]
) -> Response[DeploymentAnswer]:
    """Change what the body names; the rest stays. Pods are replaced one after the other when what they run changes."""
    return await _change(request, deployment_id, data)


@delete(
    "/deployments/{deployment_id:str}",
    guards=[computes],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404),
)
async def delete_deployment(request: Call, deployment_id: FromPath[str]) -> Response[Deleted]:
    """End it for good, stopping it if it runs; what its pods used until then is paid."""
    await request.services.hosting.delete(request.account, deployment_id)
    return reply(Deleted(message="Deployment deleted", id=deployment_id))


@post(
    "/deployments/{deployment_id:str}/start",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(402, 404, 422),
)
async def start_deployment(
    request: Call, deployment_id: FromPath[str], key: NamedDependency[str]
) -> Response[DeploymentAnswer]:
    """Bring it up again, in its old places."""
    act = partial(request.services.hosting.start, request.account, deployment_id)
    return await reply_once(request, key, act, partial(_view, request))


@post(
    "/deployments/{deployment_id:str}/stop",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404),
)
async def stop_deployment(request: Call, deployment_id: FromPath[str]) -> Response[DeploymentAnswer]:
    """Take it down; name, settings, volumes and environment stay."""
    return _answer(request, await request.services.hosting.stop(request.account, deployment_id))


@post(
    "/deployments/{deployment_id:str}/restart",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(402, 404, 422),
)
async def restart_deployment(
    request: Call, deployment_id: FromPath[str], key: NamedDependency[str]
) -> Response[DeploymentAnswer]:
    """Replace every pod by a new one, one after the other, each once its successor works."""
    act = partial(request.services.hosting.restart, request.account, deployment_id)
    return await reply_once(request, key, act, partial(_view, request))


@post(
    "/deployments/{deployment_id:str}/scale",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(402, 404, 422),
)
async def scale_deployment(
    request: Call, deployment_id: FromPath[str], data: JSONBody[ScaleBody], key: NamedDependency[str]
) -> Response[DeploymentAnswer]:
    """Keep so many pods up."""
    act = partial(request.services.hosting.scale, request.account, deployment_id, data.replicas)
    return await reply_once(request, key, act, partial(_view, request))


@get("/deployments/{deployment_id:str}/logs", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def read_deployment_logs(
    request: Call, deployment_id: FromPath[str], lines: NamedDependency[LogQuery]
) -> Response[LogList]:
    """The last lines of all pods, by time; `since` is a duration or a time. `follow=true` streams them as events."""
    return show_output(request, lines, deployment_id)


@get(
    "/deployments/{deployment_id:str}/explain",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(404),
)
async def explain_deployment(request: Call, deployment_id: FromPath[str]) -> Response[ExplanationView]:
    """How many live offers fail on each constraint for one more pod, and what would find providers."""
    services = request.services
    return reply(explanation_view(services.hosting.explain_now(request.account, deployment_id), services.currency))


async def _change(request: Call, id: str, body: DeploymentChanges) -> Response[DeploymentAnswer]:
    services = request.services
    amendment = deployment_amendment(body, services.templates)
    return _answer(request, await services.hosting.update(request.account, id, amendment))


def _answer(request: Call, service: Service) -> Response[DeploymentAnswer]:
    return reply(_view(request, service))


def _view(request: Call, service: Service) -> DeploymentAnswer:
    return DeploymentAnswer(deployment=deployment_view(service, request.services))
