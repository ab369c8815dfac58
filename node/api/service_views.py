"""What the API answers about services: deployments in camelCase, agents and pods in snake_case as they are documented.

Values of the environment are never shown: `***` stands for each. `totalCost` and `estimatedHourlyCost` are JSON numbers
in tokens, as documented; `cost` is the same as an exact decimal string.
"""

from msgspec import Struct

from node.api.market_views import ResourcesView
from node.api.views import Fault, Pagination, View


class PortView(View, frozen=True, kw_only=True):
    """A port that the service listens on."""

    port: int
    protocol: str
    direct: bool


class ProbeView(View, frozen=True, kw_only=True):
    """How the service is asked whether it works; times in seconds."""

    kind: str
    command: tuple[str, ...]
    port: int
    path: str
    interval: int
    timeout: int
    retries: int
    start_period: int


class VolumeView(View, frozen=True, kw_only=True):
    """A folder that outlives the container."""

    name: str
    path: str
    size: str


class EgressView(View, frozen=True, kw_only=True):
    """Where the service may connect to."""

    policy: str
    hosts: tuple[str, ...]


class WorkloadView(View, frozen=True, kw_only=True):
    """What a service or a template runs."""

    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    resources: ResourcesView
    ports: tuple[PortView, ...]
    probe: ProbeView | None
    volumes: tuple[VolumeView, ...]
    egress: EgressView


class TemplateView(WorkloadView, frozen=True, kw_only=True):
    """A template: what `templateId` of a deployment means."""

    id: str
    description: str


class TemplateList(View, frozen=True, kw_only=True):
    """A page of the templates of this node."""

    templates: tuple[TemplateView, ...]
    pagination: Pagination


class Endpoint(View, frozen=True, kw_only=True):
    """Where a port of the service is reached."""

    type: str
    url: str
    internal_port: int


class Replica(View, frozen=True, kw_only=True):
    """One pod of a deployment; `restarts` counts ends in a row that nobody asked for."""

    id: str
    status: str
    health: str | None
    provider: str | None
    restarts: int
    error: Fault | None
    started_at: str | None


class DeploymentView(WorkloadView, frozen=True, kw_only=True):
    """A deployment as its owner sees it; `nodeId` is the chosen provider, or that of its first pod."""

    id: str
    kind: str
    user_id: str
    node_id: str | None
    template_id: str | None
    custom_image: str | None
    name: str
    status: str
    endpoints: tuple[Endpoint, ...]
    replicas: int
    ready_replicas: int
    pods: tuple[Replica, ...]
    region: str
    """Where its pods run or last did; before they have a place, where you want them."""
    isolation: str
    max_price_per_hour: str
    """The cap of one pod."""
    total_cost: float
    cost: str
    currency: str
    error: Fault | None
    created_at: str
    updated_at: str
    started_at: str | None


class DeploymentAnswer(View, frozen=True, kw_only=True):
    """One deployment in its documented wrapper."""

    deployment: DeploymentView


class DeploymentCreated(DeploymentAnswer, frozen=True, kw_only=True):
    """A new deployment, and what it will probably cost an hour, all pods together, in tokens."""

    estimated_hourly_cost: float


class DeploymentList(View, frozen=True, kw_only=True):
    """A page of deployments, newest first."""

    deployments: tuple[DeploymentView, ...]
    pagination: Pagination


class AgentConfig(Struct, frozen=True, kw_only=True):
    """The size of one pod of an agent."""

    cpu: str
    memory: str
    replicas: int


class AgentView(Struct, frozen=True, kw_only=True):
    """An agent as its owner sees it."""

    id: str
    name: str
    status: str
    runtime: str
    image: str
    replicas: int
    ready_replicas: int
    region: str
    """Where it runs or last did; before it has a place, where you want it. With pods in several, one that works."""
    config: AgentConfig
    environment: dict[str, str]
    endpoints: tuple[str, ...]
    max_price_per_hour: str
    cost: float
    currency: str
    error: Fault | None
    created_at: str
    updated_at: str
    started_at: str | None


class AgentList(Struct, frozen=True, kw_only=True):
    """A page of agents, newest first unless sorted otherwise; with `fields` each has only those."""

    agents: tuple[AgentView, ...]
    total: int
    limit: int
    offset: int
    has_more: bool
    pagination: Pagination


class PodView(Struct, frozen=True, kw_only=True):
    """One running, waiting or stopped instance of a deployment or agent."""

    id: str
    name: str
    status: str
    deployment_id: str
    image: str
    health: str | None
    provider: str | None
    restarts: int
    error: Fault | None
    created_at: str
    started_at: str | None


class PodList(Struct, frozen=True, kw_only=True):
    """All pods, those of the newest services first."""

    pods: tuple[PodView, ...]
    pagination: Pagination
