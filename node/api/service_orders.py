"""From the bodies of deployments and agents to orders for services, with the prices that are left open filled in."""

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from market.errors import NotFound
from market.offers import ShortText
from market.orders import Constraints
from market.services import Service
from market.units import RATE_SCALE, TOKEN_DECIMALS, Amount
from market.workloads import Workload
from node.actions.services import Amendment, NewService
from node.api.agent_runtimes import runtime_of, with_program, without_program
from node.api.providers import address_in
from node.api.service_bodies import (
    TERM,
    Asked,
    ImageText,
    Label,
    Replicas,
    ServiceFields,
    Variables,
    blank_workload,
    cap_of,
    over,
)
from node.api.service_present import hourly_cost
from node.api.services import Services
from node.api.submissions import Body, Number, ResourcesBody, SizeText, unfit
from node.api.template_file import Template
from node.records import Account

DEFAULT_CAP: Final = Amount(10**TOKEN_DECIMALS)
"""A token an hour, where no price is given and no provider fits now."""
ROOM: Final = 2
"""A cap that is not given is so many times what the cheapest fitting provider asks."""


class NewDeployment(ServiceFields, frozen=True, kw_only=True):
    """A deployment of a template or an image, at the node `nodeId` or, without one, wherever it fits."""

    node_id: ShortText | None = None
    template_id: ShortText | None = None
    custom_image: ImageText | None = None
    name: Label | None = None
    env: Variables | None = None
    replicas: Replicas = 1
    resources: ResourcesBody | None = None
    region: ShortText = ""
    isolation: ShortText = ""
    min_reputation: Annotated[int, Meta(ge=0, le=1000)] = 0


class DeploymentChanges(ServiceFields, frozen=True, kw_only=True):
    """What changes of a deployment; what is not there stays. In `env`, "***" keeps a value."""

    template_id: ShortText | None = None
    custom_image: ImageText | None = None
    name: Label | None = None
    env: Variables | None = None
    replicas: Replicas | None = None
    resources: ResourcesBody | None = None


class AgentConfigBody(Body, frozen=True, kw_only=True):
    """The size of one pod, and how many there shall be."""

    cpu: Number | None = None
    memory: SizeText | None = None
    replicas: Replicas | None = None


class AgentFields(ServiceFields, frozen=True, kw_only=True):
    """What both bodies of agents have."""

    runtime: Annotated[str, Meta(max_length=32, pattern="^[a-z0-9+.-]*$")] | None = None
    image: ImageText | None = None
    binary_url: Annotated[str, Meta(max_length=2048)] | None = None
    config: AgentConfigBody = AgentConfigBody()
    environment: Variables | None = None


class NewAgent(AgentFields, frozen=True, kw_only=True):
    """An agent from a program that this node fetches and runs under its runtime, or from an image."""

    name: Label
    region: ShortText = ""


class AgentChanges(AgentFields, frozen=True, kw_only=True):
    """What changes of an agent; what is not there stays. In `environment`, "***" keeps a value."""

    name: Label | None = None


class Ordered(Struct, frozen=True, kw_only=True):
    """An order, and what one of its pods will probably cost by the present offers (1e-9 base units a second)."""

    new: NewService
    rate: int

    @property
    def hourly_cost(self) -> float:
        """All pods together, in tokens."""
        return hourly_cost(self.rate, self.new.cap, self.new.replicas)


def deployment_order(body: NewDeployment, services: Services) -> Ordered:
    """What the body asks for; InvalidParameters names the field that does not fit."""
    base, origin = _base(body.template_id, body.custom_image, services.templates)
    image = (body.custom_image or "").rpartition("/")[2].partition(":")[0].partition("@")[0]
    new = NewService(
        name=body.name or origin or image,
        workload=over(base, Asked(fields=body, env=_env_over(base, body.env), resources=body.resources)),
        origin=origin,
        replicas=body.replicas,
        cap=DEFAULT_CAP,
        term=TERM,
        constraints=Constraints(
            region=body.region,
            isolation=body.isolation,
            min_reputation=body.min_reputation,
            only=_chosen(body.node_id, services),
        ),
    )
    return _priced(new, body, services)


async def agent_order(body: NewAgent, services: Services, account: Account) -> Ordered:
    """What the body asks for, its program fetched; InvalidParameters names the field that does not fit."""
    if (body.image is None) == (body.binary_url is None):
        raise unfit("image", body.image or "nothing", "exactly one of image and binary_url")
    blank = blank_workload(body.image or runtime_of(body.runtime or "").image, "image")
    workload = over(blank, _agent_asked(body, blank))
    _cap(body)
    new = NewService(
        kind="agent",
        name=body.name,
        workload=await _with_binary(workload, body, body.runtime or "", services, account),
        origin=body.runtime or "",
        replicas=body.config.replicas or 1,
        cap=DEFAULT_CAP,
        term=TERM,
        constraints=Constraints(region=body.region),
    )
    return _priced(new, body, services)


