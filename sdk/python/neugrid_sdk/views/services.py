"""Services that stay up: deployments, agents and pods, what they are made of, and what they use."""

from datetime import datetime
from decimal import Decimal

from neugrid_sdk.views.market import Resources
from neugrid_sdk.views.view import Fault, SnakeView, View


class Port(View, frozen=True, kw_only=True):
    """A port that the service listens on; a `direct` one is also reached on its provider's own address."""

    port: int
    protocol: str
    direct: bool


class Probe(View, frozen=True, kw_only=True):
    """How the service is asked whether it works; times in seconds."""

    kind: str
    command: tuple[str, ...]
    port: int
    path: str
    interval: int
    timeout: int
    retries: int
    start_period: int


class Volume(View, frozen=True, kw_only=True):
    """A folder that outlives the container."""

    name: str
    path: str
    size: str


class Egress(View, frozen=True, kw_only=True):
    """Where the service may connect to."""

    policy: str
    hosts: tuple[str, ...]


class Workload(View, frozen=True, kw_only=True):
    """What a service or a template runs; values of the environment are shown as `***`."""

    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    resources: Resources
    ports: tuple[Port, ...]
    probe: Probe | None
    volumes: tuple[Volume, ...]
    egress: Egress


class Template(Workload, frozen=True, kw_only=True):
    """What `template_id` of a deployment means."""

    id: str
    description: str


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
    started_at: datetime | None


class Deployment(Workload, frozen=True, kw_only=True):
    """A deployment; `status` is pending, starting, running, stopping, stopped or error.

    `cost` is exact, `total_cost` the same as a number; `max_price_per_hour` is the cap of one pod.
    `estimated_hourly_cost` is told when it is created: all pods together, in tokens.
    """

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
    isolation: str
    max_price_per_hour: Decimal
    total_cost: float
    cost: Decimal
    currency: str
    error: Fault | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    estimated_hourly_cost: float | None = None


class AgentConfig(SnakeView, frozen=True, kw_only=True):
    """The size of one pod of an agent."""

    cpu: str
    memory: str
    replicas: int


class Agent(SnakeView, frozen=True, kw_only=True):
    """An agent; `status` is deploying, running, stopping, stopped or error."""

    id: str
    name: str
    status: str
    runtime: str
    image: str
    replicas: int
    ready_replicas: int
    region: str
    config: AgentConfig
    environment: dict[str, str]
    endpoints: tuple[str, ...]
    max_price_per_hour: Decimal
    cost: float
    currency: str
    error: Fault | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None


class Pod(SnakeView, frozen=True, kw_only=True):
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
    created_at: datetime
    started_at: datetime | None


class Project(SnakeView, frozen=True, kw_only=True):
    """A repository that images are built of."""

    id: str
    name: str
    repo_url: str
    ref: str
    folder: str
    dockerfile: str
    created_at: datetime


class Point(View, frozen=True, kw_only=True):
    """The average and the highest reading of one width of time, which begins at `timestamp`."""

    timestamp: datetime
    value: float
    max: float


class NetworkPoint(Point, frozen=True, kw_only=True):
    """Both directions together, and each alone."""

    received: float
    sent: float


class MetricSet(View, frozen=True, kw_only=True):
    """What was asked for; None = not asked for."""

    cpu: tuple[Point, ...] | None = None
    memory: tuple[Point, ...] | None = None
    network: tuple[NetworkPoint, ...] | None = None
    gpu: tuple[Point, ...] | None = None


class Units(View, frozen=True, kw_only=True):
    """What the values count: cores and bytes; for agents percent of a core and MiB."""

    cpu: str
    memory: str
    network: str
    gpu: str


class Metrics(View, frozen=True, kw_only=True):
    """Use over time."""

    period: str
    units: Units
    metrics: MetricSet
