"""From services and their pods to the API's views."""

from collections.abc import Mapping
from typing import Any, Final

from market.errors import InvalidParameters
from market.services import LIVING, Pod, Service, ServiceState, is_up, pod_name, pod_state, regions_of
from market.units import RATE_SCALE, Amount, format_amount, format_size
from market.workloads import Port, Workload
from node.api.catalog import resources_view
from node.api.present import iso, node_id, provider_id
from node.api.service_bodies import MASK, TERM
from node.api.service_views import (
    AgentConfig,
    AgentView,
    DeploymentView,
    EgressView,
    Endpoint,
    PodView,
    PortView,
    ProbeView,
    Replica,
    TemplateView,
    VolumeView,
)
from node.api.services import Services
from node.api.template_file import Template
from node.api.views import Fault

S = ServiceState
DEPLOYING: Final = (S.PENDING, S.STARTING)
WORDS: Final[Mapping[str, tuple[ServiceState, ...]]] = {
    **{state.value: (state,) for state in LIVING},
    "deploying": DEPLOYING,
}
"""The words of both dialects for states of services, as filters take them."""


def states_in(status: str) -> tuple[ServiceState, ...]:
    """The states behind a status filter that may name several, separated by commas; () = all."""
    words = [word.strip().lower() for word in status.split(",") if word.strip()]
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise InvalidParameters(
            f"status must be of {', '.join(WORDS)}", field="status", value=unknown[0], expected=sorted(WORDS)
        )
    return tuple(state for word in words for state in WORDS[word])


def deployment_view(service: Service, services: Services) -> DeploymentView:
    """The service as a deployment."""
    cost = services.hosting.cost(service)
    is_template = service.origin in services.templates
    return DeploymentView(
        id=service.id,
        kind=service.kind,
        user_id=service.account,
        node_id=_node_of(service),
        template_id=service.origin if is_template else None,
        custom_image=None if is_template else service.workload.image,
        name=service.name,
        status=service.state.value,
        endpoints=_endpoints(service, services),
        replicas=service.replicas,
        ready_replicas=sum(is_up(pod) for pod in service.pods),
        pods=tuple(Replica(**_pod(service, pod)) for pod in service.pods),
        region=next(iter(regions_of(service)), ""),
        isolation=service.constraints.isolation,
        max_price_per_hour=price_per_hour(service),
        total_cost=as_number(cost),
        cost=format_amount(cost),
        currency=services.currency,
        error=_error_of(service),
        created_at=iso(service.created_at),
        updated_at=iso(service.updated_at),
        started_at=iso(service.started_at) if service.started_at else None,
        **_workload(service.workload, _masked(service.workload)),
    )


def agent_view(service: Service, services: Services) -> AgentView:
    """The service as an agent."""
    resources = service.workload.resources
    return AgentView(
        id=service.id,
        name=service.name,
        status="deploying" if service.state in DEPLOYING else service.state.value,
        runtime=service.origin,
        image=service.workload.image,
        replicas=service.replicas,
        ready_replicas=sum(is_up(pod) for pod in service.pods),
        region=next(iter(regions_of(service)), ""),
        config=AgentConfig(
            cpu=str(resources.cpu / 1000), memory=format_size(resources.memory), replicas=service.replicas
        ),
        environment=_masked(service.workload),
        endpoints=tuple(endpoint.url for endpoint in _endpoints(service, services)),
        max_price_per_hour=price_per_hour(service),
        cost=as_number(services.hosting.cost(service)),
        currency=services.currency,
        error=_error_of(service),
        created_at=iso(service.created_at),
        updated_at=iso(service.updated_at),
        started_at=iso(service.started_at) if service.started_at else None,
    )


def pod_view(service: Service, pod: Pod) -> PodView:
    """One pod by itself."""
    return PodView(
        name=pod_name(service, pod),
        deployment_id=service.id,
        image=service.workload.image,
        created_at=iso(pod.created_at),
        **_pod(service, pod),
    )


def template_view(template: Template) -> TemplateView:
    """A template; what it sets is no secret."""
    return TemplateView(
        id=template.id,
        description=template.description,
        **_workload(template.workload, template.workload.env),
    )


def price_per_hour(service: Service) -> str:
    """The cap of one pod for an hour."""
    return format_amount(service.cap * TERM // service.term)


def as_number(amount: int) -> float:
    """Tokens as a JSON number, where that is documented."""
    return float(format_amount(amount))


def hourly_cost(rate: int, cap: Amount, replicas: int) -> float:
    """What so many pods cost an hour at this rate, but never above their caps; tokens."""
    return as_number(min(rate * TERM // RATE_SCALE, cap) * replicas)


def _node_of(service: Service) -> str | None:
    chosen = service.constraints.only or tuple(pod.provider for pod in service.pods if pod.provider)
    return node_id(chosen[0]) if chosen else None


def _endpoints(service: Service, services: Services) -> tuple[Endpoint, ...]:
    """Where the service is reached once a pod of it works: HTTP by this node's gateway, direct ports there."""
    is_reached = any(is_up(pod) for pod in service.pods)
    spoken_here = [port.port for port in service.workload.ports if port.protocol == "http"] if is_reached else []
    urls = {port: services.endpoint_url(service.id, 0 if port == spoken_here[0] else port) for port in spoken_here}
    found = [Endpoint(type=url.partition(":")[0], url=url, internal_port=port) for port, url in urls.items() if url]
    spoken = {port.port: port.protocol for port in service.workload.ports}
    for place in services.hosting.direct_ports(service):
        kind = spoken.get(place.port, "tcp")
        found.append(Endpoint(type=kind, url=f"{kind}://{place.address}", internal_port=place.port))
    return tuple(found)


def _port(port: Port) -> PortView:
    return PortView(port=port.port, protocol=port.protocol, direct=port.is_direct)


def _pod(service: Service, pod: Pod) -> dict[str, Any]:
    return {
        "id": pod.id,
        "status": pod_state(service, pod).value,
        "health": pod.health or None,
        "provider": provider_id(pod.provider) if pod.provider else None,
        "restarts": pod.ends,
        "error": Fault(code=pod.code, message=pod.message) if pod.code else None,
        "started_at": iso(pod.up_since) if pod.up_since else None,
    }


def _error_of(service: Service) -> Fault | None:
    """Why it does not run: why it was taken down, or by the first pod that has a reason."""
    if service.code:
        return Fault(code=service.code, message=service.message)
    if service.state not in (S.PENDING, S.STARTING, S.ERROR):
        return None
    found = (Fault(code=pod.code, message=pod.message) for pod in service.pods if pod.code)
    return next(found, None)


def _masked(workload: Workload) -> dict[str, str]:
    return dict.fromkeys(workload.env, MASK)


def _workload(workload: Workload, env: Mapping[str, str]) -> dict[str, Any]:
    probe = workload.probe
    return {
        "image": workload.image,
        "command": workload.command,
        "env": dict(env),
        "resources": resources_view(workload.resources),
        "ports": tuple(_port(port) for port in workload.ports),
        "probe": ProbeView(**{name: getattr(probe, name) for name in ProbeView.__struct_fields__}) if probe else None,
        "volumes": tuple(
            VolumeView(name=volume.name, path=volume.path, size=format_size(volume.size)) for volume in workload.volumes
        ),
        "egress": EgressView(policy=workload.egress.policy, hosts=workload.egress.hosts),
    }