def deployment_amendment(body: DeploymentChanges, templates: Mapping[str, Template]) -> Amendment:
    """What the body changes; another template brings its own settings with it."""
    is_other = body.template_id is not None or body.custom_image is not None
    base, origin = _base(body.template_id, body.custom_image, templates) if is_other else (None, None)
    return Amendment(
        name=body.name,
        cap=_cap(body),
        replicas=body.replicas,
        origin=origin,
        amend=lambda present: _changed(present, base if origin else None, body),
    )


def _changed(present: Workload, template: Workload | None, body: DeploymentChanges) -> Workload:
    """The present workload, or another template, with the changes put over it."""
    env = _env_over(template, body.env) if template else body.env
    asked = Asked(fields=body, image=body.custom_image, env=env, resources=body.resources)
    return over(template or present, asked)


def _env_over(template: Workload, given: dict[str, str] | None) -> dict[str, str] | None:
    """What is given beside what the template sets."""
    return None if given is None else {**template.env, **given}


async def agent_amendment(body: AgentChanges, agent: Service, services: Services, account: Account) -> Amendment:
    """What the body changes; another program is fetched before anything is."""
    if body.image is not None and body.binary_url is not None:
        raise unfit("image", body.image, "one of image and binary_url")
    runtime = agent.origin if body.runtime is None else body.runtime
    changed = _agent_over(agent.workload, body)
    program = await _with_binary(changed, body, runtime, services, account)
    return Amendment(
        name=body.name,
        cap=_cap(body),
        replicas=body.config.replicas,
        origin=body.runtime,
        amend=lambda present: program if body.binary_url else _agent_over(present, body),
    )


def _agent_over(present: Workload, body: AgentFields) -> Workload:
    """The present workload with the changes; another image takes the place of a program."""
    base = without_program(present) if body.image else present
    return over(base, _agent_asked(body, base))


async def _with_binary(
    workload: Workload, body: AgentFields, runtime: str, services: Services, account: Account
) -> Workload:
    """The workload with the program that the body names, if it names one; a command of the body's own stays."""
    if body.binary_url is None:
        return workload
    found = runtime_of(runtime)
    program = await services.binaries.fetch(account, body.binary_url)
    after = with_program(workload, found, program)
    return replace(after, command=workload.command) if body.command else after


def _base(template: str | None, image: str | None, templates: Mapping[str, Template]) -> tuple[Workload, str]:
    """The workload to start from, and the name of its template."""
    if (template is None) == (image is None):
        raise unfit("templateId", template or "nothing", "exactly one of templateId and customImage")
    if template is None:
        return blank_workload(image or "", "customImage"), ""
    if template not in templates:
        raise unfit("templateId", template, f"one of {', '.join(templates)}")
    return templates[template].workload, template


def _chosen(node: str | None, services: Services) -> tuple[str, ...]:
    """The provider that was chosen; it must have a live offer."""
    if not node:
        return ()
    try:
        address = address_in(node)
        services.market.provider(address)
    except NotFound:
        raise unfit("nodeId", node, "a provider with a live offer, as GET /v1/providers lists them") from None
    return (address,)


def _priced(new: NewService, body: ServiceFields, services: Services) -> Ordered:
    """With its cap: as it was given, or by what the cheapest provider asks that fits but for the price."""
    rates = services.hosting.explain(new).rates
    cheapest = rates.min if rates else 0
    cap = _cap(body) or Amount(ROOM * cheapest * TERM // RATE_SCALE) or DEFAULT_CAP
    return Ordered(new=replace(new, cap=cap), rate=cheapest or cap * RATE_SCALE // TERM)


def _cap(body: ServiceFields) -> Amount | None:
    return None if body.max_price_per_hour is None else cap_of(body.max_price_per_hour)


def _agent_asked(body: AgentFields, present: Workload) -> Asked:
    """What the body says; cores and memory that it does not name stay as they are."""
    config = body.config
    resources = None
    if config.cpu is not None or config.memory is not None:
        resources = ResourcesBody(
            cpu=present.resources.cpu / 1000 if config.cpu is None else config.cpu,
            memory=present.resources.memory if config.memory is None else config.memory,
            disk=present.resources.disk,
        )
    return Asked(
        fields=body,
        image=body.image,
        env=body.environment,
        env_field="environment",
        resources=resources,
        resources_field="config",
    )
