"""Routes of agents: services as another dialect names them, in snake_case, with `deploying` for what is coming up."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from market.errors import InvalidParameters, NotFound
from market.services import Service, regions_of
from node.api.auth import SECURITY, computes, deploys, powers, signed_in
from node.api.errors import problems
from node.api.log_queries import LogQuery
from node.api.replies import (
    Key,
    Page,
    encode,
    idempotency_of,
    listing,
    page_of_hundred,
    replay,
    reply,
    reply_once,
)
from node.api.service_bodies import ScaleBody
from node.api.service_orders import AgentChanges, NewAgent, agent_amendment, agent_order
from node.api.service_output import show_output
from node.api.service_present import agent_view, states_in
from node.api.service_views import AgentList, AgentView
from node.api.services import Call
from node.api.views import Deleted, LogList

TAGS: Final = ["Agents"]
SORTS: Final = ("created_at", "updated_at", "name", "status", "replicas")


@post("/agents", guards=[deploys], tags=TAGS, security=SECURITY, responses=problems(402, 409, 422))
async def create_agent(request: Call, data: JSONBody[NewAgent], key: NamedDependency[str]) -> Response[AgentView]:
    """Bring up an agent; repeat it safely with an `Idempotency-Key`."""
    ordered = await agent_order(data, request.services, request.account)
    idempotency = await idempotency_of(request, key, lambda made: (201, encode(_view(request, made))))
    service, stored = await request.services.hosting.create(request.account, ordered.new, idempotency)
    if service is None or stored is not None:
        return replay(stored)  # type: ignore[arg-type]  # one of the two is always there
    return reply(_view(request, service), 201, {"Location": f"/v1/agents/{service.id}"})


@get(
    "/agents",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_agents(
    request: Call,
    wanted: NamedDependency[Page],
    status: Annotated[str, QueryParameter(max_length=128)] = "",
    region: Annotated[str, QueryParameter(max_length=128)] = "",
    sort: Annotated[str, QueryParameter(max_length=32)] = "created_at:desc",
    fields: Annotated[str, QueryParameter(max_length=256)] = "",
) -> Response[AgentList]:
    """Your agents; `sort` is `<field>:asc` or `<field>:desc`, `fields` names what each shall show."""
    states, names = states_in(status), _fields_in(fields)
    found = [agent for agent in request.services.hosting.list(request.account) if agent.kind == "agent"]
    found = [agent for agent in found if not states or agent.state in states]
    found = [agent for agent in found if not region or region in regions_of(agent)]
    key, newest = _order_of(sort)
    shown, totals = listing(sorted(found, key=key, reverse=newest), wanted, key, newest=newest)
    views = tuple(_with_fields(_view(request, agent), names) for agent in shown)
    return reply(
        AgentList(
            agents=views,
            **totals,
        )
    )


@get("/agents/{agent_id:str}", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_agent(request: Call, agent_id: FromPath[str]) -> Response[AgentView]:
    """One agent."""
    return reply(_view(request, agent_of(request, agent_id)))


@put("/agents/{agent_id:str}", guards=[computes], tags=TAGS, security=SECURITY, responses=problems(402, 404))
async def replace_agent(request: Call, agent_id: FromPath[str], data: JSONBody[AgentChanges]) -> Response[AgentView]:
    """Change what the body names; the rest stays."""
    return await _change(request, agent_id, data)


@patch("/agents/{agent_id:str}", guards=[computes], tags=TAGS, security=SECURITY, responses=problems(402, 404))
async def update_agent(request: Call, agent_id: FromPath[str], data: JSONBody[AgentChanges]) -> Response[AgentView]:
    """Change what the body names; the rest stays."""
    return await _change(request, agent_id, data)


@delete(
    "/agents/{agent_id:str}", guards=[computes], tags=TAGS, security=SECURITY, status_code=200, responses=problems(404)
)
async def delete_agent(request: Call, agent_id: FromPath[str]) -> Response[Deleted]:
    """End it for good; what it used until then is paid."""
    await request.services.hosting.delete(request.account, agent_of(request, agent_id).id)
    return reply(Deleted(message="Agent deleted successfully", id=agent_id))


@post(
    "/agents/{agent_id:str}/start",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(402, 404, 422),
)
async def start_agent(request: Call, agent_id: FromPath[str], key: NamedDependency[str]) -> Response[AgentView]:
    """Bring it up again."""
    act = partial(request.services.hosting.start, request.account, agent_of(request, agent_id).id)
    return await reply_once(request, key, act, partial(_view, request))


@post(
    "/agents/{agent_id:str}/stop",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404),
)
async def stop_agent(request: Call, agent_id: FromPath[str]) -> Response[AgentView]:
    """Take it down; everything that was set stays."""
    agent = agent_of(request, agent_id)
    return reply(_view(request, await request.services.hosting.stop(request.account, agent.id)))


@post(
    "/agents/{agent_id:str}/restart",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(402, 404, 422),
)
async def restart_agent(request: Call, agent_id: FromPath[str], key: NamedDependency[str]) -> Response[AgentView]:
    """Replace its pods by new ones, one after the other."""
    act = partial(request.services.hosting.restart, request.account, agent_of(request, agent_id).id)
    return await reply_once(request, key, act, partial(_view, request))


@post(
    "/agents/{agent_id:str}/scale",
    guards=[powers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(402, 404, 422),
)
async def scale_agent(
    request: Call, agent_id: FromPath[str], data: JSONBody[ScaleBody], key: NamedDependency[str]
) -> Response[AgentView]:
    """Keep so many pods up."""
    act = partial(request.services.hosting.scale, request.account, agent_of(request, agent_id).id, data.replicas)
    return await reply_once(request, key, act, partial(_view, request))


@get("/agents/{agent_id:str}/logs", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def read_agent_logs(
    request: Call, agent_id: FromPath[str], lines: NamedDependency[LogQuery]
) -> Response[LogList]:
    """The last lines of all pods, by time; `follow=true` streams them as server-sent events."""
    return show_output(request, lines, agent_of(request, agent_id).id)


def agent_of(request: Call, id: str) -> Service:
    """The agent; a deployment that is none is not found here."""
    service = request.services.hosting.get(request.account, id)
    if service.kind != "agent":
        raise NotFound("no such agent", id=id[:80])
    return service


async def _change(request: Call, id: str, body: AgentChanges) -> Response[AgentView]:
    agent = agent_of(request, id)
    amendment = await agent_amendment(body, agent, request.services, request.account)
    after = await request.services.hosting.update(request.account, agent.id, amendment)
    return reply(_view(request, after))


def _view(request: Call, service: Service) -> AgentView:
    return agent_view(service, request.services)


def _order_of(sort: str) -> tuple[Callable[[Service], Key], bool]:
    """What agents are sorted by, and whether the greatest comes first."""
    name, _, order = sort.partition(":")
    if name not in SORTS or order not in ("", "asc", "desc"):
        expected = f"one of {', '.join(SORTS)}, then :asc or :desc"
        raise InvalidParameters(f"sort must be {expected}", field="sort", value=sort, expected=expected)
    field = {"status": "state"}.get(name, name)
    return lambda agent: (getattr(agent, field), agent.id), order == "desc"


def _fields_in(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in AgentView.__struct_fields__:
            known = ", ".join(AgentView.__struct_fields__)
            raise InvalidParameters(f"fields must be of {known}", field="fields", value=name, expected=known)
    return names


def _with_fields(view: AgentView, names: tuple[str, ...]) -> Any:
    whole = msgspec.to_builtins(view)
    return {name: whole[name] for name in names} if names else view
